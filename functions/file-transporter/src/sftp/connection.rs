//! The SSH connection: TCP, key exchange, host key, login, and the channel that SFTP runs on.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use job::transport::SftpConfig;
use russh::{
    AlgorithmKind, ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect,
    client::{self, DisconnectReason, Handle, Msg},
    keys::{Algorithm, PublicKeyOrCertificate},
};
use tokio::{sync::watch, time::timeout};

use super::{
    Sftp, algorithms,
    host_key::{HostKeys, PresentedKey},
    login,
};
use crate::error::Error;

/// An idle connection is asked for a sign of life after this long; it is lost after four times
/// that without one.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVES_MAX: usize = 3;
/// The time limit for everything up to the login.
const LOGIN: Duration = Duration::from_secs(30);
/// How long the end of a connection may take to be noticed after its last request failed.
const REASON: Duration = Duration::from_millis(500);
/// How long a polite goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// A connection that is logged in.
pub(super) struct Connection {
    handle: Handle<Client>,
    pub(super) link: Link,
    pub(super) host_key: PresentedKey,
}

/// What is known of a connection by those who use it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Host and port.
    pub(super) server: String,
    /// How the connection ended, once it did.
    ended: watch::Receiver<Option<End>>,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) reason: String,
    /// Whether the server ended it on purpose, and for no reason but the client's.
    pub(super) is_deliberate: bool,
}

impl Link {
    /// The error for a connection that broke while something was done.
    pub(super) async fn lost(&self, action: impl Into<String>) -> Error {
        let reason = self.end().await.map(|end| end.reason);
        Error::ConnectionLost {
            action: action.into(),
            server: self.server.clone(),
            reason: reason.unwrap_or_else(|| "without a reason".to_owned()),
        }
    }

    /// How the connection ended, if that becomes known soon.
    pub(super) async fn end(&self) -> Option<End> {
        let mut ended = self.ended.clone();
        let known = timeout(REASON, ended.wait_for(Option::is_some)).await;
        match known {
            Ok(Ok(end)) => end.clone(),
            // The connection's task is gone without a word, or it still believes in the connection.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    pub(super) fn timed_out(&self, action: impl Into<String>, limit: Duration) -> Error {
        Error::TimedOut {
            action: action.into(),
            server: self.server.clone(),
            seconds: limit.as_secs(),
        }
    }
}

impl Connection {
    /// Connects, checks the host key and logs in.
    pub(super) async fn open(sftp: &Sftp<'_>) -> Result<Self, Error> {
        let config = sftp.config;
        let (host, port) = config.address();
        let server =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let (report_end, ended) = watch::channel(None);
        let link = Link { server, ended };
        let presented = Arc::new(Mutex::new(None));
        let client =
            Client { host_keys: sftp.host_keys.clone(), presented: presented.clone(), report_end };

        let limit = Duration::from_secs(config.sftp_connect_timeout_s.get().into());
        let connecting =
            client::connect(Arc::new(ssh_config(config, &sftp.host_keys)), (host, port), client);
        let connected =
            timeout(limit, connecting).await.map_err(|_| link.timed_out("connecting", limit))?;
        let presented = presented.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut handle =
            connected.map_err(|error| connect_error(&link, error, presented.as_ref(), sftp))?;
        let Some(host_key) = presented else {
            return Err(link.lost("connecting").await);
        };

        let login =
            login::log_in(&mut handle, &sftp.credentials, &link, config.sftp_legacy_algorithms);
        timeout(LOGIN, login).await.map_err(|_| link.timed_out("logging in", LOGIN))??;
        Ok(Self { handle, link, host_key })
    }

    /// Starts SFTP within a time limit, and gives the stream that speaks it.
    pub(super) async fn start_sftp(&self, limit: Duration) -> Result<ChannelStream<Msg>, Error> {
        timeout(limit, self.request_sftp())
            .await
            .map_err(|_| self.link.timed_out("starting SFTP", limit))?
    }

