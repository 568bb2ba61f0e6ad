//! The local S3 store, as Athena writes to it and as Step Functions reads from it.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use local_athena::{ResultStore, ResultWriter};
use local_s3::{ObjectWriter, Store, StoreError};
use local_states::{ObjectEntry, ObjectError, Objects};

/// The store behind the ports of its neighbours.
#[derive(Clone, Debug)]
pub(crate) struct StoredObjects(pub(crate) Store);

struct Writer(ObjectWriter);

#[async_trait]
impl ResultStore for StoredObjects {
    async fn writer(&self, bucket: &str, key: &str) -> io::Result<Box<dyn ResultWriter>> {
        let writer = self.0.writer(bucket, key, Some("application/octet-stream")).await;
        Ok(Box::new(Writer(writer.map_err(io_error)?)))
    }

    async fn read(&self, bucket: &str, key: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        self.0.read_at(bucket, key, offset, length).await.map_err(io_error)
    }
}

#[async_trait]
impl ResultWriter for Writer {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(bytes).await.map_err(io_error)
    }

    async fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish().await.map(drop).map_err(io_error)
    }
}

#[async_trait]
impl Objects for StoredObjects {
    async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectError> {
        self.0.get(bucket, key).await.map_err(object_error)
    }

    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectEntry>, ObjectError> {
        let objects = self.0.list(bucket, prefix).await.map_err(object_error)?;
        objects
            .into_iter()
            .map(|object| {
                let last_modified = Timestamp::try_from(object.last_modified)
                    .map_err(|error| ObjectError::Unavailable(error.to_string()))?;
                Ok(ObjectEntry {
                    key: object.key,
                    size_bytes: object.size_bytes,
                    etag: object.etag,
                    last_modified,
                })
            })
            .collect()
    }
}

fn io_error(error: StoreError) -> io::Error {
    let kind = match &error {
        StoreError::NoSuchBucket { .. } | StoreError::NoSuchKey { .. } => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn object_error(error: StoreError) -> ObjectError {
    match error {
        StoreError::NoSuchBucket { bucket } => ObjectError::NoSuchBucket(bucket),
        StoreError::NoSuchKey { key, .. } => ObjectError::NoSuchKey(key),
        error => ObjectError::Unavailable(error.to_string()),
    }
}
