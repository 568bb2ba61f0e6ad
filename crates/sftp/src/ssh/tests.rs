//! Logins at a server that follows a script.

use std::{
    borrow::Cow,
    collections::VecDeque,
    time::{Duration, Instant},
};

use aws_io::Failure as _;
use delivery::{Retry, TransportError as _};
use job::ErrorName;
use russh::{
    Channel, MethodKind, MethodSet,
    keys::{Algorithm, EcdsaCurve, PrivateKey, key::safe_rng, ssh_key::LineEnding},
    server::{self, Auth, ChannelOpenHandle, Msg as ServerMsg, Response, VerifiedPublicKey},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

const PASSWORD: &str = "hunter2";
use MethodKind::{KeyboardInteractive, Password, PublicKey};

/// The server's answer to a credential.
#[derive(Clone, Debug)]
enum Reply {
    Accept,
    /// Refused, with the methods that are listed.
    Reject(&'static [MethodKind]),
    /// Accepted, with the methods that are wanted as well.
    Partly(&'static [MethodKind]),
    /// A question with prompts and whether they are echoed.
    Ask(&'static [(&'static str, bool)]),
    /// A text without prompts.
    Tell(&'static str),
    HangUp,
    Stall,
}

/// A server that answers as it is told, and takes down what it gets.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit that servers have or lack")]
struct Script {
    none: Reply,
    key: Reply,
    password: Reply,
    /// Answers to the start of keyboard-interactive, and to the answers after it.
    questions: Vec<Reply>,
    banner: Option<&'static str>,
    /// Text before the identification.
    before: Vec<u8>,
    host_keys: Vec<PrivateKey>,
    /// Connections after which the server is gone.
    connections_max: usize,
    session: bool,
    subsystem: bool,
    /// Whether the signature algorithms of RSA keys are listed.
    lists_signatures: bool,
    /// Whether a refused password is answered as an expired one; then nothing is encrypted.
    expires: bool,
}

const BOTH: &[MethodKind] = &[PublicKey, Password, KeyboardInteractive];

impl Default for Script {
    fn default() -> Self {
        Self {
            none: Reply::Reject(BOTH),
            key: Reply::Reject(BOTH),
            password: Reply::Reject(BOTH),
            questions: vec![Reply::Reject(BOTH)],
            banner: None,
            before: Vec::new(),
            host_keys: vec![generate(Algorithm::Ed25519)],
            connections_max: usize::MAX,
            session: true,
            subsystem: true,
            lists_signatures: true,
            expires: false,
        }
    }
}

/// Makes a key; one of RSA takes too long in a debug build, so it is a ready one.
fn generate(algorithm: Algorithm) -> PrivateKey {
    if algorithm == (Algorithm::Rsa { hash: None }) {
        let (_, rest) = include_str!("private_key/keys.txt").split_once("=== rsa\n").unwrap();
        return russh::keys::decode_secret_key(rest.split("===").next().unwrap(), None).unwrap();
    }
    PrivateKey::random(&mut safe_rng(), algorithm).unwrap()
}

type Log = Arc<std::sync::Mutex<Vec<String>>>;

struct Partner {
    script: Script,
    questions: VecDeque<Reply>,
    log: Log,
}

impl Partner {
    fn note(&self, text: impl Into<String>) {
        self.log.lock().unwrap().push(text.into());
    }

    async fn answer(&self, reply: Reply) -> Result<Auth, russh::Error> {
        let list = |methods: &[MethodKind]| Some(MethodSet::from(methods));
        match reply {
            Reply::Accept => Ok(Auth::Accept),
            Reply::Reject(methods) => {
                Ok(Auth::Reject { proceed_with_methods: list(methods), partial_success: false })
            }
            Reply::Partly(methods) => {
                Ok(Auth::Reject { proceed_with_methods: list(methods), partial_success: true })
            }
            Reply::Ask(prompts) => Ok(Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(""),
                prompts: prompts.iter().map(|(text, echo)| (Cow::Borrowed(*text), *echo)).collect(),
            }),
            Reply::Tell(text) => Ok(Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(text),
                prompts: Cow::Borrowed(&[]),
            }),
            Reply::HangUp => Err(russh::Error::Disconnect),
            Reply::Stall => std::future::pending().await,
        }
    }
}

