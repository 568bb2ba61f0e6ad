//! One attempt at a delivery, and what it must know of the attempts before it.

use std::time::Duration;

use job::transport::{Overwrite, Verify, WriteMode};
use openssh_sftp_client::file::File;
use tokio::time::{Instant, timeout};

use super::{
    Sftp,
    connection::Connection,
    host_key::PresentedKey,
    names::Names,
    place::Place,
    publish::{publish, remove_quietly, withdraw},
    remote::{Fault, Refusal, Remote},
    upload::{self, Written},
};
use crate::{
    delivery::{Outcome, Parcel, Receipt, Verified},
    error::Error,
    source::Content,
};

/// How long clearing away may take, with a connection of its own if needed.
const CLEARING: Duration = Duration::from_secs(10);

/// How far the attempts so far got.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing is on the server.
    Nothing,
    /// A part of the file may be under the temporary name.
    Writing(Names),
    /// The whole file, checked, was under the temporary name, and is to get its final name.
    Renaming(Names, Sent),
}

/// A file that was sent and checked.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    written: Written,
    verified: Verified,
}

/// One attempt at a delivery.
pub(super) struct Attempt<'a> {
    pub(super) sftp: &'a Sftp<'a>,
    pub(super) parcel: &'a Parcel<'a>,
    /// When the first attempt began.
    pub(super) started: Instant,
    /// Which attempt it is, from 1.
    pub(super) number: u32,
}

/// How an attempt ended well.
pub(super) struct Delivered {
    already_there: bool,
    path: String,
    size_bytes: u64,
    pub(super) sha256: Option<String>,
    verified: Verified,
}

