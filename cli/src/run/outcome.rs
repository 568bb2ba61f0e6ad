//! What a run left behind, where its user can open it.

use std::path::{Path, PathBuf};

use job::{
    RunLayout, S3Location,
    view::{RunState, RunView},
};
use local::{Store, StoreError};
use serde::Deserialize;
use tokio::fs;

use crate::Error;

/// A run that has ended, and the files of it that outlast the stack.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub view: RunView,
    /// The delivered file on disk, if there is one.
    pub file: Option<PathBuf>,
    /// What the transporter says, if there is one.
    pub receipt: Option<Receipt>,
    /// The manifest on disk, if one was written.
    pub manifest: Option<PathBuf>,
    /// The objects that say what failed, as S3 URIs.
    pub errors: Vec<String>,
}

/// The part of a transporter's receipt that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Receipt {
    /// `delivered`, or `already_there` if nothing was sent.
    #[serde(default)]
    pub status: String,
    /// The kind of transport.
    #[serde(default)]
    pub transport: String,
    /// The file's path at the recipient.
    pub remote_path: String,
    /// The key that the server presented.
    #[serde(default)]
    pub host_key: Option<String>,
    /// Whether it is one of the pinned ones.
    #[serde(default)]
    pub host_key_verified: Option<bool>,
}

impl Receipt {
    /// Reads what the endpoint tells of a delivery.
    pub fn of(view: &RunView) -> Option<Self> {
        view.delivery.as_ref().and_then(|delivery| Self::deserialize(delivery).ok())
    }
}

impl Outcome {
    /// Copies the file to `out`, unless it was delivered, and the manifest to the file `manifest`.
    ///
    /// # Errors
    ///
    /// When an object can not be read or a file not be written.
    pub async fn fetch(
        view: RunView,
        store: &Store,
        objects_dir: &Path,
        out: &Path,
        manifest: Option<&Path>,
        layout: Option<RunLayout>,
    ) -> Result<Self, Error> {
        let receipt = Receipt::of(&view);
        let file = match (&receipt, &view.file, view.status) {
            (Some(receipt), _, _) => {
                let root = if receipt.transport == "sharefile" {
                    out.join("sharefile")
                } else {
                    out.to_owned()
                };
                Some(root.join(receipt.remote_path.trim_start_matches('/')))
            }
            (None, Some(file), RunState::Succeeded) => {
                Some(copy(store, objects_dir, &file.uri, &out.join(file.file_name.as_str())).await?)
            }
            (None, _, _) => None,
        };
        let manifest = match (&view.manifest, manifest) {
            (Some(uri), Some(to)) => Some(copy(store, objects_dir, uri, to).await?),
            _ => None,
        };
        let errors = errors(store, layout).await;
        Ok(Self { view, file, receipt, manifest, errors })
    }
}

/// What stands in the run's `errors/`; nothing if that can not be told.
async fn errors(store: &Store, layout: Option<RunLayout>) -> Vec<String> {
    let Some(layout) = layout else { return Vec::new() };
    let S3Location { bucket, key } = layout.error("any");
    let prefix = &key[..=key.rfind('/').unwrap_or_default()];
    let listed = store.list(&bucket, prefix).await.unwrap_or_default();
    listed.into_iter().map(|object| S3Location::new(&bucket, object.key).to_string()).collect()
}

