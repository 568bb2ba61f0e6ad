//! Versions and SSE-KMS over the wire, as AWS was recorded to answer.

use std::sync::Arc;

use tokio::sync::Barrier;

use super::*;

const MADE_UP: &str = "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD";

/// The entity tag of `hello` where tags are digests.
const MD5: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

impl Client {
    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"").await
    }

    async fn put_if(&self, path: &str, name: &str, value: &str, body: &[u8]) -> Answer {
        self.put(path, &[(name, value)], body).await
    }
}

fn version(answer: &Answer) -> String {
    assert_eq!(answer.status / 100, 2, "{}", answer.text());
    answer.header("x-amz-version-id").to_owned()
}

/// `test_delete_object_versioned`
#[tokio::test]
async fn a_deleted_object_is_there_by_its_version() {
    let endpoint = endpoint().await;
    let Endpoint { client, root, .. } = &endpoint;
    let first = version(&client.put("/versions/k", &[], b"body").await);
    let file = root.path().join("versions/k");
    assert!(file.is_file());
    let deleted = client.delete("/versions/k").await;
    let marker = version(&deleted);
    assert_eq!((deleted.status, deleted.header("x-amz-delete-marker")), (204, "true"));
    assert!(!file.exists());

    let gone = client.get("/versions/k").await;
    check(&gone, 404, "NoSuchKey");
    assert_eq!(gone.header("x-amz-delete-marker"), "true");
    assert_eq!(gone.header("x-amz-version-id"), marker);
    let old = client.get(&format!("/versions/k?versionId={first}")).await;
    assert_eq!((version(&old), old.body.as_ref()), (first.clone(), b"body".as_ref()));
    check(&client.get(&format!("/versions/k?versionId={marker}")).await, 405, "MethodNotAllowed");
    let head = client.send("HEAD", &format!("/versions/k?versionId={marker}"), &[], b"").await;
    assert_eq!((head.status, head.header("x-amz-delete-marker")), (405, "true"));

    let second = version(&client.delete("/versions/k").await);
    let listed = client.get("/versions?prefix=k&versions=").await;
    check(&listed, 200, "");
    assert_eq!(listed.elements("VersionId").len(), 3);
    assert_eq!(listed.elements("IsLatest").iter().filter(|latest| *latest == "true").count(), 1);
    let removed = client.delete(&format!("/versions/k?versionId={marker}")).await;
    assert_eq!((version(&removed), removed.header("x-amz-delete-marker")), (marker, "true"));
    let removed = client.delete(&format!("/versions/k?versionId={second}")).await;
    assert_eq!(removed.header("x-amz-delete-marker"), "true");
    assert_eq!(version(&client.get("/versions/k").await), first);
    assert!(file.is_file(), "the object is where it was");

    let removed = client.delete(&format!("/versions/k?versionId={first}")).await;
    assert_eq!((version(&removed), removed.header("x-amz-delete-marker")), (first.clone(), ""));
    check(&client.get(&format!("/versions/k?versionId={first}")).await, 404, "NoSuchVersion");
    check(&client.get("/versions/k").await, 404, "NoSuchKey");
    let made_up = format!("/versions/k?versionId={MADE_UP}");
    check(&client.delete(&made_up).await, 400, "InvalidArgument");
    let never = client.delete("/versions/never").await;
    assert_eq!(never.header("x-amz-delete-marker"), "true");
}

/// `test_get_object_with_version_unversioned_bucket`
#[tokio::test]
async fn a_bucket_without_versions_has_the_version_null_and_does_not_say_so() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let answers = [
        client.put("/results/k", &[], b"body").await,
        client.get("/results/k").await,
        client.get("/results/k?versionId=null").await,
    ];
    for answer in &answers {
        assert_eq!(version(answer), "");
        assert_eq!(answer.header("x-amz-server-side-encryption"), "AES256");
    }
    check(&client.get(&format!("/results/k?versionId={MADE_UP}")).await, 400, "InvalidArgument");
    let other = version(&client.put("/versions/k", &[], b"body").await);
    check(&client.get(&format!("/results/k?versionId={other}")).await, 404, "NoSuchVersion");
    let listed = client.get("/results?versions=").await;
    assert_eq!(
        (listed.element("VersionId"), listed.element("IsLatest")),
        ("null".into(), "true".into())
    );
    assert_eq!(client.delete("/results/k").await.header("x-amz-delete-marker"), "");
}

