//! The file and the run of a delivery, in S3.

use async_trait::async_trait;
use aws_io::{
    ObjectInfo, Storage, StorageError,
    run_files::{self, RunFileError},
};
use delivery::{Content, Source};
use futures_util::{StreamExt, stream};
use job::states::Run;

use crate::{DeliveryRequest, LiveRun, request::ObjectReference};

/// An object as the source of a delivery.
#[derive(Debug)]
pub struct S3Object {
    storage: Storage,
    reference: ObjectReference,
}

/// The run of a delivery, by its claim in S3. A call by hand has none.
#[derive(Debug)]
pub struct S3Run<'a> {
    storage: &'a Storage,
    run: Option<&'a Run>,
}

impl<'a> S3Run<'a> {
    /// The run of `request`.
    pub fn new(storage: &'a Storage, request: &'a DeliveryRequest) -> Self {
        Self { storage, run: request.run.as_ref() }
    }
}

#[async_trait]
impl LiveRun for S3Run<'_> {
    async fn expect_live(&self) -> Result<(), RunFileError> {
        match self.run {
            Some(run) => run_files::expect_live(self.storage, run).await,
            None => Ok(()),
        }
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
