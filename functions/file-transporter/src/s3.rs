//! A file in S3.

use async_trait::async_trait;
use aws_io::{Storage, StorageError};
use futures_util::{StreamExt, stream};
use job::S3Location;
use serde::Deserialize;

use crate::source::{Content, Source};

/// Which object is delivered. Further fields of the event, such as its size, are not needed.
#[derive(Clone, Debug, Deserialize)]
pub struct ObjectReference {
    /// The object.
    #[serde(flatten)]
    pub location: S3Location,
    /// The ETag that it must still have.
    #[serde(default)]
    pub etag: Option<String>,
}

/// An object as the source of a delivery.
#[derive(Debug)]
pub struct S3Object {
    storage: Storage,
    reference: ObjectReference,
}

impl S3Object {
    /// The object that `reference` names, in `storage`.
    pub fn new(storage: Storage, reference: ObjectReference) -> Self {
        Self { storage, reference }
    }
}

#[async_trait]
impl Source for S3Object {
    async fn open(&self, offset: u64) -> Result<Content, StorageError> {
        let ObjectReference { location, etag, .. } = &self.reference;
        // Of an object that is not there, the read says so.
        let head = if offset > 0 { self.storage.head(location).await? } else { None };
        let (info, stream) = if let Some(info) = head {
            let rest = offset..info.size_bytes;
            let etag = etag.as_deref().unwrap_or(&info.etag);
            let stream = if rest.is_empty() {
                None
            } else {
                Some(self.storage.get_range(location, etag, rest).await?)
            };
            (info, stream)
        } else {
            let stream = self.storage.get_stream(location, etag.as_deref()).await?;
            (stream.info().clone(), Some(stream))
        };
        let chunks = stream::try_unfold(stream, |stream| async move {
            let Some(mut stream) = stream else { return Ok(None) };
            let chunk = stream.next_chunk().await?;
            Ok(chunk.map(|chunk| (chunk, Some(stream))))
        });
        Ok(Content { size_bytes: info.size_bytes, version: info.etag, chunks: chunks.boxed() })
    }
}
