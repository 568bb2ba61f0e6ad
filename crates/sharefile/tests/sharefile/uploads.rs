//! How the bytes are sent, what of them is in memory, and what a second delivery does.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use delivery::{Ended, MemoryJournal, hexadecimal};
use job::{
    ErrorName::{StorageChanged, TransportRemote},
    delivery::{DeliveryStatus, DeliverySummary, Receipt, ReceiptDetails, Verified},
};
use local_sharefile::{Call, Fault, Faults};
use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::account::{LONG, Memory, PLACE, Partner, details, file, invoke, large_file, summary};

/// Delivers a file and says how many requests of each kind that took: whole files, chunks, ends.
async fn check(bytes: Vec<u8>, faults: Faults, changes: Value, expected: [usize; 3]) {
    let partner = Partner::start(faults).await;
    let receipt = partner.deliver(&changes, &Memory::new(bytes.clone())).await.unwrap();
    let found = [Call::Standard, Call::Chunk, Call::Finish].map(|call| partner.count(call));
    assert_eq!(found, expected, "{} bytes, {changes}", bytes.len());
    let (_, item_id) = details(&receipt);
    let expected = Receipt {
        remote_path: PLACE.to_owned(),
        bytes: bytes.len() as u64,
        sha256: Some(hexadecimal(&Sha256::digest(&bytes))),
        verified: Verified::Md5,
        settled: None,
        seen: Some(true),
        duration_ms: receipt.duration_ms,
        attempts: 1,
        details: ReceiptDetails::ShareFile {
            md5: hexadecimal(&Md5::digest(&bytes)),
            item_id: item_id.map(str::to_owned),
        },
    };
    assert_eq!(receipt, expected);
    assert!(partner.files() == [(PLACE.to_owned(), bytes)].into());
}

fn forced(method: &'static str) -> Faults {
    Faults::default().always(Call::Specification, Fault::Method(method))
}

#[tokio::test]
async fn a_file_is_sent_in_the_way_that_fits_its_size() {
    let good = Faults::default;
    check(file(), good(), json!({}), [1, 0, 0]).await;
    check(Vec::new(), good(), json!({}), [1, 0, 0]).await;
    check(vec![7; 8 << 20], good(), json!({}), [1, 0, 0]).await;
    let chunks = json!({ "sharefile_chunk_size": 1_000_000 });
    check(large_file(), good(), chunks.clone(), [0, 10, 1]).await;
    check(vec![7; 9_000_000], good(), chunks, [0, 9, 1]).await;
}

#[tokio::test]
async fn a_file_is_sent_in_the_way_that_the_server_says() {
    let chunks = json!({ "sharefile_chunk_size": 1_000_000 });
    check(large_file(), forced("standard"), chunks.clone(), [1, 0, 0]).await;
    check(large_file(), forced("streamed"), chunks, [0, 9, 1]).await;
    check(file(), forced("streamed"), json!({}), [0, 4, 1]).await;
    check(file(), forced("threaded"), json!({}), [0, 5, 1]).await;
    check(Vec::new(), forced("streamed"), json!({}), [0, 0, 1]).await;
    check(Vec::new(), forced("threaded"), json!({}), [0, 1, 1]).await;
    check(vec![7; 131_072], forced("threaded"), json!({}), [0, 2, 1]).await;
    check(vec![7; 131_072], forced("streamed"), json!({}), [0, 1, 1]).await;
}