impl Attempt<'_> {
    /// Connects and delivers.
    pub(super) async fn run(&self, progress: &mut Progress) -> Result<Outcome, Error> {
        let connection = Connection::open(self.sftp).await?;
        let host_key = connection.host_key.clone();
        let delivered = self.with_connection(&connection, progress).await;
        connection.close().await;
        delivered.map(|delivered| self.outcome(delivered, host_key))
    }

    async fn with_connection(
        &self,
        connection: &Connection,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        let idle = Duration::from_secs(self.sftp.config.sftp_idle_timeout_s.get().into());
        let remote = Remote::start(connection, idle).await?;
        let delivered = self.with_remote(&remote, progress).await;
        let delivered = match (delivered, self.sftp.config.sftp_sidecar) {
            (Ok(delivered), Some(sidecar)) => {
                let written = self.write_sidecar(&remote, sidecar, &delivered).await;
                written.map(|()| delivered)
            }
            (delivered, _) => delivered,
        };
        let broken = delivered.as_ref().is_err_and(is_broken);
        if delivered.is_err() && !broken {
            // On a connection that works, nothing needs to be left for the next attempt.
            if let Progress::Writing(names) | Progress::Renaming(names, _) = &*progress {
                withdraw(&remote, names).await;
            }
            *progress = Progress::Nothing;
        }
        if !broken {
            remote.close().await;
        }
        delivered
    }

    async fn with_remote(
        &self,
        remote: &Remote,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        if let Progress::Renaming(names, sent) = &*progress {
            if let Some(delivered) = settle(remote, names, sent).await? {
                return Ok(delivered);
            }
            *progress = Progress::Nothing;
        }
        let content = self.parcel.source.open(0).await?;
        let names =
            Names::new(self.sftp.config, &self.sftp.directory, self.parcel, &content.version)?;
        if let Some(delivered) = self.look_for_existing(remote, &names, content.size_bytes).await? {
            return Ok(delivered);
        }
        self.write(remote, names, content, progress).await
    }

    /// Writes a file in the way that the configuration says.
    pub(super) async fn write(
        &self,
        remote: &Remote,
        names: Names,
        content: Content,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        match self.sftp.config.sftp_write_mode {
            WriteMode::Temp => self.by_temporary_name(remote, names, content, progress).await,
            WriteMode::Direct => self.in_place(remote, names, content, progress).await,
        }
    }

    async fn by_temporary_name(
        &self,
        remote: &Remote,
        names: Names,
        content: Content,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        let path = &names.temporary;
        *progress = Progress::Writing(names.clone());
        let file = self.place(remote).create_temporary(path).await?;
        let sent = self.send(remote, file, content, path).await?;
        *progress = Progress::Renaming(names.clone(), sent.clone());
        publish(remote, &names).await?;
        check_published(remote, &names.last, &sent).await?;
        Ok(delivered(&names, &sent))
    }

    async fn in_place(
        &self,
        remote: &Remote,
        names: Names,
        content: Content,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        let path = &names.last;
        let file = self.place(remote).open_in_place(path).await?;
        // Half a file under the final name is worse than none, so from here on it is cleared away
        // like a temporary one.
        *progress = Progress::Writing(Names { temporary: path.clone(), ..names.clone() });
        let sent = self.send(remote, file, content, path).await?;
        Ok(delivered(&names, &sent))
    }

    /// Writes, flushes, closes and checks.
    async fn send(
        &self,
        remote: &Remote,
        mut file: File,
        content: Content,
        path: &str,
    ) -> Result<Sent, Error> {
        let config = self.sftp.config;
        let written = upload::write(remote, &file, content, config, path).await?;
        remote
            .flush_to_disk(&mut file)
            .await
            .map_err(|fault| fault.into_error(format!("flushing `{path}`")))?;
        remote
            .close_file(file)
            .await
            .map_err(|fault| fault.into_error(format!("closing `{path}`")))?;
        let verified = self.verify(remote, path, &written).await?;
        Ok(Sent { written, verified })
    }

    async fn verify(
        &self,
        remote: &Remote,
        path: &str,
        written: &Written,
    ) -> Result<Verified, Error> {
        let config = self.sftp.config;
        match config.sftp_verify {
            Verify::None => Ok(Verified::None),
            Verify::Size => match remote.size(path).await {
                Ok(Some(found)) if found == written.size_bytes => Ok(Verified::Size),
                Ok(Some(found)) => Err(Error::SizeMismatch {
                    path: path.to_owned(),
                    written: written.size_bytes,
                    found,
                }),
                Err(Fault::Lost(error)) => Err(error),
                Ok(None) | Err(Fault::Refused(..)) => {
                    tracing::warn!(
                        remote_path = path,
                        "the server does not tell the size of the written file"
                    );
                    Ok(Verified::None)
                }
            },
            Verify::Readback => {
                let read = upload::read_back(remote, path, written.size_bytes, config).await;
                let sha256 =
                    read.map_err(|fault| fault.into_error(format!("reading `{path}` back")))?;
                if sha256 == written.sha256 {
                    Ok(Verified::Readback)
                } else {
                    Err(Error::ContentMismatch { path: path.to_owned() })
                }
            }
        }
    }

    fn place<'r>(&'r self, remote: &'r Remote) -> Place<'r> {
        Place {
            remote,
            directory: &self.sftp.directory,
            make_directories: self.sftp.config.sftp_create_dirs,
        }
    }

    /// What the overwrite policy makes of a file that already has the final name.
    async fn look_for_existing(
        &self,
        remote: &Remote,
        names: &Names,
        size_bytes: u64,
    ) -> Result<Option<Delivered>, Error> {
        let config = self.sftp.config;
        if config.sftp_overwrite == Overwrite::Replace {
            return Ok(None);
        }
        let path = &names.last;
        let found = match remote.size(path).await {
            Ok(found) => found,
            Err(Fault::Refused(Refusal::NoSuchFile, _)) => return Ok(None),
            Err(fault) => return Err(fault.into_error(format!("looking for `{path}`"))),
        };
        let already = |sha256, verified| {
            Some(Delivered {
                already_there: true,
                path: path.clone(),
                size_bytes,
                sha256,
                verified,
            })
        };
        let same_size = found == Some(size_bytes);
        match config.sftp_overwrite {
            Overwrite::SkipIfSameSize if same_size => Ok(already(None, Verified::Size)),
            Overwrite::Replace | Overwrite::SkipIfSameSize => Ok(None),
            Overwrite::Fail => {
                let exists = || Error::Exists { path: path.clone() };
                if !same_size {
                    return Err(exists());
                }
                let ours = upload::hash(self.parcel.source.open(0).await?).await?;
                match upload::read_back(remote, path, size_bytes, config).await {
                    Ok(theirs) if theirs == ours => Ok(already(Some(ours), Verified::Readback)),
                    Err(Fault::Lost(error)) => Err(error),
                    Ok(_) | Err(Fault::Refused(..)) => Err(exists()),
                }
            }
        }
    }

    fn outcome(&self, delivered: Delivered, host_key: PresentedKey) -> Outcome {
        let already_there = delivered.already_there;
        let receipt = Receipt {
            transport: "sftp",
            remote_path: delivered.path,
            bytes: delivered.size_bytes,
            sha256: delivered.sha256,
            md5: None,
            item_id: None,
            verified: delivered.verified,
            host_key: Some(host_key.text),
            host_key_verified: Some(host_key.is_pinned),
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            attempts: self.number,
        };
        if already_there { Outcome::AlreadyThere(receipt) } else { Outcome::Delivered(receipt) }
    }

    /// Removes what a delivery that has failed for good may have left behind.
    pub(super) async fn clear_away(&self, progress: &Progress) {
        let (Progress::Writing(names) | Progress::Renaming(names, _)) = progress else {
            return;
        };
        let clear = async {
            let connection = Connection::open(self.sftp).await?;
            let remote = Remote::start(&connection, CLEARING).await?;
            withdraw(&remote, names).await;
            remote.close().await;
            connection.close().await;
            Ok::<_, Error>(())
        };
        if !matches!(timeout(CLEARING, clear).await, Ok(Ok(()))) {
            tracing::warn!(
                remote_path = names.temporary,
                "a part of the file may be left on the server"
            );
        }
    }
}

