//! Bodies on their way in and out, a buffer at a time.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};

use crate::StoreError;
use crate::bucket::Bucket;
use crate::digest::Algorithm;
use crate::error::Doing as _;
use crate::staged::Staged;

/// How much of a body is in memory on its way in.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// How much of a body is in memory on its way out.
pub(crate) const READ_BUFFER_BYTES: u64 = 256 << 10;

/// Runs file work where it may block. The work runs to its end even if nobody waits for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let error = match tokio::task::spawn_blocking(work).await {
        Ok(done) => return done,
        Err(error) => error,
    };
    if error.is_panic() {
        std::panic::resume_unwind(error.into_panic());
    }
    // Only a runtime that is shutting down cancels blocking work, and then this task is never
    // polled again.
    std::future::pending().await
}

/// Writes a body into a temporary file.
pub(crate) struct BodyWriter {
    /// `None` while a buffer is being written, and for good if that failed.
    staged: Option<Staged>,
    buffer: Vec<u8>,
    folder: PathBuf,
}

impl BodyWriter {
    /// A body for this bucket, which is given MD5 and, if wanted, a checksum.
    pub(crate) async fn open(
        bucket: &Arc<Bucket>,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, StoreError> {
        let folder = bucket.staging().to_owned();
        let staged = {
            let folder = folder.clone();
            blocking(move || Staged::digesting(&folder, algorithm)).await
        };
        let staged = staged.doing("creating a file in", &folder)?;
        Ok(Self { staged: Some(staged), buffer: Vec::new(), folder })
    }

    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        for piece in bytes.chunks(WRITE_BUFFER_BYTES) {
            self.buffer.extend_from_slice(piece);
            if self.buffer.len() >= WRITE_BUFFER_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// The file, with all that was written.
    pub(crate) async fn finish(mut self) -> Result<Staged, StoreError> {
        self.flush().await?;
        self.take()
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut staged = self.take()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let (staged, mut buffer) = blocking(move || {
            let path = staged.path().to_owned();
            staged.write(&buffer).doing("writing", &path)?;
            buffer.clear();
            Ok::<_, StoreError>((staged, buffer))
        })
        .await?;
        std::mem::swap(&mut self.buffer, &mut buffer);
        self.staged = Some(staged);
        Ok(())
    }

    fn take(&mut self) -> Result<Staged, StoreError> {
        let interrupted = || Err(io::Error::other("an earlier write did not complete"));
        self.staged.take().map_or_else(interrupted, Ok).doing("writing a file in", &self.folder)
    }
}

/// Reads a range of a file. Ends with an error if the file became shorter.
pub(crate) fn read(
    file: File,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    try_unfold((file, range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let (file, bytes) = read_some(file, range.clone()).await?;
        let rest = range.start + bytes.len() as u64..range.end;
        Ok(Some((bytes, (file, rest))))
    })
}

/// Reads the start of a range, at most a buffer of it.
pub(crate) async fn read_some(mut file: File, range: Range<u64>) -> io::Result<(File, Bytes)> {
    blocking(move || {
        let wanted_bytes = (range.end - range.start).min(READ_BUFFER_BYTES);
        let mut buffer = Vec::new();
        file.seek(SeekFrom::Start(range.start))?;
        let read_bytes = (&file).take(wanted_bytes).read_to_end(&mut buffer)?;
        if read_bytes == 0 && wanted_bytes > 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok((file, Bytes::from(buffer)))
    })
    .await
}
