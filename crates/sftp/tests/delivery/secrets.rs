//! No secret is in a log, whatever happens.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use local_sftp::{Fault, Faults};
use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};
use serde_json::{Value, json};
use tracing::{Dispatch, Level, subscriber::NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;

use crate::partner::{Memory, PASSWORD, Partner, deliver_to, file};

/// The log of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

const PASSPHRASE: &str = "open sesame and every other door";

/// Delivers with a password and an encrypted key, and looks for them in everything that is logged,
/// at every level and by everybody.
async fn check(faults: Faults, changes: Value, expected: &str) {
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let public = key.public_key().to_openssh().unwrap();
    let encrypted = key.encrypt(&mut safe_rng(), PASSPHRASE).unwrap();
    let text = encrypted.to_openssh(LineEnding::LF).unwrap().to_string();
    let log = Log::default();
    // While a process has a single subscriber, a place in the program that another thread comes to
    // first is taken for one that nobody listens to.
    let _second = Dispatch::new(NoSubscriber::new());
    let subscriber =
        tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(log.clone()).finish();
    {
        let _logging = tracing::subscriber::set_default(subscriber);
        let partner = Partner::with_keys(faults, vec![public]).await;
        let mut all =
            json!({ "sftp_private_key": text, "sftp_private_key_passphrase": PASSPHRASE });
        for (field, value) in changes.as_object().unwrap() {
            all[field] = value.clone();
        }
        // The outcome is the business of other tests.
        drop(deliver_to(partner.config(&all), &Memory::new(file())).await);
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains(expected), "`{expected}` is not in: {logged}");
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    for secret in lines.chain([PASSWORD, PASSPHRASE, "hunter2"]) {
        assert!(!logged.contains(secret), "`{secret}` is in: {logged}");
    }
}

#[tokio::test]
async fn nothing_that_is_logged_holds_a_secret() {
    let once = json!({ "sftp_max_attempts": 1 });
    check(Faults::default(), json!({}), "a client connected").await;
    check(Faults::of([Fault::KeyThenPassword]), json!({}), "a client connected").await;
    check(Faults::of([Fault::KeyboardInteractiveOnly]), json!({}), "a client connected").await;
    let dropped = Faults::of([Fault::DropAfterBytes(1)]).on_first_connections(1);
    check(dropped, json!({}), "there will be another").await;
    check(Faults::of([Fault::DropAtLogin]), once, "a client connected").await;
    let wrong = json!({
        "sftp_private_key": null, "sftp_private_key_passphrase": null, "sftp_password": "hunter2",
    });
    check(Faults::default(), wrong, "a client connected").await;
}
