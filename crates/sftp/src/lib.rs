//! Delivery to a directory of an SFTP server.
//!
//! One attempt (`attempt`) logs in once (`ssh`), starts SFTP (`session`, `protocol`), and
//! carries the file through its stages (`stage`): it writes under a temporary name that belongs to
//! the attempt (`sending`, `upload`), checks the closed file, writes the intent to publish into
//! the journal, and renames. A second file, if one is wanted, follows in the same way.
//!
//! A broken connection ends the attempt. The next one looks into the journal: it resumes a file that
//! is not complete from the last acknowledged offset, and settles a rename whose answer was lost by
//! looking for both names.

mod attempt;
mod content;
mod error;
mod names;
mod protocol;
mod readback;
mod remote;
mod sending;
mod session;
mod ssh;
mod stage;
mod upload;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use delivery::{Attempt, Lease, Parcel, Published, Transport};
use job::{
    FileName,
    delivery::{Intent, ReceiptDetails},
    transport::{RemoteDirectory, SftpConfig, Sidecar},
};
use tokio::time::{timeout, timeout_at};

use crate::{
    attempt::{Carried, Carrier},
    content::FileContent,
    names::{file_name, sidecar_name},
    remote::Remote,
    sending::SEAM_BYTES,
    session::Session,
    ssh::{Connection, PresentedKey, Server},
};
pub use crate::{
    error::Error,
    stage::{Code, EntryKind},
};

/// Time for a removal in the session that was publishing.
const REMOVING: Duration = Duration::from_millis(500);
/// Time for cleaning up with a connection of its own.
const CLEANING: Duration = Duration::from_secs(10);

/// A directory of an SFTP server.
#[derive(Debug)]
pub struct Sftp {
    server: Server,
    directory: RemoteDirectory,
    /// Whether the server was found to keep the handles of a file apart.
    uses_one_handle: AtomicBool,
    /// The delivered file, if an earlier attempt of this invocation published it and only the second
    /// file is missing.
    published: Mutex<Option<Carried>>,
    /// The session that publishes, and what it publishes.
    publishing: Mutex<Option<(Session, Intent)>>,
}

impl Sftp {
    /// Reads a configuration that has its credentials in it.
    ///
    /// # Errors
    ///
    /// When the private key, a host key or the directory cannot be read.
    pub fn new(config: SftpConfig) -> Result<Self, Error> {
        let directory = config.directory().map_err(Error::Directory)?;
        Ok(Self {
            server: Server::new(config)?,
            directory,
            uses_one_handle: AtomicBool::new(false),
            published: Mutex::default(),
            publishing: Mutex::default(),
        })
    }

    fn uses_one_handle(&self) -> bool {
        self.uses_one_handle.load(Ordering::Relaxed)
    }

    fn use_one_handle(&self) {
        self.uses_one_handle.store(true, Ordering::Relaxed);
    }

    /// Starts SFTP on a new channel.
    async fn start(&self, connection: &Connection) -> Result<Remote, Error> {
        Remote::start(connection, self.server.greeting_limit(), self.server.idle_limit()).await
    }

    /// Carries both files on a connection.
    async fn carry(
        &self,
        attempt: &Attempt<'_>,
        connection: &Connection,
        name: &FileName,
    ) -> Result<Carried, Error> {
        let remote = &self.start(connection).await?;
        let with_file =
            |name, content| Carrier { sftp: self, attempt, connection, remote, name, content };
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let carried = if let Some(carried) = published {
            carried
        } else {
            let checkpoint = attempt.lease.checkpoint();
            let acknowledged = checkpoint.map_or(0, |checkpoint| checkpoint.acknowledged_bytes);
            let begin = acknowledged.saturating_sub(SEAM_BYTES);
            let content = FileContent::of_source(attempt.parcel.source, begin);
            with_file(name, content).carry().await?
        };
        let Some(sidecar) = self.server.config.sftp_sidecar else { return Ok(carried) };
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Some(carried.clone());
        let text = match (sidecar, &carried.sha256) {
            // As `sha256sum` writes and checks it.
            (Sidecar::Sha256, Some(sha256)) => format!("{sha256}  {name}\n"),
            (Sidecar::Sha256 | Sidecar::Done, _) => String::new(),
        };
        let second = sidecar_name(name, sidecar).map_err(Error::FileName)?;
        match with_file(&second, FileContent::of_text(text)).carry().await {
            Ok(_) => Ok(carried),
            Err(error @ Error::Lease(_)) => Err(error),
            Err(error) => Err(Error::SecondFile { path: carried.path, source: Box::new(error) }),
        }
    }
}

