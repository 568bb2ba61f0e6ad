//! The login: with a key, a password, by keyboard-interactive, or with several of them.

mod methods;
mod wording;

use std::{fmt, sync::Arc, time::Duration};

use job::transport::SftpConfig;
use russh::{
    MethodKind, MethodSet,
    client::{AuthResult, Handle},
    keys::PrivateKey,
};
use secrecy::SecretString;
use tokio::time::timeout;

use self::wording::{article_and_noun, list, noun, quoted};
use super::{Client, Link, private_key};
use crate::error::Error;

/// Time limit of a login on one connection.
const LOGIN: Duration = Duration::from_secs(30);

/// Credentials to log in with.
#[derive(Clone)]
pub(crate) struct Credentials {
    user: String,
    password: Option<SecretString>,
    key: Option<Arc<PrivateKey>>,
    legacy: bool,
    limit: Duration,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    pub(super) fn new(config: &SftpConfig) -> Result<Self, Error> {
        let passphrase = config.sftp_private_key_passphrase.as_ref();
        let key = config.sftp_private_key.as_ref().map(|key| private_key::read(key, passphrase));
        Ok(Self {
            user: config.sftp_user.clone().unwrap_or_default(),
            password: config.sftp_password.clone(),
            key: key.transpose()?.map(Arc::new),
            legacy: config.sftp_legacy_algorithms,
            limit: LOGIN,
        })
    }

    #[cfg(test)]
    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }
}

/// One way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Key,
    /// Keyboard-interactive, with the password as the answer.
    Answer,
    Password,
}

impl Way {
    const fn method(self) -> MethodKind {
        match self {
            Self::Key => MethodKind::PublicKey,
            Self::Answer => MethodKind::KeyboardInteractive,
            Self::Password => MethodKind::Password,
        }
    }
}

/// Result of one request.
enum Outcome {
    In,
    Out {
        offered: MethodSet,
        partly: bool,
    },
    /// Refused without a list of methods. The SSH library ends the connection then.
    NoList,
    /// Nothing was sent, for this reason.
    Skipped(String),
    /// The connection ended, and got nothing this time.
    HungUp(Error),
    /// The server asks for something else than a password, and got nothing.
    NotAsked(String),
}

impl From<AuthResult> for Outcome {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Self::In,
            AuthResult::Failure { remaining_methods: offered, partial_success: partly } => {
                Self::Out { offered, partly }
            }
        }
    }
}

/// End of a login on one connection.
#[derive(Debug)]
pub(super) enum Ended {
    LoggedIn,
    /// The connection is of no use any more, and another way to log in is left for the next one.
    Unfinished,
}

/// Offers of an RSA key, which can sign with several hashes.
#[derive(Default)]
struct RsaOffer {
    /// Whether the server listed no signature of an RSA key.
    is_guess: bool,
    /// Whether SHA-1 is allowed, and not tried yet.
    has_sha1_left: bool,
    /// Whether only SHA-1 is tried.
    is_sha1_only: bool,
}

/// A login, which may take several connections.
///
/// The password is sent once, and so is the key: an attempt more could lock the account. When the
/// server lists `keyboard-interactive` and `password`, the first one is asked for first, as OpenSSH's
/// client does, because there the server speaks first: an account that may not use it is refused
/// before anything was sent, or is asked for something else than a password, and then the password
/// goes by `password`. The other order would have no second way: `password` sends the password with
/// the first message, and a refusal does not tell a wrong password from a method that the account
/// may not use. It does where the server strikes `password` off its list.
pub(super) struct Login<'a> {
    credentials: &'a Credentials,
    ways: Vec<Way>,
    /// Whether the server refuses without a list of methods.
    is_blind: bool,
    /// Credentials that were sent, without those that the server accepted.
    sent: Vec<String>,
    /// Whether any credential was sent. From then on no failure is worth another attempt.
    is_exposed: bool,
    /// Methods that the server accepted, and found not enough.
    accepted: Vec<MethodKind>,
    /// Reason why a way was not gone, for a message.
    not_gone: Option<String>,
    /// Text that the server showed beside a question without prompts.
    told: Option<String>,
    rsa: RsaOffer,
    pub(super) round_trip: Option<Duration>,
}

