//! The columns of the matrix: deliveries that every server has to take.

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_io::Failure;
use delivery::{Ended, MemoryJournal};
use futures_util::{FutureExt, future::LocalBoxFuture};
use job::{
    ErrorName,
    delivery::{DeliveryStatus, Receipt, ReceiptDetails, Verified},
};
use serde_json::{Value, json};
use sftp::Error;
use tokio::time::sleep;

use crate::{
    line::{Line, Way, Weather},
    partner::{LONG, Memory, delivered, files_below, invoke},
    server::{Handles, Server},
};

type Delivery = for<'a> fn(&'a Place<'a>) -> LocalBoxFuture<'a, ()>;

/// The deliveries, each with the name of its directory.
const DELIVERIES: [(&str, Delivery); 13] = [
    ("small", |place| small(place).boxed_local()),
    ("large", |place| large(place).boxed_local()),
    ("four_connections", |place| four_connections(place).boxed_local()),
    ("replaced", |place| replaced(place).boxed_local()),
    ("kept", |place| kept(place).boxed_local()),
    ("skipped", |place| skipped(place).boxed_local()),
    ("sidecar", |place| sidecar(place).boxed_local()),
    ("in_place", |place| in_place(place).boxed_local()),
    ("directories", |place| directories(place).boxed_local()),
    ("pins", |place| pins(place).boxed_local()),
    ("killed", |place| killed(place).boxed_local()),
    ("cut", |place| cut(place).boxed_local()),
    ("cut_of_four", |place| cut_of_four(place).boxed_local()),
];
/// A file to deliver.
struct File {
    bytes: Vec<u8>,
    /// Its SHA-256, computed by Python's `hashlib`.
    sha256: &'static str,
}

fn one() -> File {
    let sha256 = "eba9741678765ab6fc4e631a0fd787adea681beb31961d0197fd4be035e0cb7e";
    File { bytes: b"1,a\n".to_vec(), sha256 }
}

/// As long as [`one`], with other bytes.
fn another() -> File {
    let sha256 = "ad7fa9bcb99e9898452db678a9953066ab214e529d28120ad0bb28e0f903857a";
    File { bytes: b"3,c\n".to_vec(), sha256 }
}

fn longer() -> File {
    let sha256 = "ad6286c8d5ad5375d2156e3db342ffa22125176164d23bca9ab91419be8d5b47";
    File { bytes: b"2,bb\n".to_vec(), sha256 }
}

/// Pseudo-random bytes, more than the window of a channel holds.
fn big() -> File {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let sha256 = "f545e796881e091c0a3ea812404d7c79409c2cad7109959f3757ddbe196f8cce";
    File { bytes: (0..5_000_001).map(|_| next()).collect(), sha256 }
}

const HALF: usize = 2_500_000;

/// Four connections are of use only to a file of many windows.
fn by_four() -> Value {
    json!({ "sftp_connections": 4, "sftp_write_size": 32_768, "sftp_max_in_flight": 16 })
}

/// Makes all deliveries to a server, each into a directory of its own.
pub(crate) async fn check_all(server: &Server) {
    let mut cells = Vec::new();
    for delivery in DELIVERIES {
        cells.push(check(server, delivery).await);
    }
    let failed: Vec<_> = cells.iter().filter(|cell| !cell.is_right).map(|cell| cell.name).collect();
    assert!(failed.is_empty(), "{}: {failed:?}\n{}", server.name, server.log());
    // What the server says, and not only what was sent to it.
    let expected = cells.iter().map(|cell| cell.logins).sum();
    let found = server.logins(expected).await;
    assert_eq!(found, expected, "{}: logins\n{}", server.name, server.log());
}

struct Outcome {
    name: &'static str,
    is_right: bool,
    logins: usize,
}