#[async_trait]
impl Transport for Sftp {
    type Error = Error;

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Published, Error> {
        let name = file_name(&self.server.config, &attempt.parcel).map_err(Error::FileName)?;
        if let Some(sidecar) = self.server.config.sftp_sidecar {
            // A name that is too long is better found before the delivery than after it.
            sidecar_name(&name, sidecar).map_err(Error::FileName)?;
        }
        let end_at = attempt.parcel.budget.end_at;
        let out_of_time = |_| {
            let checkpoint = attempt.lease.checkpoint();
            let acknowledged = checkpoint.map_or(0, |checkpoint| checkpoint.acknowledged_bytes);
            Error::OutOfTime { path: self.directory.join(name.as_str()), acknowledged }
        };
        let connecting = Connection::open(&self.server);
        let connection = timeout_at(end_at, connecting).await.map_err(out_of_time)??;
        let host_key = connection.host_key.clone();
        let carried = timeout_at(end_at, self.carry(attempt, &connection, &name)).await;
        connection.close().await;
        Ok(published(carried.map_err(out_of_time)??, host_key))
    }

    async fn clean_up(&self, _: &Parcel<'_>, lease: &Lease<'_>) {
        let publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Who took the lease over may be publishing our temporary file.
        if let Some((session, intent)) = publishing.as_ref().filter(|_| !lease.is_lost())
            && let Some(path) = &intent.temporary_path
        {
            // A server that still holds the rename may carry out other requests of the session, and
            // does so sooner than a new connection is there.
            drop(timeout(REMOVING, session.remove(path)).await);
        }
        let intent = match publishing {
            Some((_, intent)) => Some(intent),
            None => lease.intent().await,
        };
        let cleaning = async {
            let connection = Connection::open(&self.server).await?;
            let remote = self.start(&connection).await?;
            for path in lease.leftovers() {
                if remote.remove(&path).await? {
                    lease.forget_leftover(&path);
                }
            }
            if let Some(intent) = intent {
                self.clear_backup(&remote, &intent).await?;
            }
            connection.close().await;
            Ok::<_, Error>(())
        };
        if let Ok(Err(error)) = timeout(CLEANING, cleaning).await {
            tracing::warn!(error.message = %job::error::Chain(&error), "cleaning up failed");
        }
    }

    fn attempts_max(&self) -> u32 {
        self.server.config.sftp_max_attempts.get()
    }
}

impl Sftp {
    /// Puts an old file back that was moved aside, or removes it if a new one took its place.
    async fn clear_backup(&self, remote: &Remote, intent: &Intent) -> Result<(), Error> {
        let Some(backup) = &intent.backup_path else { return Ok(()) };
        let last = &intent.remote_path;
        if !matches!(remote.look(backup).await?, Ok(Some(_))) {
            return Ok(());
        }
        match remote.look(last).await? {
            Ok(None) => {
                let action = format!("renaming `{backup}` to `{last}`");
                drop(remote.answer(&action, remote.session.rename(backup, last).await).await?);
            }
            Ok(Some(_)) => drop(remote.remove(backup).await?),
            Err(_) => {}
        }
        Ok(())
    }
}

fn published(carried: Carried, host_key: PresentedKey) -> Published {
    let Carried { status, path, size_bytes, sha256, verified, settled, seen } = carried;
    let PresentedKey { text: host_key, is_pinned: host_key_verified, .. } = host_key;
    Published {
        status,
        remote_path: path,
        size_bytes,
        sha256,
        verified,
        settled,
        seen,
        details: ReceiptDetails::Sftp { host_key, host_key_verified },
    }
}
