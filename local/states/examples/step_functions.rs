//! Serves Step Functions alone: `serve --port 8083 --lambda http://127.0.0.1:9001 --objects DIR`.
//!
//! Objects are the files `DIR/<bucket>/<key>`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use local_states::{Config, ObjectEntry, ObjectError, Objects, StepFunctions, router};

/// Step Functions on one port.
#[derive(Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8083)]
    port: u16,
    /// Where Lambda's Invoke is.
    #[arg(long, default_value = "http://127.0.0.1:9001")]
    lambda: String,
    /// The directory whose folders are the buckets.
    #[arg(long, default_value = ".")]
    objects: PathBuf,
    /// How many times faster than real time waits and time-outs are.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
}

struct Files {
    root: PathBuf,
}

impl Files {
    fn bucket(&self, bucket: &str) -> Result<PathBuf, ObjectError> {
        let path = self.root.join(bucket);
        if path.is_dir() {
            return Ok(path);
        }
        Err(ObjectError::NoSuchBucket(bucket.to_string()))
    }
}

#[async_trait]
impl Objects for Files {
    async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectError> {
        let path = self.bucket(bucket)?.join(key);
        let content = tokio::fs::read(path).await;
        content.map(Bytes::from).map_err(|_| ObjectError::NoSuchKey(key.to_string()))
    }

    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectEntry>, ObjectError> {
        let root = self.bucket(bucket)?;
        let mut entries = Vec::new();
        walk(&root, &root, &mut entries)
            .map_err(|error| ObjectError::Unavailable(error.to_string()))?;
        entries.retain(|entry| entry.key.starts_with(prefix));
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }
}

fn walk(root: &Path, folder: &Path, entries: &mut Vec<ObjectEntry>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, entries)?;
            continue;
        }
        let metadata = path.metadata()?;
        let key = path.strip_prefix(root).unwrap_or(&path);
        entries.push(ObjectEntry {
            key: key.to_string_lossy().into_owned(),
            size_bytes: metadata.len(),
            etag: String::new(),
            last_modified: metadata.modified()?.try_into().unwrap_or_default(),
        });
    }
    Ok(())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let objects = Arc::new(Files { root: arguments.objects });
    let roles = Arc::new(local_states::Unrestricted);
    let engine = StepFunctions::new(Config {
        speed: arguments.speed,
        ..Config::new("000000000000", "us-east-1", arguments.lambda, objects, roles)
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, router(engine)).await
}
