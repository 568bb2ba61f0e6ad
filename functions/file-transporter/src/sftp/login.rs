//! Logging in: with a key, a password, by keyboard-interactive, or with several of them.

use std::{fmt, sync::Arc};

use job::transport::SftpConfig;
use russh::{
    MethodKind, MethodSet,
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse},
    keys::{PrivateKey, PrivateKeyWithHashAlg},
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    algorithms::signature_hashes,
    connection::{Client, Link},
    private_key,
};
use crate::error::Error;

/// How many questions of a keyboard-interactive login are answered; PAM asks one, and then an
/// empty one.
const QUESTIONS_MAX: usize = 5;

/// With what to log in.
#[derive(Clone)]
pub(super) struct Credentials {
    user: String,
    password: Option<SecretString>,
    key: Option<Arc<PrivateKey>>,
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
        })
    }
}

/// What one try came to.
enum Outcome {
    In,
    Out { offered: MethodSet, partly: bool },
}

impl Outcome {
    fn tells_what_it_takes(&self) -> bool {
        matches!(self, Self::Out { offered, .. } if !offered.is_empty())
    }
}

impl From<AuthResult> for Outcome {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Self::In,
            AuthResult::Failure { remaining_methods, partial_success } => {
                Self::Out { offered: remaining_methods, partly: partial_success }
            }
        }
    }
}

/// Logs in with what there is, in the way that the server wants.
///
/// Every credential is tried once: a second try with the same password could lock the account. So
/// the password is given as the answer to an interactive question only if the server does not offer
/// to take it as a password.
pub(super) async fn log_in(
    handle: &mut Handle<Client>,
    credentials: &Credentials,
    link: &Link,
    legacy: bool,
) -> Result<(), Error> {
    let mut login = Login { handle, user: &credentials.user, link, legacy, tried: Vec::new() };
    // Trying without credentials tells what the server takes, and no server counts it.
    let mut offered = match login.without_credentials().await? {
        Outcome::In => return Ok(()),
        Outcome::Out { offered, .. } => offered,
    };
    let mut ways = credentials.ways();
    while let Some(place) = ways.iter().position(|way| offered.contains(&way.method())) {
        let way = ways.remove(place);
        login.tried.push(way.method());
        let outcome = match way {
            Way::Key(key) => login.with_key(key).await?,
            Way::Password(password) => login.with_password(password).await?,
            Way::Answers(password) => login.with_answers(password).await?,
        };
        match outcome {
            Outcome::In => return Ok(()),
            Outcome::Out { offered: now, partly } => {
                if matches!(way, Way::Password(_)) && !partly {
                    ways.retain(|way| !matches!(way, Way::Answers(_)));
                }
                offered = now;
            }
        }
    }
    let wanted = list(&offered);
    Err(if login.tried.is_empty() {
        login.error(format!("the server takes {wanted}, and there are no credentials for that"))
    } else {
        login.rejected(&format!("it takes {wanted}"))
    })
}

/// One way to log in.
#[derive(Clone, Copy)]
enum Way<'a> {
    Key(&'a Arc<PrivateKey>),
    Password(&'a SecretString),
    /// Keyboard-interactive, with the password as the answer.
    Answers(&'a SecretString),
}

impl Way<'_> {
    fn method(&self) -> MethodKind {
        match self {
            Self::Key(_) => MethodKind::PublicKey,
            Self::Password(_) => MethodKind::Password,
            Self::Answers(_) => MethodKind::KeyboardInteractive,
        }
    }
}

impl Credentials {
    /// The ways that these credentials allow, best first.
    fn ways(&self) -> Vec<Way<'_>> {
        let key = self.key.iter().map(Way::Key);
        let password = self
            .password
            .iter()
            .flat_map(|password| [Way::Password(password), Way::Answers(password)]);
        key.chain(password).collect()
    }
}

struct Login<'a> {
    handle: &'a mut Handle<Client>,
    user: &'a str,
    link: &'a Link,
    legacy: bool,
    /// What was sent to the server, and may be counted by it.
    tried: Vec<MethodKind>,
}

impl Login<'_> {
    async fn without_credentials(&mut self) -> Result<Outcome, Error> {
        let result = self.handle.authenticate_none(self.user).await;
        self.outcome(result.map(Outcome::from)).await
    }

    async fn with_key(&mut self, key: &Arc<PrivateKey>) -> Result<Outcome, Error> {
        let mut last = None;
        for hash in signature_hashes(&key.algorithm(), self.legacy) {
            let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
            let result = self.handle.authenticate_publickey(self.user, key).await;
            let outcome = self.outcome(result.map(Outcome::from)).await?;
            let Outcome::Out { offered, partly: false } = &outcome else {
                return Ok(outcome);
            };
            if !offered.contains(&MethodKind::PublicKey) {
                return Ok(outcome);
            }
            last = Some(outcome);
        }
        match last {
            Some(outcome) => Ok(outcome),
            None => Err(self.error("there is no signature for this kind of key".to_owned())),
        }
    }

    async fn with_password(&mut self, password: &SecretString) -> Result<Outcome, Error> {
        let result = self.handle.authenticate_password(self.user, password.expose_secret()).await;
        self.outcome(result.map(Outcome::from)).await
    }

    /// Answers the first question with the password, and questions without prompts with nothing.
    async fn with_answers(&mut self, password: &SecretString) -> Result<Outcome, Error> {
        let mut answered = false;
        let mut response =
            self.handle.authenticate_keyboard_interactive_start(self.user, None).await;
        for _ in 0..QUESTIONS_MAX {
            let prompts = match response {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(Outcome::In),
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods: offered,
                    partial_success: partly,
                }) => {
                    return self.outcome(Ok(Outcome::Out { offered, partly })).await;
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => prompts.len(),
                Err(error) => return self.outcome(Err(error)).await,
            };
            if prompts > 0 && answered {
                return Err(self.error(
                    "the server asks a second question, and there is only a password".to_owned(),
                ));
            }
            answered |= prompts > 0;
            let answers = vec![password.expose_secret().to_owned(); prompts];
            response = self.handle.authenticate_keyboard_interactive_respond(answers).await;
        }
        Err(self.error("the server does not stop asking".to_owned()))
    }

    /// Tells a rejection from a lost connection, which the library reports in the same way.
    ///
    /// A server may reject by hanging up, as OpenSSH does after `MaxAuthTries`: after a goodbye the
    /// same credentials are not sent once more.
    async fn outcome(&self, result: Result<Outcome, russh::Error>) -> Result<Outcome, Error> {
        match result {
            Ok(Outcome::In) => Ok(Outcome::In),
            Ok(outcome @ Outcome::Out { .. }) if outcome.tells_what_it_takes() => Ok(outcome),
            _ => Err(match self.link.end().await {
                Some(end) if end.is_deliberate && !self.tried.is_empty() => {
                    self.rejected(&end.reason)
                }
                None if !self.tried.is_empty() && !self.handle.is_closed() => {
                    self.rejected("it takes nothing else")
                }
                _ => self.link.lost("logging in").await,
            }),
        }
    }

    fn rejected(&self, then: &str) -> Error {
        self.error(format!("the server rejected {}; {then}", list(&self.tried)))
    }

    fn error(&self, reason: String) -> Error {
        Error::Login { server: self.link.server.clone(), user: self.user.to_owned(), reason }
    }
}

fn list(methods: &[MethodKind]) -> String {
    let names = methods.iter().map(|method| format!("`{}`", <&str>::from(method)));
    names.collect::<Vec<_>>().join(", ")
}
