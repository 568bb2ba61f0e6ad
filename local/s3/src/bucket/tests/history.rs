//! Versions against a second definition of them, and after a stop between any two renames.

use proptest::prelude::*;

use super::*;
use crate::bucket::history::Marker;
use crate::bucket::{ListedVersion, VersionQuery};

fn versioned(root: &TempDir, kms: bool) -> Bucket {
    let bucket = created(root);
    turn(&bucket, Versioning::Enabled);
    bucket.configure(|before| Settings { kms, ..before }).expect("it can be configured");
    bucket
}

fn turn(bucket: &Bucket, versioning: Versioning) {
    bucket.configure(|before| Settings { versioning, ..before }).expect("it can be configured");
}

fn put(
    bucket: &Bucket,
    key: &str,
    body: &[u8],
    condition: &WriteCondition,
) -> Result<Arc<Entry>, StoreError> {
    let kms = bucket.settings().expect("the bucket is there").kms;
    let new = NewObject { kms, ..NewObject::new(key, Headers::default()) };
    bucket.commit(new, staged(bucket, body), condition)
}

fn listed(bucket: &Bucket) -> Vec<ListedVersion> {
    let keys = Query { limit: usize::MAX, ..Query::default() };
    let query = VersionQuery { keys, after_version: None };
    bucket.list_versions(&query).expect("it can be listed").versions
}

/// A version as the model has it: what a client can tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    id: VersionId,
    etag: String,
    /// `None` for a delete marker.
    body: Option<Vec<u8>>,
}

/// The versions of each key, from the oldest on. The last one is the current one.
type Model = BTreeMap<String, Vec<Version>>;

/// Reads all that a bucket tells of its versions.
fn told(bucket: &Bucket) -> Model {
    let mut model = Model::new();
    for ListedVersion { version, is_latest } in listed(bucket).into_iter().rev() {
        let key = version.key().to_owned();
        let read = bucket.read(&key, Some(version.version()));
        let (etag, body) = match &version {
            Past::Object(entry) => (entry.etag.clone(), Some(read.expect("it can be read"))),
            Past::Marker(_) => {
                assert!(matches!(read, Err(StoreError::IsDeleteMarker { .. })), "{read:?}");
                (String::new(), None)
            }
        };
        let current = bucket.read(&key, None).ok();
        assert!(!is_latest || current == body, "{key}: {current:?}, but the latest is {body:?}");
        let id = version.version().clone();
        model.entry(key).or_default().push(Version { id, etag, body });
    }
    model
}

/// Files that hold bodies of the key `k/1`: one per version that is no marker.
fn body_files(bucket: &Bucket, key: &str) -> usize {
    let older = fs::read_dir(bucket.layout.versions_of(key)).into_iter().flatten();
    let is_body = |path: &std::path::Path| path.extension().is_some_and(|e| e == "body");
    let older = older.filter(|file| is_body(&file.as_ref().expect("it is there").path())).count();
    older + usize::from(bucket.layout.body(key, Place::Plain).is_file())
}

#[derive(Debug, Clone)]
enum Condition {
    Always,
    Absent,
    /// Over the version that is this many behind the current one.
    Behind(usize),
}

