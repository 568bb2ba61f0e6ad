//! What is left when the store is stopped at the worst moment, and what happens at once.

mod history;

use std::fs;
use std::mem;
use std::sync::{Arc, Barrier};
use std::thread;

use tempfile::TempDir;

use super::uploads::PART_BYTES_MIN;
use super::*;
use crate::digest::{Algorithm, Coverage};
use crate::entry::Place;
use crate::layout::Layout;

fn layout(root: &TempDir) -> BucketLayout {
    let layout = Layout::new(root.path().to_owned());
    fs::create_dir_all(layout.staging()).expect("it can be created");
    layout.bucket("results")
}

fn created(root: &TempDir) -> Bucket {
    Bucket::create("results", layout(root)).expect("it can be created")
}

fn reloaded(root: &TempDir) -> Bucket {
    Bucket::load("results", layout(root)).expect("it can be opened again")
}

fn staged(bucket: &Bucket, body: &[u8]) -> Staged {
    let mut staged = Staged::digesting(bucket.staging(), None).expect("it can be created");
    staged.write(body).expect("it can be written");
    staged
}

fn write(bucket: &Bucket, key: &str, body: &[u8]) {
    let new = NewObject::new(key, Headers::default());
    bucket.commit(new, staged(bucket, body), &WriteCondition::Always).expect("it can be written");
}

fn text(bucket: &Bucket, key: &str) -> String {
    String::from_utf8(bucket.read(key, None).expect("it can be read"))
        .expect("bodies here are text")
}

/// Does everything that `commit` does up to the move of the body, and then is killed.
fn killed_before_the_move(bucket: &Bucket, key: &str, body: &[u8]) {
    let mut staged = staged(bucket, body);
    let seal = staged.seal().expect("it can be written");
    let current = bucket.lock().expect("the bucket is there").objects.get(key).cloned();
    let entry = Entry {
        key: key.to_owned(),
        size_bytes: seal.size_bytes,
        etag: seal.digest.and_then(|digest| digest.etag()).expect("it was digested"),
        modified: seal.modified,
        staged: seal.id,
        place: bucket.layout.place_for(key, current.as_deref()),
        ..Entry::default()
    };
    bucket.write(&entry).expect("it can be written");
    mem::forget(staged);
}

#[test]
fn a_write_that_was_killed_after_its_record_is_finished() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    write(&bucket, "old/key", b"before");
    killed_before_the_move(&bucket, "old/key", b"after");
    killed_before_the_move(&bucket, "new//key", b"new");
    drop(bucket);
    let bucket = reloaded(&root);
    assert_eq!(text(&bucket, "old/key"), "after");
    assert_eq!(text(&bucket, "new//key"), "new");
    assert_eq!(fs::read_dir(bucket.staging()).expect("it is there").count(), 0);
}

#[test]
fn a_write_that_was_killed_before_its_record_never_was() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    write(&bucket, "key", b"before");
    mem::forget(staged(&bucket, b"half of it"));
    drop(bucket);
    assert_eq!(text(&reloaded(&root), "key"), "before");
}

#[test]
fn a_deletion_that_was_killed_is_finished() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    for key in ["plain", "hidden/"] {
        write(&bucket, key, b"body");
        let entry = bucket.open(key, None).expect("it is there").1;
        fs::remove_file(bucket.layout.body(key, entry.place)).expect("it is there");
    }
    drop(bucket);
    let bucket = reloaded(&root);
    let page = bucket.list(&Query { limit: 10, ..Query::default() }).expect("it can be listed");
    assert_eq!(page.items, []);
    assert_eq!(fs::read_dir(bucket.layout.records()).expect("it is there").count(), 0);
}

#[test]
fn a_body_moves_under_its_key_once_the_path_is_free() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    write(&bucket, "x", b"in the way");
    write(&bucket, "x/y", b"hidden");
    assert_eq!(bucket.open("x/y", None).expect("it is there").1.place, Place::Hidden);
    bucket.delete("x", None, &WriteCondition::Always).expect("it can be deleted");
    write(&bucket, "x/y", b"plain");
    assert_eq!(bucket.open("x/y", None).expect("it is there").1.place, Place::Plain);
    assert_eq!(text(&bucket, "x/y"), "plain");
    assert_eq!(fs::read_dir(bucket.layout.bodies()).expect("it is there").count(), 0);
}

#[test]
fn of_many_that_write_only_if_there_is_none_one_succeeds() {
    let root = TempDir::new().expect("a directory");
    let bucket = Arc::new(created(&root));
    let barrier = Arc::new(Barrier::new(12));
    let write = |body: u8| {
        let (bucket, barrier) = (Arc::clone(&bucket), Arc::clone(&barrier));
        thread::spawn(move || {
            let new = NewObject::new("race", Headers::default());
            let staged = staged(&bucket, &[body]);
            barrier.wait();
            bucket.commit(new, staged, &WriteCondition::Absent).is_ok().then_some(vec![body])
        })
    };
    let writers: Vec<_> = (0..12).map(write).collect();
    let written = writers.into_iter().filter_map(|writer| writer.join().expect("no panic"));
    let winners: Vec<_> = written.collect();
    assert_eq!(winners, [bucket.read("race", None).expect("there is one")]);
}