async fn check(server: &Server, (name, deliver): (&'static str, Delivery)) -> Outcome {
    let place = Place::new(server, name);
    // One cell that is wrong does not hide the others.
    let begun = Instant::now();
    let ended = AssertUnwindSafe(deliver(&place)).catch_unwind().await;
    eprintln!("{place}: {} connections, {:?}", place.connections(), begun.elapsed());
    let logins = place.connections() - place.refused.get();
    Outcome { name, is_right: ended.is_ok(), logins }
}

/// The directory of one delivery on one server.
struct Place<'a> {
    server: &'a Server,
    name: &'static str,
    /// Connections so far.
    connections: Arc<AtomicUsize>,
    /// Connections without a login.
    refused: Cell<usize>,
}

impl<'a> Place<'a> {
    fn new(server: &'a Server, name: &'static str) -> Self {
        Self { server, name, connections: Arc::default(), refused: Cell::default() }
    }

    fn folder(&self) -> PathBuf {
        self.server.files.join(self.name)
    }

    /// Everything that is in the directory, hidden files too.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let folder = self.folder();
        if folder.exists() { files_below(&folder) } else { BTreeMap::new() }
    }

    /// Opens a line to the server that counts connections, with the weather of each by its number.
    async fn line(&self, weather: impl Fn(usize) -> Weather + Send + 'static) -> Line {
        let connections = self.connections.clone();
        let counted = move |number| {
            connections.fetch_add(1, Ordering::SeqCst);
            weather(number)
        };
        Line::to(([127, 0, 0, 1], self.server.port).into(), counted).await
    }

    fn config(&self, line: &Line, changes: &Value) -> Value {
        let mut config = json!({
            "sftp_host": "127.0.0.1",
            "sftp_port": line.port,
            "sftp_path": format!("{}/{}", self.server.path, self.name),
        });
        for fields in [&self.server.login, changes] {
            for (field, value) in fields.as_object().unwrap() {
                config[field] = value.clone();
            }
        }
        config
    }

    /// Delivers a file in one invocation. Returns how it ended, and the number of connections.
    async fn deliver(&self, file: &File, changes: Value) -> (Result<Ended, Error>, usize) {
        let before = self.connections();
        let line = self.line(|_| Weather::Fine).await;
        let source = Memory::new(file.bytes.clone());
        let config = self.config(&line, &changes);
        let ended = invoke(&MemoryJournal::default(), config, &source, LONG).await;
        (ended, self.connections() - before)
    }

    /// Delivers a file at the first attempt, with one login.
    async fn check(&self, file: &File, changes: Value, verified: Verified) -> Receipt {
        let (ended, connections) = self.deliver(file, changes).await;
        let receipt = self.check_receipt(ended, file, verified, 1);
        assert_eq!(connections, 1, "{self}: connections");
        self.check_files(&[("report.zip", &file.bytes)]);
        receipt
    }

    #[track_caller]
    fn check_receipt(
        &self,
        ended: Result<Ended, Error>,
        file: &File,
        verified: Verified,
        attempts: u32,
    ) -> Receipt {
        let (status, receipt) = delivered(ended);
        assert_eq!(
            (status, receipt.bytes, receipt.sha256.as_deref(), receipt.verified, receipt.attempts),
            (
                DeliveryStatus::Delivered,
                file.bytes.len() as u64,
                Some(file.sha256),
                verified,
                attempts
            ),
            "{self}"
        );
        receipt
    }

    /// Checks that these files are in the directory, and nothing else.
    #[track_caller]
    fn check_files(&self, expected: &[(&str, &[u8])]) {
        let files = self.files();
        let names: Vec<_> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect();
        let is_right = files.len() == expected.len()
            && expected.iter().all(|(name, bytes)| files.get(*name).is_some_and(|at| at == bytes));
        assert!(is_right, "{self}: {names:?} are there, or have other bytes");
    }

    /// Checks that the file alone is there, and that the journal knows of nothing else.
    #[track_caller]
    fn check_complete(&self, file: &File, journal: &MemoryJournal) {
        self.check_files(&[("report.zip", &file.bytes)]);
        assert_eq!(journal.get().unwrap().progress.leftovers, Vec::<String>::new(), "{self}");
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}, {}", self.server.name, self.name)
    }
}

