//! The partner's account, the file to deliver, and what the partner finds afterwards.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_io::{Failure, StorageError};
use bytes::Bytes;
use delivery::{Acquired, Budget, Content, Ended, Lease, MemoryJournal, Parcel, Source, deliver};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use job::{
    ErrorName, FileName, RunId, S3Location,
    delivery::{DeliverySummary, Journal, Receipt, ReceiptDetails},
    error::Chain,
    transport::ShareFileConfig,
};
use local_sharefile::{Account, Call, Config, Faults, Server};
use serde_json::{Value, json};
use sharefile::{Error, ShareFile};
use tempfile::TempDir;

/// Time of an invocation that has enough of it.
pub(crate) const LONG: Duration = Duration::from_secs(870);

pub(crate) const CLIENT_SECRET: &str = "client+secret/of 7 words";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The path of the delivered file in the account.
pub(crate) const PLACE: &str = "home/Reports/2026/report.zip";

/// A file of pseudo-random bytes: several chunks long, the last one short.
pub(crate) fn file() -> Vec<u8> {
    bytes(300_001)
}

/// A file that is too large for one request.
pub(crate) fn large_file() -> Vec<u8> {
    bytes(9_000_001)
}

fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

/// A file in memory, in pieces that have nothing to do with the size of a chunk.
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    /// After so many bytes reading fails.
    pub(crate) breaks_after: Option<usize>,
    /// After so many times that it was opened, it has another version.
    pub(crate) changes_after: usize,
    /// Number of times that it was opened.
    pub(crate) opened: AtomicUsize,
    /// Number of bytes that were read, however often.
    pub(crate) read: Arc<AtomicU64>,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let changes_after = usize::MAX;
        Self {
            bytes,
            breaks_after: None,
            changes_after,
            opened: AtomicUsize::new(0),
            read: Arc::default(),
        }
    }
}

#[async_trait]
impl Source for Memory {
    async fn open(&self, offset: u64) -> Result<Content, StorageError> {
        let opened = self.opened.fetch_add(1, Ordering::SeqCst);
        let change = if opened < self.changes_after { "" } else { "-2" };
        let end = self.breaks_after.unwrap_or(self.bytes.len());
        let begin = usize::try_from(offset).unwrap();
        let pieces =
            self.bytes[begin..end].chunks(50_000).map(|piece| Ok(Bytes::copy_from_slice(piece)));
        let broken = self.breaks_after.map(|_| {
            Err(StorageError::Unavailable {
                action: "reading",
                location: S3Location::new("bucket", "key"),
                source: "the connection broke".into(),
            })
        });
        let pieces: Vec<_> = pieces.chain(broken).collect();
        let read = self.read.clone();
        let counted = stream::iter(pieces).inspect(move |piece| {
            let length = piece.as_ref().map_or(0, Bytes::len) as u64;
            read.fetch_add(length, Ordering::SeqCst);
        });
        Ok(Content {
            size_bytes: self.bytes.len() as u64,
            version: format!("\"{}{change}\"", self.bytes.len()),
            chunks: counted.boxed(),
        })
    }
}

/// A server over a folder of its own.
pub(crate) struct Partner {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Partner {
    pub(crate) async fn start(faults: Faults) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let account = Account {
            client_id: "client".to_owned(),
            client_secret: CLIENT_SECRET.into(),
            username: "robot@acme.example".to_owned(),
            password: PASSWORD.into(),
        };
        let config = Config {
            root: folder.path().join("account"),
            uploads: folder.path().join("uploads"),
            accounts: vec![account],
            address: ([127, 0, 0, 1], 0).into(),
            faults,
        };
        Self { server: Server::start(config).await.unwrap(), folder }
    }

    /// Number of requests of this kind so far.
    pub(crate) fn count(&self, wanted: Call) -> usize {
        self.server.requests().iter().filter(|(call, _)| *call == wanted).count()
    }

