//! The SSH connection: TCP, key exchange, host key, login, and the channels that SFTP runs on.

mod address;
mod algorithms;
mod exchange;
mod handler;
mod host_key;
mod login;
mod preface;
mod private_key;

use std::{sync::Arc, time::Duration};

use job::transport::SftpConfig;
use russh::{
    ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect,
    client::{self, Handle, Msg},
};
use secrecy::SecretString;
use tokio::time::{sleep, timeout};

use self::{
    exchange::{Connected, connect},
    handler::{Client, End},
    host_key::{HostKeys, Offer},
    login::{Credentials, Ended, Login},
};
pub(crate) use self::{handler::Link, host_key::PresentedKey};
use crate::error::Error;

/// Interval after which an idle connection is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Connections of one login, at most: a server that lists no methods needs one for each.
const CONNECTIONS_MAX: usize = 4;
/// Shortest time limit for the start of SFTP.
const GREETING_MIN: Duration = Duration::from_secs(20);
/// Time in which the exit status of a closed session comes.
const EXIT_STATUS: Duration = Duration::from_millis(200);
/// Time limit of a polite goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// A server, and the means to log in there.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: SftpConfig,
    pub(crate) credentials: Credentials,
    pub(crate) host_keys: HostKeys,
    name: String,
    secrets: Arc<[SecretString]>,
    /// Whether nothing is encrypted, so that a test can change a message on its way.
    #[cfg(test)]
    is_plain: bool,
}

impl Server {
    /// Reads the private key and the host keys of `config`.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read.
    pub(crate) fn new(config: SftpConfig) -> Result<Self, Error> {
        let (host, port) = config.address();
        let name =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let secrets =
            [&config.sftp_password, &config.sftp_private_key, &config.sftp_private_key_passphrase];
        Ok(Self {
            credentials: Credentials::new(&config)?,
            host_keys: HostKeys::new(&config)?,
            name,
            secrets: secrets.into_iter().flatten().cloned().collect(),
            #[cfg(test)]
            is_plain: false,
            config,
        })
    }

    /// Returns a server's text without the credentials, fit to be shown.
    pub(crate) fn sanitize(&self, text: &str) -> String {
        delivery::sanitize(text, self.secrets.iter())
    }

    /// Time within which the server answers a request, and a file gets on.
    pub(crate) fn idle_limit(&self) -> Duration {
        Duration::from_secs(self.config.sftp_idle_timeout_s.get().into())
    }

    /// Time limit for the start of SFTP: a server that may be slow may be slow there, too.
    pub(crate) fn greeting_limit(&self) -> Duration {
        self.idle_limit().max(GREETING_MIN)
    }

    fn ssh_config(&self, offer: &Offer) -> client::Config {
        // A server that does one thing at a time answers no keepalive meanwhile. The connection is
        // lost after one interval more than `keepalive_max`, which is never before the idle limit.
        let keepalives = self.idle_limit().as_secs().div_ceil(KEEPALIVE.as_secs()).max(3);
        let legacy = self.config.sftp_legacy_algorithms;
        let preferred = algorithms::preferred(legacy, offer.types.as_deref());
        #[cfg(test)]
        let preferred = tests::plain_if(self.is_plain, preferred);
        client::Config {
            preferred,
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: usize::try_from(keepalives).unwrap_or(usize::MAX),
            nodelay: true,
            ..client::Config::default()
        }
    }
}

/// A connection that is logged in.
pub(crate) struct Connection {
    handle: Handle<Client>,
    pub(crate) link: Link,
    pub(crate) host_key: PresentedKey,
    round_trip: Duration,
}

