//! S3, as far as the functions use it.

mod buffers;
pub(crate) mod dated;
pub(crate) mod download;
pub(crate) mod error;
pub(crate) mod multipart;
pub(crate) mod upload;

use std::{ops::Range, sync::Arc};

use aws_config::SdkConfig;
use aws_sdk_s3::{Client, operation::put_object::builders::PutObjectFluentBuilder};
use bytes::Bytes;
use job::{ObjectVersion, S3Location};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use self::buffers::PartBuffers;
use crate::{HeadlessWriter, MultipartUpload, ObjectStream, ObjectWriter, StorageError};

/// How many parts all writers of a [`Storage`] send at once.
///
/// Memory: this many parts, one more for each open writer that is filling it, and one more for
/// each open [`HeadlessWriter`]; a part has [`PART_BYTES`](crate::PART_BYTES).
pub const PARTS_IN_FLIGHT: usize = 2;

/// How many parts all uploads of a [`Storage`] have copied at once. S3 does the work.
pub const COPIES_IN_FLIGHT: usize = 16;

/// Objects in S3. Cheap to clone; clones share the bound on parts in flight.
#[derive(Clone, Debug)]
pub struct Storage {
    client: Client,
    sending: Arc<Semaphore>,
    copying: Arc<Semaphore>,
    buffers: PartBuffers,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its version.
    pub version: ObjectVersion,
    /// Its size.
    pub size_bytes: u64,
}

/// An object as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// What is known of it.
    pub info: ObjectInfo,
}

/// What must hold for a conditional write to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no object of this key.
    Absent,
    /// The object is still the one with this ETag.
    Unchanged {
        /// The ETag, with its quotes.
        etag: String,
    },
}