impl server::Handler for Partner {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(self.script.banner.map(str::to_owned))
    }

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        self.answer(self.script.none.clone()).await
    }

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        self.note(format!("key {}", offer.algorithm));
        match self.script.key.clone() {
            Reply::Accept | Reply::Partly(_) => Ok(Auth::Accept),
            reply => self.answer(reply).await,
        }
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        self.answer(self.script.key.clone()).await
    }

    async fn auth_password(&mut self, _user: &str, password: &str) -> Result<Auth, Self::Error> {
        self.note(format!("password {password}"));
        self.answer(self.script.password.clone()).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        match response {
            None => self.note("ask"),
            Some(answers) => {
                let answers = answers.map(|answer| String::from_utf8_lossy(&answer).into_owned());
                let answers: Vec<_> = answers.collect();
                self.note(format!("answer {}", answers.join(",")));
            }
        }
        let reply = self.questions.pop_front().unwrap_or(Reply::Reject(BOTH));
        self.answer(reply).await
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<ServerMsg>,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if self.script.session {
            reply.accept().await;
        } else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        }
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: russh::ChannelId,
        _name: &str,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if self.script.subsystem {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }
}

/// A running server, and what it took down.
struct Running {
    port: u16,
    log: Log,
}

impl Running {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Log::default();
        let mut preferred = plain_if(script.expires, russh::Preferred::DEFAULT);
        if !script.lists_signatures {
            // The list names no signature of an RSA key.
            preferred.key = Cow::Borrowed(&[Algorithm::Ed25519]);
        }
        let config = server::Config {
            keys: script.host_keys.clone(),
            auth_rejection_time: Duration::ZERO,
            preferred,
            ..server::Config::default()
        };
        let (config, taken) = (Arc::new(config), log.clone());
        tokio::spawn(async move {
            for _ in 0..script.connections_max {
                let Ok((mut socket, _)) = listener.accept().await else { break };
                taken.lock().unwrap().push("connection".to_owned());
                let (script, log, config) = (script.clone(), taken.clone(), config.clone());
                tokio::spawn(async move {
                    socket.write_all(&script.before).await.unwrap();
                    let questions = script.questions.clone().into();
                    let expires = script.expires;
                    let partner = Partner { script, questions, log };
                    if expires {
                        let (near, far) = tokio::io::duplex(1 << 16);
                        tokio::spawn(expire_passwords(socket, far));
                        drop(server::run_stream(config, near, partner).await.unwrap().await);
                    } else {
                        drop(server::run_stream(config, socket, partner).await.unwrap().await);
                    }
                });
            }
        });
        Self { port, log }
    }

    fn server(&self, changes: Value) -> Server {
        let mut config =
            json!({ "sftp_host": "127.0.0.1", "sftp_port": self.port, "sftp_user": "acme" });
        let Value::Object(changes) = changes else { panic!("an object") };
        config.as_object_mut().unwrap().extend(changes);
        Server::new(serde_json::from_value(config).unwrap()).unwrap()
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// Algorithms that encrypt nothing, so that a test can change a message on its way.
pub(super) fn plain_if(is_plain: bool, preferred: russh::Preferred) -> russh::Preferred {
    if !is_plain {
        return preferred;
    }
    russh::Preferred {
        cipher: Cow::Borrowed(&[russh::cipher::NONE]),
        mac: Cow::Borrowed(&[russh::mac::NONE]),
        ..preferred
    }
}

/// Passes everything on, but makes the second refusal of a login (after the one of `none`) the
/// message that asks for a new password.
async fn expire_passwords(client: TcpStream, server: tokio::io::DuplexStream) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let upstream =
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut identification = Vec::new();
    while !identification.ends_with(b"\n") {
        identification.push(from_server.read_u8().await.unwrap());
    }
    to_client.write_all(&identification).await.unwrap();
    let mut refusals = 0;
    while let Ok(length) = from_server.read_u32().await {
        let mut packet = vec![0; length as usize];
        from_server.read_exact(&mut packet).await.unwrap();
        if packet[1] == 51 {
            refusals += 1;
            packet[1] = if refusals == 2 { 60 } else { 51 };
        }
        to_client.write_u32(length).await.unwrap();
        to_client.write_all(&packet).await.unwrap();
    }
    upstream.abort();
}

