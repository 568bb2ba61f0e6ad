//! How queries are run: throttled, slow, failing, cancelled.

use std::{collections::BTreeMap, path::Path, time::Duration};

use end_to_end::{RESULTS_BUCKET, Scenario, WORK_GROUP, dev_with};
use job::{
    record::{Manifest, QueryState, QuerySummary},
    view::{RunState, RunView},
};
use local::{InjectedFailure, Refusal, WorkGroup};
use serde_json::{Value, json};

/// Where the work group of the stack has its results, whatever a run asks for.
const FORCED: &str = "athena/";

/// How many queries Athena has run, by their result objects below `prefix`.
async fn executed(scenario: &Scenario, prefix: &str) -> usize {
    let objects = scenario.stack().store().list(RESULTS_BUCKET, prefix).await.unwrap();
    let is_csv = |key: &str| Path::new(key).extension().is_some_and(|extension| extension == "csv");
    objects.iter().filter(|object| is_csv(&object.key)).count()
}

async fn document<T: serde::de::DeserializeOwned>(
    scenario: &Scenario,
    view: &RunView,
    key: &str,
) -> T {
    let key = format!("athena-results/{}/{key}", view.run_id);
    let bytes = scenario.stack().store().get(RESULTS_BUCKET, &key).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// State and attempts of every query, by its name.
fn states(queries: &[QuerySummary]) -> BTreeMap<&str, (QueryState, u32)> {
    queries.iter().map(|query| (query.name.as_str(), (query.state, query.attempts))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_queries_run_once_each_although_every_third_start_is_refused() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.stack().athena().faults().refuse_every_start(3, Refusal::TooManyRequests);
    let names: Vec<String> = (0..200).map(|i| format!("q{i:03}")).collect();
    scenario.put_index(names.iter().map(|name| (name.as_str(), json!("a.sql")))).await;
    let mut job = scenario.job(&names.iter().map(String::as_str).collect::<Vec<_>>());
    job["max_concurrency"] = json!(20);

    let view = scenario.run(&job).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    let once = names.iter().map(|name| (name.as_str(), (QueryState::Succeeded, 1))).collect();
    assert_eq!(states(&view.queries), once);
    assert_eq!(executed(&scenario, FORCED).await, 200);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_outlasts_a_call_is_waited_for_by_its_event() {
    let scenario = Scenario::start().await;
    scenario.put_query("slow", "SELECT 1 AS x").await;
    let faults = scenario.stack().athena().faults();
    faults.delay_queries(Duration::from_secs(4));
    // RUNNING goes back to QUEUED on the way.
    faults.requeue_next_queries(1);
    let view = scenario.run(&scenario.job(&["slow"])).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    assert_eq!(states(&view.queries), [("slow", (QueryState::Succeeded, 1))].into());
    assert_eq!(scenario.usage("execute-single-query").invocations, 1);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_work_group_is_waited_out() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    let faults = scenario.stack().athena().faults().clone();
    faults.refuse_every_start(1, Refusal::TooManyRequests);
    let job = scenario.job(&["a"]);
    let (view, ()) = tokio::join!(scenario.run(&job), async {
        // Longer than all that the SDK sends, so that the state machine has to wait as well.
        while scenario.usage("execute-single-query").invocations < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        faults.clear();
    });
    let view = view.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    assert_eq!(executed(&scenario, FORCED).await, 1);
    scenario.end().await;
}

fn transient() -> InjectedFailure {
    InjectedFailure {
        category: 1,
        error_type: 1403,
        retryable: true,
        message: "Query exhausted resources at this scale factor".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_athena_calls_transient_is_tried_again_and_any_other_is_not() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.stack().athena().faults().fail_next_query(transient());
    let view = scenario.run(&scenario.job(&["a"])).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    assert_eq!(states(&view.queries), [("a", (QueryState::Succeeded, 2))].into());

    scenario.put_query("b", "SELECT 1 AS x,\n  nothing\nFROM region").await;
    let view = scenario.run(&scenario.job(&["b"])).await.unwrap();
    assert_eq!(states(&view.queries), [("b", (QueryState::Failed, 1))].into());
    let failure = view.failure.unwrap();
    assert_eq!((failure.state.as_str(), failure.error.as_str()), ("RunQueries", "Query.Failed"));
    let place = "query `b` failed in Athena, line 2, column 3 of `s3://athena-workflow-dev-queries/queries/b.sql`: COLUMN_NOT_FOUND: line 2:3: ";
    assert!(failure.cause.starts_with(place), "{}", failure.cause);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_succeeded_is_delivered_if_the_job_says_so_and_the_manifest_says_what_did_not() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.put_query("b", "SELECT nothing").await;
    scenario.put_query("c", "SELECT 3 AS x").await;
    let mut job = scenario.job(&["a", "b", "c"]);
    job["on_query_failure"] = json!("continue");
    job["file_name"] = json!("part.zip");
    let view = scenario.run(&job).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    assert_eq!(scenario.delivered(), ["inbox/part.zip"]);
    let archive = std::fs::File::open(scenario.partner().join("inbox/part.zip")).unwrap();
    let archive = zip::ZipArchive::new(archive).unwrap();
    assert_eq!(archive.file_names().map(Result::unwrap).collect::<Vec<_>>(), ["a.csv", "c.csv"]);

    let manifest: Manifest = document(&scenario, &view, "manifest.json").await;
    let failed: Vec<_> = manifest.queries.iter().filter(|query| query.csv.is_none()).collect();
    let failure = failed[0].failure.as_ref().unwrap();
    assert_eq!((failed.len(), failed[0].name.as_str()), (1, "b"));
    assert_eq!((failure.state.as_str(), failure.error.as_str()), ("b", "Query.Failed"));
    let error: Value = document(&scenario, &view, "errors/b.json").await;
    assert_eq!(error, serde_json::to_value(failure).unwrap());
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_cancels_its_running_queries_and_starts_no_other() {
    let scenario = Scenario::start().await;
    let names = ["a", "b", "c", "d"];
    for name in names {
        scenario.put_query(name, "SELECT 1 AS x").await;
    }
    // Refused at its start, so it fails while the two before it run.
    scenario.put_query("z", "SELEC 1").await;
    let faults = scenario.stack().athena().faults();
    faults.delay_queries(Duration::from_mins(10));
    faults.refuse_malformed_queries(true);
    let mut job = scenario.job(&["a", "b", "z", "c", "d"]);
    job["max_concurrency"] = json!(3);
    let view = scenario.run(&job).await.unwrap();
    assert_eq!(view.status, RunState::Failed);
    let failure = view.failure.clone().unwrap();
    assert_eq!((failure.state.as_str(), failure.error.as_str()), ("RunQueries", "Query.Failed"));
    assert!(failure.cause.starts_with("query `z` failed in Athena, line 1"), "{}", failure.cause);

    // A call that was under way ends its query itself, which may come after the run's end.
    let running = |answer: &Value| {
        let executions = answer["QueryExecutions"].as_array().unwrap();
        executions.iter().any(|query| query["Status"]["State"] != "CANCELLED")
    };
    let all = scenario.athena("ListQueryExecutions", &json!({ "WorkGroup": WORK_GROUP })).await;
    let ids = json!({ "QueryExecutionIds": all["QueryExecutionIds"] });
    let all_cancelled = async {
        while running(&scenario.athena("BatchGetQueryExecution", &ids).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all_cancelled).await.expect("all are cancelled");
    let started = all["QueryExecutionIds"].as_array().unwrap().len();
    assert!((1..=3).contains(&started), "{started}");
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_run_that_fails_names_the_query_and_its_error() {
    let scenario = Scenario::start().await;
    scenario.put_query("good", "SELECT 1 AS x").await;
    scenario.put_query("bad", "SELECT nothing").await;
    let names: Vec<String> = (0..60).map(|i| format!("q{i:02}")).collect();
    let file = |name: &str| json!(if name == "q30" { "bad.sql" } else { "good.sql" });
    scenario.put_index(names.iter().map(|name| (name.as_str(), file(name)))).await;
    let mut job = scenario.job(&names.iter().map(String::as_str).collect::<Vec<_>>());
    job["max_concurrency"] = json!(50);
    let view = scenario.run(&job).await.unwrap();
    assert_eq!(view.status, RunState::Failed);
    let failure = view.failure.unwrap();
    assert_eq!(
        (failure.state.as_str(), failure.error.as_str()),
        ("RunManyQueries", "Query.Failed")
    );
    assert!(failure.cause.starts_with("query `q30` failed in Athena"), "{}", failure.cause);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_work_group_that_enforces_nothing_leaves_the_place_of_the_results_to_the_run() {
    let scenario = Scenario::start_with(|config| {
        // As the setting `workGroups` does it.
        config.deployment = dev_with(|resources| {
            let role = "athena-workflow-dev-execute-single-query";
            let policy = &mut resources["aws:iam/rolePolicy:RolePolicy"][role]["inputs"]["policy"];
            let statements = policy["Statement"].as_array_mut().unwrap().iter_mut();
            for statement in statements {
                let arn = match statement["Sid"].as_str().unwrap() {
                    "RunQueries" => "arn:aws:athena:us-east-1:000000000000:workgroup/partners",
                    "WriteQueryResults" => "arn:aws:s3:::athena-workflow-dev-results/*/athena/*",
                    _ => continue,
                };
                statement["Resource"].as_array_mut().unwrap().push(json!(arn));
            }
        });
        config.deployment.work_groups.push(WorkGroup::new("partners"));
    })
    .await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    let mut job = scenario.job(&["a"]);
    job["work_group"] = json!("partners");
    job["file_name"] = json!("a.csv");
    let view = scenario.run(&job).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    assert_eq!(executed(&scenario, FORCED).await, 0);
    assert_eq!(executed(&scenario, &format!("athena-results/{}/athena/", view.run_id)).await, 1);
    let csv = std::fs::read_to_string(scenario.partner().join("inbox/a.csv")).unwrap();
    assert_eq!(csv, "x\n1\n");
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_comes_after_its_run_has_ended_starts_no_query() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    let load = Scenario::load("r1", scenario.job(&["a"]));
    let loaded = scenario.invoke("query-loader", &load).await;
    let stop = json!({ "action": "stop", "run": loaded["run"] });
    let stopped = scenario.invoke("results-gatherer", &stop).await;
    assert_eq!(stopped, json!({ "cancelled": 0, "failure": null }));
    let task = Scenario::run_query(&loaded, 0);
    let answer = scenario.invoke("execute-single-query", &task).await;
    assert_eq!(answer["errorType"], "Run.Ended");
    let key = "athena-results/r1/results/a.json";
    let record = scenario.stack().store().get(RESULTS_BUCKET, key).await;
    assert!(record.is_err(), "a run that has ended is left as it is");
    let all = scenario.athena("ListQueryExecutions", &json!({ "WorkGroup": WORK_GROUP })).await;
    assert_eq!(all["QueryExecutionIds"], json!([]));
    scenario.end().await;
}

/// A function that was killed between its intent and the start: Athena has never heard of the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intended_start_is_found_and_ended_by_the_end_of_the_run() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT n_name FROM nation").await;
    let load = Scenario::load("r1", scenario.job(&["a"]));
    let loaded = scenario.invoke("query-loader", &load).await;
    let record = json!({
        "name": "a", "file_name": "a.csv", "execution": loaded["run"]["execution"],
        "attempt": 1, "started_at": null, "state": "STARTING", "token": "t".repeat(64),
    });
    let key = "athena-results/r1/results/a.json";
    let store = scenario.stack().store();
    store.put(RESULTS_BUCKET, key, None, record.to_string().into()).await.unwrap();

    let stop = json!({ "action": "stop", "run": loaded["run"] });
    let stopped = scenario.invoke("results-gatherer", &stop).await;
    assert_eq!(stopped["cancelled"], 1, "{stopped}");
    let record = scenario.record(&loaded, "a").await;
    assert_eq!(record["state"], "CANCELLED", "{record}");
    let id = json!({ "QueryExecutionId": record["query_execution_id"] });
    let execution = scenario.athena("GetQueryExecution", &id).await;
    let execution = &execution["QueryExecution"];
    let state = execution["Status"]["State"].as_str().unwrap();
    assert!(["CANCELLED", "FAILED"].contains(&state), "{execution}");
    let scanned = execution["Statistics"]["DataScannedInBytes"].as_u64().unwrap_or_default();
    assert_eq!(scanned, 0, "the clean-up has no rights on the tables");
    scenario.end().await;
}
