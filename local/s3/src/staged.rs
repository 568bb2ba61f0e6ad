//! Files that are being written: named, in one folder, and gone unless they are moved away.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use uuid::Uuid;

use crate::digest::{Algorithm, Digest, Digests};

/// How many bytes are read at a time where bytes must pass through the process.
const READ_BYTES: usize = 1 << 20;

/// A temporary file. It is removed when dropped, unless it was moved into place.
pub(crate) struct Staged {
    id: String,
    path: PathBuf,
    file: File,
    size_bytes: u64,
    digests: Option<Digests>,
    digest: Option<Digest>,
}

/// What is known of a temporary file once all of it is written.
pub(crate) struct Seal {
    pub(crate) id: String,
    pub(crate) size_bytes: u64,
    pub(crate) modified: SystemTime,
    /// `None` if the bytes were copied without being read.
    pub(crate) digest: Option<Digest>,
}

impl Staged {
    /// An empty file whose bytes are digested on their way.
    pub(crate) fn digesting(folder: &Path, algorithm: Option<Algorithm>) -> io::Result<Self> {
        Self::create(folder, Some(Digests::new(algorithm)))
    }

    /// An empty file to copy ranges into: without reading them, or for a checksum only.
    pub(crate) fn copying(folder: &Path, algorithm: Option<Algorithm>) -> io::Result<Self> {
        Self::create(folder, algorithm.map(Digests::checksum_only))
    }

    fn create(folder: &Path, digests: Option<Digests>) -> io::Result<Self> {
        let id = Uuid::new_v4().simple().to_string();
        let path = folder.join(&id);
        let file = File::create_new(&path)?;
        Ok(Self { id, path, file, size_bytes: 0, digests, digest: None })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size_bytes += bytes.len() as u64;
        if let Some(digests) = &mut self.digests {
            digests.update(bytes);
        }
        Ok(())
    }

    /// Appends a range of another file. Without digests the bytes are left to the kernel
    /// (`copy_file_range`, or shared blocks where the file system has them).
    pub(crate) fn append(&mut self, mut source: &File, range: Range<u64>) -> io::Result<()> {
        source.seek(SeekFrom::Start(range.start))?;
        let wanted_bytes = range.end - range.start;
        let mut source = source.take(wanted_bytes);
        let before_bytes = self.size_bytes;
        if self.digests.is_none() {
            self.size_bytes += io::copy(&mut source, &mut self.file)?;
        } else {
            let mut buffer = vec![0; READ_BYTES];
            loop {
                let read = source.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                self.write(&buffer[..read])?;
            }
        }
        if self.size_bytes - before_bytes == wanted_bytes {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        }
    }

    /// How much was written.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The digest of all that was written, unless it was copied unread. Ends the writing.
    pub(crate) fn digest(&mut self) -> Option<&Digest> {
        if let Some(digests) = self.digests.take() {
            self.digest = Some(digests.finish());
        }
        self.digest.as_ref()
    }

    /// Ends the writing.
    pub(crate) fn seal(&mut self) -> io::Result<Seal> {
        self.digest();
        Ok(Seal {
            id: self.id.clone(),
            size_bytes: self.size_bytes,
            modified: self.file.metadata()?.modified()?,
            digest: self.digest.take(),
        })
    }

    /// Moves the file to its place, over what is there.
    pub(crate) fn move_to(self, path: &Path) -> io::Result<()> {
        // Dropping then finds nothing to remove.
        fs::rename(&self.path, path)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
