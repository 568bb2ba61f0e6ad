//! Objects that are written as streams.

use std::{collections::BTreeSet, time::Duration};

use aws_io::{ObjectInfo, PART_BYTES, PARTS_IN_FLIGHT, Storage, StorageError};

use crate::endpoint::{Endpoint, at, bytes, kind};

const CSV: &str = "text/csv";

async fn write(storage: &Storage, key: &str, body: &[u8]) -> Result<ObjectInfo, StorageError> {
    let mut writer = storage.writer(at(key), CSV);
    for piece in body.chunks(1_000_003) {
        writer.write(piece).await?;
    }
    writer.finish().await
}

async fn write_headless(
    storage: &Storage,
    key: &str,
    head: &[u8],
    body: &[u8],
) -> Result<ObjectInfo, StorageError> {
    let mut writer = storage.headless_writer(at(key), CSV);
    for piece in body.chunks(1_000_003) {
        writer.write(piece).await?;
    }
    writer.finish_with_head(head).await
}

#[tokio::test]
async fn what_is_written_is_there_whatever_its_size() {
    let endpoint = Endpoint::start().await;
    for (size, parts) in [
        (0, 0),
        (1, 0),
        (PART_BYTES - 1, 0),
        (PART_BYTES, 1),
        (PART_BYTES + 1, 2),
        (3 * PART_BYTES, 3),
        (3 * PART_BYTES + 17, 4),
    ] {
        endpoint.store.traffic().clear();
        let body = bytes(size);
        let info = write(&endpoint.storage, "out", &body).await.expect("it is written");
        assert!(endpoint.get("out").await == body, "{size} bytes");
        let head = endpoint.storage.head(&at("out"), None).await.expect("it is looked at");
        assert_eq!(head, Some(info), "{size} bytes");
        assert_eq!(endpoint.requests("UploadPart"), parts, "{size} bytes");
        assert_eq!(endpoint.requests("PutObject"), u64::from(parts == 0), "{size} bytes");
    }
    assert_eq!(endpoint.uploads().await, BTreeSet::new());
}

#[tokio::test]
async fn the_head_of_an_object_can_be_written_last() {
    let endpoint = Endpoint::start().await;
    for (head, size, parts) in [
        (0, 0, 0),
        (30, 0, 0),
        (30, 1, 0),
        (30, PART_BYTES, 0),
        (30, PART_BYTES + 1, 2),
        (1000, 2 * PART_BYTES, 2),
        (30, 2 * PART_BYTES + 1, 3),
    ] {
        endpoint.store.traffic().clear();
        let (head, body) = (vec![b'h'; head], bytes(size));
        let info = write_headless(&endpoint.storage, "out", &head, &body).await;
        let expected = [head, body].concat();
        assert!(endpoint.get("out").await == expected, "{size} bytes");
        let found = endpoint.storage.head(&at("out"), None).await.expect("it is looked at");
        assert_eq!(found, Some(info.expect("it is written")), "{size} bytes");
        assert_eq!(endpoint.requests("UploadPart"), parts, "{size} bytes");
    }
    assert_eq!(endpoint.uploads().await, BTreeSet::new());
}

#[tokio::test]
async fn a_passing_failure_of_a_part_is_waited_out() {
    let endpoint = Endpoint::start().await;
    let body = bytes(2 * PART_BYTES + 17);
    endpoint.store.faults().fail_next("UploadPart", 2);
    write(&endpoint.storage, "out", &body).await.expect("it is written");
    endpoint.store.faults().slow_down_every(3);
    write(&endpoint.storage, "again", &body).await.expect("it is written");
    assert!(endpoint.get("out").await == body && endpoint.get("again").await == body);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_behind() {
    let endpoint = Endpoint::start().await;
    let body = bytes(3 * PART_BYTES + 17);
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        endpoint.store.faults().fail_next(operation, 1000);
        let written = write(&endpoint.storage, "out", &body).await;
        assert_eq!(kind(&written), "unavailable", "{operation}");
        let written = write_headless(&endpoint.storage, "out", b"head", &body).await;
        assert_eq!(kind(&written), "unavailable", "{operation}");
        endpoint.store.faults().clear();
        // Nobody waits here: what fails has cleaned up when it says so.
        assert_eq!(endpoint.uploads().await, BTreeSet::new(), "{operation}");
    }
    endpoint.store.faults().fail_next("PutObject", 1000);
    assert_eq!(kind(&write(&endpoint.storage, "out", b"small").await), "unavailable");
    assert_eq!(endpoint.keys().await, [""; 0]);
}

#[tokio::test]
async fn after_a_failure_the_rest_is_not_taken_for_the_whole() {
    let endpoint = Endpoint::start().await;
    let part = bytes(PART_BYTES);
    for operation in ["CreateMultipartUpload", "UploadPart"] {
        let mut writer = endpoint.storage.writer(at("out"), CSV);
        let mut headless = endpoint.storage.headless_writer(at("out"), CSV);
        endpoint.store.faults().fail_next(operation, 1000);
        while writer.write(&part).await.is_ok() {}
        while headless.write(&part).await.is_ok() {}
        endpoint.store.faults().clear();
        writer.finish().await.expect_err("its first part is missing");
        headless.finish_with_head(b"head").await.expect_err("its first part is missing");
    }
    assert_eq!(endpoint.keys().await, [""; 0]);
    assert_eq!(endpoint.uploads().await, BTreeSet::new());
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing_behind() {
    let endpoint = Endpoint::start().await;
    let body = bytes(PART_BYTES + 17);
    let mut aborted = endpoint.storage.writer(at("aborted"), CSV);
    let mut headless = endpoint.storage.headless_writer(at("headless"), CSV);
    let mut dropped = endpoint.storage.writer(at("dropped"), CSV);
    aborted.write(&body).await.expect("it is written");
    headless.write(&body).await.expect("it is written");
    dropped.write(&body).await.expect("it is written");
    assert_eq!(endpoint.uploads().await.len(), 3);
    aborted.abort().await;
    headless.abort().await;
    assert_eq!(endpoint.uploads().await, BTreeSet::from(["dropped".to_owned()]));
    drop(dropped);
    let gone = async {
        while !endpoint.uploads().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), gone).await.expect("it is aborted");
    assert_eq!(endpoint.keys().await, [""; 0]);
}

#[tokio::test]
async fn writers_at_once_share_one_bound_on_parts_in_flight() {
    let endpoint = Endpoint::start().await;
    // No part ends before the others of its writer could have begun.
    endpoint.store.faults().delay(Duration::from_millis(50));
    let body = bytes(6 * PART_BYTES + 17);
    let keys = ["a", "b", "c"];
    let writes = keys.map(|key| write(&endpoint.storage, key, &body));
    let written = futures_util::future::join_all(writes).await;
    for (key, written) in keys.iter().zip(written) {
        written.expect("it is written");
        assert!(endpoint.get(key).await == body, "{key}");
    }
    let most = endpoint.store.traffic().of("UploadPart").at_once_max;
    assert!((2..=PARTS_IN_FLIGHT as u64).contains(&most), "{most} parts at once");
}