/// `test_bucket_versioning_crud`
#[tokio::test]
async fn versioning_is_enabled_and_suspended() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    let turn = async |status: &str| {
        let status =
            if status.is_empty() { String::new() } else { format!("<Status>{status}</Status>") };
        let body = format!("<VersioningConfiguration>{status}</VersioningConfiguration>");
        client.put("/results?versioning=", &[], body.as_bytes()).await
    };
    let status = async || client.get("/results?versioning=").await.elements("Status");
    assert_eq!(status().await, Vec::<String>::new());
    client.put("/results/k", &[], b"null 1").await;
    check(&turn("enabled").await, 400, "MalformedXML");
    check(&turn("").await, 400, "IllegalVersioningConfigurationException");
    check(&turn("Enabled").await, 200, "");
    assert_eq!(status().await, ["Enabled"]);
    assert_eq!(version(&client.get("/results/k").await), "null");
    let first = version(&client.put("/results/k", &[], b"first").await);
    assert_eq!(client.get("/results/k?versionId=null").await.body.as_ref(), b"null 1");

    check(&turn("Suspended").await, 200, "");
    assert_eq!(status().await, ["Suspended"]);
    client.put("/results/k", &[], b"null 2").await;
    assert_eq!(client.get("/results/k?versionId=null").await.body.as_ref(), b"null 2");
    let old = client.get(&format!("/results/k?versionId={first}")).await;
    assert_eq!(old.body.as_ref(), b"first");
    assert_eq!(version(&client.delete("/results/k").await), "null");
    assert_eq!(client.get("/results?versions=").await.elements("VersionId").len(), 2);
    check(&client.get("/nowhere?versioning=").await, 404, "NoSuchBucket");
    let settings = store.bucket_settings("results").expect("it is there");
    assert_eq!(settings, BucketSettings { versioned: false, kms: false });
}

/// `test_delete_objects_versioned`
#[tokio::test]
async fn several_versions_are_deleted_at_once() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let first = version(&client.put("/versions/k", &[], b"1").await);
    let second = version(&client.put("/versions/k", &[], b"2").await);
    let other = version(&client.put("/versions/other", &[], b"other").await);
    let object = |key: &str, id: &str| {
        let id = if id.is_empty() { String::new() } else { format!("<VersionId>{id}</VersionId>") };
        format!("<Object><Key>{key}</Key>{id}</Object>")
    };
    let objects = [object("k", &first), object("k", &second), object("k", &other), object("k", "")];
    let body = format!("<Delete>{}</Delete>", objects.concat());
    let md5 = ("content-md5", md5_of(body.as_bytes()));
    let headers = [(md5.0, md5.1.as_str())];
    let answer = client.send("POST", "/versions?delete=", &headers, body.as_bytes()).await;
    check(&answer, 200, "NoSuchVersion");
    assert_eq!(answer.elements("Deleted").len(), 3);
    assert_eq!(answer.elements("Error").len(), 1);
    assert_eq!(answer.elements("DeleteMarkerVersionId").len(), 1);
    check(&client.get("/versions/other").await, 200, "");
}

fn md5_of(body: &[u8]) -> String {
    use base64::Engine as _;
    use s3s::crypto::Checksum as _;
    base64::engine::general_purpose::STANDARD.encode(s3s::crypto::Md5::checksum(body))
}