    async fn request_sftp(&self) -> Result<ChannelStream<Msg>, Error> {
        let mut channel = match self.handle.channel_open_session().await {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(
                reason @ (ChannelOpenFailure::AdministrativelyProhibited
                | ChannelOpenFailure::UnknownChannelType),
            )) => return Err(self.no_sftp(format!("it refuses to open a session ({reason:?})"))),
            Err(_) => return Err(self.link.lost("opening a session").await),
        };
        if channel.request_subsystem(true, "sftp").await.is_err() {
            return Err(self.link.lost("starting SFTP").await);
        }
        // The request does not wait for its answer, and other messages may come before it.
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(channel.into_stream()),
                Some(ChannelMsg::Failure) => {
                    return Err(
                        self.no_sftp("it has no `sftp` subsystem, or not for this user".to_owned())
                    );
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                    return Err(self.link.lost("starting SFTP").await);
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn no_sftp(&self, reason: String) -> Error {
        Error::NoSftp { server: self.link.server.clone(), reason }
    }

    /// Ends the connection, politely if that is possible.
    pub(super) async fn close(self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        // What was to be done is done; that the server does not listen any more changes nothing.
        drop(timeout(GOODBYE, goodbye).await);
    }
}

fn ssh_config(config: &SftpConfig, host_keys: &HostKeys) -> client::Config {
    client::Config {
        preferred: algorithms::preferred(config.sftp_legacy_algorithms, host_keys.types()),
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES_MAX,
        nodelay: true,
        ..client::Config::default()
    }
}

fn connect_error(
    link: &Link,
    error: russh::Error,
    presented: Option<&PresentedKey>,
    sftp: &Sftp<'_>,
) -> Error {
    let server = link.server.clone();
    match error {
        russh::Error::UnknownKey => Error::HostKey {
            server,
            presented: presented.map_or_else(|| "a certificate".to_owned(), |key| key.text.clone()),
            expected: sftp.host_keys.expected(),
        },
        // Only the types of the pinned keys are asked for, so a server without them has other keys;
        // but it may have a pinned RSA key, and sign with no hash that is offered.
        russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. }
            if sftp.host_keys.types().is_some_and(|types| {
                !theirs.iter().any(|name| *name == "ssh-rsa")
                    || !types.iter().any(|wanted| matches!(wanted, Algorithm::Rsa { .. }))
            }) =>
        {
            Error::HostKey {
                server,
                presented: theirs.join(", "),
                expected: sftp.host_keys.expected(),
            }
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => Error::NoCommonAlgorithm {
            server,
            kind: format!("{kind:?}").to_lowercase(),
            theirs: theirs.join(", "),
            hint: if sftp.config.sftp_legacy_algorithms {
                ""
            } else {
                "; `sftp_legacy_algorithms` offers more"
            },
        },
        russh::Error::Version => Error::NotSsh { server },
        error => Error::Connect { server, source: error.into() },
    }
}

/// What the SSH library asks and tells during a connection.
pub(super) struct Client {
    host_keys: HostKeys,
    presented: Arc<Mutex<Option<PresentedKey>>>,
    report_end: watch::Sender<Option<End>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        server_key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        match server_key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let presented = self.host_keys.look_at(key);
                let accepted = self.host_keys.accept(&presented);
                *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
                Ok(accepted)
            }
            // Certificates are not asked for, so a server that sends one is not to be trusted.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let (is_deliberate, text) = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => (
                !matches!(
                    info.reason_code,
                    Disconnect::TooManyConnections
                        | Disconnect::ServiceNotAvailable
                        | Disconnect::ConnectionLost
                        | Disconnect::MACError
                        | Disconnect::CompressionError
                ),
                format!("the server said goodbye: {:?} {}", info.reason_code, info.message),
            ),
            DisconnectReason::Error(russh::Error::IO(error))
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                (false, "closed by the server".to_owned())
            }
            DisconnectReason::Error(error) => (false, error.to_string()),
        };
        self.report_end.send_replace(Some(End { reason: text, is_deliberate }));
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}
