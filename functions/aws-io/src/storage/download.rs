//! An object as a stream.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use job::S3Location;

use super::{ObjectInfo, StorageError};

/// The bytes of an object, in order. It holds one chunk at a time.
#[derive(Debug)]
pub struct ObjectStream {
    location: S3Location,
    info: ObjectInfo,
    body: ByteStream,
    read_bytes: u64,
}

impl ObjectStream {
    pub(super) fn new(location: S3Location, info: ObjectInfo, body: ByteStream) -> Self {
        Self { location, info, body, read_bytes: 0 }
    }

    /// What is known of the object.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The next bytes, or nothing at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, also when it ends before the object does: a short object is
    /// never taken for the whole.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageError> {
        let broken = |location: &S3Location, source| StorageError::Unavailable {
            action: "reading",
            location: location.clone(),
            source,
        };
        match self.body.next().await {
            Some(Ok(chunk)) => {
                self.read_bytes += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Some(Err(error)) => Err(broken(&self.location, Box::new(error))),
            None if self.read_bytes == self.info.size_bytes => Ok(None),
            None => {
                let text = format!("{} of {} bytes arrived", self.read_bytes, self.info.size_bytes);
                Err(broken(&self.location, text.into()))
            }
        }
    }
}
