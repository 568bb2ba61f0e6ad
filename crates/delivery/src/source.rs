//! The source of the file.

use async_trait::async_trait;
use aws_io::StorageError;
use bytes::Bytes;
use futures_util::stream::BoxStream;

/// A file that can be read from its beginning as often as a delivery needs it.
#[async_trait]
pub trait Source: Send + Sync {
    /// Opens the file at `offset`, which is at most its size.
    ///
    /// # Errors
    ///
    /// The file is missing, has changed, or cannot be read.
    async fn open(&self, offset: u64) -> Result<Content, StorageError>;
}

/// An opened file.
pub struct Content {
    /// The size of the whole file.
    pub size_bytes: u64,
    /// Version of the file, such as its ETag. Another content has another version.
    pub version: String,
    /// Its bytes in order from the offset to the end, all of them, or an error.
    pub chunks: BoxStream<'static, Result<Bytes, StorageError>>,
}