fn with_password() -> Value {
    json!({ "sftp_password": PASSWORD })
}

fn with_key(algorithm: Algorithm) -> Value {
    json!({ "sftp_private_key": generate(algorithm).to_openssh(LineEnding::LF).unwrap().as_str() })
}

fn with_both() -> Value {
    let mut both = with_key(Algorithm::Ed25519);
    both["sftp_password"] = json!(PASSWORD);
    both
}

/// Logs in at the scripted server, and compares the end of it and what the server got.
async fn check(script: Script, credentials: Value, expected: Result<(), &str>, got: &[&str]) {
    let running = Running::start(script.clone()).await;
    let begun = Instant::now();
    let opened = Connection::open(&running.server(credentials)).await;
    let ended = opened.map(drop).map_err(|error| {
        assert_eq!(
            (error.name(), error.retry()),
            (ErrorName::TransportAuth, Retry::Never),
            "{error}"
        );
        let text = error.to_string();
        assert!(!text.contains(PASSWORD), "{text}");
        let start = format!("logging in to `127.0.0.1:{}` as `acme`: ", running.port);
        text.strip_prefix(&start).unwrap_or(&text).to_owned()
    });
    assert_eq!(ended, expected.map_err(str::to_owned), "{script:?}");
    assert_eq!(running.log(), got, "{script:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{script:?}");
}

const HIDDEN: Reply = Reply::Ask(&[("Password: ", false)]);

#[tokio::test]
async fn a_password_is_sent_once_in_the_way_that_the_account_may_use() {
    let in_by_answer = Script { questions: vec![HIDDEN, Reply::Accept], ..Script::default() };
    check(in_by_answer, with_password(), Ok(()), &["connection", "ask", "answer hunter2"]).await;

    // PAM asks an empty question at the end.
    let questions = vec![HIDDEN, Reply::Ask(&[]), Reply::Accept];
    let by_pam = Script { questions, ..Script::default() };
    check(by_pam, with_password(), Ok(()), &["connection", "ask", "answer hunter2", "answer "])
        .await;

    // Not a method of this account: it is refused before anything was asked.
    let in_by_password = Script { password: Reply::Accept, ..Script::default() };
    check(in_by_password, with_password(), Ok(()), &["connection", "ask", "password hunter2"])
        .await;

    // Something else is asked, so the password goes the other way, on another connection.
    for other in [
        Reply::Ask(&[("Do you accept? ", true)]),
        Reply::Ask(&[("Password: ", false), ("Again: ", false)]),
        Reply::Ask(&[("Verification code: ", false)]),
    ] {
        let script =
            Script { questions: vec![other], password: Reply::Accept, ..Script::default() };
        let got = ["connection", "ask", "connection", "password hunter2"];
        check(script, with_password(), Ok(()), &got).await;
    }

    // OpenSSH with `MaxAuthTries 1` hangs up when it has no question to ask.
    let hangs_up =
        Script { questions: vec![Reply::HangUp], password: Reply::Accept, ..Script::default() };
    let got = ["connection", "ask", "connection", "password hunter2"];
    check(hangs_up, with_password(), Ok(()), &got).await;

    // The server strikes the method off its list: it was not the password that was wrong.
    let struck = Script {
        none: Reply::Reject(&[Password]),
        password: Reply::Reject(&[KeyboardInteractive]),
        questions: vec![HIDDEN, Reply::Accept],
        ..Script::default()
    };
    let got = ["connection", "password hunter2", "ask", "answer hunter2"];
    check(struck, with_password(), Ok(()), &got).await;
}

#[tokio::test]
async fn a_rejected_password_is_sent_once() {
    let script = Script { questions: vec![HIDDEN], ..Script::default() };
    let takes = "it takes `publickey`, `password`, `keyboard-interactive`";
    let expected = format!("the server rejected the password by `keyboard-interactive`; {takes}");
    check(script, with_password(), Err(&expected), &["connection", "ask", "answer hunter2"]).await;

    let expected = format!("the server rejected `password`; {takes}");
    let got = ["connection", "ask", "password hunter2"];
    check(Script::default(), with_password(), Err(&expected), &got).await;
}

