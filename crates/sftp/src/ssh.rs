//! The SSH connection: TCP, key exchange, host key, login, and the channels that SFTP runs on.

mod address;
mod algorithms;
mod handler;
mod host_key;
mod login;
mod preface;
mod private_key;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use job::transport::{HostKeyType, SftpConfig};
use russh::{
    AlgorithmKind, ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect,
    client::{self, Handle, Msg},
};
use secrecy::SecretString;
use tokio::time::timeout;

pub(crate) use self::{handler::Link, host_key::PresentedKey};
use self::{
    handler::{Client, End, Shared},
    host_key::{HostKeys, Offer},
    login::{Credentials, Ended, Login},
    preface::Identified,
};
use crate::error::Error;

/// Interval after which an idle connection is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Connections of one login, at most: a server that lists no methods needs one for each.
const CONNECTIONS_MAX: usize = 4;
/// Shortest time limit for the start of SFTP.
const GREETING_MIN: Duration = Duration::from_secs(20);
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
        client::Config {
            preferred: algorithms::preferred(
                self.config.sftp_legacy_algorithms,
                offer.types.as_deref(),
            ),
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

/// A connection whose server has proved its identity.
struct Connected {
    handle: Handle<Client>,
    link: Link,
    host_key: PresentedKey,
    /// Time that TCP took to connect.
    round_trip: Duration,
}

/// Failure of a key exchange.
enum KeyFault {
    /// The key was presented, and not accepted.
    NotAccepted(PresentedKey),
    /// The server has no key of the types that were asked for, but these.
    NoSuchType(Vec<String>),
    Other(Error),
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
            let Connected { mut handle, link, host_key, round_trip } = connect(server).await?;
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
                    // A server that ends the whole connection says why.
                    if self.link.end().await.is_some() {
                        return Err(self.link.lost("starting SFTP").await);
                    }
                    return Err(self.no_sftp("it closed the session", &words));
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

    /// The error of a server that does not speak SFTP, with its words and its banner.
    pub(crate) fn no_sftp(&self, reason: &str, words: &str) -> Error {
        let mut reason = reason.to_owned();
        let words = self.link.sanitize(words.trim());
        let said = [Some(words).filter(|words| !words.is_empty()), self.link.banner()];
        for words in said.into_iter().flatten() {
            reason.push_str(&format!("; it says `{words}`"));
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

/// Connects, and asks for one type of host key after the other until one is accepted.
async fn connect(server: &Server) -> Result<Connected, Error> {
    let mut seen: Vec<HostKeyType> = Vec::new();
    let mut presented: Vec<String> = Vec::new();
    while let Some(offer) = server.host_keys.next_offer(&seen) {
        match exchange_keys(server, &offer).await {
            Ok(connected) => return Ok(connected),
            Err(KeyFault::Other(error)) => return Err(error),
            Err(KeyFault::NotAccepted(key)) if key.is_revoked => {
                let server = server.name.clone();
                return Err(Error::RevokedHostKey { server, presented: key.text });
            }
            Err(KeyFault::NotAccepted(key)) => {
                let is_new = key.key_type.is_some_and(|of| !seen.contains(&of));
                seen.extend(key.key_type);
                presented.push(key.text);
                // Another key of a type that was seen before would be asked for without an end.
                if !is_new || offer.types.is_none() {
                    break;
                }
            }
            Err(KeyFault::NoSuchType(theirs)) => {
                if presented.is_empty() {
                    presented = theirs;
                }
                seen.extend(offer.types.into_iter().flatten());
            }
        }
    }
    Err(Error::HostKey {
        server: server.name.clone(),
        presented: server.sanitize(&presented.join(", ")),
        expected: server.host_keys.expected(),
    })
}

async fn exchange_keys(server: &Server, offer: &Offer) -> Result<Connected, KeyFault> {
    let limit = Duration::from_secs(server.config.sftp_connect_timeout_s.get().into());
    let (host, port) = server.config.address();
    let failed = |reason: String| Error::Connect { server: server.name.clone(), reason };
    let begun = tokio::time::Instant::now();
    let stream = address::connect(host, port, limit)
        .await
        .map_err(|reason| KeyFault::Other(failed(reason)))?;
    let round_trip = begun.elapsed();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error.message = %error, "small packets are collected before they are sent");
    }
    let (shared, link) = Shared::new(server, offer.clone());
    let stream = Identified::new(stream, shared.preface.clone());
    let exchanging = client::connect_stream(
        Arc::new(server.ssh_config(offer)),
        stream,
        Client::new(shared.clone()),
    );
    // One limit for the address and the key exchange.
    let result = timeout(limit.saturating_sub(begun.elapsed()), exchanging).await;
    let presented = shared.presented.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (result, presented) {
        (Ok(Ok(handle)), Some(host_key)) => Ok(Connected { handle, link, host_key, round_trip }),
        (Ok(Err(russh::Error::UnknownKey)), Some(key)) => Err(KeyFault::NotAccepted(key)),
        (Ok(Err(error)), _) => Err(explain(server, &link, &shared, offer, error).await),
        (Ok(Ok(_)), None) => Err(KeyFault::Other(link.lost("connecting").await)),
        (Err(_), _) => Err(KeyFault::Other(not_ssh(server, &shared).unwrap_or_else(|| {
            failed(format!("the key exchange took longer than {} s", limit.as_secs()))
        }))),
    }
}

/// Returns the error of a server that spoke, and did not identify itself.
fn not_ssh(server: &Server, shared: &Shared) -> Option<Error> {
    let seen = shared.preface.seen();
    let first_line = seen.first_line.filter(|_| !seen.is_ssh)?;
    Some(Error::NotSsh {
        server: server.name.clone(),
        hint: preface::hint(&first_line),
        first_line: server.sanitize(&first_line),
    })
}

async fn explain(
    server: &Server,
    link: &Link,
    shared: &Shared,
    offer: &Offer,
    error: russh::Error,
) -> KeyFault {
    let name = server.name.clone();
    let seen = shared.preface.seen();
    KeyFault::Other(match error {
        russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. }
            if offer.types.as_ref().is_some_and(|types| !signs_with_sha1(types, &theirs)) =>
        {
            return KeyFault::NoSuchType(theirs);
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => Error::NoCommonAlgorithm {
            server: name,
            kind: format!("{kind:?}").to_lowercase(),
            theirs: server.sanitize(&theirs.join(", ")),
            hint: if server.config.sftp_legacy_algorithms {
                ""
            } else {
                "; `sftp_legacy_algorithms` offers more"
            },
        },
        russh::Error::UnknownKey => Error::HostKey {
            server: name,
            presented: "a certificate".to_owned(),
            expected: server.host_keys.expected(),
        },
        russh::Error::IO(io) if io.kind() == std::io::ErrorKind::InvalidData && !seen.is_ssh => {
            not_ssh(server, shared)
                .unwrap_or_else(|| Error::Connect { server: name, reason: io.to_string() })
        }
        // An overloaded server hangs up like this, such as OpenSSH beyond `MaxStartups`. A later
        // attempt may end better, so it is not taken for another kind of server.
        error if !seen.is_ssh => Error::Connect {
            server: name,
            reason: match &seen.first_line {
                Some(line) => format!(
                    "it hung up before it identified itself; it says `{}`",
                    server.sanitize(line)
                ),
                None => format!("it hung up before it identified itself ({error})"),
            },
        },
        error => Error::Connect {
            server: name,
            reason: match link.end().await {
                Some(End { reason, .. }) => reason,
                None => server.sanitize(&error.to_string()),
            },
        },
    })
}

/// Returns whether the server has an RSA key as wanted, and signs with SHA-1 only.
fn signs_with_sha1(types: &[HostKeyType], theirs: &[String]) -> bool {
    types.contains(&HostKeyType::Rsa) && theirs.iter().any(|name| name == "ssh-rsa")
}

#[cfg(test)]
mod tests;