impl Connection {
    /// Connects, checks the host key and logs in. Every credential is sent at most once.
    ///
    /// # Errors
    ///
    /// [`Error::Login`] as soon as a credential was sent. Everything before it is retryable, unless
    /// it is the server's identity or its kind.
    pub(crate) async fn open(server: &Server) -> Result<Self, Error> {
        let mut login = Login::new(&server.credentials);
        let mut connections = 0;
        loop {
            let connected = connect(server).await;
            let Connected { mut handle, link, host_key, round_trip } =
                connected.map_err(|error| login.interrupted(&server.name, error))?;
            connections += 1;
            match login.run(&mut handle, &link).await? {
                Ended::LoggedIn => {
                    let round_trip = login.round_trip.unwrap_or(round_trip);
                    return Ok(Self { handle, link, host_key, round_trip });
                }
                Ended::Unfinished if connections < CONNECTIONS_MAX => say_goodbye(&handle).await,
                Ended::Unfinished => return Err(link.lost("logging in").await),
            }
        }
    }

    /// Time of a message to the server and back, measured at the login.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Starts SFTP on a new channel within a time limit, and returns the stream that speaks it.
    ///
    /// # Errors
    ///
    /// When the server refuses the channel or SFTP, or does not answer.
    pub(crate) async fn open_sftp(&self, limit: Duration) -> Result<ChannelStream<Msg>, Error> {
        timeout(limit, self.request_sftp())
            .await
            .map_err(|_| self.link.timed_out("starting SFTP", limit))?
    }

    async fn request_sftp(&self) -> Result<ChannelStream<Msg>, Error> {
        let mut channel = match self.handle.channel_open_session().await {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(reason)) => return Err(self.refused(&reason)),
            Err(_) => return Err(self.link.lost("opening a session").await),
        };
        if channel.request_subsystem(true, "sftp").await.is_err() {
            return Err(self.link.lost("starting SFTP").await);
        }
        let mut words = String::new();
        // The request does not wait for its answer, and other messages may come before it.
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(channel.into_stream()),
                Some(ChannelMsg::Failure) => {
                    let reason = "it has no `sftp` subsystem, or not for this user";
                    return Err(self.no_sftp(reason, &words));
                }
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    words.push_str(&String::from_utf8_lossy(&data));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                    let words = format!("{words}{}", self.link.session_words());
                    return Err(self.closed(&words).await);
                }
                Some(_) => {}
            }
        }
    }

    fn refused(&self, reason: &ChannelOpenFailure) -> Error {
        let words = self.link.refusal();
        match reason {
            ChannelOpenFailure::AdministrativelyProhibited
            | ChannelOpenFailure::UnknownChannelType => {
                self.no_sftp("it refuses to open a session", &words)
            }
            ChannelOpenFailure::ConnectFailed
            | ChannelOpenFailure::ResourceShortage
            | ChannelOpenFailure::Other { .. } => Error::NoSession {
                server: self.link.server.clone(),
                reason: if words.is_empty() { format!("{reason:?}") } else { words },
            },
        }
    }

    /// The error of a server that closed the session before SFTP began.
    pub(crate) async fn closed_session(&self) -> Error {
        // The exit status may come behind the end of the stream.
        sleep(EXIT_STATUS).await;
        self.closed(&self.link.session_words()).await
    }

    async fn closed(&self, words: &str) -> Error {
        // A server that ends the whole connection says why.
        if self.link.end().await.is_some() {
            return self.link.lost("starting SFTP").await;
        }
        self.no_sftp("it closed the session", words)
    }

    /// The error of a server that does not speak SFTP, with its words and its banner.
    pub(crate) fn no_sftp(&self, reason: &str, words: &str) -> Error {
        let mut reason = reason.to_owned();
        let words = self.link.sanitize(words.trim());
        let said = [Some(words).filter(|words| !words.is_empty()), self.link.banner()];
        for words in said.into_iter().flatten() {
            reason = format!("{reason}; it says `{words}`");
        }
        Error::NoSftp { server: self.link.server.clone(), reason }
    }

    /// Ends the connection, politely if that is possible.
    pub(crate) async fn close(self) {
        say_goodbye(&self.handle).await;
    }
}

async fn say_goodbye(handle: &Handle<Client>) {
    let goodbye = handle.disconnect(Disconnect::ByApplication, "", "en");
    // The work is done: a server that does not listen any more changes nothing.
    drop(timeout(GOODBYE, goodbye).await);
}

#[cfg(test)]
mod tests;