#[derive(Debug, Clone)]
enum Step {
    Put(&'static str, Vec<u8>, Condition),
    Delete(&'static str),
    /// Deletes the version that is this many behind the current one.
    DeleteVersion(&'static str, usize),
    Turn(Versioning),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "k/1", "k/1/x", "k//1"]);
    let body = || prop::collection::vec(0_u8..3, 0..2);
    let condition = prop_oneof![
        3 => Just(Condition::Always),
        2 => Just(Condition::Absent),
        3 => (0_usize..3).prop_map(Condition::Behind),
    ];
    let versioning = prop_oneof![3 => Just(Versioning::Enabled), 1 => Just(Versioning::Suspended)];
    prop_oneof![
        8 => (key(), body(), condition).prop_map(|(k, b, c)| Step::Put(k, b, c)),
        3 => key().prop_map(Step::Delete),
        3 => (key(), 0_usize..4).prop_map(|(k, behind)| Step::DeleteVersion(k, behind)),
        1 => versioning.prop_map(Step::Turn),
        1 => Just(Step::Reopen),
    ]
}

fn behind(versions: &[Version], behind: usize) -> Option<&Version> {
    versions.iter().rev().nth(behind)
}

/// The second definition: a list of versions per key.
fn is_a_list_of_versions(steps: Vec<Step>, kms: bool) {
    let root = TempDir::new().expect("a directory");
    let mut bucket = versioned(&root, kms);
    let mut model = Model::new();
    for step in steps {
        let enabled = bucket.settings().expect("it is there").versioning == Versioning::Enabled;
        match step {
            Step::Put(key, body, condition) => {
                let versions = model.entry(key.to_owned()).or_default();
                let current = versions.last().filter(|version| version.body.is_some());
                let (condition, allowed) = match condition {
                    Condition::Always => (WriteCondition::Always, true),
                    Condition::Absent => (WriteCondition::Absent, current.is_none()),
                    Condition::Behind(count) => {
                        let etag = behind(versions, count).map_or("none", |v| &v.etag).to_owned();
                        let allowed = current.is_some_and(|version| version.etag == etag);
                        (WriteCondition::Matches(etag), allowed)
                    }
                };
                let written = put(&bucket, key, &body, &condition);
                assert_eq!(written.is_ok(), allowed, "{condition:?} {written:?}");
                if let Ok(entry) = written {
                    assert_eq!(entry.version.is_null(), !enabled);
                    versions.retain(|version| version.id != entry.version);
                    let (id, etag) = (entry.version.clone(), entry.etag.clone());
                    versions.push(Version { id, etag, body: Some(body) });
                }
            }
            Step::Delete(key) => {
                let deleted = bucket.delete(key, None, &WriteCondition::Always);
                let id = deleted.expect("it can be deleted").version.expect("it is a marker");
                let versions = model.entry(key.to_owned()).or_default();
                versions.retain(|version| version.id != id);
                versions.push(Version { id, etag: String::new(), body: None });
            }
            Step::DeleteVersion(key, count) => {
                let versions = model.entry(key.to_owned()).or_default();
                if let Some(version) = behind(versions, count).cloned() {
                    let deleted = bucket.delete(key, Some(&version.id), &WriteCondition::Always);
                    let deleted = deleted.expect("it can be deleted");
                    assert_eq!(deleted.is_marker, version.body.is_none());
                    versions.retain(|other| other.id != version.id);
                    let gone = bucket.read(key, Some(&version.id));
                    assert!(matches!(gone, Err(StoreError::NoSuchVersion { .. })), "{gone:?}");
                }
            }
            Step::Turn(versioning) => turn(&bucket, versioning),
            Step::Reopen => {
                drop(bucket);
                bucket = reloaded(&root);
            }
        }
        model.retain(|_, versions| !versions.is_empty());
        assert_eq!(told(&bucket), model);
    }
    let etags: Vec<_> = model.values().flatten().filter(|v| v.body.is_some()).collect();
    if kms {
        let different: std::collections::BTreeSet<_> = etags.iter().map(|v| &v.etag).collect();
        assert_eq!(different.len(), etags.len());
    }
    for (key, versions) in model {
        for version in versions {
            let deleted = bucket.delete(&key, Some(&version.id), &WriteCondition::Always);
            deleted.expect("it can be deleted");
        }
    }
    bucket.remove().expect("a bucket without versions is empty");
    assert!(!bucket.layout.plain.exists() && !bucket.layout.state.exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_versioned_bucket_is_a_list_of_versions_per_key(
        steps in prop::collection::vec(step(), 1..30),
        kms in any::<bool>(),
    ) {
        is_a_list_of_versions(steps, kms);
    }

    /// Pages of any size, put together, are the whole listing.
    #[test]
    fn pages_of_versions_join_to_the_whole_listing(
        writes in prop::collection::vec(prop::sample::select(vec!["a/1", "a/2", "b", "c/1"]), 1..12),
        limit in 1_usize..4,
        folded in any::<bool>(),
    ) {
        let root = TempDir::new().expect("a directory");
        let bucket = versioned(&root, false);
        for key in &writes {
            put(&bucket, key, b"body", &WriteCondition::Always).expect("it can be written");
        }
        let delimiter = folded.then(|| "/".to_owned());
        let keys = Query { delimiter, limit: usize::MAX, ..Query::default() };
        let whole = VersionQuery { keys: keys.clone(), after_version: None };
        let whole = bucket.list_versions(&whole).expect("it can be listed");
        let mut query = VersionQuery { keys: Query { limit, ..keys }, after_version: None };
        let (mut versions, mut prefixes) = (Vec::new(), Vec::new());
        loop {
            let page = bucket.list_versions(&query).expect("it can be listed");
            prop_assert!(page.versions.len() + page.prefixes.len() <= limit);
            versions.extend(page.versions);
            prefixes.extend(page.prefixes);
            let Some((after, after_version)) = page.next else {
                break;
            };
            query.keys.after = Some(after);
            query.after_version = after_version;
        }
        let in_folders = writes.iter().filter(|key| folded && key.contains('/')).count();
        prop_assert_eq!(whole.versions.len(), writes.len() - in_folders);
        prop_assert_eq!(versions, whole.versions);
        prop_assert_eq!(prefixes, whole.prefixes);
    }
}

/// A bucket that holds versions `1` and `2` of one key, the latter one being the current one.
fn of_two_versions(root: &TempDir) -> (Bucket, Arc<Entry>, Arc<Entry>) {
    let bucket = versioned(root, false);
    let first = put(&bucket, "k/1", b"1", &WriteCondition::Always).expect("it can be written");
    let second = put(&bucket, "k/1", b"2", &WriteCondition::Always).expect("it can be written");
    (bucket, first, second)
}

/// Opens a bucket that was stopped and compares the bodies of its versions, the oldest first.
#[track_caller]
fn check_reopened(root: &TempDir, bucket: Bucket, bodies: &[Option<&str>]) {
    drop(bucket);
    let bucket = reloaded(root);
    let versions = told(&bucket).remove("k/1").unwrap_or_default();
    let found: Vec<_> = versions.iter().map(|version| version.body.as_deref()).collect();
    let bodies: Vec<_> = bodies.iter().map(|body| body.map(str::as_bytes)).collect();
    assert_eq!(found, bodies);
    assert_eq!(body_files(&bucket, "k/1"), bodies.iter().flatten().count());
    assert_eq!(fs::read_dir(bucket.staging()).expect("it is there").count(), 0);
    put(&bucket, "k/1", b"next", &WriteCondition::Always).expect("it can be written");
    assert_eq!(text(&bucket, "k/1"), "next");
    assert_eq!(listed(&bucket).len(), bodies.len() + 1);
}

/// Writes a third version up to a step: 0 nothing, 1 the old record has moved, 2 the new record is
/// written, 3 the old body has moved.
fn write_until(bucket: &Bucket, second: &Entry, step: u32) {
    let mut staged = staged(bucket, b"3");
    let seal = staged.seal().expect("it can be written");
    let entry = Entry {
        etag: "3".to_owned(),
        version: VersionId::issue(),
        ordinal: second.ordinal + 1,
        modified: seal.modified,
        staged: seal.id,
        ..second.clone()
    };
    if step >= 1 {
        bucket.layout.retire_record(second).expect("it can be moved");
    }
    if step >= 2 {
        bucket.write(&entry).expect("it can be written");
    }
    if step >= 3 {
        bucket.layout.retire_body(second).expect("it can be moved");
    }
    if step >= 2 {
        mem::forget(staged);
    }
}

#[test]
fn a_write_of_a_version_that_was_killed_happened_once_its_record_was_there() {
    for step in 0..=3 {
        let root = TempDir::new().expect("a directory");
        let (bucket, _, second) = of_two_versions(&root);
        write_until(&bucket, &second, step);
        let all = [Some("1"), Some("2"), Some("3")];
        check_reopened(&root, bucket, if step >= 2 { &all } else { &all[..2] });
    }
}

#[test]
fn a_deletion_that_was_killed_happened_once_its_marker_was_there() {
    for step in 0..=2 {
        let root = TempDir::new().expect("a directory");
        let (bucket, _, second) = of_two_versions(&root);
        let (key, version) = (second.key.clone(), VersionId::issue());
        let ordinal = second.ordinal + 1;
        let marker = Marker { key, version, ordinal, modified: SystemTime::UNIX_EPOCH };
        bucket.layout.write_marker(marker).expect("it can be written");
        if step >= 1 {
            bucket.layout.retire_record(&second).expect("it can be moved");
        }
        if step >= 2 {
            bucket.layout.retire_body(&second).expect("it can be moved");
        }
        check_reopened(&root, bucket, &[Some("1"), Some("2"), None]);
    }
}

#[test]
fn a_deletion_of_the_current_version_that_was_killed_happened_once_its_body_was_gone() {
    for step in 1..=4 {
        let root = TempDir::new().expect("a directory");
        let (bucket, first, second) = of_two_versions(&root);
        bucket.layout.retire_record(&second).expect("it can be moved");
        if step >= 2 {
            bucket.remove_body(&second).expect("it can be removed");
        }
        if step >= 3 {
            bucket.layout.remove_version(&Past::Object(second)).expect("it can be removed");
        }
        if step >= 4 {
            let promoted = Entry { staged: String::new(), ..Entry::clone(&first) };
            bucket.layout.place_for("k/1", None);
            bucket.write(&promoted).expect("it can be written");
        }
        let both = [Some("1"), Some("2")];
        check_reopened(&root, bucket, if step == 1 { &both } else { &both[..1] });
    }
}

#[test]
fn a_file_that_was_removed_does_not_bring_back_the_version_before_it() {
    for reopen in [false, true] {
        let root = TempDir::new().expect("a directory");
        let (bucket, first, second) = of_two_versions(&root);
        fs::remove_file(bucket.layout.body("k/1", Place::Plain)).expect("it is there");
        let bucket = if reopen {
            drop(bucket);
            reloaded(&root)
        } else {
            bucket
        };
        let read = bucket.read("k/1", None);
        assert!(matches!(read, Err(StoreError::NoSuchKey { .. })), "{read:?}");
        let lost = bucket.read("k/1", Some(&second.version));
        assert!(matches!(lost, Err(StoreError::NoSuchVersion { .. })), "{lost:?}");
        assert_eq!(bucket.read("k/1", Some(&first.version)).expect("it is kept"), b"1");
        check_reopened(&root, bucket, &[Some("1"), None]);
    }
}

#[test]
fn a_version_that_was_edited_is_not_the_one_that_was_pinned() {
    let root = TempDir::new().expect("a directory");
    let (bucket, _, second) = of_two_versions(&root);
    fs::write(bucket.layout.body("k/1", Place::Plain), "edited").expect("it can be edited");
    let (_, edited) = bucket.open("k/1", None).expect("it is there");
    assert_ne!((&edited.version, &edited.etag), (&second.version, &second.etag));
    let pinned = bucket.read("k/1", Some(&second.version));
    assert!(matches!(pinned, Err(StoreError::NoSuchVersion { .. })), "{pinned:?}");
    check_reopened(&root, bucket, &[Some("1"), Some("edited")]);
}

#[test]
fn one_of_many_that_replace_the_same_version_succeeds() {
    let root = TempDir::new().expect("a directory");
    let bucket = Arc::new(versioned(&root, true));
    let first = put(&bucket, "race", b"first", &WriteCondition::Always).expect("it can be written");
    let barrier = Arc::new(Barrier::new(12));
    let write = |body: u8| {
        let (bucket, barrier) = (Arc::clone(&bucket), Arc::clone(&barrier));
        let condition = WriteCondition::Matches(first.etag.clone());
        thread::spawn(move || {
            barrier.wait();
            put(&bucket, "race", &[body], &condition).is_ok().then_some(vec![body])
        })
    };
    let writers: Vec<_> = (0..12).map(write).collect();
    let written = writers.into_iter().filter_map(|writer| writer.join().expect("no panic"));
    let winners: Vec<_> = written.collect();
    assert_eq!(winners, [bucket.read("race", None).expect("there is one")]);
    assert_eq!(listed(&bucket).len(), 2);
}
