//! The objects an item reader reads: a port that the embedding program implements.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

/// Where `ItemReader` finds its objects.
#[async_trait]
pub trait Objects: Send + Sync {
    /// The content of one object.
    async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectError>;

    /// Every object whose key starts with the prefix, in the order of their keys.
    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectEntry>, ObjectError>;
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectEntry {
    /// The whole key.
    pub key: String,
    /// The size in bytes.
    pub size_bytes: u64,
    /// The entity tag without quotes.
    pub etag: String,
    /// When the object was written.
    pub last_modified: Timestamp,
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no bucket of that name.
    #[error("the bucket `{0}` does not exist")]
    NoSuchBucket(String),
    /// There is no object with that key.
    #[error("the key `{0}` does not exist")]
    NoSuchKey(String),
    /// The store could not be asked.
    #[error("reading an object: {0}")]
    Unavailable(String),
}
