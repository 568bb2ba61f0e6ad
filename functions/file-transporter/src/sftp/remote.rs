//! The server's files: every request has a time limit, and every failure a meaning.

use std::{io::SeekFrom, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use openssh_sftp_client::{
    Error as SftpError, Sftp as Client, SftpOptions, error::SftpErrorKind, file::File, fs::Fs,
};
use tokio::{
    io::{AsyncSeekExt, split},
    time::timeout,
};

use super::connection::{Connection, Link};
use crate::error::Error;

/// The most time for the server to start SFTP, and again for its first word.
const START: Duration = Duration::from_secs(20);
/// How long closing may take; the library waits for everything that is still open.
const CLOSE: Duration = Duration::from_secs(5);

/// An SFTP session.
pub(super) struct Remote {
    client: Client,
    link: Link,
    /// For every request; while a file is written, for progress.
    pub(super) limit: Duration,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server answered, and said no.
    Refused(Refusal, String),
    /// There was no answer.
    Lost(Error),
}

/// What a server's status code says. All of "exists already", "is a directory" and "disk full" are
/// [`Refusal::Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoSuchFile,
    PermissionDenied,
    Unsupported,
    Failure,
}

impl Fault {
    /// The error for a request that had to succeed.
    pub(super) fn into_error(self, action: impl Into<String>) -> Error {
        let action = action.into();
        match self {
            Self::Lost(error) => error,
            Self::Refused(Refusal::PermissionDenied, message) => {
                Error::Permission { action, message, hint: "" }
            }
            Self::Refused(Refusal::Unsupported, message) => Error::Unsupported { action, message },
            Self::Refused(Refusal::NoSuchFile | Refusal::Failure, message) => {
                Error::Remote { action, message }
            }
        }
    }
}

impl Remote {
    /// Starts SFTP on a connection; `limit` is for every later request.
    pub(super) async fn start(connection: &Connection, limit: Duration) -> Result<Self, Error> {
        let link = connection.link.clone();
        let start = limit.min(START);
        let (reader, writer) = split(connection.start_sftp(start).await?);
        let options = SftpOptions::new();
        let started = timeout(start, Client::new(writer, reader, options)).await;
        match started.map_err(|_| link.timed_out("starting SFTP", start))? {
            Ok(client) => Ok(Self { client, link, limit }),
            // A text is taken for the length of a message, which is then absurd.
            Err(SftpError::SftpServerHelloMsgTooLong { .. } | SftpError::FormatError(_)) => {
                Err(connection.no_sftp("it prints text instead of speaking SFTP".to_owned()))
            }
            Err(SftpError::UnsupportedSftpProtocol { version }) => {
                Err(connection
                    .no_sftp(format!("it speaks version {version}, and version 3 is needed")))
            }
            Err(_) => Err(link.lost("starting SFTP").await),
        }
    }

    /// Waits for the answer to a request, up to the time limit.
    async fn answer<T>(
        &self,
        action: &str,
        request: impl Future<Output = Result<T, SftpError>>,
    ) -> Result<T, Fault> {
        self.in_time(action, self.outcome(action, request)).await
    }

    /// The outcome of a request, however long it takes.
    pub(super) async fn outcome<T>(
        &self,
        action: &str,
        request: impl Future<Output = Result<T, SftpError>>,
    ) -> Result<T, Fault> {
        match request.await {
            Ok(value) => Ok(value),
            Err(SftpError::SftpError(kind, message)) => {
                Err(Fault::Refused(refusal(kind), message.get().0.to_owned()))
            }
            Err(_) => Err(Fault::Lost(self.link.lost(action).await)),
        }
    }

    /// Gives something up after the time limit.
    pub(super) async fn in_time<T>(
        &self,
        action: &str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let late = || Fault::Lost(self.too_late(action));
        timeout(self.limit, work).await.unwrap_or_else(|_| Err(late()))
    }

    pub(super) fn too_late(&self, action: &str) -> Error {
        self.link.timed_out(action, self.limit)
    }

    fn fs(&self) -> Fs {
        self.client.fs()
    }

    /// Creates a file for writing; it must not exist.
    pub(super) async fn create_new(&self, path: &str) -> Result<File, Fault> {
        let mut options = self.client.options();
        options.write(true).create_new(true);
        self.answer("creating the file", options.open(path)).await
    }