/// Copies an object to `to`. A copy that breaks off leaves what was there before.
///
/// The store keeps most objects as plain files, which are copied as such; only an object whose key
/// can not be a path goes through memory.
async fn copy(store: &Store, objects_dir: &Path, uri: &str, to: &Path) -> Result<PathBuf, Error> {
    let not_an_object = |_| Error::ReadObject {
        uri: uri.to_owned(),
        source: StoreError::InvalidRequest { problem: "it is not an S3 URI".to_owned() },
    };
    let S3Location { bucket, key } = uri.parse().map_err(not_an_object)?;
    let unreadable = |source| Error::ReadObject { uri: uri.to_owned(), source };
    let size_bytes = store.head(&bucket, &key).await.map_err(unreadable)?.size_bytes;

    let part = to.with_file_name(format!("{}.part", to.file_name().unwrap_or_default().display()));
    let unwritable = |source| Error::WriteFile { path: to.to_owned(), source };
    let plain = objects_dir.join(&bucket).join(&key);
    if !matches!(fs::copy(&plain, &part).await, Ok(copied) if copied == size_bytes) {
        let bytes = store.get(&bucket, &key).await.map_err(unreadable)?;
        fs::write(&part, bytes).await.map_err(unwritable)?;
    }
    fs::rename(&part, to).await.map_err(unwritable)?;
    Ok(to.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use job::Prefix;
    use serde_json::json;

    use super::*;

    /// A run without a transporter whose file is `key`, and its store.
    async fn run_of(root: &Path, key: &str, changes: serde_json::Value) -> (Store, RunView) {
        let store = Store::open(root.join("s3")).await.unwrap();
        store.create_bucket("acme-results").await.unwrap();
        for (key, text) in
            [(key, "a,b\n1,2\n"), ("out/r1/manifest.json", "{}"), ("out/r1/errors/x.json", "{}")]
        {
            store
                .put("acme-results", key, None, Bytes::from_static(text.as_bytes()))
                .await
                .unwrap();
        }
        std::fs::create_dir(root.join("out")).unwrap();
        let mut view = json!({
            "run_id": "r1", "status": "SUCCEEDED", "started_at": "2026-01-02T03:04:05Z", "finished_at": null,
            "stage": null, "query_count": 1, "queries": [], "delivery": null, "failure": null,
            "manifest": "s3://acme-results/out/r1/manifest.json", "data_scanned_bytes": 0,
            "file": {
                "uri": format!("s3://acme-results/{key}"), "etag": "\"e\"", "size_bytes": 8, "sha256": "00",
                "file_name": "users.csv",
            },
        });
        view.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        (store, serde_json::from_value(view).unwrap())
    }

    fn layout() -> RunLayout {
        let output = Prefix::from("out".to_owned());
        RunLayout::new(
            "acme-results".parse().unwrap(),
            output,
            Prefix::default(),
            "r1".parse().unwrap(),
        )
    }

    #[tokio::test]
    async fn without_a_transporter_the_file_and_the_manifest_are_copied_whatever_the_key() {
        for key in ["out/r1/csv/users.csv", "out//users.csv"] {
            let dir = tempfile::tempdir().unwrap();
            let (store, view) = run_of(dir.path(), key, json!({})).await;
            let out = dir.path().join("out");
            for _ in 0..2 {
                let outcome = Outcome::fetch(
                    view.clone(),
                    &store,
                    &dir.path().join("s3"),
                    &out,
                    Some(&dir.path().join("m.json")),
                    Some(layout()),
                )
                .await
                .unwrap();
                assert_eq!(outcome.file, Some(out.join("users.csv")));
                assert_eq!(outcome.manifest, Some(dir.path().join("m.json")));
                assert_eq!(outcome.errors, ["s3://acme-results/out/r1/errors/x.json"]);
            }
            assert_eq!(std::fs::read_to_string(out.join("users.csv")).unwrap(), "a,b\n1,2\n");
            let mut names: Vec<_> =
                std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["users.csv"]);
            assert_eq!(std::fs::read_to_string(dir.path().join("m.json")).unwrap(), "{}");
        }
    }

    #[tokio::test]
    async fn a_delivered_file_is_where_the_server_put_it_and_a_failed_run_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let delivery = json!({ "delivery": { "remote_path": "/in/daily/x.csv", "host_key": "k", "bytes": 8 } });
        let (store, view) = run_of(dir.path(), "out/r1/csv/users.csv", delivery).await;
        let (objects, out) = (dir.path().join("s3"), dir.path().join("out"));
        let failed =
            RunView { status: RunState::Failed, delivery: None, manifest: None, ..view.clone() };

        let outcome = Outcome::fetch(view, &store, &objects, &out, None, None).await.unwrap();
        assert_eq!((outcome.file, outcome.errors), (Some(out.join("in/daily/x.csv")), vec![]));
        let outcome =
            Outcome::fetch(failed, &store, &objects, &out, None, Some(layout())).await.unwrap();
        assert_eq!((outcome.file, outcome.manifest), (None, None));
    }
}