#[tokio::test]
async fn a_prompt_for_something_else_is_never_answered_with_the_password() {
    let none = Reply::Reject(&[KeyboardInteractive]);
    for (asked, shown) in [
        (Reply::Ask(&[("Accept the terms (yes/no)? ", true)]), "Accept the terms (yes/no)?"),
        (Reply::Ask(&[("Password: ", true)]), "Password:"),
        (Reply::Ask(&[("Password: ", false), ("Again: ", false)]), "Password: Again:"),
        (Reply::Ask(&[("One-time password: ", false)]), "One-time password:"),
        (Reply::Ask(&[("\u{1b}[2J hunter2?", true)]), "\\u{1b}[2J ***?"),
    ] {
        let script = Script { none: none.clone(), questions: vec![asked], ..Script::default() };
        let expected = format!("the server asks `{shown}`, and there is only a password");
        check(script, with_password(), Err(&expected), &["connection", "ask"]).await;
    }
    for (second, expected) in [
        (
            Reply::Ask(&[("Code: ", false)]),
            "the server asks a second question, `Code:`, and there is only a password",
        ),
        (
            Reply::Ask(&[("New password: ", false)]),
            "the password has expired: the server asks `New password:`",
        ),
    ] {
        let script =
            Script { none: none.clone(), questions: vec![HIDDEN, second], ..Script::default() };
        let got = ["connection", "ask", "answer hunter2"];
        check(script, with_password(), Err(expected), &got).await;
    }
}