    /// Opens a file for writing and empties it, or creates it.
    pub(super) async fn create_or_empty(&self, path: &str) -> Result<File, Fault> {
        let mut options = self.client.options();
        options.write(true).create(true).truncate(true);
        self.answer("opening the file", options.open(path)).await
    }

    /// Opens a file for writing that is there, as it is.
    pub(super) async fn open_as_it_is(&self, path: &str) -> Result<File, Fault> {
        let mut options = self.client.options();
        options.write(true);
        self.answer("opening the file", options.open(path)).await
    }

    pub(super) async fn open_for_reading(&self, path: &str) -> Result<File, Fault> {
        self.answer("opening the file", self.client.open(path)).await
    }

    /// Writes `pieces`, one behind the other, at `offset`. Returns how many bytes the server takes
    /// in one request, if they had to be written in several.
    ///
    /// The library takes the bytes as they are, without a copy, only by this call.
    pub(super) async fn write(
        &self,
        mut file: File,
        offset: u64,
        mut pieces: Vec<Bytes>,
    ) -> Result<Option<usize>, Fault> {
        let request = async {
            file.seek(SeekFrom::Start(offset)).await?;
            let first = file.write_zero_copy(&pieces).await?;
            let mut written = first;
            pieces.retain_mut(|piece| {
                let done = piece.len().min(written);
                piece.advance(done);
                written -= done;
                !piece.is_empty()
            });
            let max = (!pieces.is_empty()).then_some(first);
            file.write_all_zero_copy(&mut pieces).await?;
            Ok(max)
        };
        self.outcome("writing the file", request).await
    }

    /// At most `length` bytes from `offset` on; none at the file's end.
    pub(super) async fn read(
        &self,
        file: &mut File,
        offset: u64,
        length: u32,
    ) -> Result<BytesMut, Fault> {
        let request = async {
            file.seek(SeekFrom::Start(offset)).await?;
            file.read(length, BytesMut::new()).await
        };
        let data = self.outcome("reading the file back", request).await?;
        Ok(data.unwrap_or_default())
    }

    pub(super) async fn make_directory(&self, path: &str) -> Result<(), Fault> {
        self.answer("making the directory", self.fs().create_dir(path)).await
    }

    /// The size of a file; nothing if the server does not tell.
    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>, Fault> {
        let metadata = self.answer("looking at the file", self.fs().metadata(path)).await?;
        Ok(metadata.len())
    }

    /// Renames, replacing the target if [`Remote::rename_replaces`].
    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.answer("renaming the file", self.fs().rename(from, to)).await
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Fault> {
        self.answer("removing the file", self.fs().remove_file(path)).await
    }

    /// Whether a rename takes the place of an existing file in one step.
    pub(super) fn rename_replaces(&self) -> bool {
        self.client.support_posix_rename()
    }

    /// Waits until the file is on the server's disk, where the server can tell.
    pub(super) async fn flush_to_disk(&self, file: &mut File) -> Result<(), Fault> {
        if !self.client.support_fsync() {
            return Ok(());
        }
        match self.answer("flushing the file", file.sync_all()).await {
            Err(Fault::Refused(refusal, message)) => {
                tracing::warn!(
                    ?refusal,
                    message,
                    "the server offers to flush files to its disk but did not"
                );
                Ok(())
            }
            answer => answer,
        }
    }

    pub(super) async fn close_file(&self, file: File) -> Result<(), Fault> {
        self.answer("closing the file", file.close()).await
    }

    /// Ends the session. All its files must have been dropped.
    pub(super) async fn close(self) {
        // What matters was answered before; a failure to say goodbye changes nothing.
        drop(timeout(CLOSE, self.client.close()).await);
    }
}

fn refusal(kind: SftpErrorKind) -> Refusal {
    match kind {
        SftpErrorKind::NoSuchFile => Refusal::NoSuchFile,
        SftpErrorKind::PermDenied => Refusal::PermissionDenied,
        SftpErrorKind::OpUnsupported => Refusal::Unsupported,
        // The enumeration is open; what is not known is a failure without a reason.
        _ => Refusal::Failure,
    }
}
