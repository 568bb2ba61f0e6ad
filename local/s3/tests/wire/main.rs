//! The endpoint over a real socket, asked by hand-made requests.

mod client;
mod versions;

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use client::{Answer, Client, Trailer};
use local_s3::{BucketSettings, Count, Credentials, Store, fallback};
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Endpoint {
    root: TempDir,
    store: Store,
    client: Client,
}

/// Serves an empty directory as the fallback of a router that has a route of its own.
async fn endpoint() -> Endpoint {
    let root = TempDir::new().expect("a directory");
    let store = Store::open(root.path()).await.expect("the store opens");
    store.create_bucket("results").await.expect("the bucket is created");
    let settings = BucketSettings { versioned: true, kms: true };
    store.create_bucket_with("versions", settings).await.expect("the bucket is created");
    let own = Router::new().route("/health", get(async || "well"));
    let router = own.merge(fallback(store.clone(), &[Credentials::new("test", "test")]));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Endpoint { root, store, client: Client::new(address, "test") }
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    let (found, text) = (answer.status, answer.text());
    assert_eq!(found, status, "{text}");
    assert!(code.is_empty() || text.contains(&format!("<Code>{code}</Code>")), "{text}");
}

#[tokio::test]
async fn routes_of_the_router_come_before_s3() {
    let endpoint = endpoint().await;
    let answer = endpoint.client.unsigned("GET", "/health").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "well"));
}

#[tokio::test]
async fn who_has_not_the_keys_is_refused() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    store.put("results", "k", None, Bytes::from_static(b"secret")).await.expect("it is written");
    check(&client.unsigned("GET", "/results/k").await, 403, "AccessDenied");
    let wrong = client.with_secret("wrong");
    check(&wrong.get("/results/k").await, 403, "SignatureDoesNotMatch");
    check(&client.get("/results/k").await, 200, "");
}

#[tokio::test]
async fn a_secret_can_not_be_printed() {
    let printed = format!("{:?}", Credentials::new("access", "hidden"));
    assert!(printed.contains("access") && !printed.contains("hidden"), "{printed}");
}

#[tokio::test]
async fn what_is_written_through_s3_is_in_the_store_and_the_other_way_round() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    let headers = [("content-type", "text/csv"), ("x-amz-meta-run", "42")];
    check(&client.put("/results/a%20b/%C3%A9.csv", &headers, b"id\n1\n").await, 200, "");
    assert_eq!(store.get("results", "a b/é.csv").await.expect("it is there").as_ref(), b"id\n1\n");

    let info = store.put("results", "own", Some("text/plain"), Bytes::from_static(b"own body"));
    let info = info.await.expect("it is written");
    let answer = client.get("/results/own").await;
    assert_eq!(answer.body.as_ref(), b"own body");
    assert_eq!(answer.header("etag"), format!("\"{}\"", info.etag));
    assert_eq!(answer.header("content-type"), "text/plain");
    let answer = client.get("/results/a%20b/%C3%A9.csv").await;
    assert_eq!(
        (answer.header("x-amz-meta-run"), answer.header("content-type")),
        ("42", "text/csv")
    );
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    check(&client.get("/results/none").await, 404, "NoSuchKey");
    check(&client.get("/nowhere/none").await, 404, "NoSuchBucket");
    check(&client.put("/nowhere/none", &[], b"x").await, 404, "NoSuchBucket");
    check(&client.get("/results/none?uploadId=none").await, 404, "NoSuchUpload");
    check(&client.get("/results?acl").await, 501, "NotImplemented");
    check(&client.send("DELETE", "/results/none", &[], b"").await, 204, "");
}

#[tokio::test]
async fn reads_can_be_partial_and_conditional() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let etag = client.put("/results/k", &[], b"hello").await.header("etag").to_owned();
    let read = async |name, value| client.send("GET", "/results/k", &[(name, value)], b"").await;

    let part = read("range", "bytes=1-3").await;
    assert_eq!((part.status, part.body.as_ref()), (206, b"ell".as_ref()));
    assert_eq!(part.header("content-range"), "bytes 1-3/5");
    assert_eq!(read("range", "bytes=-2").await.body.as_ref(), b"lo");
    check(&read("range", "bytes=5-").await, 416, "InvalidRange");
    let unchanged = read("if-none-match", &etag).await;
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, etag.as_str()));
    check(&read("if-match", "\"other\"").await, 412, "PreconditionFailed");
    check(&read("if-match", &etag).await, 200, "");
}

#[tokio::test]
async fn of_concurrent_writes_that_want_no_object_one_succeeds() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    let write = |number: u8| {
        let client = Client::clone(client);
        tokio::spawn(async move {
            client.put("/results/race", &[("if-none-match", "*")], &[number]).await.status
        })
    };
    let writes: Vec<_> = (0..12).map(write).collect();
    let mut statuses = Vec::new();
    for write in writes {
        statuses.push(write.await.expect("no panic"));
    }
    let winner = statuses.iter().position(|status| *status == 200).expect("one succeeds");
    let refused = statuses.iter().filter(|status| **status == 412).count();
    assert_eq!(refused, 11, "{statuses:?}");
    let body = store.get("results", "race").await.expect("it is there");
    assert_eq!(body.as_ref(), [u8::try_from(winner).expect("it is small")]);
}