impl<'a> Login<'a> {
    pub(super) fn new(credentials: &'a Credentials) -> Self {
        let mut ways = Vec::new();
        ways.extend(credentials.key.is_some().then_some(Way::Key));
        if credentials.password.is_some() {
            ways.extend([Way::Answer, Way::Password]);
        }
        Self {
            credentials,
            ways,
            is_blind: false,
            sent: Vec::new(),
            is_exposed: false,
            accepted: Vec::new(),
            not_gone: None,
            told: None,
            rsa: RsaOffer::default(),
            round_trip: None,
        }
    }

    /// Logs in on a new connection with the ways that are left.
    pub(super) async fn run(
        &mut self,
        handle: &mut Handle<Client>,
        link: &Link,
    ) -> Result<Ended, Error> {
        let limit = self.credentials.limit;
        let limited = timeout(limit, self.go(handle, link)).await;
        limited.unwrap_or_else(|_| {
            Err(if self.is_exposed {
                let silence = format!("then no answer for {} s", limit.as_secs());
                self.error(link, format!("{}, {silence}", self.story()))
            } else {
                link.timed_out("logging in", limit)
            })
        })
    }

    async fn go(&mut self, handle: &mut Handle<Client>, link: &Link) -> Result<Ended, Error> {
        let mut offered = None;
        if !self.is_blind {
            match self.without_credentials(handle, link).await? {
                Outcome::In => return Ok(Ended::LoggedIn),
                Outcome::Out { offered: list, .. } => offered = Some(list),
                Outcome::HungUp(error) => return Err(error),
                Outcome::NoList | Outcome::NotAsked(_) | Outcome::Skipped(_) => {
                    self.is_blind = true;
                    return self.next_connection(link, None);
                }
            }
        }
        while let Some(way) = self.next_way(offered.as_ref()) {
            let sent_before = self.sent.len();
            let outcome = match way {
                Way::Key => self.with_key(handle, link).await?,
                Way::Answer => self.with_answer(handle, link).await?,
                Way::Password => self.with_password(handle, link).await?,
            };
            match outcome {
                Outcome::In => return Ok(Ended::LoggedIn),
                Outcome::NoList => {
                    self.is_blind = true;
                    self.strike_password_if(way != Way::Key);
                    return self.next_connection(link, None);
                }
                Outcome::NotAsked(reason) => {
                    self.not_gone = Some(reason);
                    return self.next_connection(link, offered.as_ref());
                }
                Outcome::Skipped(reason) => self.not_gone = Some(reason),
                Outcome::HungUp(error) if self.has_open_way(offered.as_ref()) => {
                    tracing::debug!(error.message = %error, "the login goes on with another method");
                    return Ok(Ended::Unfinished);
                }
                Outcome::HungUp(error) => return Err(error),
                Outcome::Out { offered: now, partly } => {
                    self.note_refusal(way, &now, partly, sent_before);
                    offered = Some(now);
                }
            }
        }
        if self.rsa.has_sha1_left && self.accepted.is_empty() {
            self.rsa = RsaOffer { is_sha1_only: true, ..RsaOffer::default() };
            self.ways = vec![Way::Key];
            return Ok(Ended::Unfinished);
        }
        Err(self.rejected(link, offered.as_ref()))
    }

    /// Takes down that the server refused, or wants more.
    fn note_refusal(&mut self, way: Way, now: &MethodSet, partly: bool, sent_before: usize) {
        let is_wrong_password = match way {
            Way::Key => false,
            Way::Answer => !partly && self.sent.len() > sent_before,
            Way::Password => !partly && now.contains(&MethodKind::Password),
        };
        self.strike_password_if(is_wrong_password);
        if partly {
            self.accepted.push(way.method());
            self.sent.truncate(sent_before);
        }
    }

