//! Delivers a local file with a transporter's configuration, as the function does it with an
//! object of S3: for measurements, and for trying out a partner's server.
//!
//! `cargo run --release -p file-transporter --example upload -- CONFIG.json FILE`, where the first
//! file holds the configuration of an SFTP transporter. The receipt is printed, and what is worth
//! knowing on the way goes to the standard error stream.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_io::{StorageError, sdk, secrets::Secrets};
use file_transporter::{Content, Delivery, Source, deliver};
use futures_util::StreamExt;
use job::{S3Location, error::Chain};
use serde_json::{Value, json};
use tokio::{
    fs::File,
    io::{AsyncSeekExt, SeekFrom},
};
use tokio_util::io::ReaderStream;

/// What S3 gives at a time is of this order.
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
    let config: Value = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
    let name = Path::new(file).file_name().map(|name| name.to_string_lossy());
    let delivery: Delivery = serde_json::from_value(json!({
        "run_id": "upload",
        "source": { "bucket": "local", "key": file },
        "file_name": name,
        "transporter": { "type": "sftp", "config": config },
    }))
    .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + Duration::from_hours(1);
    let secrets = Secrets::new(&sdk::config().await, Instant::now);
    let outcome = deliver(&delivery, &LocalFile(file.into()), &secrets, deadline).await;
    let outcome = outcome.map_err(|error| Chain(&error).to_string())?;
    serde_json::to_writer_pretty(std::io::stdout(), &outcome).map_err(|error| error.to_string())
}