/// Finds out what became of a rename whose answer was lost.
///
/// The temporary name belongs to this file of this run. If it is gone, it was renamed, even if the
/// final name is gone too: then the recipient took the file.
async fn settle(remote: &Remote, names: &Names, sent: &Sent) -> Result<Option<Delivered>, Error> {
    match remote.size(&names.temporary).await {
        Err(Fault::Refused(Refusal::NoSuchFile, _)) => {}
        Ok(Some(found)) if found != sent.written.size_bytes => return Ok(None),
        Ok(_) => publish(remote, names).await?,
        // Where looking is forbidden, the rename itself tells whether there is something to rename.
        Err(Fault::Refused(..)) => match remote.rename(&names.temporary, &names.last).await {
            Ok(()) | Err(Fault::Refused(Refusal::NoSuchFile, _)) => {}
            Err(Fault::Refused(..)) => publish(remote, names).await?,
            Err(Fault::Lost(error)) => return Err(error),
        },
        Err(Fault::Lost(error)) => return Err(error),
    }
    check_published(remote, &names.last, sent).await?;
    // The attempt may have broken off after it moved an old file aside.
    remove_quietly(remote, &names.aside).await;
    Ok(Some(delivered(names, sent)))
}

/// Checks the size under the final name. That the file is not there, or can not be looked at, is
/// no failure: recipients take files away, and some servers do not let anybody look.
async fn check_published(remote: &Remote, path: &str, sent: &Sent) -> Result<(), Error> {
    let written = sent.written.size_bytes;
    match remote.size(path).await {
        Ok(Some(found)) if found != written => {
            Err(Error::SizeMismatch { path: path.to_owned(), written, found })
        }
        Ok(_) => Ok(()),
        Err(_) => {
            tracing::info!(
                remote_path = path,
                "the delivered file can not be seen under its final name"
            );
            Ok(())
        }
    }
}

/// Whether nothing more can be done on the connection.
pub(super) fn is_broken(error: &Error) -> bool {
    matches!(error, Error::ConnectionLost { .. } | Error::TimedOut { .. })
}

fn delivered(names: &Names, sent: &Sent) -> Delivered {
    Delivered {
        already_there: false,
        path: names.last.clone(),
        size_bytes: sent.written.size_bytes,
        sha256: Some(sent.written.sha256.clone()),
        verified: sent.verified,
    }
}
