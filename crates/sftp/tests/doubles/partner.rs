//! The partner's server, the file to deliver, and what the partner finds afterwards.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
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
use delivery::{
    Acquired, Budget, Content, Ended, Journals, Lease, MemoryJournal, Parcel, Source, deliver,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use job::{
    ErrorName, FileName, RunId, S3Location,
    delivery::{Checkpoint, DeliveryStatus, DeliverySummary, Journal, Receipt},
    error::Chain,
};
use local_sftp::{Config, Faults, Server};
use serde_json::{Value, json};
use sftp::{Error, Sftp};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::line::Line;

/// Bytes before the place of a resumed file that are compared with the source.
pub(crate) const SEAM_BYTES: u64 = 4096;
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
    /// After so many bytes of the file reading fails, with time for what was read to be acknowledged.
    pub(crate) breaks_after: Option<usize>,
    /// After so many bytes of the file nothing more comes, and no end either.
    pub(crate) stalls_after: Option<usize>,
    /// Offsets at which it was opened.
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
        let broken = self.breaks_after.map(async |_| {
            sleep(Duration::from_secs(2)).await;
            Err(StorageError::Unavailable {
                action: "reading",
                location: S3Location::new("bucket", "key"),
                source: "the connection broke".into(),
            })
        });
        let broken = stream::iter(broken).then(|broken| broken);
        let chunks = stream::iter(chunks.collect::<Vec<_>>()).chain(broken);
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

    /// The configuration for this server, with changes.
    pub(crate) fn config(&self, changes: &Value) -> Value {
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
        config
    }

    /// The configuration for this server behind `line`.
    pub(crate) fn config_by(&self, line: &Line, changes: &Value) -> Value {
        let mut config = self.config(changes);
        config["sftp_port"] = json!(line.port);
        config
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

/// An invocation may last so long, unless a test says otherwise.
pub(crate) const LONG: Duration = Duration::from_secs(870);

/// Delivers `source` as `report.zip` of run `run-1`, in one invocation with a new journal.
pub(crate) async fn deliver_to(config: Value, source: &Memory) -> Result<Receipt, Error> {
    match outcome_of(config, source).await? {
        Ended::Delivered(DeliverySummary { receipt, .. }) => Ok(receipt),
        Ended::InProgress => panic!("not finished"),
    }
}

/// Delivers as [`deliver_to`] does, and returns how the invocation ended.
pub(crate) async fn outcome_of(config: Value, source: &Memory) -> Result<Ended, Error> {
    invoke(&MemoryJournal::default(), config, source, LONG).await
}

/// Makes one invocation of the function, which has a time limit.
pub(crate) async fn invoke(
    journal: &MemoryJournal,
    config: Value,
    source: &Memory,
    time: Duration,
) -> Result<Ended, Error> {
    let ended = call(journal, config, source, time).await;
    if let Err(error) = &ended {
        check_no_secret(&format!("{} {error:?}", Chain(error)));
    }
    if let Some(journal) = journal.get() {
        check_no_secret(&serde_json::to_string(&journal).unwrap());
    }
    ended
}

async fn call(
    journal: &MemoryJournal,
    config: Value,
    source: &Memory,
    time: Duration,
) -> Result<Ended, Error> {
    let budget = Budget::until(Instant::now() + time);
    let lease = match Lease::acquire(journal, fresh_journal(), &budget).await? {
        Acquired::Lease(lease) => lease,
        Acquired::Delivered(summary) => return Ok(Ended::Delivered(summary)),
    };
    let (run_id, file_name) = (run_id(), "report.zip".parse::<FileName>().unwrap());
    let parcel = Parcel { run_id: &run_id, file_name: &file_name, source, budget };
    let sftp = Sftp::new(serde_json::from_value(config).unwrap());
    match sftp {
        Ok(sftp) => deliver(&sftp, &parcel, &lease, Timestamp::now).await,
        Err(error) => {
            lease.release().await?;
            Err(error)
        }
    }
}

fn run_id() -> RunId {
    "run-1".parse().unwrap()
}

/// The journal of a delivery that has not begun.
pub(crate) fn fresh_journal() -> Journal {
    Journal::new(run_id(), None, "s3://bucket/zips/run-1.zip".to_owned())
}

#[track_caller]
fn check_no_secret(shown: &str) {
    let is_shown = shown.contains(PASSWORD) || shown.contains("PRIVATE KEY");
    assert!(!is_shown, "a secret in: {shown}");
}

/// The checkpoint of a journal; panics if it has none.
#[track_caller]
pub(crate) fn checkpoint(journal: &MemoryJournal) -> Checkpoint {
    journal.get().unwrap().progress.checkpoint.unwrap()
}

/// Changes the journal as somebody else would who writes it.
pub(crate) async fn change_journal(journal: &MemoryJournal, change: impl FnOnce(&mut Journal)) {
    let mut stored = journal.read().await.unwrap().unwrap();
    change(&mut stored.journal);
    assert!(journal.replace(&stored.journal, &stored.etag).await.unwrap().is_some());
}

/// Returns the receipt and whether the file was sent; panics if there is none.
#[track_caller]
pub(crate) fn delivered(ended: Result<Ended, Error>) -> (DeliveryStatus, Receipt) {
    match ended {
        Ok(Ended::Delivered(DeliverySummary { status, receipt })) => (status, receipt),
        other => panic!("{other:?}"),
    }
}

/// The end of a delivery: the number of attempts, or the error's name.
pub(crate) fn summary(result: &Result<Receipt, Error>) -> Result<u32, ErrorName> {
    match result {
        Ok(receipt) => Ok(receipt.attempts),
        Err(error) => Err(error.name()),
    }
}

/// Looks at one path all the time for anything but one of the allowed contents.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<usize>>,
}

impl Watcher {
    pub(crate) fn start(path: PathBuf, allowed: Vec<Vec<u8>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut others, mut last) = (Vec::new(), None);
            while !stopped.load(Ordering::SeqCst) {
                // A file that looks as before need not be read again.
                let now = fs::metadata(&path).ok().map(|file| {
                    (file.ino(), file.len(), file.mtime(), file.mtime_nsec(), file.ctime_nsec())
                });
                if now.is_some() && now != last {
                    match fs::read(&path) {
                        Ok(found) if !allowed.contains(&found) => others.push(found.len()),
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
                    }
                }
                last = now;
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
