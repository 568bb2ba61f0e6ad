//! S3, as far as the functions use it.

pub(crate) mod download;
pub(crate) mod upload;

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use job::{ErrorName, S3Location};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, ObjectStream, ObjectWriter};

/// Objects in S3. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    client: Client,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its ETag, with the quotes that belong to it.
    pub etag: String,
    /// Its size.
    pub size_bytes: u64,
}

/// Why something could not be done with an object.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The object, or its bucket, is not there.
    #[error("{action} `{location}`: there is no such object ({code})")]
    NotFound {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// S3's word for it.
        code: String,
    },
    /// The object is not the one that was meant: its ETag differs.
    #[error("{action} `{location}`: the object has changed since it was looked at")]
    Changed {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
    },
    /// The role may not do it.
    #[error("{action} `{location}`: access denied ({message})")]
    Denied {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// S3's text.
        message: String,
    },
    /// The object is larger than this use of it allows.
    #[error("{action} `{location}`: it has {size_bytes} bytes, and {limit_bytes} is the most")]
    TooLarge {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// The object's size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The object is not the JSON that it should be.
    #[error("{action} `{location}`: it is not the document that was expected")]
    Document {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// S3 refused the request, and would refuse it again.
    #[error("{action} `{location}`: {code}: {message}")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// S3's error code.
        code: String,
        /// S3's text.
        message: String,
    },
    /// S3 was not reached, was busy, or the connection broke.
    #[error("{action} `{location}`: S3 could not be reached or broke off")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    fn new<E>(action: &'static str, location: &S3Location, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let location = location.clone();
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let code = error.code().map_or_else(|| status.to_string(), str::to_owned);
        let message = error.message().unwrap_or_default().to_owned();
        match status {
            404 => Self::NotFound { action, location, code },
            412 => Self::Changed { action, location },
            401 | 403 => Self::Denied { action, location, message },
            // 408 and 429 ask for another try, as 5xx does; SDK errors without a response have 0.
            400..=499 if status != 408 && status != 429 => {
                Self::Refused { action, location, code, message }
            }
            _ => Self::Unavailable { action, location, source: Box::new(error) },
        }
    }
}

impl Failure for StorageError {
    fn name(&self) -> ErrorName {
        match self {
            Self::NotFound { .. } => ErrorName::StorageNotFound,
            Self::Changed { .. } => ErrorName::StorageChanged,
            Self::Denied { .. } => ErrorName::StorageDenied,
            Self::TooLarge { .. } | Self::Refused { .. } => ErrorName::StorageRefused,
            Self::Document { .. } => ErrorName::ResultInvalid,
            Self::Unavailable { .. } => ErrorName::StorageUnavailable,
        }
    }
}

impl Storage {
    /// Objects in the S3 that `config` leads to.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// What is known of an object, or nothing if it is not there.
    ///
    /// Without the permission to list the bucket S3 answers 403 for a missing object: that is the
    /// error [`StorageError::Denied`], not an absence.
    pub async fn head(&self, location: &S3Location) -> Result<Option<ObjectInfo>, StorageError> {
        let sent =
            self.client.head_object().bucket(&location.bucket).key(&location.key).send().await;
        match sent.map_err(|error| StorageError::new("looking at", location, error)) {
            Ok(head) => Ok(Some(ObjectInfo {
                etag: head.e_tag.unwrap_or_default(),
                size_bytes: size(head.content_length),
            })),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens an object as a stream; with `etag`, only if it is still the one with that ETag.
    pub async fn get_stream(
        &self,
        location: &S3Location,
        etag: Option<&str>,
    ) -> Result<ObjectStream, StorageError> {
        let request = self.client.get_object().bucket(&location.bucket).key(&location.key);
        let sent = request.set_if_match(etag.map(str::to_owned)).send().await;
        let object = sent.map_err(|error| StorageError::new("reading", location, error))?;
        let info = ObjectInfo {
            etag: object.e_tag.unwrap_or_default(),
            size_bytes: size(object.content_length),
        };
        Ok(ObjectStream::new(location.clone(), info, object.body))
    }

    /// Reads a whole object of at most `limit_bytes`.
    pub async fn get_bytes(
        &self,
        location: &S3Location,
        etag: Option<&str>,
        limit_bytes: u64,
    ) -> Result<(Bytes, ObjectInfo), StorageError> {
        let mut stream = self.get_stream(location, etag).await?;
        let info = stream.info().clone();
        if info.size_bytes > limit_bytes {
            return Err(StorageError::TooLarge {
                action: "reading",
                location: location.clone(),
                size_bytes: info.size_bytes,
                limit_bytes,
            });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next_chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes.into(), info))
    }

    /// Writes a whole object.
    pub async fn put_bytes(
        &self,
        location: &S3Location,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<ObjectInfo, StorageError> {
        let size_bytes = bytes.len() as u64;
        let request = self.client.put_object().bucket(&location.bucket).key(&location.key);
        let sent = request
            .content_type(content_type)
            .body(ByteStream::new(SdkBody::from(bytes)))
            .send()
            .await;
        let put = sent.map_err(|error| StorageError::new("writing", location, error))?;
        Ok(ObjectInfo { etag: put.e_tag.unwrap_or_default(), size_bytes })
    }

    /// Reads a JSON document of at most `limit_bytes`.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        location: &S3Location,
        limit_bytes: u64,
    ) -> Result<T, StorageError> {
        let (bytes, _) = self.get_bytes(location, None, limit_bytes).await?;
        serde_json::from_slice(&bytes).map_err(|source| StorageError::Document {
            action: "reading",
            location: location.clone(),
            source,
        })
    }

    /// Writes a JSON document, indented for people.
    pub async fn put_json(
        &self,
        location: &S3Location,
        document: &impl Serialize,
    ) -> Result<ObjectInfo, StorageError> {
        let json = serde_json::to_vec_pretty(document).expect("our documents are always JSON");
        self.put_bytes(location, "application/json", json.into()).await
    }

    /// Opens an object for writing. Nothing is visible before [`ObjectWriter::finish`].
    pub fn writer(&self, location: S3Location, content_type: &'static str) -> ObjectWriter {
        ObjectWriter::new(self.client.clone(), location, content_type)
    }

    /// The keys that begin with `prefix`, in the order of their bytes, at most `limit` of them.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let location = S3Location::new(bucket, prefix);
        let mut pages =
            self.client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| StorageError::new("listing", &location, error))?;
            keys.extend(
                page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key),
            );
            if keys.len() >= limit {
                keys.truncate(limit);
                break;
            }
        }
        Ok(keys)
    }
}

fn size(content_length: Option<i64>) -> u64 {
    content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or_default()
}