    /// Takes the best way that the server offers. Without a list of methods, `password` goes before
    /// keyboard-interactive, because nearly every server knows it.
    fn next_way(&mut self, offered: Option<&MethodSet>) -> Option<Way> {
        let place = if let Some(offered) = offered {
            self.ways.iter().position(|way| offered.contains(&way.method()))
        } else {
            let place = self.ways.iter().position(|way| *way != Way::Answer);
            place.or((!self.ways.is_empty()).then_some(0))
        };
        place.map(|place| self.ways.remove(place))
    }

    /// Strikes the ways that would send the password once more.
    fn strike_password_if(&mut self, was_sent: bool) {
        if was_sent {
            self.ways.retain(|way| *way == Way::Key);
        }
    }

    /// Asks for another connection, if a way is left for it.
    fn next_connection(&self, link: &Link, offered: Option<&MethodSet>) -> Result<Ended, Error> {
        if self.has_open_way(offered) {
            return Ok(Ended::Unfinished);
        }
        Err(self.rejected(link, offered))
    }

    /// Returns whether a way is left for another connection.
    ///
    /// A second factor would have to begin anew with the first one, which was sent already.
    fn has_open_way(&self, offered: Option<&MethodSet>) -> bool {
        let is_open = |way: &Way| offered.is_none_or(|offered| offered.contains(&way.method()));
        self.accepted.is_empty() && self.ways.iter().any(is_open)
    }

    fn rejected(&self, link: &Link, offered: Option<&MethodSet>) -> Error {
        let takes = match offered {
            Some(offered) => format!("it takes {}", quoted(offered)),
            None => "it does not say what else it takes".to_owned(),
        };
        let wanted =
            offered.map(|offered| list(offered.iter().copied().map(article_and_noun), "or"));
        let accepted = list(self.accepted.iter().map(|method| noun(*method).to_owned()), "and");
        let mut reason = match (self.accepted.is_empty(), self.sent.is_empty(), wanted) {
            (true, true, _) if self.not_gone.is_some() => String::new(),
            (true, true, _) => format!("{takes}, and there are no credentials for that"),
            (true, false, _) => format!("the server rejected {}; {takes}", self.sent.join(", ")),
            (false, true, Some(wanted)) => {
                format!("the server accepted {accepted}, and wants {wanted} as well")
            }
            (false, true, None) => format!("the server accepted {accepted}, and wants more"),
            (false, false, _) => format!(
                "the server accepted {accepted}, and rejected {}; {takes}",
                self.sent.join(", ")
            ),
        };
        if let Some(not_gone) = &self.not_gone {
            let joint = if reason.is_empty() { "" } else { "; " };
            reason = format!("{not_gone}{joint}{reason}");
        }
        if self.rsa.is_guess && !self.credentials.legacy {
            reason +=
                "; if the server is old, `sftp_legacy_algorithms` lets the RSA key sign with SHA-1";
        }
        self.error(link, reason)
    }

    fn note_sent(&mut self, name: String) {
        self.sent.push(name);
        self.is_exposed = true;
    }

    /// The error of a login that gets no other connection: final once a credential was sent.
    pub(super) fn interrupted(&self, server: &str, error: Error) -> Error {
        if !self.is_exposed {
            return error;
        }
        Error::Login {
            server: server.to_owned(),
            user: self.credentials.user.clone(),
            reason: format!("{}, then {error}", self.story()),
        }
    }

    /// The login so far, for a message.
    fn story(&self) -> String {
        let accepted = list(self.accepted.iter().map(|method| noun(*method).to_owned()), "and");
        match (self.accepted.is_empty(), self.sent.is_empty()) {
            (true, _) => format!("the server got {}", self.sent.join(", ")),
            (false, true) => format!("the server accepted {accepted}"),
            (false, false) => {
                format!("the server accepted {accepted}, and got {}", self.sent.join(", "))
            }
        }
    }

    /// The error of a login, with the server's banner.
    fn error(&self, link: &Link, mut reason: String) -> Error {
        for words in link.banner().iter().chain(&self.told) {
            reason = format!("{reason}; it says `{words}`");
        }
        Error::Login { server: link.server.clone(), user: self.credentials.user.clone(), reason }
    }
}
