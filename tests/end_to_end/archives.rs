//! Archives that S3 puts together, and archives of folders.

use std::{fs::File, io::Read, path::Path};

use bytes::Bytes;
use end_to_end::{RESULTS_BUCKET, Scenario, other_programs_accept};
use job::view::RunState;
use serde_json::{Value, json};
use zip::ZipArchive;

/// The names and contents of an archive, every CRC-32 checked.
fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut members = Vec::new();
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).unwrap();
        let mut content = Vec::new();
        member.read_to_end(&mut content).unwrap();
        members.push((member.name().unwrap().into_owned(), content));
    }
    members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_members_are_copied_by_s3_and_small_ones_are_carried() {
    let scenario = Scenario::start().await;
    let large = "SELECT * FROM lineitem";
    let queries = [
        ("a small", "SELECT 'ä' AS x"),
        ("large", large),
        ("b small", "SELECT 2 AS x"),
        ("c small", "SELECT 3 AS x"),
        ("large too", large),
        ("größe", "SELECT 4 AS x"),
    ];
    for (name, sql) in queries {
        scenario.put_query(name, sql).await;
    }
    let mut job = scenario.job(&queries.map(|(name, _)| name));
    // Stored, so that the members of the sample data are larger than the least part of an upload.
    job["zip_level"] = json!(0);
    job["file_name"] = json!("all.zip");
    let view = scenario.run(&job).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));

    let path = scenario.partner().join("inbox/all.zip");
    other_programs_accept(&path);
    let members = members(&path);
    assert_eq!(members.len(), queries.len());
    for (query, (name, content)) in view.queries.iter().zip(&members) {
        let csv = query.csv.as_ref().unwrap();
        let store = scenario.stack().store();
        let written = store.get(RESULTS_BUCKET, &csv.location.key).await.unwrap();
        assert_eq!(*name, format!("{}.csv", query.name));
        assert_eq!(content.as_slice(), &written[..], "{name}");
        // A member is an archive of its own.
        let member = query.member.as_ref().unwrap();
        let bytes = store.get(RESULTS_BUCKET, &member.location.key).await.unwrap();
        assert_eq!(bytes.len() as u64, member.size_bytes);
        let mut alone = ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        assert_eq!(alone.by_index(0).unwrap().name().unwrap(), name.as_str());
    }
    let large_bytes = view.queries[1].member.as_ref().unwrap().size_bytes;
    assert!(large_bytes > 5 * 1024 * 1024, "{large_bytes} bytes are too small for a copy");
    // The receipt has the SHA-256 that the function which made the archive could not know.
    let delivery = view.delivery.unwrap();
    assert_eq!(delivery["sha256"], json!(view.file.unwrap().sha256.unwrap()));
    scenario.end().await;
}

/// Plans a run of a large and a small query, runs the large one, and gives the task of its result.
async fn plan(scenario: &Scenario, run_id: &str) -> Value {
    let load = Scenario::load(run_id, scenario.job(&["large", "small"]));
    let mut loaded = scenario.invoke("query-loader", &load).await;
    loaded["run"]["zip_level"] = json!(0);
    scenario.run_to_end(&loaded, 0).await;
    Scenario::write_result(&loaded, 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_writes_fail_leaves_nothing_and_broken_reads_do_not_matter() {
    let scenario = Scenario::start().await;
    let large = "SELECT l.* FROM lineitem l CROSS JOIN (VALUES (1), (2)) AS t (copy) \
                 ORDER BY l_orderkey, l_linenumber, copy";
    scenario.put_query("large", large).await;
    scenario.put_query("small", "SELECT 1 AS x").await;
    let store = scenario.stack().store();
    let begun_uploads =
        scenario.stack().objects_dir().join(".s3/buckets/athena-workflow-dev-results/uploads");
    let csv = async |run_id: &str| {
        store.get(RESULTS_BUCKET, &format!("athena-results/{run_id}/csv/large.csv")).await
    };

    let task = plan(&scenario, "broken").await;
    store.faults().fail_next("UploadPart", 100);
    let answer = scenario.invoke("execute-single-query-result", &task).await;
    assert_eq!(answer["errorType"], "Storage.Unavailable", "{answer}");
    assert_eq!(std::fs::read_dir(&begun_uploads).unwrap().count(), 0);
    assert!(csv("broken").await.is_err(), "there is no part of a CSV");

    store.faults().clear();
    store.faults().cut_next_reads(4, 3_000_000);
    let succeeded = json!({});
    assert_eq!(scenario.invoke("execute-single-query-result", &task).await, succeeded);
    store.faults().clear();
    let task = plan(&scenario, "whole").await;
    assert_eq!(scenario.invoke("execute-single-query-result", &task).await, succeeded);
    let (broken, whole) = (csv("broken").await.unwrap(), csv("whole").await.unwrap());
    assert!(whole.len() > 10_000_000 && broken == whole, "{} and {}", broken.len(), whole.len());
    assert_eq!(std::fs::read_dir(&begun_uploads).unwrap().count(), 0);
    scenario.end().await;
}

async fn zip_folder(scenario: &Scenario, zip_level: u8) -> Value {
    let event = json!({ "folder": {
        "bucket": RESULTS_BUCKET, "prefix": "plain",
        "archive": { "bucket": RESULTS_BUCKET, "key": "plain/all.zip" },
        "modified_at": "2026-01-31T12:30:44Z", "zip_level": zip_level,
    }});
    scenario.invoke("zip-s3-folder", &event).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_folder_becomes_an_archive() {
    let scenario = Scenario::start().await;
    let store = scenario.stack().store();
    let objects = [
        ("plain/a.csv", "a".repeat(300_000)),
        ("plain/sub/größe.csv", String::new()),
        ("plain/z z.csv", "z".to_owned()),
    ];
    for (key, text) in &objects {
        store.put(RESULTS_BUCKET, key, None, Bytes::from(text.clone())).await.unwrap();
    }
    for zip_level in [0, 6] {
        let first = zip_folder(&scenario, zip_level).await;
        let second = zip_folder(&scenario, zip_level).await;
        assert_eq!(second["file"]["sha256"], first["file"]["sha256"], "twice the same bytes");
        assert_eq!(first["members"], 3, "{first}");
        let path = scenario.partner().join("all.zip");
        let bytes = store.get(RESULTS_BUCKET, "plain/all.zip").await.unwrap();
        std::fs::write(&path, &bytes).unwrap();
        other_programs_accept(&path);
        let expected: Vec<_> = objects
            .iter()
            .map(|(key, text)| (key["plain/".len()..].to_owned(), text.clone().into_bytes()))
            .collect();
        assert_eq!(members(&path), expected);
    }
    scenario.end().await;
}
