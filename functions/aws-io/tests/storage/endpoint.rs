//! An S3 endpoint over an empty directory, and a client of it.

use std::{collections::BTreeSet, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_io::{Storage, StorageError};
use aws_sdk_s3::{Client, config::Credentials};
use aws_smithy_http_client::Builder;
use axum::serve::ListenerExt as _;
use job::{ObjectVersion, S3Location};
use local_s3::{BucketSettings, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) const MIB: usize = 1024 * 1024;

pub(crate) struct Endpoint {
    _root: TempDir,
    pub(crate) store: Store,
    pub(crate) storage: Storage,
    client: Client,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        Self::start_with(BucketSettings::default()).await
    }

    /// An endpoint whose bucket is like the stack's: with versions, and encrypted by KMS.
    pub(crate) async fn start_as_deployed() -> Self {
        Self::start_with(BucketSettings { versioned: true, kms: true }).await
    }

    async fn start_with(settings: BucketSettings) -> Self {
        let root = TempDir::new().expect("a directory");
        let store = Store::open(root.path()).await.expect("the store opens");
        store.create_bucket_with("bucket", settings).await.expect("the bucket is created");
        let keys = [local_s3::Credentials::new("test", "test")];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
        let router = local_s3::fallback(store.clone(), &keys);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = config(format!("http://{address}")).await;
        let (storage, client) = (Storage::new(&config), Client::new(&config));
        Self { _root: root, store, storage, client }
    }

    /// Writes an object past the endpoint and gives its ETag.
    pub(crate) async fn put(&self, key: &str, bytes: &[u8]) -> String {
        let put = self.store.put("bucket", key, None, bytes.to_vec().into()).await;
        format!("\"{}\"", put.expect("it is written").etag)
    }

    /// Reads an object past the endpoint.
    pub(crate) async fn get(&self, key: &str) -> Vec<u8> {
        self.store.get("bucket", key).await.expect("it is there").to_vec()
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let objects = self.store.list("bucket", "").await.expect("it is listed");
        objects.into_iter().map(|object| object.key).collect()
    }

    /// The keys of the uploads that were begun and neither completed nor aborted.
    pub(crate) async fn uploads(&self) -> BTreeSet<String> {
        let listed = self.client.list_multipart_uploads().bucket("bucket").send().await;
        let uploads = listed.expect("they are listed").uploads.unwrap_or_default();
        uploads.into_iter().filter_map(|upload| upload.key).collect()
    }

    pub(crate) fn requests(&self, operation: &str) -> u64 {
        self.store.traffic().of(operation).requests
    }
}

pub(crate) async fn config(endpoint: String) -> SdkConfig {
    let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(Builder::new().build_http())
        .retry_config(retries)
        .load()
        .await
}

pub(crate) fn at(key: &str) -> S3Location {
    S3Location::new("bucket", key)
}

/// Bytes no two megabytes of which are alike.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The kind of an error, without its contents.
pub(crate) fn kind<T>(result: &Result<T, StorageError>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(StorageError::NotFound { .. }) => "not found",
        Err(StorageError::Changed { .. }) => "changed",
        Err(StorageError::Denied { .. }) => "denied",
        Err(StorageError::TooLarge { .. }) => "too large",
        Err(StorageError::Document { .. }) => "document",
        Err(StorageError::Refused { .. }) => "refused",
        Err(StorageError::Unavailable { .. }) => "unavailable",
    }
}

/// A version of a bucket without versioning.
pub(crate) fn pin(etag: &str) -> ObjectVersion {
    ObjectVersion { version_id: None, etag: etag.to_owned() }
}
