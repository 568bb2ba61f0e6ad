//! Versions: what is pinned is read, whatever is written over it.

use aws_io::Storage;
use bytes::Bytes;
use job::ObjectVersion;

use crate::endpoint::{Endpoint, MIB, at, bytes, kind};

async fn put(storage: &Storage, key: &str, body: &[u8]) -> ObjectVersion {
    let body = Bytes::copy_from_slice(body);
    let info = storage.put_bytes(&at(key), "text/csv", body).await.expect("it is written");
    assert!(info.version.version_id.is_some(), "the bucket has versions");
    info.version
}

#[tokio::test]
async fn equal_bytes_have_another_etag_under_kms_and_the_pinned_version_is_still_read() {
    let endpoint = Endpoint::start_as_deployed().await;
    let storage = &endpoint.storage;
    let first = put(storage, "a.csv", b"same").await;
    let second = put(storage, "a.csv", b"same").await;
    assert_ne!(first.etag, second.etag);
    put(storage, "a.csv", b"another").await;
    let (read, info) =
        storage.get_bytes(&at("a.csv"), Some(&first), 100).await.expect("it is read");
    assert_eq!((&read[..], &info.version), (&b"same"[..], &first));
    let head = storage.head(&at("a.csv"), Some(&first)).await.expect("it is looked at");
    assert_eq!(head, Some(info));
    let newest = storage.get_bytes(&at("a.csv"), None, 100).await.expect("it is read").0;
    assert_eq!(&newest[..], b"another");
}

#[tokio::test]
async fn a_broken_read_of_an_old_version_is_resumed_there() {
    let endpoint = Endpoint::start_as_deployed().await;
    let storage = &endpoint.storage;
    let body = bytes(3 * MIB);
    let first = put(storage, "a.csv", &body).await;
    put(storage, "a.csv", b"another").await;
    endpoint.store.faults().cut_next_reads(2, MIB as u64);
    let limit = body.len() as u64;
    let (read, _) = storage.get_bytes(&at("a.csv"), Some(&first), limit).await.expect("it is read");
    assert!(read == body);
    let range = storage.get_range(&at("a.csv"), &first, 5..9).await;
    let chunk = range.expect("it is opened").next_chunk().await.expect("it is read");
    assert_eq!(chunk.expect("there are bytes"), body[5..9]);
}

#[tokio::test]
async fn a_part_is_copied_from_the_pinned_version() {
    let endpoint = Endpoint::start_as_deployed().await;
    let storage = &endpoint.storage;
    let body = bytes(6 * MIB);
    let first = put(storage, "member.zip", &body).await;
    put(storage, "member.zip", b"another").await;
    let upload = storage.multipart_upload(at("out.zip"), "application/zip").await;
    let mut upload = upload.expect("it is begun");
    let range = 0..body.len() as u64;
    upload.copy_part(&at("member.zip"), &first, range).await.expect("it is copied");
    let info = upload.finish().await.expect("it is written");
    assert!(info.version.version_id.is_some());
    assert!(endpoint.get("out.zip").await == body);
}

#[tokio::test]
async fn a_version_that_is_gone_is_not_found() {
    let endpoint = Endpoint::start_as_deployed().await;
    put(&endpoint.storage, "a.csv", b"same").await;
    let other = put(&endpoint.storage, "b.csv", b"same").await;
    let read = endpoint.storage.get_bytes(&at("a.csv"), Some(&other), 100).await;
    assert_eq!(kind(&read.map(drop)), "not found");
}
