//! Ten thousand queries in one job.

use end_to_end::{RESULTS_BUCKET, Scenario};
use job::{record::Manifest, view::RunState};
use serde_json::{Value, json};

/// What a state may be given or may answer, in bytes:
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>.
const PAYLOAD_BYTES_MAX: usize = 262_144;

/// The largest text in the history of a run, in bytes: inputs, outputs, what functions are given.
async fn largest_payload(scenario: &Scenario, run_id: &str) -> usize {
    let machine = &scenario.stack().endpoints().state_machine_arn;
    let arn = format!("{}:{run_id}", machine.replace(":stateMachine:", ":execution:"));
    let history =
        scenario.step_functions("GetExecutionHistory", &json!({ "executionArn": arn })).await;
    let events = history["events"].as_array().unwrap();
    let details = events.iter().flat_map(|event| event.as_object().unwrap().values());
    let texts = details.filter_map(Value::as_object).flat_map(|detail| detail.values());
    texts.filter_map(Value::as_str).map(str::len).max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_queries_are_one_run() {
    let scenario = Scenario::start().await;
    scenario.put_query("one", "SELECT 1 AS x").await;
    let names: Vec<String> = (0..10_000).map(|i| format!("q{i:04}")).collect();
    scenario.put_index(names.iter().map(|name| (name.as_str(), json!("one.sql")))).await;
    let mut job = scenario.job(&names.iter().map(String::as_str).collect::<Vec<_>>());
    job["file_name"] = json!("many.zip");
    let view = scenario.run(&job).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    assert_eq!((view.query_count, view.queries.len()), (Some(10_000), 0), "the manifest has them");

    let key = format!("athena-results/{}/manifest.json", view.run_id);
    let manifest = scenario.stack().store().get(RESULTS_BUCKET, &key).await.unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    let told: Vec<&str> = manifest.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(told, names);
    assert!(manifest.queries.iter().all(|query| query.csv.is_some() && query.attempts == 1));
    let archive = std::fs::File::open(scenario.partner().join("inbox/many.zip")).unwrap();
    assert_eq!(zip::ZipArchive::new(archive).unwrap().len(), 10_000);
    let largest = largest_payload(&scenario, view.run_id.as_str()).await;
    assert!(largest < PAYLOAD_BYTES_MAX, "{largest} bytes");
    scenario.end().await;
}
