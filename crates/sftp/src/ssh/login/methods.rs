//! The requests of a login, one for each method.

use std::time::Duration;

use russh::{
    client::{Handle, KeyboardInteractiveAuthResponse, Prompt},
    keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg},
};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, timeout};

use super::{
    super::{Client, End, Link},
    Login, Outcome, wording,
};
use crate::error::Error;

/// Questions of a keyboard-interactive login that are answered; PAM asks one, and then an empty one.
const QUESTIONS_MAX: usize = 5;
/// Silence after an answer that the SSH library does not pass on.
const SILENCE: Duration = Duration::from_secs(2);
/// Interval at which such an answer is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes of a banner's packet beside its text, at most: header, language, padding and code.
const BANNER_OVERHEAD_BYTES: u64 = 68;

impl Login<'_> {
    /// Asks for the list of methods; no server counts that as an attempt.
    pub(super) async fn without_credentials(
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
    ///
    /// OpenSSH before 9.6 lists what it knows, not what it accepts. So where SHA-1 is allowed it is
    /// tried last, on a connection of its own, where nothing has been counted yet.
    pub(super) async fn with_key(
        &mut self,
        handle: &mut Handle<Client>,
        link: &Link,
    ) -> Result<Outcome, Error> {
        let Some(key) = self.credentials.key.clone() else { return Ok(Outcome::NoList) };
        let mut hash = None;
        let mut name = "`publickey`".to_owned();
        if matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            let best = handle.best_supported_rsa_hash().await.unwrap_or_default();
            let legacy = self.credentials.legacy;
            hash = match best {
                _ if self.rsa.is_sha1_only => None,
                Some(best) => best,
                None if legacy => None,
                None => Some(HashAlg::Sha512),
            };
            self.rsa.is_guess = best.is_none();
            self.rsa.has_sha1_left = legacy && hash.is_some();
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
    pub(super) async fn with_password(
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
    pub(super) async fn with_answer(
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
                        let shown = link.sanitize(&wording::question(&name, &instructions, &[]));
                        self.told = Some(shown).filter(|shown| !shown.is_empty());
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
            return match self.outcome(link, outcome).await {
                // OpenSSH counts a request that it refuses without a question, and hangs up when
                // `MaxAuthTries` is 1.
                Err(error) if !is_answered => Ok(Outcome::HungUp(error)),
                outcome => outcome,
            };
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
}

/// Returns whether these prompts ask for the password and nothing else.
///
/// What is echoed is no secret, and two prompts want two answers. A code of one use is often called a
/// password, too: the words beside it tell.
fn asks_for_password(prompts: &[Prompt]) -> bool {
    let [Prompt { prompt, echo: false }] = prompts else { return false };
    let prompt = prompt.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| prompt.contains(text));
    let has_word = |words: &[&str]| {
        prompt.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word))
    };
    let is_of_one_use =
        has(&["one-time", "one time", "onetime"]) || has_word(&["otp", "totp", "hotp", "oath"]);
    let is_new = has(&["new password"]);
    let is_code = has(&["passcode", "verification", "authenticator"])
        || has_word(&["code", "token", "pin", "answer", "challenge"]);
    // The name of a user or a host in the prompt may be one of these words.
    let is_called_password =
        has(&["password", "passwort", "kennwort", "mot de passe", "contrase", "senha"]);
    !is_of_one_use && !is_new && (is_called_password || !is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hidden_prompt_for_the_password_gets_it() {
        for (prompt, expected) in [
            ("Password: ", true),
            ("Password for acme@code.example: ", true),
            ("(acme@h) Passwort: ", true),
            ("acme's password:", true),
            ("Enter: ", true),
            ("Verification code: ", false),
            ("One-time password (OATH) for `acme`: ", false),
            ("Password or OTP: ", false),
            ("New password: ", false),
            ("Token: ", false),
            ("PIN:", false),
            ("Enter PASSCODE: ", false),
        ] {
            let prompts = |echo| [Prompt { prompt: prompt.to_owned(), echo }];
            assert_eq!(asks_for_password(&prompts(false)), expected, "{prompt}");
            assert!(!asks_for_password(&prompts(true)), "{prompt}");
        }
        assert!(!asks_for_password(&[]));
    }
}
