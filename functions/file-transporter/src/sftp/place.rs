//! Opening a file in the recipient's directory, which may have to be made first.

use job::transport::RemoteDirectory;
use openssh_sftp_client::file::File;

use super::{
    publish::remove_quietly,
    remote::{Fault, Refusal, Remote},
};
use crate::error::Error;

/// The directory that files are opened in.
pub(super) struct Place<'a> {
    pub(super) remote: &'a Remote,
    pub(super) directory: &'a RemoteDirectory,
    /// Whether it is made if it is missing.
    pub(super) make_directories: bool,
}

impl Place<'_> {
    /// Creates the temporary file. Only if that fails, what is in the way is removed and what is
    /// missing is made: that costs nothing where all is well, and asks for no right to look.
    pub(super) async fn create_temporary(&self, path: &str) -> Result<File, Error> {
        let first = match self.remote.create_new(path).await {
            Ok(file) => return Ok(file),
            Err(Fault::Lost(error)) => return Err(error),
            Err(fault) => fault,
        };
        if matches!(first, Fault::Refused(Refusal::Failure, _)) {
            // A file of an earlier attempt. It is removed, not emptied: whoever may still write to
            // it then writes to a file without a name.
            remove_quietly(self.remote, path).await;
        }
        let denied = self.make_directories().await;
        if let Ok(file) = self.remote.create_new(path).await {
            return Ok(file);
        }
        // Some servers do not know how to create only what is not there.
        let last = self.remote.create_or_empty(path).await;
        last.map_err(|second| self.error(path, first, second, denied))
    }

    /// Opens the final file for writing, and empties it.
    pub(super) async fn open_in_place(&self, path: &str) -> Result<File, Error> {
        let first = match self.remote.create_or_empty(path).await {
            Ok(file) => return Ok(file),
            Err(Fault::Lost(error)) => return Err(error),
            Err(fault) => fault,
        };
        let denied = self.make_directories().await;
        let last = self.remote.create_or_empty(path).await;
        last.map_err(|second| self.error(path, first, second, denied))
    }

    /// Makes the directory and those above it. If that was forbidden, the server's word for it is
    /// returned; what else it says is no news, because most servers fail in the same way for a
    /// directory that is there already.
    async fn make_directories(&self) -> Option<Fault> {
        let mut denied = None;
        for path in self.directory.chain().filter(|_| self.make_directories) {
            let made = self.remote.make_directory(&path).await;
            if let Err(fault @ Fault::Refused(Refusal::PermissionDenied, _)) = made {
                denied.get_or_insert(fault);
            }
        }
        denied
    }

    /// The error of a file that could not be opened: not at first, and not with its directories
    /// made. The first answer counts, unless the connection broke.
    fn error(&self, path: &str, first: Fault, second: Fault, denied: Option<Fault>) -> Error {
        let fault = if matches!(second, Fault::Lost(_)) { second } else { first };
        match (fault, denied) {
            (Fault::Refused(Refusal::NoSuchFile, _), Some(denied)) => {
                denied.into_error(format!("making the directory `{}`", self.directory))
            }
            (Fault::Refused(Refusal::NoSuchFile, message), None) => Error::NoDirectory {
                path: path.to_owned(),
                hint: if self.make_directories {
                    format!(", and it could not be made ({message})")
                } else {
                    ", and `sftp_create_dirs` is false".to_owned()
                },
            },
            (fault, _) => fault.into_error(format!("opening `{path}` for writing")),
        }
    }
}
