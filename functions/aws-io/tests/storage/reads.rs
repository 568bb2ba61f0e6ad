//! Reads that survive what happens to their connections.

use aws_io::{ObjectStream, Storage, StorageError};

use crate::endpoint::{Endpoint, MIB, at, bytes, kind, pin};

async fn read(mut stream: ObjectStream) -> Result<Vec<u8>, StorageError> {
    let mut read = Vec::new();
    while let Some(chunk) = stream.next_chunk().await? {
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

async fn read_whole(storage: &Storage, key: &str) -> Result<Vec<u8>, StorageError> {
    read(storage.get_stream(&at(key), None).await?).await
}

#[tokio::test]
async fn a_read_survives_dropped_connections() {
    let endpoint = Endpoint::start().await;
    let body = bytes(9 * MIB + 17);
    endpoint.put("large", &body).await;
    for (cuts, after_bytes, requests) in [
        (0, 0, 1),
        (1, 0, 2),
        (1, 1, 2),
        (1, body.len() - 1, 2),
        (5, 1000, 6),
        // Progress makes up for any number of losses.
        (8, MIB, 9),
    ] {
        endpoint.store.traffic().clear();
        endpoint.store.faults().cut_next_reads(cuts, after_bytes as u64);
        let read = read_whole(&endpoint.storage, "large").await.expect("it is read");
        assert!(read == body, "{cuts} times after {after_bytes} bytes");
        assert_eq!(endpoint.requests("GetObject"), requests, "{cuts} times after {after_bytes}");
        let sent_bytes = endpoint.store.traffic().of("GetObject").sent_bytes;
        assert!(sent_bytes < body.len() as u64 + requests * MIB as u64, "{sent_bytes}");
    }
}

#[tokio::test]
async fn a_read_that_gets_nowhere_ends() {
    let endpoint = Endpoint::start().await;
    endpoint.put("large", &bytes(MIB)).await;
    endpoint.store.faults().cut_next_reads(u64::MAX, 1000);
    let read = read_whole(&endpoint.storage, "large").await;
    assert_eq!(kind(&read), "unavailable");
    assert_eq!(endpoint.requests("GetObject"), 6);
}

#[tokio::test]
async fn a_read_waits_until_a_busy_endpoint_has_time() {
    let endpoint = Endpoint::start().await;
    let body = bytes(3 * MIB);
    endpoint.put("large", &body).await;
    endpoint.store.faults().cut_next_reads(1, MIB as u64);
    let stream = endpoint.storage.get_stream(&at("large"), None).await.expect("it is opened");
    // The SDK asks three times before the stream itself waits.
    endpoint.store.faults().fail_next("GetObject", 7);
    assert!(read(stream).await.expect("it is read") == body);
}

#[tokio::test]
async fn another_object_is_not_taken_for_the_rest_of_the_first() {
    let endpoint = Endpoint::start().await;
    endpoint.put("large", &bytes(4 * MIB)).await;
    endpoint.store.faults().cut_next_reads(1, MIB as u64);
    let stream = endpoint.storage.get_stream(&at("large"), None).await.expect("it is opened");
    endpoint.put("large", &vec![7; 4 * MIB]).await;
    assert_eq!(kind(&read(stream).await), "changed");
}

#[tokio::test]
async fn bytes_are_not_read_twice_of_a_server_that_knows_no_ranges() {
    let endpoint = Endpoint::start().await;
    endpoint.put("large", &bytes(4 * MIB)).await;
    endpoint.store.faults().ignore_ranges(true);
    endpoint.store.faults().cut_next_reads(1, MIB as u64);
    assert_eq!(kind(&read_whole(&endpoint.storage, "large").await), "refused");
}

#[tokio::test]
async fn a_range_is_read_as_a_whole_is() {
    let endpoint = Endpoint::start().await;
    let body = bytes(3 * MIB);
    let etag = endpoint.put("large", &body).await;
    let length = body.len() as u64;
    for (range, cuts) in
        [(0..1, 0), (0..length, 0), (length - 1..length, 0), (5..2_000_000, 3), (5..length, 1)]
    {
        endpoint.store.faults().cut_next_reads(cuts, 1000);
        let stream = endpoint.storage.get_range(&at("large"), &pin(&etag), range.clone()).await;
        let stream = stream.expect("it is opened");
        assert_eq!((&stream.info().version.etag, stream.info().size_bytes), (&etag, length));
        let expected = &body[usize::try_from(range.start).unwrap()..][..range.clone().count()];
        assert!(read(stream).await.expect("it is read") == expected, "{range:?}");
    }
}

#[tokio::test]
async fn a_range_that_the_object_does_not_have_is_refused() {
    let endpoint = Endpoint::start().await;
    let etag = endpoint.put("small", b"0123456789").await;
    for (etag, range, expected) in [
        (etag.as_str(), 0..10, "done"),
        (&etag, 5..11, "refused"),
        (&etag, 10..11, "refused"),
        (&etag, 5..5, "refused"),
        (&etag, 0..0, "refused"),
        ("\"another\"", 0..10, "changed"),
    ] {
        let opened = endpoint.storage.get_range(&at("small"), &pin(etag), range.clone()).await;
        assert_eq!(kind(&opened), expected, "{etag} {range:?}");
    }
    endpoint.store.faults().ignore_ranges(true);
    let opened = endpoint.storage.get_range(&at("small"), &pin(&etag), 0..10).await;
    assert_eq!(kind(&opened), "refused");
}

#[tokio::test]
async fn an_empty_object_is_read_to_its_end() {
    let endpoint = Endpoint::start().await;
    endpoint.put("empty", b"").await;
    assert_eq!(read_whole(&endpoint.storage, "empty").await.expect("it is read"), b"");
    assert_eq!(kind(&read_whole(&endpoint.storage, "none").await), "not found");
}