async fn small(place: &Place<'_>) {
    place.check(&one(), json!({}), Verified::Size).await;
}

async fn large(place: &Place<'_>) {
    place.check(&big(), json!({}), Verified::Size).await;
    place.check(&big(), json!({ "sftp_verify": "readback" }), Verified::Readback).await;
}

async fn four_connections(place: &Place<'_>) {
    let file = big();
    let (ended, connections) = place.deliver(&file, by_four()).await;
    let do_meet = place.server.handles == Handles::Meet;
    place.check_receipt(ended, &file, if do_meet { Verified::Seams } else { Verified::Size }, 1);
    assert_eq!(connections, 4, "{place}: connections");
    place.check_files(&[("report.zip", &file.bytes)]);
}

async fn replaced(place: &Place<'_>) {
    place.check(&one(), json!({}), Verified::Size).await;
    place.check(&longer(), json!({}), Verified::Size).await;
    place.check(&another(), json!({ "sftp_verify": "readback" }), Verified::Readback).await;
}

async fn kept(place: &Place<'_>) {
    let changes = json!({ "sftp_overwrite": "fail" });
    place.check(&one(), changes.clone(), Verified::Size).await;
    for other in [another(), longer()] {
        let (ended, connections) = place.deliver(&other, changes.clone()).await;
        let error = ended.unwrap_err();
        assert_eq!(
            (error.name(), connections),
            (ErrorName::TransportRemote, 1),
            "{place}: {error}"
        );
        place.check_files(&[("report.zip", &one().bytes)]);
    }
    let (ended, connections) = place.deliver(&one(), changes).await;
    let (status, receipt) = delivered(ended);
    let found = (status, receipt.bytes, receipt.sha256.as_deref(), receipt.verified, connections);
    let expected = (DeliveryStatus::AlreadyThere, 4, Some(one().sha256), Verified::Readback, 1);
    assert_eq!(found, expected, "{place}");
    place.check_files(&[("report.zip", &one().bytes)]);
}

async fn skipped(place: &Place<'_>) {
    let changes = json!({ "sftp_overwrite": "skip_if_same_size" });
    place.check(&one(), changes.clone(), Verified::Size).await;
    let (ended, connections) = place.deliver(&another(), changes.clone()).await;
    let (status, receipt) = delivered(ended);
    // Nobody has looked at the bytes.
    let found = (status, receipt.bytes, receipt.sha256, receipt.verified, connections);
    let expected = (DeliveryStatus::AlreadyThere, 4, None, Verified::Size, 1);
    assert_eq!(found, expected, "{place}");
    place.check_files(&[("report.zip", &one().bytes)]);
    place.check(&longer(), changes, Verified::Size).await;
}

async fn sidecar(place: &Place<'_>) {
    for file in [one(), longer()] {
        let (ended, connections) = place.deliver(&file, json!({ "sftp_sidecar": ".sha256" })).await;
        place.check_receipt(ended, &file, Verified::Size, 1);
        assert_eq!(connections, 1, "{place}: connections");
        let line = format!("{}  report.zip\n", file.sha256);
        place.check_files(&[("report.zip", &file.bytes), ("report.zip.sha256", line.as_bytes())]);
    }
}

async fn in_place(place: &Place<'_>) {
    let changes = json!({ "sftp_write_mode": "direct" });
    place.check(&big(), changes.clone(), Verified::Size).await;
    // Shorter: nothing of the old file may be left behind it.
    place.check(&one(), changes, Verified::Size).await;
}

async fn directories(place: &Place<'_>) {
    let below = |path: &str| format!("{}/{}/{path}", place.server.path, place.name);
    let file = one();
    let (ended, connections) = place.deliver(&file, json!({ "sftp_path": below("x/y/z") })).await;
    place.check_receipt(ended, &file, Verified::Size, 1);
    assert_eq!(connections, 1, "{place}: connections");
    place.check_files(&[("x/y/z/report.zip", &file.bytes)]);

    let changes = json!({ "sftp_path": below("q/y"), "sftp_create_dirs": false });
    let error = place.deliver(&file, changes).await.0.unwrap_err();
    assert!(error.to_string().contains("`sftp_create_dirs` is false"), "{place}: {error}");
    assert!(!place.folder().join("q").exists(), "{place}: a directory was made");
    place.check_files(&[("x/y/z/report.zip", &file.bytes)]);
}