#[tokio::test]
async fn a_pinned_version_is_copied_whatever_came_after_it() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    let first = version(&client.put("/versions/k", &[], b"pinned").await);
    client.put("/versions/k", &[], b"later").await;
    let source = format!("versions/k?versionId={first}");
    let copy = [("x-amz-copy-source", source.as_str())];

    let copied = client.put("/versions/copy", &copy, b"").await;
    assert_eq!(copied.header("x-amz-copy-source-version-id"), first);
    assert_eq!(client.get("/versions/copy").await.body.as_ref(), b"pinned");
    let restored = client.put("/versions/k", &copy, b"").await;
    assert_ne!(version(&restored), first);
    assert_eq!(client.get("/versions/k").await.body.as_ref(), b"pinned");

    client.delete("/versions/k").await;
    let started = client.send("POST", "/versions/zip?uploads=", &[], b"").await;
    let upload = started.element("UploadId");
    let path = format!("/versions/zip?partNumber=1&uploadId={upload}");
    let part = client.put(&path, &copy, b"").await;
    assert_eq!(part.header("x-amz-copy-source-version-id"), first);
    let body = complete(&[part.element("ETag").replace("&quot;", "\"")]);
    let path = format!("/versions/zip?uploadId={upload}");
    let completed = client.send("POST", &path, &[], body.as_bytes()).await;
    let archive = version(&completed);
    assert_eq!(version(&client.get("/versions/zip").await), archive);
    let read = store.get_version("versions", "zip", &archive).await.expect("it is there");
    assert_eq!(read.as_ref(), b"pinned");
    let unknown = [("x-amz-copy-source", "versions/k?versionId=null")];
    check(&client.put("/versions/copy", &unknown, b"").await, 404, "NoSuchVersion");
}

fn complete(etags: &[String]) -> String {
    let part = |(number, etag): (usize, &String)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts: String = (1..).zip(etags).map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

/// `test_put_object_if_none_match_versioned_bucket`, `test_put_object_if_match_versioned_bucket`,
/// `test_put_object_if_match_validation`
#[tokio::test]
async fn a_delete_marker_counts_as_no_object() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let absent = async || client.put_if("/versions/k", "if-none-match", "*", b"new").await;
    let etag = client.put("/versions/k", &[], b"old").await.header("etag").to_owned();
    check(&absent().await, 412, "PreconditionFailed");
    client.delete("/versions/k").await;
    check(&client.put_if("/versions/k", "if-match", &etag, b"new").await, 404, "NoSuchKey");
    check(&absent().await, 200, "");
    check(
        &client.put_if("/versions/k", "if-match", &etag, b"new").await,
        412,
        "PreconditionFailed",
    );
    check(&client.put_if("/versions/k", "if-match", "*", b"new").await, 501, "NotImplemented");
    let both = [("if-match", etag.as_str()), ("if-none-match", "*")];
    check(&client.put("/versions/k", &both, b"new").await, 501, "NotImplemented");
    check(&client.put_if("/versions/k", "if-none-match", &etag, b"x").await, 501, "NotImplemented");
}

/// `test_copy_object_if_none_match_versioned_bucket`, `test_copy_object_if_match_versioned_bucket`
#[tokio::test]
async fn a_copy_replaces_an_object_on_a_condition() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    client.put("/versions/source", &[], b"source").await;
    let copy = async |name: &str, value: &str| {
        let headers = [("x-amz-copy-source", "versions/source"), (name, value)];
        client.put("/versions/k", &headers, b"").await
    };
    let etag = client.put("/versions/k", &[], b"old").await.header("etag").to_owned();
    check(&copy("if-none-match", "*").await, 412, "PreconditionFailed");
    check(&copy("if-match", "\"other\"").await, 412, "PreconditionFailed");
    check(&copy("if-match", "*").await, 501, "NotImplemented");
    check(&copy("if-match", &etag).await, 200, "");
    client.delete("/versions/k").await;
    check(&copy("if-match", &etag).await, 404, "NoSuchKey");
    check(&copy("if-none-match", "*").await, 200, "");
}

