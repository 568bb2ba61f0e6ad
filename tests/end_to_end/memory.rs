//! Memory does not grow with the data.

use end_to_end::{RESULTS_BUCKET, Scenario};
use job::view::RunState;
use serde_json::{Value, json};

/// A process may take this much.
const MEMORY_MB_MAX: u64 = 100;

/// The most memory that one process of a function took so far, in MB.
fn memory_mb(scenario: &Scenario, function: &str) -> u64 {
    scenario.usage(function).memory_used_mb_max
}

/// Runs a query whose result has some `megabytes`, and a small one so that there are members; gives
/// the scenario and the size of the CSV.
async fn run(megabytes: usize) -> (Scenario, u64) {
    let scenario = Scenario::start().await;
    // The table's CSV has some 7.5 MB at the scale of the sample data.
    let copies = vec!["(1)"; megabytes * 10 / 75].join(",");
    let large = format!("SELECT l.* FROM lineitem l CROSS JOIN (VALUES {copies}) AS t (copy)");
    scenario.put_query("large", &large).await;
    scenario.put_query("small", "SELECT 1 AS x").await;
    let mut job = scenario.job(&["large", "small"]);
    job.as_object_mut().unwrap().remove("transporter");
    job["zip_level"] = json!(1);
    let view = scenario.run(&job).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    let size_bytes = view.queries[0].csv.as_ref().unwrap().size_bytes;
    (scenario, size_bytes)
}

/// Zips the folder of the CSVs, which are then deflated on their way through the function.
async fn zip_folder(scenario: &Scenario) {
    let store = scenario.stack().store();
    let objects = store.list(RESULTS_BUCKET, "athena-results/").await.unwrap();
    let large = objects.iter().find(|object| object.key.ends_with("csv/large.csv")).unwrap();
    let event = json!({ "folder": {
        "bucket": RESULTS_BUCKET, "prefix": large.key.trim_end_matches("large.csv"),
        "archive": { "bucket": RESULTS_BUCKET, "key": "folder.zip" },
        "modified_at": "2026-01-31T12:30:44Z", "zip_level": 1,
    }});
    let answer = scenario.invoke("zip-s3-folder", &event).await;
    assert_eq!(answer["errorType"], Value::Null, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and 15 GB of disk; scripts/memory runs it"]
async fn memory_does_not_grow_with_the_result() {
    let mut taken = Vec::new();
    eprintln!("{:>14} {:>22} {:>24}", "bytes of CSV", "WriteResult", "zip-s3-folder");
    for megabytes in [100, 1_000, 4_000] {
        let (scenario, size_bytes) = run(megabytes).await;
        let execute = memory_mb(&scenario, "execute-single-query-result");
        let assembly = memory_mb(&scenario, "zip-s3-folder");
        eprintln!("{size_bytes:>14} {execute:>19} MB {assembly:>10} MB (assembly)");
        taken.push(execute);
        assert!(assembly < MEMORY_MB_MAX, "{assembly} MB");
        if megabytes <= 1_000 {
            zip_folder(&scenario).await;
            let stream = memory_mb(&scenario, "zip-s3-folder");
            eprintln!("{size_bytes:>14} {:>22} {stream:>10} MB (streaming)", "");
            assert!(stream < MEMORY_MB_MAX, "{stream} MB");
        }
        scenario.end().await;
    }
    let (least, most) = (*taken.iter().min().unwrap(), *taken.iter().max().unwrap());
    assert!(most < MEMORY_MB_MAX && most * 10 <= least * 11, "{taken:?}");
}
