//! Every state may be retried: every function is called twice with the same event.

use std::path::Path;

use end_to_end::{RESULTS_BUCKET, Scenario, wait_for_queries};
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
    // On a busy machine a query may take longer than a call usually waits.
    let scenario = Scenario::start_with(|config| wait_for_queries(config, 300)).await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.put_query("b", "SELECT 'ä' AS x, '' AS y, CAST(NULL AS varchar) AS z").await;
    let job = scenario.job(&["a", "b"]);
    let load = Scenario::load("r1", job.clone());
    let loaded = twice(&scenario, "query-loader", &load).await;
    assert_eq!(loaded["map"], "INLINE");
    let run = &loaded["run"];

    for query in loaded["queries"].as_array().unwrap() {
        let task = json!({ "run": run, "query": query });
        let outcome = twice(&scenario, "execute-single-query", &task).await;
        assert_eq!(outcome, json!({ "status": "SUCCEEDED" }));
        // As if the first call had died before it wrote its record: Athena knows the token.
        let record = format!("athena-results/r1/results/{}.json", query["name"].as_str().unwrap());
        scenario.stack().store().delete(RESULTS_BUCKET, &record).await.unwrap();
        let outcome = call(&scenario, "execute-single-query", &task).await;
        assert_eq!(outcome, json!({ "status": "SUCCEEDED" }));
    }
    let objects = scenario.stack().store().list(RESULTS_BUCKET, "athena/").await.unwrap();
    let is_csv = |key: &str| Path::new(key).extension().is_some_and(|extension| extension == "csv");
    let results = objects.iter().filter(|object| is_csv(&object.key)).count();
    assert_eq!(results, 2, "each query ran once: {objects:?}");

    let gathered =
        twice(&scenario, "results-gatherer", &json!({ "action": "gather", "run": run })).await;
    assert_eq!(gathered, json!({ "succeeded": 2, "failed": 0, "archive": true, "file": null }));
    let zipped = twice(&scenario, "zip-s3-folder", &json!({ "run": run })).await;
    let file = &zipped["file"];
    let source = twice(&scenario, "extract-s3-key", &json!({ "uri": file["uri"] })).await;
    assert_eq!(source["key"], "zipped-results/r1.zip");
    let deliver = json!({
        "run_id": "r1",
        "source": {
            "bucket": source["bucket"], "key": source["key"],
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
    assert_eq!(scenario.delivered(), ["inbox/r1.zip"]);

    let fail_query = json!({
        "action": "fail_query", "run": run, "query": loaded["queries"][0],
        "failure": { "state": "a", "error": "Lambda.Unknown", "cause": "killed" },
    });
    twice(&scenario, "results-gatherer", &fail_query).await;
    let key = "athena-results/r1/results/a.json";
    let record = scenario.stack().store().get(RESULTS_BUCKET, key).await.unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["state"], "SUCCEEDED", "a CSV that is there is not taken back");

    let stop = json!({ "action": "stop", "run": run });
    assert_eq!(
        twice(&scenario, "results-gatherer", &stop).await,
        json!({ "cancelled": 0, "failure": null })
    );
    let fail = json!({
        "action": "fail", "run": run, "run_id": "r1", "started_at": load["started_at"], "file": file,
        "delivery": first, "failure": { "state": "RecordSuccess", "error": "E", "cause": "c" },
    });
    twice(&scenario, "results-gatherer", &fail).await;
    let key = "athena-results/r1/manifest.json";
    let manifest = scenario.stack().store().get(RESULTS_BUCKET, key).await.unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!((&manifest["status"], &manifest["delivery"]), (&json!("FAILED"), &first));

    let finish = json!({ "action": "finish", "run": run, "file": file, "delivery": first });
    let recorded = twice(&scenario, "results-gatherer", &finish).await;
    assert_eq!(
        recorded["manifest"],
        "s3://athena-workflow-dev-results/athena-results/r1/manifest.json"
    );
    scenario.end().await;
}

#[tokio::test]
async fn sql_that_changes_after_the_plan_is_not_run() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    let load = Scenario::load("r1", scenario.job(&["a"]));
    let loaded = call(&scenario, "query-loader", &load).await;
    scenario.put_query("a", "SELECT 2 AS x").await;
    let task = json!({ "run": loaded["run"], "query": loaded["queries"][0] });
    let error = scenario.invoke("execute-single-query", &task).await;
    assert_eq!(error["errorType"], "Query.Changed");
    let store = scenario.stack().store();
    let started = store.list(RESULTS_BUCKET, "athena/").await.unwrap();
    assert_eq!(started, []);
    scenario.end().await;
}
