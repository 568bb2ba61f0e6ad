//! Objects that are put together from parts.

use std::{collections::BTreeSet, ops::Range};

use aws_io::{MultipartUpload, StorageError};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::endpoint::{Endpoint, MIB, at, bytes, kind, pin};

const ZIP: &str = "application/zip";

async fn begin(endpoint: &Endpoint) -> MultipartUpload {
    endpoint.storage.multipart_upload(at("out.zip"), ZIP).await.expect("it is begun")
}

#[tokio::test]
async fn an_object_is_put_together_from_bytes_and_ranges_in_the_order_they_were_added() {
    let endpoint = Endpoint::start().await;
    let (first, second) = (bytes(12 * MIB), vec![7; 6 * MIB]);
    // All that a key can hold and a header or a URL can not.
    let odd = "members/Größe + 1%2B é?&=#日本.zip";
    let first_etag = endpoint.put(odd, &first).await;
    let second_etag = endpoint.put("members/b.zip", &second).await;

    let mut upload = begin(&endpoint).await;
    let mib = MIB as u64;
    upload.copy_part(&at(odd), &pin(&first_etag), 100..100 + 5 * mib).await.expect("it is copied");
    upload.put_part(vec![b'p'; 5 * MIB].into()).await.expect("it is put");
    upload
        .copy_part(&at("members/b.zip"), &pin(&second_etag), 0..6 * mib)
        .await
        .expect("it is copied");
    upload.copy_part(&at(odd), &pin(&first_etag), 7 * mib..12 * mib).await.expect("it is copied");
    upload.put_part(b"directory".as_slice().into()).await.expect("it is put");
    let info = upload.finish().await.expect("it is finished");

    let put = vec![b'p'; 5 * MIB];
    let expected =
        [&first[100..100 + 5 * MIB], &put, &second, &first[7 * MIB..], b"directory"].concat();
    assert!(endpoint.get("out.zip").await == expected);
    assert_eq!(endpoint.storage.head(&at("out.zip"), None).await.expect("it is there"), Some(info));
    let traffic = endpoint.store.traffic();
    assert_eq!(traffic.of("GetObject").requests, 0);
    assert_eq!(traffic.of("UploadPartCopy").received_bytes, 0);
    assert_eq!(traffic.of("UploadPart").received_bytes, (5 * MIB + 9) as u64);
    assert_eq!(endpoint.uploads().await, BTreeSet::new());
}

#[tokio::test]
async fn a_copy_that_can_not_be_made_ends_the_upload() {
    let endpoint = Endpoint::start().await;
    let etag = endpoint.put("large", &bytes(6 * MIB)).await;
    let small = endpoint.put("small", &bytes(5 * MIB)).await;
    let large = 6 * MIB as u64;
    for (source, etag, range, expected) in [
        ("large", etag.as_str(), 0..large, "done"),
        ("large", "\"another\"", 0..large, "changed"),
        ("large", &etag, 0..large + 1, "refused"),
        ("large", &etag, 5..5, "refused"),
        ("none", &etag, 0..large, "not found"),
        // S3 copies no ranges of objects that are not larger than this.
        ("small", &small, 0..5 * MIB as u64, "refused"),
    ] {
        let copied = copy(&endpoint, source, etag, range.clone()).await;
        assert_eq!(kind(&copied), expected, "{source} {etag} {range:?}");
        assert_eq!(endpoint.uploads().await, BTreeSet::new(), "{source} {etag} {range:?}");
    }
}

async fn copy(
    endpoint: &Endpoint,
    source: &str,
    etag: &str,
    range: Range<u64>,
) -> Result<(), StorageError> {
    let mut upload = begin(endpoint).await;
    upload.copy_part(&at(source), &pin(etag), range).await?;
    upload.finish().await.map(drop)
}

#[tokio::test]
async fn an_upload_without_parts_or_with_too_many_is_refused_and_leaves_nothing() {
    let endpoint = Endpoint::start().await;
    assert_eq!(kind(&begin(&endpoint).await.finish().await), "refused");
    let mut upload = begin(&endpoint).await;
    upload.put_part(b"too small to be followed".as_slice().into()).await.expect("it is put");
    upload.put_part(b"last".as_slice().into()).await.expect("it is put");
    assert_eq!(kind(&upload.finish().await), "refused");
    assert_eq!(endpoint.uploads().await, BTreeSet::new());
}

#[tokio::test]
async fn a_busy_endpoint_is_waited_for() {
    let endpoint = Endpoint::start().await;
    let body = bytes(32 * MIB);
    let etag = endpoint.put("large", &body).await;
    endpoint.store.faults().slow_down_every(3);
    let mut upload = begin(&endpoint).await;
    for start in (0..32).step_by(8) {
        let (start, end) = (start * MIB as u64, (start + 8) * MIB as u64);
        upload.copy_part(&at("large"), &pin(&etag), start..end).await.expect("it is copied");
    }
    upload.finish().await.expect("it is finished");
    assert!(endpoint.get("out.zip").await == body);
}

/// Whatever the parts are, the object is their concatenation.
#[test]
fn any_parts_are_put_together() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let source = bytes(20 * MIB);
    let (endpoint, etag) = runtime.block_on(async {
        let endpoint = Endpoint::start().await;
        let etag = endpoint.put("source", &source).await;
        (endpoint, etag)
    });
    let least = 5 * MIB;
    let part = (any::<bool>(), 0..10 * MIB, least..7 * MIB);
    let mut runner = TestRunner::new(ProptestConfig { cases: 8, ..ProptestConfig::default() });
    let parts = proptest::collection::vec(part, 1..5);
    let outcome = runner.run(&parts, |parts| {
        let (mut expected, storage) = (Vec::new(), &endpoint.storage);
        runtime.block_on(async {
            let mut upload = storage.multipart_upload(at("any"), ZIP).await?;
            for (is_copied, start, length) in parts {
                let bytes = &source[start..start + length];
                expected.extend_from_slice(bytes);
                let range = start as u64..(start + length) as u64;
                if is_copied {
                    upload.copy_part(&at("source"), &pin(&etag), range).await?;
                } else {
                    upload.put_part(bytes.to_vec().into()).await?;
                }
            }
            let info = upload.finish().await?;
            assert_eq!(info.size_bytes, expected.len() as u64);
            assert!(endpoint.get("any").await == expected);
            Ok::<_, StorageError>(())
        })?;
        Ok(())
    });
    outcome.expect("all are put together");
}

#[tokio::test]
async fn what_a_killed_process_left_of_an_object_is_aborted_by_the_next_upload_of_it() {
    let endpoint = Endpoint::start().await;
    // Forgotten, as if their process had been killed.
    std::mem::forget(begin(&endpoint).await);
    let other = endpoint.storage.multipart_upload(at("out.zip.other"), ZIP).await;
    std::mem::forget(other.expect("it is begun"));
    let mut upload = begin(&endpoint).await;
    upload.put_part(b"directory".as_slice().into()).await.expect("it is put");
    upload.finish().await.expect("it is finished");
    assert_eq!(endpoint.uploads().await, BTreeSet::from(["out.zip.other".to_owned()]));
}
