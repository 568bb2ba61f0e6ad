//! Delivery by SFTP: `russh` for SSH, `openssh-sftp-client` for the protocol above it.
//!
//! 1. Connect, check the host key, log in, start SFTP. Every step has a time limit.
//! 2. Open a temporary name in the final directory; only if that fails, make the directories.
//! 3. Write with many requests in flight, on several connections if that is asked for, computing the
//!    SHA-256 on the way.
//! 4. Flush to the disk where the server can, close, check the size (or read back).
//! 5. Rename to the final name; without `posix-rename` the old file is moved aside first and put
//!    back if the new one can not take its place.
//! 6. Write the second file, if one is wanted.
//!
//! If the connection breaks, the next attempt looks what became of the last one: a temporary file
//! that is gone was renamed, so nothing is sent again; one that is not complete is gone on with from
//! the place up to which the server has acknowledged everything. If the time of the invocation is
//! up, or it does not get on any more, the next one goes on there. After a failure the temporary
//! file is removed. Once the file has its final name it stays, and only the second file is tried
//! again.

mod algorithms;
mod attempt;
mod check;
mod connection;
mod host_key;
mod login;
mod names;
mod place;
mod point;
mod private_key;
mod progress;
mod publish;
mod remote;
mod sidecar;
mod stripe;
mod upload;

use std::time::Duration;

use async_trait::async_trait;
use aws_io::Failure;
use job::{
    ErrorName,
    transport::{RemoteDirectory, SftpConfig, TransportProblem},
};
use tokio::time::sleep;

use self::{
    attempt::{Attempt, Delivered},
    host_key::HostKeys,
    login::Credentials,
    names::{Names, file_name},
    point::Point,
    progress::{Clock, Progress, is_last_invocation},
};
use crate::{
    delivery::{Outcome, Parcel, Transport},
    error::Error,
    retry::Waits,
};

/// A directory of an SFTP server.
#[derive(Debug)]
pub struct Sftp<'a> {
    config: &'a SftpConfig,
    credentials: Credentials,
    host_keys: HostKeys,
    directory: RemoteDirectory,
}

impl<'a> Sftp<'a> {
    /// The directory that `config` describes, which has the credentials in it.
    ///
    /// # Errors
    ///
    /// When the private key or a host key can not be read.
    pub fn new(config: &'a SftpConfig) -> Result<Self, Error> {
        let directory = config.directory().map_err(|error| Error::Configuration {
            problems: vec![TransportProblem {
                path: "config.sftp_path".to_owned(),
                message: error.to_string(),
            }],
        })?;
        Ok(Self {
            config,
            credentials: Credentials::new(config)?,
            host_keys: HostKeys::new(config)?,
            directory,
        })
    }

    /// How long the server may take to answer, and while a file is written, to get on.
    fn request_limit(&self) -> Duration {
        Duration::from_secs(self.config.sftp_idle_timeout_s.get().into())
    }

    /// How an invocation ends whose last attempt failed: with a checkpoint, if there is one, or with
    /// nothing left on the server that the next one can not use.
    async fn ended(
        &self,
        attempt: &Attempt<'_>,
        error: Error,
        progress: &Progress,
        sidecar: Option<&Names>,
    ) -> Result<Outcome, Error> {
        let parcel = attempt.parcel;
        let another_time = error.name().is_retryable() || progress.is_disproved();
        if another_time && let Some(checkpoint) = progress.checkpoint(parcel) {
            return Ok(Outcome::InProgress { checkpoint });
        }
        let error = match error {
            Error::TimeUp { path, acknowledged } if is_last_invocation(parcel) => {
                Error::TooSlow { path, acknowledged }
            }
            error => error,
        };
        let stays = progress.inherited
            || error.name().is_retryable() && progress.has_what_was_given(parcel);
        // What is delivered stays; then only the second file is not complete.
        let left = match progress.delivered {
            Some(_) => sidecar,
            None => progress.names.as_ref().filter(|_| !stays),
        };
        match left {
            // A rejected credential is not tried a second time, not even for that.
            Some(names) if error.name() == ErrorName::TransportAuth => attempt::may_be_left(names),
            Some(names) => attempt.clear_away(names).await,
            None => {}
        }
        Err(match &progress.delivered {
            Some(Delivered { path, .. }) => {
                Error::SecondFile { path: path.clone(), source: Box::new(error) }
            }
            None => error,
        })
    }

    /// What earlier invocations got done.
    fn progress(&self, parcel: &Parcel<'_>) -> Result<Progress, Error> {
        let Some(checkpoint) = parcel.checkpoint else { return Ok(Progress::default()) };
        let names = Names::new(self.config, &self.directory, parcel, &checkpoint.version)?;
        let acknowledged = Point::from_checkpoint(checkpoint).unwrap_or_default();
        Ok(Progress::resumed(names, acknowledged, checkpoint.sent.clone()))
    }
}

#[async_trait]
impl Transport for Sftp<'_> {
    async fn deliver(&self, parcel: &Parcel<'_>) -> Result<Outcome, Error> {
        let clock = Clock::until(parcel.deadline);
        let path = self.directory.join(file_name(self.config, parcel)?.as_str());
        // A name that is too long is better found before the delivery than after it.
        let sidecar = self.config.sftp_sidecar;
        let sidecar =
            sidecar.map(|sidecar| Names::of_sidecar(self.config, &self.directory, parcel, sidecar));
        let sidecar = sidecar.transpose()?;
        let mut progress = self.progress(parcel)?;
        let (mut number, mut in_vain) = (1, 0);
        let mut waits = Waits::default();
        loop {
            let attempt = Attempt { sftp: self, parcel, clock, path: &path, number };
            let before = progress.acknowledged.offset();
            let error = match attempt.run(&mut progress).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if progress.acknowledged.offset() > before {
                (in_vain, waits) = (0, Waits::default());
            }
            in_vain += 1;
            let attempts_max = error.retry().attempts(self.config.sftp_max_attempts.get());
            let wait = waits.next();
            if progress.is_disproved() || in_vain >= attempts_max || !clock.has(wait) {
                return self.ended(&attempt, error, &progress, sidecar.as_ref()).await;
            }
            tracing::warn!(
                run.id = %parcel.run_id,
                attempt = number,
                acknowledged_bytes = progress.acknowledged.offset(),
                error.message = %job::error::Chain(&error),
                "an attempt to deliver the file failed; there will be another"
            );
            sleep(wait).await;
            number += 1;
        }
    }
}
