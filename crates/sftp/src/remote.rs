//! The recipient's files: each answer of the server gets a meaning.

use std::time::Duration;

use crate::{
    error::Error,
    protocol::{Attributes, FileType, StatusCode},
    session::{Loss, RequestError, Session, StartError},
    ssh::{Connection, Link},
    stage::{Code, EntryKind, Refusal},
};

/// A session, and the connection that it depends on.
pub(crate) struct Remote {
    pub(crate) session: Session,
    link: Link,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    pub(crate) size_bytes: Option<u64>,
    /// Size and modification time, if the server tells it: a file that was renamed keeps both.
    pub(crate) mark: Option<String>,
}

impl From<&Attributes> for Entry {
    fn from(attributes: &Attributes) -> Self {
        let kind = match attributes.file_type() {
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Link,
            FileType::Other => EntryKind::Other,
            FileType::Regular | FileType::Unknown => EntryKind::File,
        };
        let Attributes { size_bytes, modified, .. } = *attributes;
        let modified = modified.map_or_else(|| "-".to_owned(), |seconds| seconds.to_string());
        let mark = size_bytes.map(|size| format!("{size}:{modified}"));
        Self { kind, size_bytes, mark }
    }
}

impl Remote {
    /// Starts SFTP on a new channel of the connection.
    pub(crate) async fn start(
        connection: &Connection,
        greeting: Duration,
        limit: Duration,
    ) -> Result<Self, Error> {
        let link = connection.link.clone();
        let stream = connection.open_sftp(greeting).await?;
        // The greeting and every later request have the same limit in the session.
        match Session::start(stream, limit).await {
            Ok(session) => Ok(Self { session, link }),
            Err(StartError::Text(text)) => {
                Err(connection.no_sftp("it prints text instead of speaking SFTP", &text))
            }
            Err(StartError::Version(number)) => Err(connection.no_sftp(
                &format!("it speaks version {number} of SFTP, and version 3 is needed"),
                "",
            )),
            Err(StartError::Refused(text)) => {
                Err(connection.no_sftp("it refuses version 3 of SFTP", &text))
            }
            Err(StartError::TimedOut { .. }) => Err(link.timed_out("starting SFTP", greeting)),
            Err(StartError::Closed) => Err(connection.closed_session().await),
            Err(StartError::Protocol { place }) => {
                Err(Error::Protocol { action: "starting SFTP".to_owned(), place })
            }
        }
    }

    /// Tells a refusal, which the caller decides about, from a lost connection.
    ///
    /// # Errors
    ///
    /// When there is no answer that can be read.
    pub(crate) async fn answer<T>(
        &self,
        action: &str,
        result: Result<T, RequestError>,
    ) -> Result<Result<T, Refusal>, Error> {
        let loss = match result {
            Ok(value) => return Ok(Ok(value)),
            Err(RequestError::Refused { code, message }) => {
                return Ok(Err(self.refusal(code, &message)));
            }
            Err(RequestError::Lost(loss)) => loss,
        };
        Err(match loss {
            Loss::Closed => self.link.lost(action).await,
            Loss::TimedOut { seconds } => self.link.timed_out(action, Duration::from_secs(seconds)),
            Loss::Protocol { place } => Error::Protocol { action: action.to_owned(), place },
        })
    }

    /// Like [`answer`](Self::answer), for a request that has to succeed.
    pub(crate) async fn succeed<T>(
        &self,
        action: &str,
        result: Result<T, RequestError>,
    ) -> Result<T, Error> {
        let answer = self.answer(action, result).await?;
        answer.map_err(|refusal| Error::refused(action, refusal))
    }

    /// Looks at a path without following a symbolic link; nothing if there is nothing.
    ///
    /// Some servers know STAT alone.
    pub(crate) async fn look(&self, path: &str) -> Result<Result<Option<Entry>, Refusal>, Error> {
        let action = format!("looking at `{path}`");
        let looked = self.answer(&action, self.session.lstat(path).await).await?;
        let looked = match looked {
            Err(refusal) if refusal.code != Code::NoSuchFile => {
                self.answer(&action, self.session.stat(path).await).await?
            }
            looked => looked,
        };
        Ok(match looked {
            Ok(attributes) => Ok(Some(Entry::from(&attributes))),
            Err(Refusal { code: Code::NoSuchFile, .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        })
    }

    /// Removes a file. Returns whether it is certain that there is none any more.
    pub(crate) async fn remove(&self, path: &str) -> Result<bool, Error> {
        let action = format!("removing `{path}`");
        match self.answer(&action, self.session.remove(path).await).await? {
            Ok(()) | Err(Refusal { code: Code::NoSuchFile, .. }) => Ok(true),
            Err(refusal) => {
                tracing::warn!(
                    remote_path = path,
                    message = refusal.message,
                    "a temporary file could not be removed"
                );
                Ok(false)
            }
        }
    }

    fn refusal(&self, code: StatusCode, message: &str) -> Refusal {
        let (code, name) = match code {
            StatusCode::NoSuchFile => (Code::NoSuchFile, "No such file".to_owned()),
            StatusCode::PermissionDenied => (Code::Denied, "Permission denied".to_owned()),
            StatusCode::Unsupported => (Code::Unsupported, "Operation unsupported".to_owned()),
            StatusCode::Other(number) => (Code::Failure, format!("status {number}")),
            StatusCode::Failure
            | StatusCode::BadMessage
            | StatusCode::NoConnection
            | StatusCode::ConnectionLost => (Code::Failure, "Failure".to_owned()),
        };
        let message = self.link.sanitize(message.trim());
        Refusal { code, message: if message.is_empty() { name } else { message } }
    }
}
