//! Creating the temporary file, and the directories above it.

use delivery::HashedOffset;

use super::Open;
use crate::{
    attempt::Carrier,
    error::Error,
    names::{Paths, sidecar_name},
    session::{Access, Handle},
    stage::{Code, Refusal},
};

const IN_PLACE_HINT: &str = "; a file of that name is there, and this account may not write to it: set `sftp_write_mode` \
     to `temp`, or choose another `sftp_filename`";
const PREFIX_HINT: &str =
    "; this server takes no name that begins so: set `sftp_temp_prefix` to \"\"";
const SUFFIX_HINT: &str = "; this server takes only certain extensions: let `sftp_temp_suffix` end with \
     one of them";
const BOTH_HINT: &str = "; this server takes only certain names: set `sftp_temp_prefix` to \"\", and let \
     `sftp_temp_suffix` end with an extension that it takes";

impl Carrier<'_> {
    /// Creates the file. Only if that fails, missing directories are made: that costs nothing where
    /// all is well.
    pub(super) async fn create(&self, paths: &Paths, reads: bool) -> Result<Open, Error> {
        let config = &self.sftp.server.config;
        let path = &paths.temporary;
        self.attempt.lease.will_create(path).await?;
        if paths.temporary == paths.last && self.content.is_journaled() {
            self.remove_old_sidecar().await?;
        }
        let first = match self.try_create(paths, reads).await? {
            Ok((handle, reads)) => return self.opened(handle, reads).await,
            Err(refusal) => refusal,
        };
        let denied = if config.sftp_create_dirs { self.make_directories().await? } else { None };
        if let Ok((handle, reads)) = self.try_create(paths, reads).await? {
            return self.opened(handle, reads).await;
        }
        self.attempt.lease.forget_leftover(path);
        Err(self.not_created(paths, first, denied).await?)
    }

    /// Removes a second file of an earlier delivery: it would say that the file is complete while it
    /// is written in place.
    async fn remove_old_sidecar(&self) -> Result<(), Error> {
        if let Some(sidecar) = self.sftp.server.config.sftp_sidecar {
            let name = sidecar_name(self.name, sidecar).map_err(Error::FileName)?;
            self.remote.remove(&self.sftp.directory.join(name.as_str())).await?;
        }
        Ok(())
    }

    async fn opened(&self, handle: Handle, reads: bool) -> Result<Open, Error> {
        let chunks = self.content.chunks(0).await?;
        Ok(Open { handle, reads, from: HashedOffset::default(), chunks, before: None })
    }

    async fn try_create(
        &self,
        paths: &Paths,
        reads: bool,
    ) -> Result<Result<(Handle, bool), Refusal>, Error> {
        let (session, path) = (&self.remote.session, &paths.temporary);
        let opening = format!("opening `{path}` for writing");
        if paths.temporary == paths.last {
            let opened = session.create_or_truncate(path).await;
            return Ok(self.remote.answer(&opening, opened).await?.map(|handle| (handle, false)));
        }
        if reads {
            let opened = session.create_new(path, Access::ReadWrite).await;
            if let Ok(handle) = self.remote.answer(&opening, opened).await? {
                return Ok(Ok((handle, true)));
            }
        }
        let opened = session.create_new(path, Access::Write).await;
        let refusal = match self.remote.answer(&opening, opened).await? {
            Ok(handle) => return Ok(Ok((handle, false))),
            Err(refusal) => refusal,
        };
        if refusal.code == Code::NoSuchFile {
            return Ok(Err(refusal));
        }
        // Some servers do not know how to create only what is not there.
        let opened = session.create_or_truncate(path).await;
        let opened = self.remote.answer(&opening, opened).await?;
        Ok(opened.map(|handle| (handle, false)).map_err(|_| refusal))
    }

    /// Makes the directory and those above it. Returns the first refusal of permission. Other
    /// refusals are ignored: most servers fail so for a directory that exists.
    async fn make_directories(&self) -> Result<Option<Refusal>, Error> {
        let mut denied = None;
        for path in self.sftp.directory.chain() {
            let action = format!("making the directory `{path}`");
            let made = self.remote.session.mkdir(&path).await;
            if let Err(refusal) = self.remote.answer(&action, made).await?
                && refusal.code == Code::Denied
            {
                denied.get_or_insert(refusal);
            }
        }
        Ok(denied)
    }

    /// The error of a file that was not created, with the setting that helps.
    async fn not_created(
        &self,
        paths: &Paths,
        first: Refusal,
        denied: Option<Refusal>,
    ) -> Result<Error, Error> {
        let (path, directory) = (&paths.temporary, &self.sftp.directory);
        if first.code == Code::NoSuchFile {
            return Ok(match denied {
                Some(denied) => {
                    Error::refused(&format!("making the directory `{directory}`"), denied)
                }
                None => Error::NoDirectory {
                    path: path.clone(),
                    hint: if self.sftp.server.config.sftp_create_dirs {
                        format!(", and it could not be made ({})", first.message)
                    } else {
                        ", and `sftp_create_dirs` is false".to_owned()
                    },
                },
            });
        }
        let hint = if path == &paths.last {
            let is_there = matches!(self.remote.look(path).await?, Ok(Some(_)));
            (is_there && first.code == Code::Denied).then_some(IN_PLACE_HINT)
        } else {
            self.name_hint(paths).await?
        };
        let action = format!("opening `{path}` for writing");
        Ok(Error::Refused { action, code: first.code, message: first.message, hint })
    }

    /// Finds out which part of the temporary name the server does not take, by making an empty file
    /// of another name and removing it.
    async fn name_hint(&self, paths: &Paths) -> Result<Option<&'static str>, Error> {
        let config = &self.sftp.server.config;
        let (prefix, suffix) = (&config.sftp_temp_prefix, &config.sftp_temp_suffix);
        let stem = format!("{}.{}", self.name, self.attempt.nonce);
        let extension = self.name.as_str().rsplit_once('.').map_or("", |(_, extension)| extension);
        let trials = [
            (format!("{stem}{suffix}"), PREFIX_HINT),
            (format!("{prefix}{stem}.{extension}"), SUFFIX_HINT),
            (format!("{stem}.{extension}"), BOTH_HINT),
        ];
        for (name, hint) in trials {
            let path = self.sftp.directory.join(name.trim_end_matches('.'));
            if path != paths.temporary && self.can_create(&path).await? {
                return Ok(Some(hint));
            }
        }
        Ok(None)
    }

    /// Returns whether the server takes a file of this name. It is removed at once.
    async fn can_create(&self, path: &str) -> Result<bool, Error> {
        let lease = self.attempt.lease;
        lease.will_create(path).await?;
        let action = format!("opening `{path}` for writing");
        let created = self.remote.session.create_new(path, Access::Write).await;
        let created = self.remote.answer(&action, created).await?;
        let is_created = created.is_ok();
        if let Ok(handle) = created {
            drop(self.remote.session.close(handle).await);
            if !self.remote.remove(path).await? {
                return Ok(true);
            }
        }
        lease.forget_leftover(path);
        Ok(is_created)
    }
}
