//! No secret is in a log, whatever happens.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use local_sharefile::{Call, Fault, Faults};
use serde_json::{Value, json};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::account::{CLIENT_SECRET, Memory, PASSWORD, Partner, file};

/// Everything that was logged.
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

/// Delivers, and looks for the credentials, the token and the addresses of uploads in everything
/// that is logged, at every level and by everybody. Errors and receipts are looked at by
/// `deliver` itself.
async fn check(faults: Faults, changes: Value, expected: &str) {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(log.clone()).finish();
    {
        let _logging = tracing::subscriber::set_default(subscriber);
        let partner = Partner::start(faults).await;
        // Other tests look at the end.
        drop(partner.deliver(&changes, &Memory::new(file())).await);
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains(expected), "`{expected}` is not in: {logged}");
    let encoded = ["client%2Bsecret", "correct+horse", "signature", "uploadid", "rsu-", "Bearer"];
    for secret in [PASSWORD, CLIENT_SECRET].into_iter().chain(encoded) {
        assert!(!logged.contains(secret), "`{secret}` is in: {logged}");
    }
}

#[tokio::test]
async fn nothing_that_is_logged_holds_a_secret() {
    for (method, calls) in [
        ("standard", &[Call::Standard] as &[_]),
        ("streamed", &[Call::Chunk, Call::Finish]),
        ("threaded", &[Call::Chunk, Call::Finish]),
    ] {
        let forced = || Faults::default().always(Call::Specification, Fault::Method(method));
        check(forced(), json!({}), "listens").await;
        for fault in [
            Fault::Status(503),
            Fault::CutRequest,
            Fault::CutAnswer,
            Fault::ErrorObject(605),
            Fault::ErrorText("see https://127.0.0.1/upload/chunk?uploadid=rsu-1&signature=2"),
        ] {
            for call in calls {
                let expected = match fault {
                    Fault::CutAnswer if *call != Call::Chunk => "the file is there",
                    Fault::ErrorObject(605) => "the upload is lost",
                    _ => "there will be another",
                };
                check(forced().always(*call, fault), json!({}), expected).await;
            }
        }
    }
    let asks = Faults::default().always(Call::Standard, Fault::WantsToken);
    check(asks, json!({}), "listens").await;
    let ended = Faults::default().once(Call::Specification, Fault::ForgetTokens);
    check(ended, json!({}), "logging in again").await;
    let echoes = Faults::default().always(Call::Token, Fault::EchoesCredentials);
    check(echoes, json!({ "client_id": "wrong" }), "listens").await;
}