#[tokio::test]
async fn no_more_of_the_file_is_in_memory_than_the_chunks_on_their_way() {
    const CHUNK: u64 = 65_536;
    // The pieces of the source are smaller than this.
    const PIECE: u64 = 50_000;
    for (threads, allowed, expected) in [(1, 8, 1), (4, 8, 4), (4, 2, 2), (16, 3, 3)] {
        // A chunk is not read by the server before the wait is over.
        let faults = forced("threaded")
            .always(Call::Specification, Fault::ThreadsMax(allowed))
            .always(Call::Chunk, Fault::Slow(Duration::from_millis(150)));
        let partner = Arc::new(Partner::start(faults).await);
        let source = Memory::new(vec![7; 20 * 65_536]);
        let (read, watched) = (source.read.clone(), partner.clone());
        let watching = tokio::spawn(async move {
            let mut held_max = 0;
            loop {
                // In this order, so that what arrives in between does not count as held.
                let received = watched.server.bytes_received();
                let held = read.load(Ordering::SeqCst).saturating_sub(received);
                held_max = held.max(held_max);
                if received == 20 * CHUNK {
                    return held_max;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let changes = json!({ "sharefile_threads": threads });
        assert_eq!(summary(&partner.deliver(&changes, &source).await), Ok(1));
        assert_eq!(partner.server.chunks_in_flight_max(), expected, "{threads} {allowed}");
        let held = watching.await.unwrap();
        let limit = expected as u64 * CHUNK + PIECE;
        assert!(held <= limit, "{threads} {allowed}: {held} of at most {limit} bytes");
        assert!(held >= CHUNK, "{threads} {allowed}: {held}");
    }
}

#[tokio::test]
async fn a_file_in_one_request_is_read_twice_if_it_does_not_fit_into_the_memory() {
    for (threads, chunk_bytes, opened) in
        [(1, 65_536, 2), (4, 65_536, 2), (5, 65_536, 1), (1, 300_001, 1)]
    {
        let partner = Partner::start(Faults::default()).await;
        let changes = json!({ "sharefile_threads": threads, "sharefile_chunk_size": chunk_bytes });
        let source = Memory::new(file());
        partner.deliver(&changes, &source).await.unwrap();
        assert_eq!(source.opened.load(Ordering::SeqCst), opened, "{threads} x {chunk_bytes}");
        assert_eq!(partner.server.bytes_received(), file().len() as u64);
    }
}

#[tokio::test]
async fn a_file_that_changes_between_two_reads_is_not_published() {
    let partner = Partner::start(Faults::default()).await;
    let source = Memory { changes_after: 1, ..Memory::new(file()) };
    let changes = json!({ "sharefile_threads": 1 });
    let result = partner.deliver(&changes, &source).await;
    assert_eq!(summary(&result), Err(StorageChanged), "{result:?}");
    assert_eq!(partner.server.bytes_received(), 0);
}

#[tokio::test]
async fn a_second_call_after_a_delivery_answers_its_receipt_and_sends_nothing() {
    for overwrite in [true, false] {
        for faults in [Faults::default(), forced("threaded"), forced("streamed")] {
            let partner = Partner::start(faults).await;
            let config = partner.config(&json!({ "sharefile_overwrite": overwrite }));
            let (source, journal) = (Memory::new(file()), MemoryJournal::default());
            let first = invoke(&config, &source, &journal, LONG).await.unwrap();
            let requests = partner.server.requests();
            let second = invoke(&config, &source, &journal, LONG).await.unwrap();
            assert!(
                matches!(
                    first,
                    Ended::Delivered(DeliverySummary { status: DeliveryStatus::Delivered, .. })
                ),
                "{first:?}"
            );
            assert_eq!(first, second);
            assert_eq!(partner.server.requests(), requests);
        }
    }
}

#[tokio::test]
async fn another_delivery_of_the_same_content_is_a_new_version() {
    let partner = Partner::start(Faults::default()).await;
    let first = partner.deliver(&json!({}), &Memory::new(file())).await.unwrap();
    let second = partner.deliver(&json!({}), &Memory::new(file())).await.unwrap();
    assert_ne!(details(&first).1, details(&second).1);
    assert_eq!(partner.server.published().len(), 2);
}

#[tokio::test]
async fn the_look_before_the_end_and_the_look_after_it_are_one_request_each() {
    for method in ["standard", "streamed", "threaded"] {
        let partner = Partner::start(forced(method)).await;
        let changes = json!({ "sharefile_path": "" });
        partner.deliver(&changes, &Memory::new(file())).await.unwrap();
        // The first look is for the folder.
        assert_eq!(partner.count(Call::Look), 3, "{method}");
        assert_eq!(partner.count(Call::Token), 1, "{method}");
    }
}

#[tokio::test]
async fn a_file_that_must_stay_stays_and_nothing_is_sent() {
    let partner = Partner::start(Faults::default()).await;
    let changes = json!({ "sharefile_overwrite": false });
    for old in [b"last week's report".to_vec(), vec![0; file().len()]] {
        partner.put_old(&old);
        let result = partner.deliver(&changes, &Memory::new(file())).await;
        assert_eq!(summary(&result), Err(TransportRemote), "{result:?}");
        let expected = format!(
            "delivering `{PLACE}`: another file is there, and `sharefile_overwrite` is false"
        );
        assert_eq!(result.unwrap_err().to_string(), expected);
        assert!(partner.files() == [(PLACE.to_owned(), old)].into());
    }
    assert_eq!(partner.server.bytes_received(), 0);
}

#[tokio::test]
async fn a_file_that_is_there_already_is_not_sent_again_if_it_must_stay() {
    let partner = Partner::start(Faults::default()).await;
    let changes = json!({ "sharefile_overwrite": false });
    let first = partner.deliver(&changes, &Memory::new(file())).await.unwrap();
    let config = partner.config(&changes);
    // The journal of another run knows nothing of it.
    let journal = MemoryJournal::default();
    let second = invoke(&config, &Memory::new(file()), &journal, LONG).await.unwrap();
    let Ended::Delivered(DeliverySummary { status: DeliveryStatus::AlreadyThere, receipt: second }) =
        second
    else {
        panic!("{second:?}")
    };
    assert_eq!(second, Receipt { duration_ms: second.duration_ms, ..first });
    assert_eq!(partner.server.bytes_received(), file().len() as u64);
}
