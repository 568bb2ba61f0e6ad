//! The partner's server, the file to deliver, and what the partner finds afterwards.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_io::{Failure, StorageError};
use bytes::Bytes;
use file_transporter::{
    Checkpoint, Content, Delivery, Error, Outcome, Receipt, SecretReader, Source, deliver,
};
use futures_util::{StreamExt, stream};
use job::{ErrorName, S3Location, error::Chain};
use local_sftp::{Config, Faults, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::no_secrets::NoSecrets;

use crate::line::Line;

pub(crate) const USER: &str = "acme";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The path of the delivered file, as the partner sees it.
pub(crate) const PLACE: &str = "in/daily/report.zip";

/// A file of pseudo-random bytes: several writes long, the last one short.
pub(crate) fn file() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..300_001).map(|_| next()).collect()
}

/// A file in memory, in chunks that have nothing to do with the size of a write.
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    pub(crate) version: String,
    /// After so many bytes of the file reading fails.
    pub(crate) breaks_after: Option<usize>,
    /// After so many bytes of the file nothing more comes, and no end either.
    pub(crate) stalls_after: Option<usize>,
    /// Where it was opened.
    pub(crate) opened: Mutex<Vec<u64>>,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let version = format!("\"{}\"", bytes.len());
        Self { bytes, version, breaks_after: None, stalls_after: None, opened: Mutex::default() }
    }

    pub(crate) fn opened(&self) -> Vec<u64> {
        self.opened.lock().unwrap().clone()
    }
}

#[async_trait]
impl Source for Memory {
    async fn open(&self, offset: u64) -> Result<Content, StorageError> {
        self.opened.lock().unwrap().push(offset);
        let begin = usize::try_from(offset).unwrap();
        let end = self.breaks_after.or(self.stalls_after).unwrap_or(self.bytes.len());
        let chunks = self.bytes[begin..end.max(begin)].chunks(50_000);
        let chunks = chunks.map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
        let broken = self.breaks_after.map(|_| {
            Err(StorageError::Unavailable {
                action: "reading",
                location: S3Location::new("bucket", "key"),
                source: "the connection broke".into(),
            })
        });
        let chunks = stream::iter(chunks.chain(broken).collect::<Vec<_>>());
        let chunks = match self.stalls_after {
            None => chunks.boxed(),
            Some(_) => chunks.chain(stream::pending()).boxed(),
        };
        let size_bytes = self.bytes.len() as u64;
        Ok(Content { size_bytes, version: self.version.clone(), chunks })
    }
}

/// A server over a folder of its own.
pub(crate) struct Partner {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Partner {
    pub(crate) async fn start(faults: Faults) -> Self {
        Self::with_keys(faults, Vec::new()).await
    }

    pub(crate) async fn with_keys(faults: Faults, authorized_keys: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            root: folder.path().to_owned(),
            user: USER.to_owned(),
            password: PASSWORD.into(),
            authorized_keys,
            host_key_file: None,
            address: ([127, 0, 0, 1], 0).into(),
            faults,
        };
        Self { server: Server::start(config).await.unwrap(), folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file where the delivered one will go.
    pub(crate) fn put_old(&self, bytes: &[u8]) {
        let place = self.path().join(PLACE);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }

    /// The job's transporter for this server, with changes to its configuration.
    pub(crate) fn transporter(&self, changes: &Value) -> Value {
        let mut config = json!({
            "sftp_host": "127.0.0.1",
            "sftp_port": self.server.address().port().to_string(),
            "sftp_user": USER,
            "sftp_password": PASSWORD,
            "sftp_path": "/in/daily",
            "sftp_host_keys": [self.server.host_key_fingerprint()],
        });
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        json!({ "type": "sftp", "config": config })
    }

    /// The job's transporter for this server behind `line`.
    pub(crate) fn transporter_by(&self, line: &Line, changes: &Value) -> Value {
        let mut transporter = self.transporter(changes);
        transporter["config"]["sftp_port"] = json!(line.port);
        transporter
    }

    /// Everything that is in the partner's folder, hidden files too.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files_below(self.path())
    }
}

pub(crate) fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
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

/// Delivers `source` as `report.zip` of run `run-1`.
pub(crate) async fn deliver_to(transporter: Value, source: &Memory) -> Result<Receipt, Error> {
    deliver_with(transporter, source, &NoSecrets).await
}

/// Delivers `source` as [`deliver_to`] does, with the credentials that `secrets` has.
pub(crate) async fn deliver_with(
    transporter: Value,
    source: &Memory,
    secrets: &dyn SecretReader,
) -> Result<Receipt, Error> {
    match outcome_with(transporter, source, secrets).await? {
        Outcome::Delivered(receipt) | Outcome::AlreadyThere(receipt) => Ok(receipt),
        Outcome::InProgress { checkpoint } => panic!("not finished: {checkpoint:?}"),
    }
}

/// Delivers `source` as [`deliver_to`] does, and tells how the invocation ended.
pub(crate) async fn outcome_of(transporter: Value, source: &Memory) -> Result<Outcome, Error> {
    outcome_with(transporter, source, &NoSecrets).await
}

async fn outcome_with(
    transporter: Value,
    source: &Memory,
    secrets: &dyn SecretReader,
) -> Result<Outcome, Error> {
    call(transporter, source, secrets, None, Duration::from_secs(870)).await
}

/// One invocation of the function, which goes on at a checkpoint and has a time limit.
pub(crate) async fn invoke(
    transporter: Value,
    source: &Memory,
    checkpoint: Option<Checkpoint>,
    time: Duration,
) -> Result<Outcome, Error> {
    call(transporter, source, &NoSecrets, checkpoint, time).await
}

async fn call(
    transporter: Value,
    source: &Memory,
    secrets: &dyn SecretReader,
    checkpoint: Option<Checkpoint>,
    time: Duration,
) -> Result<Outcome, Error> {
    // The state machine keeps it as JSON.
    let delivery: Delivery = serde_json::from_value(json!({
        "run_id": "run-1",
        "source": { "bucket": "bucket", "key": "zips/run-1.zip", "etag": "\"x\"", "size_bytes": 1 },
        "file_name": "report.zip",
        "transporter": transporter,
        "checkpoint": checkpoint,
    }))
    .unwrap();
    let result = deliver(&delivery, source, secrets, Instant::now() + time).await;
    if let Err(error) = &result {
        let shown = format!("{} {error:?}", Chain(error));
        assert!(
            !shown.contains(PASSWORD) && !shown.contains("PRIVATE KEY"),
            "a secret in: {shown}"
        );
    }
    result
}

/// What a delivery came to: the number of attempts, or the error's name.
pub(crate) fn summary(result: &Result<Receipt, Error>) -> Result<u32, ErrorName> {
    match result {
        Ok(receipt) => Ok(receipt.attempts),
        Err(error) => Err(error.name()),
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
                thread::sleep(Duration::from_millis(1));
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
