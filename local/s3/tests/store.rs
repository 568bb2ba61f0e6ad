//! The store through its own interface.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use local_s3::{Store, StoreError};
use proptest::prelude::*;
use tempfile::TempDir;

const BUCKET: &str = "results";

async fn opened(root: &Path) -> Store {
    let store = Store::open(root).await.expect("the store opens");
    store.create_bucket(BUCKET).await.expect("the bucket is created");
    store
}

async fn put(store: &Store, key: &str, body: &'static str) {
    store.put(BUCKET, key, None, Bytes::from_static(body.as_bytes())).await.expect(key);
}

async fn get(store: &Store, key: &str) -> Option<String> {
    match store.get(BUCKET, key).await {
        Ok(bytes) => Some(String::from_utf8(bytes.to_vec()).expect("bodies here are text")),
        Err(StoreError::NoSuchKey { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn keys(store: &Store, prefix: &str) -> Vec<String> {
    let objects = store.list(BUCKET, prefix).await.expect("the bucket can be listed");
    objects.into_iter().map(|object| object.key).collect()
}

/// Every file below a directory, without the store's lock and the bucket's marker.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    let own = |path: &PathBuf| path.ends_with(".s3/lock") || path.ends_with("results/bucket");
    found.retain(|path| !own(path));
    found
}

/// Keys that no directory can hold all of under their own names.
const AWKWARD: [&str; 12] = [
    "x",
    "x/y",
    "x/y/z",
    "k//double",
    "k/dir/",
    "k/..a",
    "k/../../b",
    "/lead",
    ".",
    "Ü\u{308}",
    "a\u{1}b",
    "back\\slash",
];

#[tokio::test]
async fn keys_that_can_not_all_be_paths_are_kept_side_by_side() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    for key in AWKWARD {
        put(&store, key, key).await;
    }
    let mut sorted = AWKWARD.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(keys(&store, "").await, sorted);
    drop(store);

    let store = opened(root.path()).await;
    for key in AWKWARD {
        assert_eq!(get(&store, key).await.as_deref(), Some(key));
        store.delete(BUCKET, key).await.expect(key);
    }
    assert_eq!(keys(&store, "").await, Vec::<String>::new());
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());
    let folder = fs::read_dir(root.path().join(BUCKET)).expect("the bucket's folder stays");
    assert_eq!(folder.count(), 0, "the folders of deleted objects are gone");
}

#[tokio::test]
async fn an_object_is_a_plain_file_under_its_key() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    put(&store, "runs/42/csv/users.csv", "id\n1\n").await;
    let path = root.path().join("results/runs/42/csv/users.csv");
    assert_eq!(fs::read_to_string(path).expect("it is there"), "id\n1\n");
}

#[tokio::test]
async fn what_is_known_of_an_object_survives_a_restart() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    put(&store, "q.sql", "SELECT 1").await;
    let before = store.head(BUCKET, "q.sql").await.expect("it is there");
    // md5sum of the body
    assert_eq!((before.etag.as_str(), before.size_bytes), ("b1698e52a0f16203489454196a0c6307", 8));
    drop(store);
    let store = opened(root.path()).await;
    assert_eq!(store.head(BUCKET, "q.sql").await.expect("it is still there"), before);
}

#[tokio::test]
async fn a_read_from_within_ends_where_the_object_ends() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    put(&store, "k", "hello").await;
    for (offset, length, expected) in
        [(0, 5, "hello"), (1, 3, "ell"), (3, 9, "lo"), (5, 1, ""), (9, 1, ""), (2, 0, "")]
    {
        let read = store.read_at(BUCKET, "k", offset, length).await.expect("it is there");
        assert_eq!(read, expected, "{length} bytes from {offset}");
    }
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    let second = Store::open(root.path()).await;
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
    drop(store);
    Store::open(root.path()).await.expect("it can be opened again");
}