    /// The account's folder.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("account")
    }

    /// Puts a file where the delivered one will go.
    pub(crate) fn put_old(&self, bytes: &[u8]) {
        let place = self.path().join(PLACE);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }

    /// The configuration for this server, with changes.
    pub(crate) fn config(&self, changes: &Value) -> Value {
        let mut config = json!({
            "host": "acme.sharefile.com",
            "client_id": "client",
            "client_secret": CLIENT_SECRET,
            "username": "robot@acme.example",
            "password": PASSWORD,
            "sharefile_folder": "home",
            "sharefile_path": "Reports/2026",
            "sharefile_chunk_size": 65_536,
            "sharefile_max_attempts": 2,
            "sharefile_endpoint": self.server.url(),
        });
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        config
    }

    /// Delivers `source` to this server.
    pub(crate) async fn deliver(&self, changes: &Value, source: &Memory) -> Result<Receipt, Error> {
        deliver_to(&self.config(changes), source).await
    }

    /// Every file in the account.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files_below(&self.path())
    }
}

fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                files.insert(path.to_string_lossy().into_owned(), fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// Delivers `source` with a journal of its own, in as many invocations as it takes.
pub(crate) async fn deliver_to(config: &Value, source: &Memory) -> Result<Receipt, Error> {
    let journal = MemoryJournal::default();
    loop {
        match invoke(config, source, &journal, LONG).await? {
            Ended::Delivered(DeliverySummary { receipt, .. }) => return Ok(receipt),
            Ended::InProgress => {}
        }
    }
}

/// Delivers `source` as `report.zip` of run `run-1` in one invocation that has so much time.
pub(crate) async fn invoke(
    config: &Value,
    source: &Memory,
    journal: &MemoryJournal,
    time: Duration,
) -> Result<Ended, Error> {
    let config: ShareFileConfig = serde_json::from_value(config.clone()).unwrap();
    let result = invoke_with(&config, source, journal, time).await;
    let shown = match &result {
        Ok(ended) => format!("{ended:?}"),
        Err(error) => format!("{} {error:?}", Chain(error)),
    };
    let journal = serde_json::to_string(&journal.get()).unwrap();
    for secret in [PASSWORD, CLIENT_SECRET, "signature=", "Bearer"] {
        assert!(!shown.contains(secret), "`{secret}` is in: {shown}");
        assert!(!journal.contains(secret), "`{secret}` is in: {journal}");
    }
    result
}

async fn invoke_with(
    config: &ShareFileConfig,
    source: &Memory,
    journal: &MemoryJournal,
    time: Duration,
) -> Result<Ended, Error> {
    let run_id: RunId = "run-1".parse().unwrap();
    let file_name: FileName = "report.zip".parse().unwrap();
    let budget = Budget::until(Instant::now() + time);
    let fresh = Journal::new(run_id.clone(), None, "s3://bucket/zips/run-1.zip".to_owned());
    let lease = match Lease::acquire(journal, fresh, &budget).await? {
        Acquired::Lease(lease) => lease,
        Acquired::Delivered(summary) => return Ok(Ended::Delivered(summary)),
    };
    let parcel = Parcel { run_id: &run_id, file_name: &file_name, source, budget };
    deliver(&ShareFile::new(config)?, &parcel, &lease, Timestamp::now).await
}

/// Returns the number of attempts, or the error's name.
pub(crate) fn summary(result: &Result<Receipt, Error>) -> Result<u32, ErrorName> {
    match result {
        Ok(receipt) => Ok(receipt.attempts),
        Err(error) => Err(error.name()),
    }
}

/// MD5 and item id of a receipt.
pub(crate) fn details(receipt: &Receipt) -> (&str, Option<&str>) {
    match &receipt.details {
        ReceiptDetails::ShareFile { md5, item_id } => (md5, item_id.as_deref()),
        ReceiptDetails::Sftp { .. } => panic!("{receipt:?}"),
    }
}

/// Looks at one path all the time, and says at the end whether it ever held something else than
/// nothing or one of the allowed contents.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<usize>>,
}

impl Watcher {
    pub(crate) fn start(path: PathBuf, allowed: Vec<Vec<u8>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut others = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                match fs::read(&path) {
                    Ok(found) if !allowed.contains(&found) => others.push(found.len()),
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
                }
                thread::sleep(Duration::from_micros(500));
            }
            others
        });
        Self { stop, thread }
    }

    /// The lengths of everything that was seen and not allowed.
    pub(crate) fn stop(self) -> Vec<usize> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}
