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
//! up, or it does not get on any more, the next one goes on there. After a failure the temporary file is removed. Once the file has
//! its final name it stays, and only the second file is tried again.

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
use job::transport::{RemoteDirectory, SftpConfig, TransportProblem};
use tokio::time::sleep;

use self::{
    attempt::{Attempt, Delivered},
    host_key::HostKeys,
    login::Credentials,
    names::{Names, file_name},
    point::Point,
    progress::{Clock, Progress},
};
use crate::{
    delivery::{Outcome, Parcel, Transport},
    error::{Error, Retry},
};

/// The wait before the second attempt; it doubles from attempt to attempt.
const FIRST_WAIT: Duration = Duration::from_millis(250);

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

    fn attempts_max(&self, retry: Retry) -> u32 {
        match retry {
            Retry::Never => 1,
            Retry::Once => self.config.sftp_max_attempts.get().min(2),
            Retry::Often => self.config.sftp_max_attempts.get(),
        }
    }

    /// What earlier invocations got done.
    fn progress(&self, parcel: &Parcel<'_>) -> Result<Progress, Error> {
        let Some(checkpoint) = parcel.checkpoint else { return Ok(Progress::default()) };
        let names = Names::new(self.config, &self.directory, parcel, &checkpoint.version)?;
        let acknowledged = Point::from_checkpoint(checkpoint).unwrap_or_default();
        Ok(Progress::resumed(names, acknowledged))
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
        loop {
            let attempt = Attempt { sftp: self, parcel, clock, path: &path, number };
            let before = progress.acknowledged.offset();
            let error = match attempt.run(&mut progress).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            let got_on = progress.acknowledged.offset() > before;
            in_vain = if got_on { 1 } else { in_vain + 1 };
            if clock.is_up() || in_vain >= self.attempts_max(error.retry()) {
                let another_time = error.name().is_retryable();
                if another_time && let Some(checkpoint) = progress.checkpoint(parcel) {
                    return Ok(Outcome::InProgress { checkpoint });
                }
                if another_time && progress.has_what_was_given(parcel) {
                    // The next try of this invocation goes on there.
                    return Err(error);
                }
                // What is delivered stays; then only the second file is not complete.
                let left = if progress.delivered.is_some() { &sidecar } else { &progress.names };
                if let Some(names) = left {
                    attempt.clear_away(names).await;
                }
                return Err(match progress.delivered {
                    Some(Delivered { path, .. }) => {
                        Error::SecondFile { path, source: Box::new(error) }
                    }
                    None => error,
                });
            }
            tracing::warn!(
                run.id = %parcel.run_id,
                attempt = number,
                acknowledged_bytes = progress.acknowledged.offset(),
                error.message = %job::error::Chain(&error),
                "an attempt to deliver the file failed; there will be another"
            );
            sleep(FIRST_WAIT * 2_u32.saturating_pow(in_vain - 1)).await;
            number += 1;
        }
    }
}
