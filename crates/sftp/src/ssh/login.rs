//! The login: with a key, a password, by keyboard-interactive, or with several of them.

mod wording;

use std::{fmt, sync::Arc, time::Duration};

use job::transport::SftpConfig;
use russh::{
    MethodKind, MethodSet,
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt},
    keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout};

use self::wording::{article_and_noun, list, noun, quoted};
use super::{Client, End, Link, private_key};
use crate::error::Error;

/// Questions of a keyboard-interactive login that are answered; PAM asks one, and then an empty one.
const QUESTIONS_MAX: usize = 5;
/// Time limit of a login on one connection.
const LOGIN: Duration = Duration::from_secs(30);
/// Silence after an answer that the SSH library does not pass on.
const SILENCE: Duration = Duration::from_secs(2);
/// Interval at which such an answer is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes of a banner's packet beside its text, at most: header, language, padding and code.
const BANNER_OVERHEAD_BYTES: u64 = 68;

/// Credentials to log in with.
#[derive(Clone)]
pub(crate) struct Credentials {
    user: String,
    password: Option<SecretString>,
    key: Option<Arc<PrivateKey>>,
    legacy: bool,
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
        })
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
    /// Why a way was not gone, for a message.
    not_gone: Option<String>,
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
            round_trip: None,
        }
    }

    /// Logs in on a new connection with the ways that are left.
    pub(super) async fn run(
        &mut self,
        handle: &mut Handle<Client>,
        link: &Link,
    ) -> Result<Ended, Error> {
        let limited = timeout(LOGIN, self.go(handle, link)).await;
        limited.unwrap_or_else(|_| {
            Err(if self.is_exposed {
                let silence = format!("then no answer for {} s", LOGIN.as_secs());
                self.error(link, format!("{}, {silence}", self.story()))
            } else {
                link.timed_out("logging in", LOGIN)
            })
        })
    }

    async fn go(&mut self, handle: &mut Handle<Client>, link: &Link) -> Result<Ended, Error> {
        let mut offered = None;
        if !self.is_blind {
            match self.without_credentials(handle, link).await? {
                Outcome::In => return Ok(Ended::LoggedIn),
                Outcome::Out { offered: list, .. } => offered = Some(list),
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
                Outcome::Out { offered: now, partly } => {
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
                    offered = Some(now);
                }
            }
        }
        Err(self.rejected(link, offered.as_ref()))
    }

    /// Takes the best way that the server offers. Without a list of methods, `password` goes before
    /// keyboard-interactive, because nearly every server knows it.
    fn next_way(&mut self, offered: Option<&MethodSet>) -> Option<Way> {
        let place = match offered {
            Some(offered) => self.ways.iter().position(|way| offered.contains(&way.method())),
            None => {
                let place = self.ways.iter().position(|way| *way != Way::Answer);
                place.or((!self.ways.is_empty()).then_some(0))
            }
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
        let is_open = |way: &Way| offered.is_none_or(|offered| offered.contains(&way.method()));
        // A second factor would have to begin anew with the first one, which was sent already.
        if self.accepted.is_empty() && self.ways.iter().any(is_open) {
            return Ok(Ended::Unfinished);
        }
        Err(self.rejected(link, offered))
    }

    /// Asks for the list of methods; no server counts that as an attempt.
    async fn without_credentials(
        &mut self,
        handle: &mut Handle<Client>,
        link: &Link,
    ) -> Result<Outcome, Error> {
        let begun = Instant::now();
        let result = handle.authenticate_none(&self.credentials.user).await;
        // The library asks for the service first, so that this takes two round trips.
        self.round_trip = Some(begun.elapsed() / 2);
        self.outcome(link, result.map(Outcome::from)).await
    }

    /// Offers the key with one signature algorithm.
    ///
    /// The algorithm is the best that the server lists (`server-sig-algs`, RFC 8308). OpenSSH's client
    /// does not try another after a refusal either: sshd counts every refused offer of a key toward
    /// `MaxAuthTries`. A server that lists none is older than the list, or does not send it; then
    /// OpenSSH uses `ssh-rsa` if its configuration allows SHA-1, and so does this client.
    async fn with_key(
        &mut self,
        handle: &mut Handle<Client>,
        link: &Link,
    ) -> Result<Outcome, Error> {
        let Some(key) = self.credentials.key.clone() else { return Ok(Outcome::NoList) };
        let mut hash = None;
        let mut name = "`publickey`".to_owned();
        if matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            let best = handle.best_supported_rsa_hash().await.unwrap_or_default();
            hash = match best {
                Some(best) => best,
                None if self.credentials.legacy => None,
                None => Some(HashAlg::Sha512),
            };
            if hash.is_none() && !self.credentials.legacy {
                let reason = "the server takes signatures of an RSA key with SHA-1 only; \
                              `sftp_legacy_algorithms` allows them, another kind of key is better";
                return Ok(Outcome::Skipped(reason.to_owned()));
            }
            name = format!("`publickey` (as `{}`)", Algorithm::Rsa { hash });
        }
        self.note_sent(name);
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let result = handle.authenticate_publickey(&self.credentials.user, key).await;
        self.outcome(link, result.map(Outcome::from)).await
    }

    /// Sends the password, and notices when it has expired.
    ///
    /// The server answers an expired password with `SSH_MSG_USERAUTH_PASSWD_CHANGEREQ` (RFC 4252,
    /// section 8). The SSH library drops that message, because its number is that of another one
    /// too. So bytes that are no banner, and silence after them, are taken for it.
    async fn with_password(
        &mut self,
        handle: &mut Handle<Client>,
        link: &Link,
    ) -> Result<Outcome, Error> {
        let Some(password) = &self.credentials.password else { return Ok(Outcome::NoList) };
        self.note_sent("`password`".to_owned());
        let text = password.expose_secret();
        let mut asking = std::pin::pin!(handle.authenticate_password(&self.credentials.user, text));
        let before = link.heard();
        let (mut last, mut last_at) = (before, Instant::now());
        let result = loop {
            if let Ok(result) = timeout(LOOK, &mut asking).await {
                break result;
            }
            let now = link.heard();
            if now.bytes != last.bytes {
                (last, last_at) = (now, Instant::now());
            }
            let (banners, text) =
                (now.banners - before.banners, now.banner_bytes - before.banner_bytes);
            let explained = text + banners * BANNER_OVERHEAD_BYTES;
            if now.bytes - before.bytes > explained && last_at.elapsed() >= SILENCE {
                return Err(self.error(
                    link,
                    "the password has expired: the server asks for a new one".to_owned(),
                ));
            }
        };
        self.outcome(link, result.map(Outcome::from)).await
    }

    /// Answers a single hidden prompt with the password, and questions without prompts with nothing.
    async fn with_answer(
        &mut self,
        handle: &mut Handle<Client>,
        link: &Link,
    ) -> Result<Outcome, Error> {
        let Some(password) = &self.credentials.password else { return Ok(Outcome::NoList) };
        let mut is_answered = false;
        let user = self.credentials.user.as_str();
        let mut response = handle.authenticate_keyboard_interactive_start(user, None).await;
        for _ in 0..QUESTIONS_MAX {
            let outcome = match response {
                Ok(KeyboardInteractiveAuthResponse::InfoRequest {
                    name,
                    instructions,
                    prompts,
                }) => {
                    if prompts.is_empty() {
                        response = handle.authenticate_keyboard_interactive_respond(vec![]).await;
                        continue;
                    }
                    let shown = link.sanitize(&wording::question(&name, &instructions, &prompts));
                    if is_answered {
                        return Err(self.error(link, wording::second_question(&shown)));
                    }
                    if !asks_for_password(&prompts) {
                        return Ok(Outcome::NotAsked(format!(
                            "the server asks `{shown}`, and there is only a password"
                        )));
                    }
                    is_answered = true;
                    self.note_sent("the password by `keyboard-interactive`".to_owned());
                    let answers = vec![password.expose_secret().to_owned()];
                    response = handle.authenticate_keyboard_interactive_respond(answers).await;
                    continue;
                }
                Ok(KeyboardInteractiveAuthResponse::Success) => Ok(Outcome::In),
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods: offered,
                    partial_success: partly,
                }) => Ok(Outcome::Out { offered, partly }),
                Err(error) => Err(error),
            };
            return self.outcome(link, outcome).await;
        }
        Err(self.error(link, "the server does not stop asking".to_owned()))
    }

    /// Tells a rejection from a lost connection, which the library reports in the same way.
    ///
    /// A server may reject by hanging up, as OpenSSH does after `MaxAuthTries`: the end of a
    /// connection that carried a credential is final.
    async fn outcome(
        &self,
        link: &Link,
        result: Result<Outcome, russh::Error>,
    ) -> Result<Outcome, Error> {
        match result {
            Ok(Outcome::Out { offered, partly }) if !offered.is_empty() => {
                Ok(Outcome::Out { offered, partly })
            }
            Ok(Outcome::In) => Ok(Outcome::In),
            _ => match link.end().await {
                Some(End { is_without_methods: true, .. }) => Ok(Outcome::NoList),
                _ if !self.is_exposed => Err(link.lost("logging in").await),
                end => {
                    let reason = end.map_or_else(|| "closed".to_owned(), |end| end.reason);
                    let text = format!("{}, then the connection ended ({reason})", self.story());
                    Err(self.error(link, text))
                }
            },
        }
    }

    fn rejected(&self, link: &Link, offered: Option<&MethodSet>) -> Error {
        let takes = match offered {
            Some(offered) => format!("it takes {}", quoted(offered)),
            None => "it does not say what else it takes".to_owned(),
        };
        let wanted = offered.map(|offered| list(offered.iter().map(article_and_noun), "or"));
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
        self.error(link, reason)
    }

    fn note_sent(&mut self, name: String) {
        self.sent.push(name);
        self.is_exposed = true;
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
        if let Some(banner) = link.banner() {
            reason.push_str(&format!("; it says `{banner}`"));
        }
        Error::Login { server: link.server.clone(), user: self.credentials.user.clone(), reason }
    }
}

/// Returns whether these prompts ask for the password and nothing else.
///
/// What is echoed is no secret, and two prompts want two answers. A code of one use is often called a
/// password, too: the word beside it tells.
fn asks_for_password(prompts: &[Prompt]) -> bool {
    let [Prompt { prompt, echo: false }] = prompts else { return false };
    let prompt = prompt.to_lowercase();
    let others = [
        "one-time",
        "one time",
        "otp",
        "oath",
        "token",
        "passcode",
        "verification",
        "authenticator",
        "code",
        "pin:",
        "new password",
        "passphrase",
    ];
    !others.iter().any(|other| prompt.contains(other))
}