#[test]
fn a_write_over_a_version_that_is_gone_is_refused_and_leaves_nothing() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    write(&bucket, "cas", b"1");
    let condition = WriteCondition::Matches("another".to_owned());
    let new = NewObject::new("cas", Headers::default());
    let refused = bucket.commit(new, staged(&bucket, b"2"), &condition);
    assert!(matches!(refused, Err(StoreError::PreconditionFailed { .. })));
    assert_eq!(text(&bucket, "cas"), "1");
    assert_eq!(fs::read_dir(bucket.staging()).expect("it is there").count(), 0);
}

fn upload(bucket: &Bucket, checksum: Option<(Algorithm, Coverage)>) -> String {
    let (headers, tags) = (Headers::default(), BTreeMap::new());
    let new = NewUpload { key: "zip".to_owned(), headers, tags, checksum, kms: false };
    bucket.start_upload(new).expect("it can be started")
}

fn part(bucket: &Bucket, upload_id: &str, number: u32, body: &[u8]) -> CompletedPart {
    let staged = staged(bucket, body);
    let part = bucket.put_part("zip", upload_id, number, staged, None).expect("it can be put");
    CompletedPart { number, etag: Some(part.etag), checksum: None }
}

fn completion(parts: &[CompletedPart]) -> Completion {
    Completion { parts: parts.to_vec(), ..Completion::default() }
}

#[test]
fn an_upload_goes_on_after_a_restart() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    let upload_id = upload(&bucket, None);
    let least = vec![b'a'; usize::try_from(PART_BYTES_MIN).expect("it fits")];
    part(&bucket, &upload_id, 1, b"replaced");
    let first = part(&bucket, &upload_id, 1, &least);
    let stray = bucket.layout.upload(&upload_id).join("2.stray");
    fs::write(&stray, "a part whose record was not written").expect("it can be written");
    drop(bucket);

    let bucket = reloaded(&root);
    assert!(!stray.exists());
    let second = part(&bucket, &upload_id, 2, b"tail");
    let completed = bucket.complete_upload("zip", &upload_id, &completion(&[first, second]));
    let entry = completed.expect("it can be completed");
    assert_eq!(bucket.read("zip", None).expect("it is there"), [&least[..], b"tail"].concat());
    assert!(entry.etag.ends_with("-2"), "{}", entry.etag);
    assert_eq!(entry.parts.iter().map(|p| p.size_bytes).collect::<Vec<_>>(), [PART_BYTES_MIN, 4]);
    assert_eq!(fs::read_dir(bucket.layout.uploads()).expect("it is there").count(), 0);
}

#[track_caller]
fn check_refused(parts: &[CompletedPart], bucket: &Bucket, id: &str, is: fn(&StoreError) -> bool) {
    let error = bucket.complete_upload("zip", id, &completion(parts)).expect_err("it is refused");
    assert!(is(&error), "{error}");
    assert!(bucket.upload("zip", id).is_ok(), "the upload can still be completed");
    assert!(bucket.open("zip", None).is_err(), "there is no object");
}

#[test]
fn an_upload_is_completed_only_with_the_parts_it_has() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    let id = upload(&bucket, None);
    let (one, two) = (part(&bucket, &id, 1, b"1"), part(&bucket, &id, 2, b"2"));
    let other = CompletedPart { etag: two.etag.clone(), ..one.clone() };
    let absent = CompletedPart { number: 3, ..two.clone() };
    let small =
        |e: &StoreError| matches!(e, StoreError::PartTooSmall { number: 1, size_bytes: 1, .. });
    check_refused(&[one.clone(), two.clone()], &bucket, &id, small);
    let order = |e: &StoreError| matches!(e, StoreError::InvalidPartOrder { number: 1, .. });
    check_refused(&[two.clone(), one.clone()], &bucket, &id, order);
    let invalid = |e: &StoreError| matches!(e, StoreError::InvalidPart { number: 1, .. });
    check_refused(&[other], &bucket, &id, invalid);
    let missing = |e: &StoreError| matches!(e, StoreError::InvalidPart { number: 3, .. });
    check_refused(&[one.clone(), absent], &bucket, &id, missing);
    check_refused(&[], &bucket, &id, |e| matches!(e, StoreError::InvalidRequest { .. }));
    let unknown = bucket.complete_upload("another key", &id, &completion(&[one]));
    assert!(matches!(unknown, Err(StoreError::NoSuchUpload { .. })));
}

#[test]
fn a_part_of_copied_ranges_has_the_bytes_of_its_source() {
    let root = TempDir::new().expect("a directory");
    let bucket = created(&root);
    write(&bucket, "source", b"0123456789");
    let (file, _) = bucket.open("source", None).expect("it is there");
    let mut copied = Staged::copying(bucket.staging(), None).expect("it can be created");
    copied.append(&file, 7..10).expect("it is within the file");
    copied.append(&file, 0..3).expect("it is within the file");
    assert!(copied.append(&file, 8..11).is_err(), "a file that is too short is an error");
    let mut copied = Staged::copying(bucket.staging(), Some(Algorithm::Crc32)).expect("created");
    copied.append(&file, 0..9).expect("it is within the file");
    let sum = copied.digest().and_then(|digest| digest.checksum.clone()).expect("asked for");
    assert_eq!(sum.value, "N/rRug==", "the CRC-32 of 012345678");
    let new =
        NewObject { etag: Some("tag".to_owned()), ..NewObject::new("copy", Headers::default()) };
    bucket.commit(new, copied, &WriteCondition::Always).expect("it can be written");
    assert_eq!(text(&bucket, "copy"), "012345678");
}
