//! The connection up to the host key: TCP, identification, key exchange.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use job::transport::HostKeyType;
use russh::{
    AlgorithmKind,
    client::{self, Handle},
};
use tokio::time::{Instant, timeout};

use super::{
    Server, address,
    handler::{Client, End, Link, Shared},
    host_key::{Offer, PresentedKey},
    preface::{self, Identified},
};
use crate::error::Error;

/// A connection whose server has proved its identity.
pub(super) struct Connected {
    pub(super) handle: Handle<Client>,
    pub(super) link: Link,
    pub(super) host_key: PresentedKey,
    /// Time that TCP took to connect.
    pub(super) round_trip: Duration,
}

/// Failure of a key exchange.
enum KeyFault {
    /// The key was presented, and not accepted.
    NotAccepted(PresentedKey),
    /// The server has no key of the types that were asked for, but these.
    NoSuchType(Vec<String>),
    Other(Error),
}

/// Connects, and asks for one type of host key after the other until one is accepted.
pub(super) async fn connect(server: &Server) -> Result<Connected, Error> {
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
    let begun = Instant::now();
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
                Some(words) => format!(
                    "it hung up before it identified itself; it says `{}`",
                    server.sanitize(words)
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