#[tokio::test]
async fn an_object_can_not_be_seen_before_it_is_finished() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    put(&store, "big", "old").await;
    let before = files(root.path());

    let mut writer = store.writer(BUCKET, "big", Some("text/plain")).await.expect("it starts");
    writer.write(&vec![b'n'; 3 << 20]).await.expect("it writes");
    assert_eq!(get(&store, "big").await.as_deref(), Some("old"));
    drop(writer);
    assert_eq!(files(root.path()), before, "a dropped writer leaves nothing behind");

    let mut writer = store.writer(BUCKET, "big", Some("text/plain")).await.expect("it starts");
    writer.write(b"ne").await.expect("it writes");
    writer.write(b"w").await.expect("it writes");
    let info = writer.finish().await.expect("it finishes");
    assert_eq!((info.key.as_str(), info.size_bytes), ("big", 3));
    assert_eq!(get(&store, "big").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn a_key_does_not_lead_out_of_the_directory_over_a_link() {
    #[cfg(unix)]
    {
        let (root, outside) = (TempDir::new().expect("one"), TempDir::new().expect("another"));
        let store = opened(root.path()).await;
        let link = root.path().join("results/link");
        std::os::unix::fs::symlink(outside.path(), &link).expect("a link");
        put(&store, "link/file", "inside").await;
        put(&store, "link", "also inside").await;
        assert_eq!(files(outside.path()), Vec::<PathBuf>::new());
        assert_eq!(get(&store, "link/file").await.as_deref(), Some("inside"));
        assert_eq!(get(&store, "link").await.as_deref(), Some("also inside"));
        assert!(link.is_symlink(), "what the store did not make is not overwritten");
    }
}

#[tokio::test]
async fn files_of_others_are_neither_listed_nor_lost() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    let theirs = root.path().join("results/notes.txt");
    fs::write(&theirs, "mine").expect("it can be written");
    assert_eq!(keys(&store, "").await, Vec::<String>::new());
    put(&store, "notes.txt", "object").await;
    store.delete(BUCKET, "notes.txt").await.expect("it can be deleted");
    assert_eq!(fs::read_to_string(theirs).expect("it is there"), "mine");
}

#[tokio::test]
async fn a_file_that_was_edited_is_another_object_and_one_that_was_removed_is_none() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    put(&store, "edited", "before").await;
    put(&store, "removed", "before").await;
    let before = store.head(BUCKET, "edited").await.expect("it is there");
    fs::write(root.path().join("results/edited"), "afterwards").expect("it can be edited");
    fs::remove_file(root.path().join("results/removed")).expect("it can be removed");
    let after = store.head(BUCKET, "edited").await.expect("it is there");
    assert_eq!(after.size_bytes, 10);
    assert_ne!(after.etag, before.etag);
    assert_eq!(get(&store, "edited").await.as_deref(), Some("afterwards"));
    assert_eq!(get(&store, "removed").await, None);
    assert_eq!(keys(&store, "").await, ["edited"]);
}

#[tokio::test]
async fn names_that_s3_refuses_are_refused() {
    let root = TempDir::new().expect("a directory");
    let store = opened(root.path()).await;
    for bucket in ["", "..", ".s3", "a/b", "UPPER", "ab"] {
        let created = store.create_bucket(bucket).await;
        assert!(matches!(created, Err(StoreError::InvalidBucketName { .. })), "{bucket:?}");
    }
    for key in [String::new(), "k".repeat(1025)] {
        let written = store.put(BUCKET, &key, None, Bytes::new()).await;
        assert!(matches!(written, Err(StoreError::InvalidKey { .. })), "{} bytes", key.len());
    }
    let written = store.put("no-such-bucket", "k", None, Bytes::new()).await;
    assert!(matches!(written, Err(StoreError::NoSuchBucket { .. })));
}

#[derive(Debug, Clone)]
enum Step {
    Put(String, Vec<u8>),
    Delete(String),
    List(String),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || "[aA./é]{1,4}";
    prop_oneof![
        5 => (key(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(k, v)| Step::Put(k, v)),
        3 => key().prop_map(Step::Delete),
        1 => "[aA./é]{0,2}".prop_map(Step::List),
        1 => Just(Step::Reopen),
    ]
}

async fn same_as_a_map(steps: Vec<Step>) {
    let root = TempDir::new().expect("a directory");
    let mut store = Some(opened(root.path()).await);
    let mut map = BTreeMap::new();
    for step in steps {
        let open = store.take().expect("it is open between steps");
        match step {
            Step::Put(key, body) => {
                open.put(BUCKET, &key, None, body.clone().into()).await.expect("it can be put");
                map.insert(key, body);
            }
            Step::Delete(key) => {
                open.delete(BUCKET, &key).await.expect("it can be deleted");
                map.remove(&key);
            }
            Step::List(prefix) => {
                let expected: Vec<_> =
                    map.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
                assert_eq!(keys(&open, &prefix).await, expected);
            }
            Step::Reopen => {
                drop(open);
                store = Some(opened(root.path()).await);
                continue;
            }
        }
        store = Some(open);
    }
    let store = store.expect("it is open between steps");
    let mut stored = BTreeMap::new();
    for key in keys(&store, "").await {
        let body = store.get(BUCKET, &key).await.expect("what is listed can be read");
        stored.insert(key, body.to_vec());
    }
    assert_eq!(stored, map);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_bucket_is_a_map_whatever_the_keys(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(same_as_a_map(steps));
    }
}
