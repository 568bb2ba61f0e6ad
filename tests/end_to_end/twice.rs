//! Every state may be retried: every function is called twice with the same event.

use std::path::Path;

use end_to_end::{RESULTS_BUCKET, Scenario, execution};
use serde_json::{Value, json};

async fn call(scenario: &Scenario, function: &str, event: &Value) -> Value {
    let answer = scenario.invoke(function, event).await;
    assert_eq!(answer["errorType"], Value::Null, "{function}: {answer}");
    answer
}

/// Calls a function twice and gives the second answer, which must be as the first.
async fn twice(scenario: &Scenario, function: &str, event: &Value) -> Value {
    let first = call(scenario, function, event).await;
    let second = call(scenario, function, event).await;
    assert_eq!(first, second, "{function}");
    second
}

#[tokio::test]
async fn every_function_called_twice_gives_one_file_and_one_query_execution_each() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.put_query("b", "SELECT 'ä' AS x, '' AS y, CAST(NULL AS varchar) AS z").await;
    let job = scenario.job(&["a", "b"]);
    let load = Scenario::load("r1", job.clone());
    let loaded = twice(&scenario, "query-loader", &load).await;
    assert_eq!(loaded["map"], "INLINE");
    let run = &loaded["run"];

    for index in 0..2 {
        scenario.run_to_end(&loaded, index).await;
        let run_query = Scenario::run_query(&loaded, index);
        twice(&scenario, "execute-single-query", &run_query).await;
        let write_result = Scenario::write_result(&loaded, index);
        twice(&scenario, "execute-single-query-result", &write_result).await;
    }
    assert_eq!(executed(&scenario).await, 2, "each query ran once");

    let gathered =
        twice(&scenario, "results-gatherer", &json!({ "action": "gather", "run": run })).await;
    assert_eq!(gathered, json!({ "succeeded": 2, "failed": 0, "archive": true, "file": null }));
    let first = call(&scenario, "zip-s3-folder", &json!({ "run": run })).await;
    let zipped = call(&scenario, "zip-s3-folder", &json!({ "run": run })).await;
    assert_eq!(zipped["file"]["sha256"], first["file"]["sha256"], "the same bytes");
    let file = &zipped["file"];
    let source = twice(&scenario, "extract-s3-key", &json!({ "uri": file["uri"] })).await;
    assert_eq!(source["key"], "zipped-results/r1.zip");
    let deliver = json!({
        "run_id": "r1",
        "run": run,
        "source": {
            "bucket": source["bucket"], "key": source["key"], "version_id": file["version_id"],
            "etag": file["etag"], "size_bytes": file["size_bytes"],
        },
        "file_name": file["file_name"],
        "transporter": job["transporter"],
    });
    let first = call(&scenario, "file-transporter", &deliver).await;
    let second = call(&scenario, "file-transporter", &deliver).await;
    for receipt in [&first, &second] {
        assert_eq!(receipt["sha256"], file["sha256"]);
        assert_eq!(receipt["bytes"], file["size_bytes"]);
        assert_eq!(receipt["host_key_verified"], true);
    }
    assert_eq!(first, second, "the journal has the receipt");
    assert_eq!(scenario.delivered(), ["inbox/r1.zip"]);

    let fail_query = json!({
        "action": "fail_query", "run": run, "query": loaded["queries"][0],
        "failure": { "state": "a", "error": "Lambda.Unknown", "cause": "killed" },
    });
    twice(&scenario, "results-gatherer", &fail_query).await;
    let record = scenario.record(&loaded, "a").await;
    assert_eq!(record["state"], "WRITTEN", "a CSV that is there is not taken back");

    let finish = json!({ "action": "finish", "run": run, "file": file, "delivery": first });
    let recorded = twice(&scenario, "results-gatherer", &finish).await;
    let place = "s3://athena-workflow-dev-results/athena-results/r1/manifest.json";
    assert_eq!(recorded["manifest"], place);

    // After the fact nothing changes any more, whatever comes late.
    let before = written(&scenario).await;
    let stop = json!({ "action": "stop", "run": run });
    assert_eq!(
        twice(&scenario, "results-gatherer", &stop).await,
        json!({ "cancelled": 0, "failure": null })
    );
    let fail = json!({
        "action": "fail", "run": run, "run_id": "r1", "execution": execution("r1"), "file": file,
        "delivery": first, "failure": { "state": "RecordSuccess", "error": "E", "cause": "c" },
    });
    twice(&scenario, "results-gatherer", &fail).await;
    twice(&scenario, "results-gatherer", &fail_query).await;
    for index in 0..2 {
        let run_query = Scenario::run_query(&loaded, index);
        twice(&scenario, "execute-single-query", &run_query).await;
        let write_result = Scenario::write_result(&loaded, index);
        twice(&scenario, "execute-single-query-result", &write_result).await;
    }
    for (function, event) in [("query-loader", load), ("zip-s3-folder", json!({ "run": run }))] {
        let answer = scenario.invoke(function, &event).await;
        assert_eq!(answer["errorType"], "Run.Ended", "{function}: {answer}");
    }
    assert_eq!(scenario.invoke("file-transporter", &deliver).await, first);
    assert_eq!(written(&scenario).await, before);
    assert_eq!(executed(&scenario).await, 2, "each query ran once");
    let manifest = scenario.stack().store().get(RESULTS_BUCKET, MANIFEST).await.unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut receipt = first.clone();
    receipt.as_object_mut().unwrap().remove("journal");
    assert_eq!((&manifest["status"], &manifest["delivery"]), (&json!("SUCCEEDED"), &receipt));
    scenario.end().await;
}

const MANIFEST: &str = "athena-results/r1/manifest.json";

/// Every object of the results with its ETag, which each write changes.
async fn written(scenario: &Scenario) -> Vec<(String, String)> {
    let objects = scenario.stack().store().list(RESULTS_BUCKET, "").await.unwrap();
    objects.into_iter().map(|object| (object.key, object.etag)).collect()
}

/// Number of queries that Athena has run, by their result objects.
async fn executed(scenario: &Scenario) -> usize {
    let objects = scenario.stack().store().list(RESULTS_BUCKET, "athena/").await.unwrap();
    let is_csv = |key: &str| Path::new(key).extension().is_some_and(|extension| extension == "csv");
    objects.iter().filter(|object| is_csv(&object.key)).count()
}

#[tokio::test]
async fn sql_that_changes_after_the_plan_is_not_run() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    let load = Scenario::load("r1", scenario.job(&["a"]));
    let loaded = call(&scenario, "query-loader", &load).await;
    scenario.put_query("a", "SELECT 2 AS x").await;
    scenario.run_to_end(&loaded, 0).await;
    call(&scenario, "execute-single-query-result", &Scenario::write_result(&loaded, 0)).await;
    let store = scenario.stack().store();
    let csv = store.get(RESULTS_BUCKET, "athena-results/r1/csv/a.csv").await.unwrap();
    assert_eq!(&csv[..], b"x\n1\n", "the SQL that was planned is what runs");
    scenario.end().await;
}
