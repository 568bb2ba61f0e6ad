//! Where result objects are kept: the port, and a double over a directory.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// A store of objects in buckets.
#[async_trait]
pub trait ResultStore: Send + Sync {
    /// Begins an object, which becomes visible as a whole by [`ResultWriter::finish`].
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is no such bucket,
    /// [`io::ErrorKind::PermissionDenied`] if it may not be written to.
    async fn writer(&self, bucket: &str, key: &str) -> io::Result<Box<dyn ResultWriter>>;

    /// Reads up to `length` bytes of an object from `offset` on. Fewer bytes than asked for, or
    /// none, mean that the object ends there.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is no such object.
    async fn read(&self, bucket: &str, key: &str, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// An object being written. Dropping it without [`finish`](Self::finish) leaves no object.
#[async_trait]
pub trait ResultWriter: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the object visible.
    async fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Keeps objects as files: `ROOT/<bucket>/<key>`. A bucket is a directory that exists already.
///
/// A double for tests and for trying the endpoint by itself: keys that are no file names (a key
/// and another one below it, empty components, `..`) are refused.
#[derive(Clone, Debug)]
pub struct DirectoryResults {
    root: PathBuf,
}

impl DirectoryResults {
    /// Keeps objects below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, bucket: &str, key: &str) -> io::Result<PathBuf> {
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if bucket.contains('/') || odd(bucket) || key.split('/').any(odd) {
            let message = format!("`{bucket}/{key}` can not be kept as a file");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(self.root.join(bucket).join(key))
    }
}

#[async_trait]
impl ResultStore for DirectoryResults {
    async fn writer(&self, bucket: &str, key: &str) -> io::Result<Box<dyn ResultWriter>> {
        let path = self.path(bucket, key)?;
        tokio::fs::metadata(self.root.join(bucket)).await?;
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = tokio::fs::File::create(&partial).await?;
        Ok(Box::new(FileWriter { file, path, partial, finished: false }))
    }

    async fn read(&self, bucket: &str, key: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut file = tokio::fs::File::open(self.path(bucket, key)?).await?;
        file.seek(io::SeekFrom::Start(offset)).await?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes).await?;
        Ok(bytes.into())
    }
}

struct FileWriter {
    file: tokio::fs::File,
    path: PathBuf,
    partial: PathBuf,
    finished: bool,
}

#[async_trait]
impl ResultWriter for FileWriter {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    async fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.file.flush().await?;
        tokio::fs::rename(&self.partial, &self.path).await?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.finished {
            // A file that can not be removed stays invisible under its partial name.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}