#[tokio::test]
async fn an_expired_password_is_noticed_and_sent_once() {
    for banner in [None, Some("Welcome to this server.\nYour password may have expired.")] {
        let script =
            Script { none: Reply::Reject(&[Password]), expires: true, banner, ..Script::default() };
        let running = Running::start(script).await;
        let mut server = running.server(with_password());
        server.is_plain = true;
        let begun = Instant::now();
        let error = Connection::open(&server).await.map(drop).unwrap_err();
        assert_eq!((error.name(), error.retry()), (ErrorName::TransportAuth, Retry::Never));
        let text = "the password has expired: the server asks for a new one";
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(running.log(), ["connection", "password hunter2"]);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_credential_that_is_not_enough_is_told_from_one_that_is_wrong() {
    let key = "key ssh-ed25519";
    let then_password = Script {
        none: Reply::Reject(&[PublicKey]),
        key: Reply::Partly(&[Password]),
        password: Reply::Accept,
        ..Script::default()
    };
    let got = ["connection", key, "password hunter2"];
    check(then_password.clone(), with_both(), Ok(()), &got).await;
    check(
        then_password,
        with_key(Algorithm::Ed25519),
        Err("the server accepted the key, and wants a password as well"),
        &["connection", key],
    )
    .await;

    let then_either =
        Script { key: Reply::Partly(&[Password, KeyboardInteractive]), ..Script::default() };
    let expected = "the server accepted the key, and wants a password or a password or code \
                    (`keyboard-interactive`) as well";
    check(then_either, with_key(Algorithm::Ed25519), Err(expected), &["connection", key]).await;

    let then_answer = Script {
        key: Reply::Partly(&[KeyboardInteractive]),
        questions: vec![HIDDEN, Reply::Accept],
        ..Script::default()
    };
    let got = ["connection", key, "ask", "answer hunter2"];
    check(then_answer.clone(), with_both(), Ok(()), &got).await;

    let wrong = Script { questions: vec![HIDDEN], ..then_answer };
    let expected = "the server accepted the key, and rejected the password by \
                    `keyboard-interactive`; it takes `publickey`, `password`, `keyboard-interactive`";
    check(wrong, with_both(), Err(expected), &got).await;

    let then_key = Script {
        none: Reply::Reject(&[Password]),
        password: Reply::Partly(&[PublicKey]),
        ..Script::default()
    };
    let expected = "the server accepted the password, and wants a key as well";
    check(then_key, with_password(), Err(expected), &["connection", "password hunter2"]).await;
}

#[tokio::test]
async fn a_key_is_offered_once_with_the_best_signature_that_the_server_takes() {
    let takes = "it takes `publickey`, `password`, `keyboard-interactive`";
    let rsa = Algorithm::Rsa { hash: None };
    let (sha512, sha1) = ("`publickey` (as `rsa-sha2-512`)", "`publickey` (as `ssh-rsa`)");
    let hint = "; if the server is old, `sftp_legacy_algorithms` lets the RSA key sign with SHA-1";
    for (algorithm, legacy, lists_signatures, names, quoted, hint) in [
        (Algorithm::Ed25519, false, true, &["key ssh-ed25519"][..], "`publickey`", ""),
        (Algorithm::Ed25519, true, true, &["key ssh-ed25519"], "`publickey`", ""),
        (rsa.clone(), false, true, &["key rsa-sha2-512"], sha512, ""),
        (rsa.clone(), false, false, &["key rsa-sha2-512"], sha512, hint),
        (
            rsa.clone(),
            true,
            true,
            &["key rsa-sha2-512", "connection", "key ssh-rsa"],
            &format!("{sha512}, {sha1}"),
            "",
        ),
        (rsa, true, false, &["key ssh-rsa"], sha1, ""),
    ] {
        let expected = format!("the server rejected {quoted}; {takes}{hint}");
        let got: Vec<_> = [&["connection"], names].concat();
        let mut credentials = with_key(algorithm);
        credentials["sftp_legacy_algorithms"] = json!(legacy);
        let script = Script { lists_signatures, ..Script::default() };
        check(script, credentials, Err(&expected), &got).await;
    }
}

#[tokio::test]
async fn a_refusal_without_a_list_of_methods_is_no_end() {
    let none = Reply::Reject(&[]);
    let by_password = Script { none: none.clone(), password: Reply::Accept, ..Script::default() };
    let got = ["connection", "connection", "password hunter2"];
    check(by_password, with_password(), Ok(()), &got).await;

    let after_key = Script {
        none: none.clone(),
        key: Reply::Reject(&[]),
        password: Reply::Accept,
        ..Script::default()
    };
    let key = "key ssh-ed25519";
    let got = ["connection", "connection", key, "connection", "password hunter2"];
    check(after_key.clone(), with_both(), Ok(()), &got).await;

    let gone = Script { connections_max: 2, ..after_key.clone() };
    let running = Running::start(gone).await;
    let error = Connection::open(&running.server(with_both())).await.map(drop).unwrap_err();
    assert_eq!((error.name(), error.retry()), (ErrorName::TransportAuth, Retry::Never));
    let text = "the server got `publickey`, then connecting to";
    assert!(error.to_string().contains(text), "{error}");

    let nothing = Script { password: Reply::Reject(&[]), ..after_key };
    let expected =
        "the server rejected `publickey`, `password`; it does not say what else it takes";
    check(nothing, with_both(), Err(expected), &got).await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_final_once_a_credential_was_sent() {
    let hangs_up =
        Script { none: Reply::Reject(&[Password]), password: Reply::HangUp, ..Script::default() };
    let running = Running::start(hangs_up).await;
    let error = Connection::open(&running.server(with_password())).await.map(drop).unwrap_err();
    assert_eq!((error.name(), error.retry()), (ErrorName::TransportAuth, Retry::Never));
    let text = error.to_string();
    assert!(text.contains("the server got `password`, then the connection ended ("), "{text}");

    let running = Running::start(Script { none: Reply::HangUp, ..Script::default() }).await;
    let error = Connection::open(&running.server(with_password())).await.map(drop).unwrap_err();
    assert_eq!((error.name(), error.retry()), (ErrorName::TransportUnavailable, Retry::Often));
    assert_eq!(running.log(), ["connection"]);
}

#[tokio::test]
async fn silence_is_final_once_a_credential_was_sent() {
    for (none, password, name) in [
        (Reply::Reject(&[Password]), Reply::Stall, ErrorName::TransportAuth),
        (Reply::Stall, Reply::Accept, ErrorName::TransportUnavailable),
    ] {
        let running = Running::start(Script { none, password, ..Script::default() }).await;
        let mut server = running.server(with_password());
        server.credentials.set_limit(Duration::from_secs(3));
        let error = Connection::open(&server).await.map(drop).unwrap_err();
        assert_eq!(error.name(), name, "{error}");
        assert!(error.to_string().contains("no answer for 3 s"), "{error}");
    }
}

#[tokio::test]
async fn the_words_of_a_server_that_lets_nobody_in_are_shown() {
    let script = Script {
        banner: Some("Closed for maintenance until 6\n"),
        none: Reply::Reject(&[Password]),
        password: Reply::Reject(&[Password]),
        ..Script::default()
    };
    let expected = "the server rejected `password`; it takes `password`; it says `Closed for \
                    maintenance until 6`";
    check(script, with_password(), Err(expected), &["connection", "password hunter2"]).await;

    // PAM tells its reason in a question without prompts.
    let questions = vec![HIDDEN, Reply::Tell("Closed until 6"), Reply::Reject(&[Password])];
    let script = Script { questions, ..Script::default() };
    let expected = "the server rejected the password by `keyboard-interactive`; it takes \
                    `password`; it says `Closed until 6`";
    let got = ["connection", "ask", "answer hunter2", "answer "];
    check(script, with_password(), Err(expected), &got).await;
}

#[tokio::test]
async fn a_refused_session_or_subsystem_is_shown_with_the_servers_words() {
    let base =
        Script { password: Reply::Accept, banner: Some("Only scp here"), ..Script::default() };
    for (session, subsystem, expected) in [
        (
            false,
            true,
            "it refuses to open a session; it says `Administratively prohibited`; it says `Only scp \
             here`",
        ),
        (true, false, "it has no `sftp` subsystem, or not for this user; it says `Only scp here`"),
    ] {
        let running = Running::start(Script { session, subsystem, ..base.clone() }).await;
        let connection = Connection::open(&running.server(with_password())).await.unwrap();
        let error = connection.open_sftp(Duration::from_secs(5)).await.map(drop).unwrap_err();
        assert_eq!((error.name(), error.retry()), (ErrorName::TransportConfig, Retry::Never));
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

#[tokio::test]
async fn a_connection_carries_several_channels_and_knows_its_round_trip() {
    let script = Script { password: Reply::Accept, ..Script::default() };
    let running = Running::start(script).await;
    let connection = Connection::open(&running.server(with_password())).await.unwrap();
    for _ in 0..2 {
        connection.open_sftp(Duration::from_secs(5)).await.unwrap();
    }
    assert!(!connection.round_trip().is_zero() && connection.round_trip() < Duration::from_secs(5));
    assert!(!connection.host_key.is_pinned);
    connection.close().await;
    assert_eq!(running.log().len(), 3, "{:?}", running.log());
}

#[tokio::test]
async fn text_before_the_identification_is_skipped() {
    for before in [
        "\n".to_owned(),
        "Welcome\n\n".to_owned(),
        format!("{}\r\n", "W".repeat(300)),
        "a line\r\n".repeat(25),
    ] {
        let script = Script {
            before: before.into_bytes(),
            password: Reply::Accept,
            none: Reply::Reject(&[Password]),
            ..Script::default()
        };
        check(script, with_password(), Ok(()), &["connection", "password hunter2"]).await;
    }
}

/// A server that writes, waits for the client, and hangs up.
async fn saying(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            drop(socket.write_all(text).await);
            drop(socket.read(&mut [0; 64]).await);
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_ssh_server_is_named_and_what_hangs_up_is_tried_again() {
    let (config, unavailable) = (ErrorName::TransportConfig, ErrorName::TransportUnavailable);
    for (text, name, expected) in [
        (
            &b"220 hunter2 FTP ready\r\n"[..],
            config,
            "it is not an SSH server: it says `220 *** FTP ready`; this is an FTP server, and SFTP \
             is another protocol: ask for the port of SFTP",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            config,
            "it is not an SSH server: it says `HTTP/1.1 400 Bad Request`; this is a web server: \
             check `sftp_port`",
        ),
        (
            b"SSH-1.5-old\n",
            config,
            "it is not an SSH server: it says `SSH-1.5-old`; only version 2 of SSH is supported",
        ),
        (
            b"Exceeded MaxStartups\r\n",
            unavailable,
            "it hung up before it identified itself; it says `Exceeded MaxStartups`",
        ),
    ] {
        let port = saying(text).await;
        let running = Running { port, log: Log::default() };
        let error = Connection::open(&running.server(with_password())).await.map(drop).unwrap_err();
        assert_eq!(error.name(), name, "{error}");
        assert_eq!(error.to_string(), format!("connecting to `127.0.0.1:{port}`: {expected}"));
    }
    let port = saying(b"").await;
    let running = Running { port, log: Log::default() };
    let error = Connection::open(&running.server(with_password())).await.map(drop).unwrap_err();
    assert_eq!(error.name(), unavailable);
    assert!(error.to_string().contains("it hung up before it identified itself ("), "{error}");
}

#[tokio::test]
async fn any_key_of_the_server_may_be_pinned_however_it_is_written() {
    let p256 = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
    let keys: Vec<_> = [Algorithm::Ed25519, Algorithm::Rsa { hash: None }, p256]
        .into_iter()
        .map(generate)
        .collect();
    let script = Script {
        host_keys: keys.clone(),
        none: Reply::Reject(&[Password]),
        password: Reply::Accept,
        ..Script::default()
    };
    for key in &keys {
        let public = key.public_key();
        let digest = public.fingerprint(russh::keys::HashAlg::Sha256).to_string();
        let typed = format!("{} {digest}", key.algorithm());
        let line = format!("h,10.0.0.1 {}", public.to_openssh().unwrap());
        for pin in [digest.clone(), typed.clone(), line] {
            let running = Running::start(script.clone()).await;
            let mut changes = with_password();
            changes["sftp_host_keys"] = json!([pin]);
            let connection = Connection::open(&running.server(changes)).await.unwrap();
            let expected = PresentedKey {
                text: typed.clone(),
                is_pinned: true,
                ..connection.host_key.clone()
            };
            assert_eq!(connection.host_key, expected);
            let sent = running.log().iter().filter(|got| got.starts_with("password")).count();
            assert_eq!(sent, 1, "{pin}");
        }
    }
}

#[tokio::test]
async fn no_credential_is_sent_to_a_server_without_a_pinned_key() {
    let script = Script { host_keys: vec![generate(Algorithm::Ed25519)], ..Script::default() };
    let presented = script.host_keys[0].public_key().clone();
    let text = format!("ssh-ed25519 {}", presented.fingerprint(russh::keys::HashAlg::Sha256));
    let other = format!("SHA256:{}", "A".repeat(43));
    let line = presented.to_openssh().unwrap();
    for (pins, expected) in [
        (vec![other.clone()], format!("it presented `{text}`, but expected is `{other}`")),
        (
            vec![format!("ssh-ed25519 {other}")],
            format!("it presented `{text}`, but expected is `ssh-ed25519 {other}`"),
        ),
        (
            vec![format!("ssh-rsa {other}")],
            format!("it presented `ssh-ed25519`, but expected is `ssh-rsa {other}`"),
        ),
        (
            vec![line.clone(), format!("@revoked * {line}")],
            format!("it presented `{text}`, which `sftp_host_keys` marks as `@revoked`"),
        ),
    ] {
        let running = Running::start(script.clone()).await;
        let mut changes = with_password();
        changes["sftp_host_keys"] = json!(pins);
        let error = Connection::open(&running.server(changes)).await.map(drop).unwrap_err();
        assert_eq!((error.name(), error.retry()), (ErrorName::TransportHostKey, Retry::Never));
        assert!(error.to_string().ends_with(&expected), "{error}");
        assert!(running.log().iter().all(|got| got == "connection"), "{:?}", running.log());
    }
}

#[test]
fn keepalives_never_end_what_the_idle_limit_allows() {
    for (idle, keepalives) in [(1, 3), (45, 3), (60, 4), (300, 20), (800, 54)] {
        let config = json!({ "sftp_host": "h", "sftp_idle_timeout_s": idle });
        let server = Server::new(serde_json::from_value(config).unwrap()).unwrap();
        let offer = server.host_keys.next_offer(&[]).unwrap();
        assert_eq!(server.ssh_config(&offer).keepalive_max, keepalives, "{idle}");
        assert!(server.greeting_limit() >= server.idle_limit());
        assert!(server.greeting_limit() >= Duration::from_secs(20));
    }
}