impl Storage {
    /// Objects in the S3 that `config` leads to.
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            client: Client::new(config),
            sending: Arc::new(Semaphore::new(PARTS_IN_FLIGHT)),
            copying: Arc::new(Semaphore::new(COPIES_IN_FLIGHT)),
            buffers: PartBuffers::default(),
        }
    }

    /// Looks at an object, or at the version `pin` of it; gives nothing if it is not there.
    ///
    /// Without the permission to list the bucket S3 answers 403 for a missing object: that is the
    /// error [`StorageError::Denied`], not an absence.
    pub async fn head(
        &self,
        location: &S3Location,
        pin: Option<&ObjectVersion>,
    ) -> Result<Option<ObjectInfo>, StorageError> {
        let Pin { version_id, if_match } = Pin::of(pin);
        let request = self.client.head_object().bucket(&location.bucket).key(&location.key);
        let sent = request.set_version_id(version_id).set_if_match(if_match).send().await;
        match sent.map_err(|error| StorageError::new("looking at", location, error)) {
            Ok(head) => Ok(Some(ObjectInfo {
                version: version(head.version_id, head.e_tag),
                size_bytes: size(head.content_length),
            })),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens an object as a stream; with `pin`, that version of it.
    ///
    /// # Errors
    ///
    /// [`StorageError::Changed`] when the bucket has no versioning and the object is another one by
    /// now.
    pub async fn get_stream(
        &self,
        location: &S3Location,
        pin: Option<&ObjectVersion>,
    ) -> Result<ObjectStream, StorageError> {
        ObjectStream::open(self.client.clone(), location, pin).await
    }

    /// Opens a range of this version of the object as a stream.
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] when the range is empty or does not lie within the object.
    pub async fn get_range(
        &self,
        location: &S3Location,
        pin: &ObjectVersion,
        range: Range<u64>,
    ) -> Result<ObjectStream, StorageError> {
        ObjectStream::open_range(self.client.clone(), location, pin, range).await
    }

    /// Reads a whole object of at most `limit_bytes`.
    pub async fn get_bytes(
        &self,
        location: &S3Location,
        pin: Option<&ObjectVersion>,
        limit_bytes: u64,
    ) -> Result<(Bytes, ObjectInfo), StorageError> {
        let mut stream = self.get_stream(location, pin).await?;
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
        self.put(location, content_type, bytes, |request| request).await
    }

    async fn put(
        &self,
        location: &S3Location,
        content_type: &str,
        bytes: Bytes,
        condition: impl FnOnce(PutObjectFluentBuilder) -> PutObjectFluentBuilder,
    ) -> Result<ObjectInfo, StorageError> {
        let size_bytes = bytes.len() as u64;
        let request = self.client.put_object().bucket(&location.bucket).key(&location.key);
        let request = condition(request).content_type(content_type).body(bytes.into());
        let sent = request.send().await;
        let put = sent.map_err(|error| StorageError::new("writing", location, error))?;
        Ok(ObjectInfo { version: version(put.version_id, put.e_tag), size_bytes })
    }

    /// Reads a JSON document of at most `limit_bytes`.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        location: &S3Location,
        limit_bytes: u64,
    ) -> Result<T, StorageError> {
        Ok(self.get_json_with_info(location, limit_bytes).await?.0)
    }

    /// Reads a JSON document of at most `limit_bytes`, and what is known of its object: its ETag is
    /// the precondition of [`put_json_if`](Self::put_json_if).
    pub async fn get_json_with_info<T: DeserializeOwned>(
        &self,
        location: &S3Location,
        limit_bytes: u64,
    ) -> Result<(T, ObjectInfo), StorageError> {
        let (bytes, info) = self.get_bytes(location, None, limit_bytes).await?;
        let document = serde_json::from_slice(&bytes).map_err(|source| StorageError::Document {
            action: "reading",
            location: location.clone(),
            source,
        })?;
        Ok((document, info))
    }

    /// Writes a JSON document, indented for people.
    pub async fn put_json(
        &self,
        location: &S3Location,
        document: &impl Serialize,
    ) -> Result<ObjectInfo, StorageError> {
        self.put_bytes(location, JSON, json(document)).await
    }

    /// Writes a JSON document if the precondition holds when S3 has received it.
    ///
    /// # Errors
    ///
    /// [`StorageError::Changed`] when it does not hold; this also when the document was written, its
    /// answer was lost and the request was sent again, so who must know reads the object.
    /// [`StorageError::NotFound`] when the object that should be unchanged is gone.
    pub async fn put_json_if(
        &self,
        location: &S3Location,
        document: &impl Serialize,
        precondition: Precondition,
    ) -> Result<ObjectInfo, StorageError> {
        self.put(location, JSON, json(document), |request| match precondition {
            Precondition::Absent => request.if_none_match("*"),
            Precondition::Unchanged { etag } => request.if_match(etag),
        })
        .await
    }

    /// Opens an object for writing. Nothing is visible before [`ObjectWriter::finish`].
    pub fn writer(&self, location: S3Location, content_type: &'static str) -> ObjectWriter {
        ObjectWriter::new(self.clone(), location, content_type)
    }

    /// Opens an object for writing whose first bytes are known only when all others are written.
    pub fn headless_writer(
        &self,
        location: S3Location,
        content_type: &'static str,
    ) -> HeadlessWriter {
        HeadlessWriter::new(self.writer(location, content_type))
    }

    /// Begins an object that is put together from parts, of bytes or of ranges of other objects.
    pub async fn multipart_upload(
        &self,
        location: S3Location,
        content_type: &'static str,
    ) -> Result<MultipartUpload, StorageError> {
        MultipartUpload::begin(self, location, content_type).await
    }

    /// The keys that begin with `prefix`, in the order of their bytes, at most `limit` of them.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let objects = self.list_objects(bucket, prefix, limit).await?;
        Ok(objects.into_iter().map(|object| object.key).collect())
    }

    /// The objects whose keys begin with `prefix`, in the order of their keys' bytes, at most
    /// `limit` of them. Memory: all of them.
    pub async fn list_objects(
        &self,
        bucket: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StorageError> {
        let location = S3Location::new(bucket, prefix);
        let mut pages =
            self.client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let mut objects = Vec::new();
        while objects.len() < limit
            && let Some(page) = pages.next().await
        {
            let page = page.map_err(|error| StorageError::new("listing", &location, error))?;
            let listed = page.contents.unwrap_or_default().into_iter().filter_map(|object| {
                let version = version(None, object.e_tag);
                let info = ObjectInfo { version, size_bytes: size(object.size) };
                Some(ListedObject { key: object.key?, info })
            });
            objects.extend(listed);
        }
        objects.truncate(limit);
        Ok(objects)
    }
}

/// The condition of a read that must not see another version.
struct Pin {
    version_id: Option<String>,
    if_match: Option<String>,
}

impl Pin {
    /// The version id alone where there is one: an ETag says nothing more then.
    fn of(version: Option<&ObjectVersion>) -> Self {
        let version_id = version.and_then(|version| version.version_id.clone());
        let etag = version.map(|version| version.etag.clone());
        Self { if_match: etag.filter(|_| version_id.is_none()), version_id }
    }
}

/// A version as S3 tells it. A bucket whose versioning is suspended calls every new version `null`
/// and overwrites it: such an id pins nothing.
fn version(version_id: Option<String>, etag: Option<String>) -> ObjectVersion {
    let version_id = version_id.filter(|id| id != "null");
    ObjectVersion { version_id, etag: etag.unwrap_or_default() }
}

const JSON: &str = "application/json";

fn json(document: &impl Serialize) -> Bytes {
    serde_json::to_vec_pretty(document).expect("our documents are always JSON").into()
}

/// A size as the protocol counts.
fn size(size_bytes: Option<i64>) -> u64 {
    size_bytes.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()
}

/// The text of a `Range` header, without its unit. Only what is not empty has one.
fn range_text(
    action: &'static str,
    location: &S3Location,
    range: &Range<u64>,
) -> Result<String, StorageError> {
    if !range.is_empty() {
        return Ok(format!("{}-{}", range.start, range.end - 1));
    }
    Err(StorageError::Refused {
        action,
        location: location.clone(),
        code: "InvalidRange".to_owned(),
        message: format!("the range from {} to {} is empty", range.start, range.end),
    })
}
