//! Delivers a local file with a transporter's configuration, as the function does it with an
//! object of S3: for measurements, and for trying out a partner's server.
//!
//! `cargo run --release -p sftp --example upload -- CONFIG.json FILE`, where the first
//! file holds the configuration of an SFTP transporter. The receipt is printed, and what is worth
//! knowing on the way goes to the standard error stream.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_io::StorageError;
use delivery::{Acquired, Budget, Content, Ended, Lease, MemoryJournal, Parcel, Source, deliver};
use futures_util::StreamExt;
use jiff::Timestamp;
use job::{FileName, S3Location, delivery::Journal, error::Chain, transport::SftpConfig};
use sftp::Sftp;
use tokio::{
    fs::File,
    io::{AsyncSeekExt, SeekFrom},
};
use tokio_util::io::ReaderStream;

/// Bytes of a chunk, in the order of what S3 gives at a time.
const CHUNK_BYTES: usize = 64 * 1024;

struct LocalFile(PathBuf);

impl LocalFile {
    fn failed(&self, source: std::io::Error) -> StorageError {
        StorageError::Unavailable {
            action: "reading",
            location: S3Location::new("local", self.0.to_string_lossy()),
            source: source.into(),
        }
    }
}

#[async_trait]
impl Source for LocalFile {
    async fn open(&self, offset: u64) -> Result<Content, StorageError> {
        let mut file = File::open(&self.0).await.map_err(|error| self.failed(error))?;
        let size_bytes = file.metadata().await.map_err(|error| self.failed(error))?.len();
        file.seek(SeekFrom::Start(offset)).await.map_err(|error| self.failed(error))?;
        let this = Self(self.0.clone());
        let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES)
            .map(move |chunk| chunk.map_err(|error| this.failed(error)));
        Ok(Content { size_bytes, version: "local".to_owned(), chunks: chunks.boxed() })
    }
}

#[tokio::main]
async fn main() -> Result<(), String> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [config, file] = arguments.as_slice() else {
        return Err("usage: upload CONFIG.json FILE".to_owned());
    };
    let config = fs::read(config).map_err(|error| format!("reading `{config}`: {error}"))?;
    let config: SftpConfig = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
    let name = Path::new(file).file_name().map(|name| name.to_string_lossy());
    let file_name: FileName =
        name.unwrap_or_default().parse().map_err(|error| Chain(&error).to_string())?;
    let run_id = "upload".parse().map_err(|error| Chain(&error).to_string())?;
    let budget = Budget::until(Instant::now() + Duration::from_hours(1));
    let journal = MemoryJournal::default();
    let fresh = Journal::new(run_id, None, file.clone());
    let run_id = fresh.run_id.clone();
    let acquired = Lease::acquire(&journal, fresh, &budget).await;
    let Acquired::Lease(lease) = acquired.map_err(|error| Chain(&error).to_string())? else {
        return Err("the journal is not empty".to_owned());
    };
    let source = LocalFile(file.into());
    let parcel = Parcel { run_id: &run_id, file_name: &file_name, source: &source, budget };
    let sftp = Sftp::new(config).map_err(|error| Chain(&error).to_string())?;
    let ended = deliver(&sftp, &parcel, &lease, Timestamp::now).await;
    match ended.map_err(|error| Chain(&error).to_string())? {
        Ended::Delivered(summary) => serde_json::to_writer_pretty(std::io::stdout(), &summary)
            .map_err(|error| error.to_string()),
        Ended::InProgress => Err("the time was up".to_owned()),
    }
}