async fn pins(place: &Place<'_>) {
    let shown = |receipt: Receipt| match receipt.details {
        ReceiptDetails::Sftp { host_key, host_key_verified } => (host_key, host_key_verified),
        other @ ReceiptDetails::ShareFile { .. } => panic!("{other:?}"),
    };
    let (key, is_pinned) = shown(place.check(&one(), json!({}), Verified::Size).await);
    assert!(!is_pinned, "{place}");
    let fingerprint = key.split(' ').nth(1).unwrap();
    let pinned = json!({ "sftp_host_keys": [fingerprint] });
    let receipt = place.check(&longer(), pinned, Verified::Size).await;
    assert_eq!(shown(receipt), (key, true), "{place}");

    let wrong = json!({ "sftp_host_keys": [format!("SHA256:{}", "A".repeat(43))] });
    let (ended, connections) = place.deliver(&one(), wrong).await;
    assert_eq!(ended.unwrap_err().name(), ErrorName::TransportHostKey, "{place}");
    place.refused.set(connections);
    place.check_files(&[("report.zip", &longer().bytes)]);
}

/// The function dies half-way, and is called again.
async fn killed(place: &Place<'_>) {
    let journal = MemoryJournal::default();
    let line = place.line(|_| Weather::Fine).await;
    let config = place.config(&line, &json!({}));
    let stalling = Memory { stalls_after: Some(HALF), ..Memory::new(big().bytes) };
    let death = async {
        while place.files().values().map(Vec::len).sum::<usize>() < HALF / 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = invoke(&journal, config.clone(), &stalling, LONG) => panic!("{place}: {ended:?}"),
        () = death => {}
    }
    // Its lease expires before anybody else may act.
    journal.age(Duration::from_mins(2));
    let (file, source) = (big(), Memory::new(big().bytes));
    let ended = invoke(&journal, config, &source, LONG).await;
    place.check_receipt(ended, &file, Verified::Size, 2);
    // What a dead invocation may still be writing is not resumed.
    assert_eq!((source.opened(), place.connections()), (vec![0], 2), "{place}");
    place.check_complete(&file, &journal);
}

/// The connection ends half-way, and the next attempt goes on.
async fn cut(place: &Place<'_>) {
    let resumes = place.server.handles != Handles::InOrder;
    check_cut(place, &json!({}), (1, HALF), resumes).await;
}

async fn cut_of_four(place: &Place<'_>) {
    let resumes = place.server.handles == Handles::Meet;
    check_cut(place, &by_four(), (4, HALF / 4), resumes).await;
}

/// Delivers the big file while the first `cut` connections end after so many bytes.
async fn check_cut(
    place: &Place<'_>,
    changes: &Value,
    (cut, bytes): (usize, usize),
    resumes: bool,
) {
    let weather = move |number| {
        if number < cut { Weather::Cut(Way::ToServer, bytes) } else { Weather::Fine }
    };
    let line = place.line(weather).await;
    let (file, config) = (big(), place.config(&line, changes));
    let source = Memory::new(file.bytes.clone());
    let journal = MemoryJournal::default();
    let ended = invoke(&journal, config, &source, LONG).await;
    place.check_receipt(ended, &file, if resumes { Verified::Seams } else { Verified::Size }, 2);
    let opened = source.opened();
    let is_resumed = opened.len() > 1 && opened.last() > Some(&0);
    assert_eq!(is_resumed, resumes, "{place}: the file was read from {opened:?}");
    // The second attempt writes through one handle.
    assert_eq!(place.connections(), cut + 1, "{place}: connections");
    place.check_complete(&file, &journal);
}
