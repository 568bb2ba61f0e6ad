//! The client's side of a connection: what the SSH library asks and tells.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    ChannelId, ChannelOpenFailure,
    client::{DisconnectReason, Handler, Session},
    keys::PublicKeyOrCertificate,
};
use secrecy::SecretString;
use tokio::{sync::watch, time::timeout};

use super::{
    Server,
    host_key::{HostKeys, Offer, PresentedKey},
    preface::Preface,
};
use crate::error::Error;

/// Bytes of a banner that are kept.
const BANNER_BYTES_MAX: usize = 1 << 16;
/// Time in which the end of a connection is noticed after its last request failed.
const REASON: Duration = Duration::from_millis(500);

/// A connection, as known by those who use it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Host and port.
    pub(crate) server: String,
    ended: watch::Receiver<Option<End>>,
    words: Arc<Mutex<Words>>,
    preface: Preface,
    secrets: Arc<[SecretString]>,
}

/// End of a connection.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// Its reason, fit to be shown.
    pub(super) reason: String,
    /// Whether the server refused a login without a list of methods.
    pub(super) is_without_methods: bool,
}

/// Texts of the server.
#[derive(Debug, Default)]
struct Words {
    banner: String,
    banners: u64,
    banner_bytes: u64,
    refusal: String,
    /// Standard error stream and exit status of the last session.
    session: String,
}

/// Amount of what came from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) bytes: u64,
    pub(super) banners: u64,
    pub(super) banner_bytes: u64,
}

impl Link {
    /// The error for a connection that broke during an action.
    pub(crate) async fn lost(&self, action: impl Into<String>) -> Error {
        let reason = self.end().await.map(|end| end.reason);
        Error::ConnectionLost {
            action: action.into(),
            server: self.server.clone(),
            reason: reason.unwrap_or_else(|| "without a reason".to_owned()),
        }
    }

    /// The error for an action that the server did not answer within `limit`.
    pub(crate) fn timed_out(&self, action: impl Into<String>, limit: Duration) -> Error {
        Error::TimedOut {
            action: action.into(),
            server: self.server.clone(),
            seconds: limit.as_secs(),
        }
    }

    /// Returns a server's text without the credentials, fit to be shown.
    pub(crate) fn sanitize(&self, text: &str) -> String {
        delivery::sanitize(text, self.secrets.iter())
    }

    /// End of the connection, if it becomes known soon.
    pub(super) async fn end(&self) -> Option<End> {
        let mut ended = self.ended.clone();
        let known = timeout(REASON, ended.wait_for(Option::is_some)).await;
        match known {
            Ok(Ok(end)) => end.clone(),
            // The connection's task is gone without a word, or it still believes in the connection.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Text that the server shows at the login, such as a reason to let nobody in.
    pub(super) fn banner(&self) -> Option<String> {
        let banner = self.words().banner.trim().to_owned();
        (!banner.is_empty()).then(|| self.sanitize(&banner))
    }

    /// The server's reason for the last channel that it did not open; empty if it gave none.
    pub(super) fn refusal(&self) -> String {
        let refusal = self.words().refusal.trim().to_owned();
        self.sanitize(&refusal)
    }

    /// Words of a session that was closed: its standard error stream and its exit status.
    pub(crate) fn session_words(&self) -> String {
        self.words().session.clone()
    }

    pub(super) fn heard(&self) -> Heard {
        let bytes = self.preface.read_bytes();
        let words = self.words();
        Heard { bytes, banners: words.banners, banner_bytes: words.banner_bytes }
    }

    fn words(&self) -> std::sync::MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Facts that a connection's task shares with those who use it.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    host_keys: HostKeys,
    offer: Offer,
    pub(super) presented: Arc<Mutex<Option<PresentedKey>>>,
    pub(super) preface: Preface,
    words: Arc<Mutex<Words>>,
    report_end: watch::Sender<Option<End>>,
    secrets: Arc<[SecretString]>,
}

impl Shared {
    pub(super) fn new(server: &Server, offer: Offer) -> (Self, Link) {
        let (report_end, ended) = watch::channel(None);
        let (words, preface) = (Arc::default(), Preface::default());
        let link = Link {
            server: server.name.clone(),
            ended,
            words: Arc::clone(&words),
            preface: preface.clone(),
            secrets: server.secrets.clone(),
        };
        let shared = Self {
            host_keys: server.host_keys.clone(),
            offer,
            presented: Arc::default(),
            preface,
            words,
            report_end,
            secrets: server.secrets.clone(),
        };
        (shared, link)
    }
}

/// The handler of one connection.
pub(super) struct Client(Shared);

impl Client {
    pub(super) fn new(shared: Shared) -> Self {
        Self(shared)
    }

    fn note(&self, note: impl FnOnce(&mut Words)) {
        note(&mut self.0.words.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        server_key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        match server_key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let presented = self.0.host_keys.look_at(key);
                let accepted = self.0.host_keys.accept(&presented, &self.0.offer);
                *self.0.presented.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
                Ok(accepted)
            }
            // Certificates are not asked for, so a server that sends one is not to be trusted.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.note(|words| {
            if words.banner.len() < BANNER_BYTES_MAX {
                words.banner.push_str(banner);
            }
            words.banners += 1;
            words.banner_bytes += banner.len() as u64;
        });
        Ok(())
    }

    async fn extended_data(
        &mut self,
        _channel: ChannelId,
        _kind: u32,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.note(|words| {
            if words.session.len() < BANNER_BYTES_MAX {
                words.session.push_str(&String::from_utf8_lossy(data));
            }
        });
        Ok(())
    }

    async fn exit_status(
        &mut self,
        _channel: ChannelId,
        status: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.note(|words| {
            words.session = format!("{} (exit status {status})", words.session.trim());
        });
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _channel: ChannelId,
        _reason: ChannelOpenFailure,
        description: &str,
        _language: &str,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.note(|words| description.clone_into(&mut words.refusal));
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let text = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("the server said goodbye: {:?} {}", info.reason_code, info.message)
            }
            DisconnectReason::Error(russh::Error::IO(error))
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                "closed by the server".to_owned()
            }
            DisconnectReason::Error(error) => error.to_string(),
        };
        let is_without_methods =
            matches!(reason, DisconnectReason::Error(russh::Error::NoAuthMethod));
        let reason_shown = delivery::sanitize(text.trim(), self.0.secrets.iter());
        self.0.report_end.send_replace(Some(End { reason: reason_shown, is_without_methods }));
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}
