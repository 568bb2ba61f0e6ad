//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Algorithm;
use crate::key::KEY_BYTES_MAX;

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Two stores over one directory would overwrite each other's index.
    #[error("opening the store `{root}`: another store has it open", root = .root.display())]
    InUse {
        /// The directory.
        root: PathBuf,
    },
    /// The name breaks [S3's rules for bucket names](https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
    #[error("`{bucket}` is not a bucket name")]
    InvalidBucketName {
        /// The name as given.
        bucket: String,
    },
    /// There is no such bucket.
    #[error("bucket `{bucket}` does not exist")]
    NoSuchBucket {
        /// The bucket.
        bucket: String,
    },
    /// Only an empty bucket can be deleted.
    #[error("deleting bucket `{bucket}`: it holds {versions} versions of objects")]
    BucketNotEmpty {
        /// The bucket.
        bucket: String,
        /// Number of versions of objects in it, with delete markers.
        versions: usize,
    },
    /// The key is empty or too long.
    #[error("a key has 1 to {KEY_BYTES_MAX} bytes, this one has {bytes}")]
    InvalidKey {
        /// Length of the key.
        bytes: usize,
    },
    /// There is no such object.
    #[error("object `{key}` does not exist in bucket `{bucket}`")]
    NoSuchKey {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The id of the delete marker that hides the older versions, if there is one.
        delete_marker: Option<String>,
    },
    /// There is no such version of the object, or not any more.
    #[error("object `{key}` has no version `{version_id}`")]
    NoSuchVersion {
        /// The key.
        key: String,
        /// The id.
        version_id: String,
    },
    /// No version has an id like this.
    #[error("`{version_id}` is not the id of a version")]
    InvalidVersionId {
        /// The id as given.
        version_id: String,
    },
    /// The version is a delete marker, which can only be deleted.
    #[error("version `{version_id}` of `{key}` is a delete marker")]
    IsDeleteMarker {
        /// The key.
        key: String,
        /// The id of the marker.
        version_id: String,
    },
    /// The condition of a conditional request does not hold.
    #[error("`{condition}` does not hold for `{key}`")]
    PreconditionFailed {
        /// The key.
        key: String,
        /// The header that states the condition.
        condition: &'static str,
    },
    /// The object was written or deleted while the upload that is to replace it went on.
    #[error("`{condition}` cannot be decided for `{key}`: it changed during the upload")]
    ConditionalConflict {
        /// The key.
        key: String,
        /// The header that states the condition.
        condition: &'static str,
    },
    /// There is no such multipart upload: it never was, was completed, or was aborted.
    #[error("multipart upload `{upload_id}` does not exist")]
    NoSuchUpload {
        /// The upload.
        upload_id: String,
    },
    /// The upload is being completed and cannot be changed now.
    #[error("multipart upload `{upload_id}` is being completed")]
    UploadBusy {
        /// The upload.
        upload_id: String,
    },
    /// A part that is to become part of the object is not there, or is another one.
    #[error("completing multipart upload `{upload_id}`: part {number} {problem}")]
    InvalidPart {
        /// The upload.
        upload_id: String,
        /// The part.
        number: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Parts are listed in ascending order, each once.
    #[error("completing multipart upload `{upload_id}`: part {number} is out of order")]
    InvalidPartOrder {
        /// The upload.
        upload_id: String,
        /// The first part that is not above the one before it.
        number: u32,
    },
    /// Every part but the last has a least size.
    #[error(
        "part {number} has {size_bytes} bytes, the least for all but the last is {size_bytes_min}"
    )]
    PartTooSmall {
        /// The part.
        number: u32,
        /// Its size.
        size_bytes: u64,
        /// The least size.
        size_bytes_min: u64,
    },
    /// The bytes received are not the bytes that were sent.
    #[error("`{name}` is `{expected}`, the bytes received have `{actual}`")]
    BadDigest {
        /// The name of the digest.
        name: &'static str,
        /// What the sender says.
        expected: String,
        /// What arrived.
        actual: String,
    },
    /// A part was sent with another checksum than its upload was started for.
    #[error("the upload's checksums are {}, the part's is {}", .upload.name(), .part.name())]
    ChecksumMismatch {
        /// The upload's algorithm.
        upload: Algorithm,
        /// The part's algorithm.
        part: Algorithm,
    },
    /// The request contradicts itself or asks for what S3 refuses.
    #[error("{problem}")]
    InvalidRequest {
        /// What is wrong.
        problem: String,
    },
    /// A file of the store holds something the store did not write.
    #[error("reading `{path}`: it is not a record of this store", path = .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
    /// The file system refused.
    #[error("{doing} `{path}`", path = .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Says what was being done to which file when the file system refused.
pub(crate) trait Doing<T> {
    /// Wraps the error.
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { doing, path: path.to_owned(), source })
    }
}