#[tokio::test]
async fn a_body_that_is_not_what_was_promised_is_refused_and_leaves_nothing() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, root } = &endpoint;
    let put = async |name, value| client.put("/results/k", &[(name, value)], b"hello").await;
    check(&put("x-amz-checksum-crc32", "AAAAAA==").await, 400, "BadDigest");
    check(&put("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==").await, 400, "BadDigest");
    let sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
    check(&put("x-amz-content-sha256", sha256).await, 400, "XAmzContentSHA256Mismatch");
    let trailer = Trailer { name: "x-amz-checksum-crc32c", value: "AAAAAA==" };
    let body = futures_util::stream::iter([Bytes::from_static(b"hello")]);
    check(&client.put_chunked("/results/k", 5, body, trailer).await, 400, "BadDigest");
    assert_eq!(store.list("results", "").await.expect("it can be listed"), []);
    let staging = std::fs::read_dir(root.path().join(".s3/staging")).expect("it is there");
    assert_eq!(staging.count(), 0);

    let answer = put("x-amz-checksum-crc32", "NhCmhg==").await;
    assert_eq!((answer.status, answer.header("x-amz-checksum-crc32")), (200, "NhCmhg=="));
}

/// The body is sent only as far as it was asked for: a server that collects it never gets on.
#[tokio::test]
async fn a_body_without_a_length_is_written_while_it_arrives() {
    const CHUNK_BYTES: usize = 1 << 20;
    const CHUNKS: usize = 16;
    let endpoint = endpoint().await;
    let Endpoint { client, store, root } = &endpoint;
    let staging = root.path().join(".s3/staging");
    let body = futures_util::stream::unfold(0, move |sent| {
        let staging = staging.clone();
        async move {
            if sent == CHUNKS / 2 {
                wait_for_a_file_of(CHUNK_BYTES as u64, &staging).await;
            }
            (sent < CHUNKS).then(|| (Bytes::from(vec![b'z'; CHUNK_BYTES]), sent + 1))
        }
    });
    // CRC-32 of 16 MiB of `z`
    let trailer = Trailer { name: "x-amz-checksum-crc32", value: "NbiriA==" };
    let answer = client.put_chunked("/results/big", CHUNKS * CHUNK_BYTES, body, trailer).await;
    check(&answer, 200, "");
    let head = store.head("results", "big").await.expect("it is there");
    assert_eq!(head.size_bytes, (CHUNKS * CHUNK_BYTES) as u64);
    let coding = client.get("/results/big").await.header("content-encoding").to_owned();
    assert_eq!(coding, "", "how the body travelled is not what it is");
}

async fn wait_for_a_file_of(size_bytes: u64, folder: &std::path::Path) {
    let large = |file: std::io::Result<std::fs::DirEntry>| {
        file.and_then(|file| file.metadata()).is_ok_and(|file| file.len() >= size_bytes)
    };
    let written = async {
        while !std::fs::read_dir(folder).expect("it is there").any(large) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), written).await.expect("the body is written");
}

#[tokio::test]
async fn an_archive_is_put_together_from_ranges_of_other_objects() {
    const LEAST: usize = 5 << 20;
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    let source: Vec<u8> = (0..=250).cycle().take(LEAST + 1000).collect();
    store.put("results", "members/a", None, source.clone().into()).await.expect("it is written");
    let started = client.send("POST", "/results/run.zip?uploads=", &[], b"").await;
    let upload = started.element("UploadId");
    let part = |number: u32| format!("/results/run.zip?partNumber={number}&uploadId={upload}");

    let first = client.put(&part(1), &[], &vec![b'h'; LEAST]).await.header("etag").to_owned();
    let range = format!("bytes=1000-{}", LEAST + 999);
    let copy = [("x-amz-copy-source", "/results/members/a"), ("x-amz-copy-source-range", &range)];
    let second = client.put(&part(2), &copy, b"").await.element("ETag").replace("&quot;", "\"");
    let third = client.put(&part(3), &[], b"directory").await.header("etag").to_owned();
    let beyond = [copy[0], ("x-amz-copy-source-range", "bytes=0-99999999")];
    check(&client.put(&part(4), &beyond, b"").await, 416, "InvalidRange");

    let parts = [(1, &first), (2, &second), (3, &third)].map(|(number, etag)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    });
    let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat());
    let path = format!("/results/run.zip?uploadId={upload}");
    let completed = client.send("POST", &path, &[("if-none-match", "*")], body.as_bytes()).await;
    check(&completed, 200, "");
    assert!(completed.element("ETag").contains("-3"), "{}", completed.text());
    let expected = [&vec![b'h'; LEAST], &source[1000..], b"directory"].concat();
    assert!(store.get("results", "run.zip").await.expect("it is there") == expected);
    check(&client.send("POST", &path, &[], body.as_bytes()).await, 404, "NoSuchUpload");
}

