//! A partner's server, a file, a journal, a run, and a store of secrets.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_io::{
    StorageError,
    run_files::RunFileError,
    secrets::{Freshness, SecretError},
};
use bytes::Bytes;
use delivery::{Content, MemoryJournal, Source};
use file_transporter::{Answer, DeliveryRequest, Error, LiveRun, SecretReader, Services, deliver};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use job::SecretReference;
use local_sftp::{Config, Faults, Server};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const USER: &str = "acme";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The file that is delivered.
pub(crate) const FILE: &[u8] = b"id,name\n1,Ann\n";

/// Everything that a call meets.
pub(crate) struct World {
    pub(crate) server: Server,
    folder: TempDir,
    pub(crate) journal: MemoryJournal,
    pub(crate) has_run_ended: AtomicBool,
    pub(crate) vault: Vault,
}

/// A store with one secret, `sftp/acme`, which may have changed when it is read anew.
#[derive(Default)]
pub(crate) struct Vault {
    pub(crate) cached: Option<String>,
    pub(crate) now: Option<String>,
    pub(crate) reads: Mutex<Vec<Freshness>>,
}

impl World {
    pub(crate) async fn new(faults: Faults) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            root: folder.path().to_owned(),
            user: USER.to_owned(),
            password: PASSWORD.into(),
            authorized_keys: Vec::new(),
            host_key_file: None,
            address: ([127, 0, 0, 1], 0).into(),
            faults,
        };
        Self {
            server: Server::start(config).await.unwrap(),
            folder,
            journal: MemoryJournal::default(),
            has_run_ended: AtomicBool::new(false),
            vault: Vault::default(),
        }
    }

    /// One call of the function, with changes to the transporter's configuration.
    pub(crate) async fn call(&self, changes: &Value) -> Result<Answer, Error> {
        let mut config = json!({
            "sftp_host": "127.0.0.1",
            "sftp_port": self.server.address().port(),
            "sftp_user": USER,
            "sftp_password": PASSWORD,
            "sftp_path": "/in",
            "sftp_host_keys": [self.server.host_key_fingerprint()],
        });
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        let request: DeliveryRequest = serde_json::from_value(json!({
            "run_id": "run-1",
            "source": { "bucket": "bucket", "key": "zips/run-1.zip", "etag": "\"x\"" },
            "file_name": "report.csv",
            "transporter": { "type": "sftp", "config": config },
        }))
        .unwrap();
        let services = Services {
            source: self,
            journals: &self.journal,
            run: self,
            secrets: &self.vault,
            clock: || Timestamp::UNIX_EPOCH,
        };
        deliver(&request, services, Instant::now() + Duration::from_secs(870)).await
    }

    /// The partner's files.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.folder.path().join("in"));
        let entries = entries.into_iter().flatten().map(Result::unwrap);
        let file = |entry: fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        };
        entries.map(file).collect()
    }
}

#[async_trait]
impl Source for World {
    async fn open(&self, offset: u64) -> Result<Content, StorageError> {
        let chunk = Bytes::from_static(&FILE[usize::try_from(offset).unwrap()..]);
        let chunks = stream::iter([Ok(chunk)]).boxed();
        Ok(Content { size_bytes: FILE.len() as u64, version: "\"x\"".to_owned(), chunks })
    }
}

#[async_trait]
impl LiveRun for World {
    async fn expect_live(&self) -> Result<(), RunFileError> {
        if self.has_run_ended.load(Ordering::Relaxed) {
            return Err(RunFileError::Ended { run_id: "run-1".parse().unwrap() });
        }
        Ok(())
    }
}

#[async_trait]
impl SecretReader for Vault {
    async fn read(
        &self,
        reference: &SecretReference,
        freshness: Freshness,
    ) -> Result<SecretString, SecretError> {
        self.reads.lock().unwrap().push(freshness);
        let reference = reference.clone();
        let text = match freshness {
            Freshness::Cached if reference.id() == "sftp/acme" => self.cached.clone(),
            Freshness::Cached => {
                return Err(SecretError::NotFound { reference, code: "None".to_owned() });
            }
            Freshness::Now => self.now.clone(),
        };
        let source = "no answer".into();
        text.map(SecretString::from).ok_or(SecretError::Unavailable { reference, source })
    }
}
