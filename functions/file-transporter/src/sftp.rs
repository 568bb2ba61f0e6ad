//! Delivery by SFTP: `russh` for SSH, `openssh-sftp-client` for the protocol above it.
//!
//! 1. Connect, check the host key, log in, start SFTP. Every step has a time limit.
//! 2. Open a temporary name in the final directory; only if that fails, make the directories.
//! 3. Write with many requests in flight, computing the SHA-256 on the way.
//! 4. Flush to the disk where the server can, close, check the size (or read back).
//! 5. Rename to the final name; without `posix-rename` the old file is moved aside first and put
//!    back if the new one can not take its place.
//! 6. Write the second file, if one is wanted.
//!
//! If the connection breaks, the next attempt looks what became of the last one: a temporary file
//! that is gone was renamed, so nothing is sent again. After a failure the temporary file is
//! removed.

mod algorithms;
mod attempt;
mod connection;
mod host_key;
mod login;
mod names;
mod place;
mod private_key;
mod publish;
mod remote;
mod sidecar;
mod upload;

use std::time::Duration;

use async_trait::async_trait;
use job::transport::{RemoteDirectory, SftpConfig, TransportProblem};
use tokio::time::{Instant, sleep};

use self::{
    attempt::{Attempt, Progress},
    host_key::HostKeys,
    login::Credentials,
    names::Names,
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
    /// The directory that `config` describes.
    ///
    /// # Errors
    ///
    /// When the private key or a host key can not be read, or when the configuration asks for
    /// something that is not done yet.
    pub fn new(config: &'a SftpConfig) -> Result<Self, Error> {
        if config.sftp_secret.is_some() {
            return Err(Error::NotYet { what: "a login with `sftp_secret`" });
        }
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

    fn attempts_max(&self, retry: Retry) -> u32 {
        match retry {
            Retry::Never => 1,
            Retry::Once => self.config.sftp_max_attempts.get().min(2),
            Retry::Often => self.config.sftp_max_attempts.get(),
        }
    }
}

#[async_trait]
impl Transport for Sftp<'_> {
    async fn deliver(&self, parcel: &Parcel<'_>) -> Result<Outcome, Error> {
        let started = Instant::now();
        if let Some(sidecar) = self.config.sftp_sidecar {
            // A name that is too long is better found before the delivery than after it.
            Names::of_sidecar(self.config, &self.directory, parcel, sidecar)?;
        }
        let mut progress = Progress::Nothing;
        let mut number = 1;
        loop {
            let attempt = Attempt { sftp: self, parcel, started, number };
            let error = match attempt.run(&mut progress).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if number >= self.attempts_max(error.retry()) {
                attempt.clear_away(&progress).await;
                return Err(error);
            }
            tracing::warn!(
                run.id = %parcel.run_id,
                attempt = number,
                error.message = %job::error::Chain(&error),
                "an attempt to deliver the file failed; there will be another"
            );
            sleep(FIRST_WAIT * 2_u32.saturating_pow(number - 1)).await;
            number += 1;
        }
    }
}