#[tokio::test]
async fn a_part_is_copied_only_of_the_object_that_was_meant() {
    const RANGE_SOURCE: usize = 5 << 20;
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let large = vec![b'l'; RANGE_SOURCE + 1];
    let etag = client.put("/results/large", &[], &large).await.header("etag").to_owned();
    client.put("/results/small", &[], &large[1..]).await;
    let started = client.send("POST", "/results/out?uploads=", &[], b"").await;
    let path = format!("/results/out?partNumber=1&uploadId={}", started.element("UploadId"));
    let copy = async |source, header, value| {
        client.put(&path, &[("x-amz-copy-source", source), (header, value)], b"").await
    };
    let (if_match, range) = ("x-amz-copy-source-if-match", "x-amz-copy-source-range");
    check(&copy("/results/large", if_match, "\"other\"").await, 412, "PreconditionFailed");
    check(&copy("/results/large", if_match, &etag).await, 200, "");
    check(&copy("/results/large", range, "bytes=1-10").await, 200, "");
    check(&copy("/results/small", range, "bytes=1-10").await, 400, "InvalidRequest");
    check(&copy("/results/small", if_match, "*").await, 200, "");
}

#[tokio::test]
async fn an_object_is_replaced_only_if_it_is_the_one_that_was_meant() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let put = async |etag: &str| client.put("/results/k", &[("if-match", etag)], b"new").await;
    check(&put("\"other\"").await, 404, "NoSuchKey");
    let etag = client.put("/results/k", &[], b"old").await.header("etag").to_owned();
    check(&put("\"other\"").await, 412, "PreconditionFailed");
    assert_eq!(client.get("/results/k").await.body.as_ref(), b"old");
    check(&put(&etag).await, 200, "");
    check(&put(&etag).await, 412, "PreconditionFailed");
}

#[tokio::test]
async fn faults_are_shown_on_demand() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    store.put("results", "k", None, vec![b'k'; 1 << 20].into()).await.expect("it is written");
    let (get, put) = (|| client.get("/results/k"), || client.put("/results/new", &[], b"new"));
    let faults = store.faults();

    faults.slow_down_every(2);
    check(&get().await, 200, "");
    check(&get().await, 503, "SlowDown");
    check(&put().await, 200, "");
    check(&put().await, 503, "SlowDown");
    faults.clear();

    faults.fail_next("PutObject", 1);
    check(&get().await, 200, "");
    check(&put().await, 500, "InternalError");
    check(&put().await, 200, "");

    faults.ignore_ranges(true);
    let range = [("range", "bytes=1-3")];
    let answer = client.send("GET", "/results/k", &range, b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 1 << 20));
    faults.clear();

    faults.cut_next_reads(1, 1000);
    assert!(client.try_get("/results/k").await.is_err());
    check(&get().await, 200, "");
}

#[tokio::test]
async fn requests_and_their_bytes_are_counted() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    client.put("/results/k", &[], b"hello").await;
    client.put("/results/k", &[("if-none-match", "*")], b"again").await;
    client.get("/results/k").await;
    client.send("GET", "/results/k", &[("range", "bytes=1-3")], b"").await;
    let count = |requests, received_bytes, sent_bytes| Count {
        requests,
        received_bytes,
        sent_bytes,
        at_once_max: 1,
    };
    let expected = [("GetObject", count(2, 0, 8)), ("PutObject", count(2, 10, 0))];
    assert_eq!(store.traffic().all(), expected.into());
    store.traffic().clear();
    assert_eq!(store.traffic().of("GetObject"), Count::default());
}

#[tokio::test]
async fn listings_have_pages_and_encode_names_that_xml_can_not_hold() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    for key in ["a/1", "a/2", "b", "c\u{1}d", "e f"] {
        store.put("results", key, None, Bytes::new()).await.expect("it is written");
    }
    let list = async |query: &str| client.get(&format!("/results?{query}")).await;
    let page = list("delimiter=%2F&encoding-type=url&list-type=2&max-keys=3").await;
    assert_eq!(page.elements("Key"), ["b", "c%01d"]);
    assert!(page.text().contains("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"));
    let token = page.element("NextContinuationToken").replace('=', "%3D").replace('+', "%2B");
    let query = format!("continuation-token={token}&encoding-type=url&list-type=2");
    let rest = list(&query).await;
    assert_eq!(rest.elements("Key"), ["e%20f"]);
    assert_eq!(rest.element("IsTruncated"), "false");
    assert_eq!(list("encoding-type=url&marker=b&max-keys=1").await.elements("Key"), ["c%01d"]);
}

#[tokio::test]
async fn a_bucket_is_deleted_only_when_it_is_empty() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, root } = &endpoint;
    check(&client.put("/other-bucket", &[], b"").await, 200, "");
    store.put("other-bucket", "k", None, Bytes::new()).await.expect("it is written");
    let delete = async |path| client.send("DELETE", path, &[], b"").await;
    check(&delete("/other-bucket").await, 409, "BucketNotEmpty");
    check(&delete("/other-bucket/k").await, 204, "");
    check(&delete("/other-bucket").await, 204, "");
    check(&delete("/other-bucket").await, 404, "NoSuchBucket");
    assert!(!root.path().join("other-bucket").exists());
}