#[tokio::test]
async fn under_kms_the_same_bytes_have_another_tag_each_time() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let put = async |path: &str, headers: &[(&str, &str)]| {
        let answer = client.put(path, headers, b"hello").await;
        check(&answer, 200, "");
        let encryption = answer.header("x-amz-server-side-encryption").to_owned();
        (encryption, answer.header("etag").to_owned())
    };
    let (kms, first) = put("/versions/k", &[("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")]).await;
    let (_, second) = put("/versions/k", &[]).await;
    assert_eq!(kms, "aws:kms");
    assert!(first != second && first != MD5 && second != MD5, "{first} {second}");
    assert!(first.trim_matches('"').chars().all(|c| c.is_ascii_hexdigit()) && first.len() == 34);
    assert_eq!(client.get("/versions/k").await.header("x-amz-server-side-encryption"), "aws:kms");
    assert_eq!(put("/results/k", &[]).await, ("AES256".to_owned(), MD5.to_owned()));
    let own = ("x-amz-server-side-encryption", "AES256");
    assert_eq!(put("/versions/own", &[own]).await, ("AES256".to_owned(), MD5.to_owned()));
    let asked = put("/results/asked", &[(own.0, "aws:kms")]).await;
    assert!(asked.0 == "aws:kms" && asked.1 != MD5, "{asked:?}");

    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    check(&client.put("/versions/k", &wrong, b"hello").await, 400, "BadDigest");
    let wrong = [("x-amz-checksum-crc32", "AAAAAA==")];
    check(&client.put("/versions/k", &wrong, b"hello").await, 400, "BadDigest");

    let copy = [("x-amz-copy-source", "versions/k")];
    let copied = client.put("/results/copy", &copy, b"").await.element("ETag");
    assert_eq!(
        copied.replace("&quot;", "\""),
        MD5,
        "the tag of a copy is the digest where it can be"
    );
    let copied = client.put("/versions/copy", &copy, b"").await.element("ETag");
    assert_ne!(copied.replace("&quot;", "\""), second);

    let mut tags = Vec::new();
    for _ in 0..2 {
        let started = client.send("POST", "/versions/zip?uploads=", &[], b"").await;
        assert_eq!(started.header("x-amz-server-side-encryption"), "aws:kms");
        let upload = started.element("UploadId");
        let path = format!("/versions/zip?partNumber=1&uploadId={upload}");
        let (_, part) = put(&path, &[]).await;
        assert_ne!(part, MD5);
        let path = format!("/versions/zip?uploadId={upload}");
        let completed = client.send("POST", &path, &[], complete(&[part]).as_bytes()).await;
        check(&completed, 200, "");
        tags.push(completed.element("ETag"));
    }
    assert!(tags[0] != tags[1] && tags.iter().all(|tag| tag.contains("-1")), "{tags:?}");
}

/// `test_multipart_if_none_match_with_delete`, `test_multipart_if_match_with_put_identical`,
/// `test_multipart_if_match_with_delete`
#[tokio::test]
async fn an_upload_on_a_condition_conflicts_with_what_happened_meanwhile() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    for key in ["/versions/k", "/results/k"] {
        let start = async || {
            let started = client.send("POST", &format!("{key}?uploads="), &[], b"").await;
            let upload = started.element("UploadId");
            let part = format!("{key}?partNumber=1&uploadId={upload}");
            let etag = client.put(&part, &[], b"part").await.header("etag").to_owned();
            (format!("{key}?uploadId={upload}"), complete(&[etag]))
        };
        let finish = async |(path, body): &(String, String), name: &str, value: &str| {
            client.send("POST", path, &[(name, value)], body.as_bytes()).await
        };
        client.put(key, &[], b"object").await;
        let upload = start().await;
        check(&finish(&upload, "if-none-match", "*").await, 412, "PreconditionFailed");
        client.delete(key).await;
        check(&finish(&upload, "if-none-match", "*").await, 409, "ConditionalRequestConflict");
        check(&finish(&start().await, "if-none-match", "*").await, 200, "");

        let before = client.put(key, &[], b"object").await.header("etag").to_owned();
        let upload = start().await;
        let during = client.put(key, &[], b"object").await.header("etag").to_owned();
        let conflict = finish(&upload, "if-match", &during).await;
        check(&conflict, 409, "ConditionalRequestConflict");
        check(&finish(&start().await, "if-match", &during).await, 200, "");
        check(&finish(&start().await, "if-match", &before).await, 412, "PreconditionFailed");

        let upload = start().await;
        client.delete(key).await;
        check(&finish(&upload, "if-match", &during).await, 404, "NoSuchKey");
    }
}

