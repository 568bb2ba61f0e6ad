//! Documents, conditions, listings.

use aws_io::{ListedObject, ObjectInfo, Precondition, Storage};

use crate::endpoint::{Endpoint, at, kind, pin};

async fn put_if(storage: &Storage, key: &str, number: u32, condition: Precondition) -> String {
    let put = storage.put_json_if(&at(key), &number, condition).await;
    kind(&put).to_owned()
}

#[tokio::test]
async fn a_record_is_written_only_over_the_one_that_was_read() {
    let endpoint = Endpoint::start().await;
    let storage = &endpoint.storage;
    let unchanged = |etag: &str| Precondition::Unchanged { etag: etag.to_owned() };
    assert_eq!(put_if(storage, "record", 1, unchanged("\"none\"")).await, "not found");
    assert_eq!(put_if(storage, "record", 1, Precondition::Absent).await, "done");
    assert_eq!(put_if(storage, "record", 2, Precondition::Absent).await, "changed");

    let read = storage.get_json_with_info::<u32>(&at("record"), 100).await;
    let (number, info) = read.expect("it is read");
    let etag = info.version.etag;
    assert_eq!(number, 1);
    assert_eq!(put_if(storage, "record", 3, unchanged(&etag)).await, "done");
    assert_eq!(put_if(storage, "record", 4, unchanged(&etag)).await, "changed");
    assert_eq!(storage.get_json::<u32>(&at("record"), 100).await.expect("it is read"), 3);
}

#[tokio::test]
async fn of_records_written_at_once_one_is_kept() {
    let endpoint = Endpoint::start().await;
    let storage = &endpoint.storage;
    let writes = (0..8).map(|number| put_if(storage, "record", number, Precondition::Absent));
    let mut outcomes = futures_util::future::join_all(writes).await;
    outcomes.sort();
    assert_eq!(outcomes, [["changed"; 7].as_slice(), &["done"]].concat());
}

#[tokio::test]
async fn what_is_not_the_document_or_too_large_is_an_error() {
    let endpoint = Endpoint::start().await;
    endpoint.put("text", b"no JSON").await;
    let read = async |key, limit| kind(&endpoint.storage.get_json::<u32>(&at(key), limit).await);
    assert_eq!(read("text", 100).await, "document");
    assert_eq!(read("text", 6).await, "too large");
    assert_eq!(read("none", 100).await, "not found");
}

#[tokio::test]
async fn a_listing_names_keys_tags_and_sizes_past_one_page() {
    let endpoint = Endpoint::start().await;
    let etag = endpoint.put("folder/0000", b"zero").await;
    for number in 1..1005 {
        endpoint.put(&format!("folder/{number:04}"), b"").await;
    }
    endpoint.put("other", b"").await;
    let list = async |limit| endpoint.storage.list_objects("bucket", "folder/", limit).await;
    let all = list(5000).await.expect("it is listed");
    assert_eq!(all.len(), 1005);
    let info = ObjectInfo { version: pin(&etag), size_bytes: 4 };
    assert_eq!(all[0], ListedObject { key: "folder/0000".to_owned(), info });
    assert_eq!(list(2).await.expect("it is listed"), all[..2]);
    assert_eq!(list(0).await.expect("it is listed"), []);
    let keys = endpoint.storage.list("bucket", "folder/", 1001).await.expect("it is listed");
    assert_eq!(keys.last().map(String::as_str), Some("folder/1000"));
}
