//! The partner's server, the file to deliver, and what the partner finds afterwards.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_io::{
    Failure, StorageError,
    secrets::{Freshness, SecretError},
};
use bytes::Bytes;
use file_transporter::{Content, Delivery, Error, Outcome, Receipt, SecretReader, Source, deliver};
use futures_util::{StreamExt, stream};
use job::{ErrorName, S3Location, SecretReference, error::Chain};
use local_sftp::{Config, Faults, Server};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

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
    /// After so many bytes reading fails.
    pub(crate) breaks_after: Option<usize>,
    pub(crate) opened: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, breaks_after: None, opened: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Source for Memory {
    async fn open(&self, offset: u64) -> Result<Content, StorageError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let end = self.breaks_after.unwrap_or(self.bytes.len());
        let begin = usize::try_from(offset).unwrap();
        let chunks =
            self.bytes[begin..end].chunks(50_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
        let broken = self.breaks_after.map(|_| {
            Err(StorageError::Unavailable {
                action: "reading",
                location: S3Location::new("bucket", "key"),
                source: "the connection broke".into(),
            })
        });
        let chunks: Vec<_> = chunks.chain(broken).collect();
        Ok(Content {
            size_bytes: self.bytes.len() as u64,
            version: format!("\"{}\"", self.bytes.len()),
            chunks: stream::iter(chunks).boxed(),
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

/// A store that is not asked.
pub(crate) struct NoSecrets;

#[async_trait]
impl SecretReader for NoSecrets {
    async fn read(
        &self,
        asked: &SecretReference,
        _: Freshness,
    ) -> Result<SecretString, SecretError> {
        panic!("`{asked}` is read")
    }
}

async fn outcome_with(
    transporter: Value,
    source: &Memory,
    secrets: &dyn SecretReader,
) -> Result<Outcome, Error> {
    let delivery: Delivery = serde_json::from_value(json!({
        "run_id": "run-1",
        "source": { "bucket": "bucket", "key": "zips/run-1.zip", "etag": "\"x\"", "size_bytes": 1 },
        "file_name": "report.zip",
        "transporter": transporter,
    }))
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(870);
    let result = deliver(&delivery, source, secrets, deadline).await;
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
                thread::sleep(Duration::from_micros(200));
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