/// `test_object_tagging_versioned`
#[tokio::test]
async fn tags_belong_to_a_version() {
    let endpoint = endpoint().await;
    let client = &endpoint.client;
    let first = version(&client.put_if("/versions/k", "x-amz-tagging", "a=1", b"1").await);
    let second = version(&client.put_if("/versions/k", "x-amz-tagging", "a=2", b"2").await);
    let old = format!("/versions/k?tagging=&versionId={first}");
    assert_eq!(client.get("/versions/k?tagging=").await.element("Value"), "2");
    assert_eq!(client.get(&old).await.element("Value"), "1");
    let tag = "<Tag><Key>a</Key><Value>3</Value></Tag>";
    let body = format!("<Tagging><TagSet>{tag}</TagSet></Tagging>");
    assert_eq!(version(&client.put(&old, &[], body.as_bytes()).await), first);
    assert_eq!(client.get(&old).await.element("Value"), "3");
    assert_eq!(version(&client.get("/versions/k?tagging=").await), second);
    client.delete("/versions/k").await;
    check(&client.get("/versions/k?tagging=").await, 405, "MethodNotAllowed");
    assert_eq!(client.get(&old).await.element("Value"), "3");
}

/// Sends writes on one condition at the same time and counts the answers.
async fn race(client: &Client, name: &'static str, value: &str) -> (usize, usize) {
    const WRITERS: usize = 2;
    let barrier = Arc::new(Barrier::new(WRITERS));
    let write = |number: usize| {
        let (client, barrier, value) = (client.clone(), Arc::clone(&barrier), value.to_owned());
        tokio::spawn(async move {
            barrier.wait().await;
            client
                .put("/versions/race", &[(name, &value)], &[u8::try_from(number).expect("small")])
                .await
        })
    };
    let writes: Vec<_> = (0..WRITERS).map(write).collect();
    let mut statuses = Vec::new();
    for write in writes {
        statuses.push(write.await.expect("no panic").status);
    }
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    (count(200), count(412) + count(409))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writes_on_one_condition_at_once_one_succeeds() {
    let endpoint = endpoint().await;
    let Endpoint { client, store, .. } = &endpoint;
    for round in 1..=25 {
        assert_eq!(race(client, "if-none-match", "*").await, (1, 1));
        let etag = store.head("versions", "race").await.expect("it is there").etag;
        assert_eq!(race(client, "if-match", &format!("\"{etag}\"")).await, (1, 1));
        let versions = client.get("/versions?versions=").await.elements("Version").len();
        assert_eq!(versions, 2 * round, "each success is one version");
        store.delete("versions", "race").await.expect("it can be deleted");
    }
}

#[tokio::test]
async fn versions_and_settings_survive_a_restart() {
    let root = TempDir::new().expect("a directory");
    let put = async |store: &Store, body: &'static [u8]| {
        let put = store.put("kept", "k", None, Bytes::from_static(body)).await;
        put.expect("it is written").version_id.expect("the bucket makes versions")
    };
    let open = async || Store::open(root.path()).await.expect("the store opens");
    let settings = BucketSettings { versioned: true, kms: true };
    let store = open().await;
    store.create_bucket_with("kept", settings).await.expect("the bucket is created");
    let (first, second) = (put(&store, b"1").await, put(&store, b"2").await);
    drop(store);

    let store = open().await;
    store.create_bucket("kept").await.expect("it is there");
    assert_eq!(store.bucket_settings("kept").expect("it is there"), settings);
    let third = put(&store, b"3").await;
    for (id, body) in [(first, b"1"), (second, b"2"), (third, b"3")] {
        let read = store.get_version("kept", "k", &id).await.expect("it is kept");
        assert_eq!(read.as_ref(), body);
    }
}
