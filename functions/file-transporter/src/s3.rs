//! A file in S3.

use async_trait::async_trait;
use aws_io::{ObjectInfo, Storage, StorageError, run_files};
use futures_util::{StreamExt, stream};
use job::{ObjectVersion, S3Location};
use serde::Deserialize;

use crate::{
    Delivery, Error,
    source::{Content, Source},
};

/// Which object is delivered. Further fields of the event, such as its size, are not needed.
#[derive(Clone, Debug, Deserialize)]
pub struct ObjectReference {
    /// The object.
    #[serde(flatten)]
    pub location: S3Location,
    /// The version id that is delivered; the newest version, if nothing is said.
    #[serde(default)]
    pub version_id: Option<String>,
    /// The ETag that it must still have, in a bucket without versioning.
    #[serde(default)]
    pub etag: Option<String>,
}

impl ObjectReference {
    fn pin(&self) -> Option<ObjectVersion> {
        let Self { version_id, etag, .. } = self.clone();
        let is_pinned = version_id.is_some() || etag.is_some();
        is_pinned.then(|| ObjectVersion { version_id, etag: etag.unwrap_or_default() })
    }
}

/// An object as the source of a delivery.
#[derive(Debug)]
pub struct S3Object {
    storage: Storage,
    reference: ObjectReference,
}

/// Returns an error when the run of the delivery has ended: a late call publishes nothing. A delivery
/// without a run is somebody's own call.
pub async fn expect_live(storage: &Storage, delivery: &Delivery) -> Result<(), Error> {
    match &delivery.run {
        Some(run) => Ok(run_files::expect_live(storage, run).await?),
        None => Ok(()),
    }
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
        let ObjectReference { location, .. } = &self.reference;
        let pin = self.reference.pin();
        let pin = pin.as_ref();
        // Of an object that is not there, the read says so.
        let head = if offset > 0 { self.storage.head(location, pin).await? } else { None };
        let (info, stream) = if let Some(info) = head {
            let rest = offset..info.size_bytes;
            let pin = pin.unwrap_or(&info.version);
            let stream = if rest.is_empty() {
                None
            } else {
                Some(self.storage.get_range(location, pin, rest).await?)
            };
            (info, stream)
        } else {
            let stream = self.storage.get_stream(location, pin).await?;
            (stream.info().clone(), Some(stream))
        };
        let chunks = stream::try_unfold(stream, |stream| async move {
            let Some(mut stream) = stream else { return Ok(None) };
            let chunk = stream.next_chunk().await?;
            Ok(chunk.map(|chunk| (chunk, Some(stream))))
        });
        let ObjectInfo { version, size_bytes } = info;
        Ok(Content { size_bytes, version: version.etag, chunks: chunks.boxed() })
    }
}
