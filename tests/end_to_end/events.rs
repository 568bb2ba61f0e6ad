//! Events that are lost, late, doubled and out of order, and the clean-up after executions that do
//! not end by themselves.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    path::Path,
    time::Duration,
};

use end_to_end::{QUERIES_BUCKET, RESULTS_BUCKET, Scenario, WORK_GROUP, dev_with, execution};
use job::{
    record::{Manifest, QueryState, RunStatus},
    view::{RunState, RunView},
};
use local::{Arrival, Deployment, InjectedFailure};
use memchr::memmem;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::secrets::{Trace, collect_files, collect_leaves, encodings, history};

/// Source and type of the events of queries.
const QUERY_EVENTS: (&str, &str) = ("aws.athena", "Athena Query State Change");

/// Source and type of the events of executions.
const EXECUTION_EVENTS: (&str, &str) = ("aws.states", "Step Functions Execution Status Change");

/// The rule that takes the ends of queries to results-gatherer.
const QUERY_ENDED_RULE: &str = "athena-workflow-dev-query-ended";

/// The rule that takes the ends of executions to results-gatherer.
const RUN_FAILED_RULE: &str = "athena-workflow-dev-run-failed";

/// The longest wait for anything: far beyond what it takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Longer than the looks of a call, so that only an event or a time-out tells the end.
const BEYOND_A_CALL: Duration = Duration::from_secs(2);

/// Repeats `look` until it gives something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A job whose run delivers nothing: no short state times out when time is compressed.
fn undelivered(scenario: &Scenario, query_names: &[&str]) -> Value {
    let mut job = scenario.job(query_names);
    job["transporter"] = Value::Null;
    job
}

/// Starts the job and gives the id of its run.
pub(crate) async fn start_run(scenario: &Scenario, job: &Value) -> String {
    let (status, text) = scenario.post("/jobs", job).await;
    assert_eq!(status, 202, "{text}");
    let started: Value = serde_json::from_str(&text).unwrap();
    started["run_id"].as_str().unwrap().to_owned()
}

pub(crate) fn execution_arn(scenario: &Scenario, run_id: &str) -> String {
    let machine = &scenario.stack().endpoints().state_machine_arn;
    format!("{}:{run_id}", machine.replace(":stateMachine:", ":execution:"))
}

/// The states of all query executions, by their ids.
pub(crate) async fn executions(scenario: &Scenario) -> BTreeMap<String, String> {
    let mut states = BTreeMap::new();
    let mut request = json!({ "WorkGroup": WORK_GROUP });
    loop {
        let page = scenario.athena("ListQueryExecutions", &request).await;
        let ids = &page["QueryExecutionIds"];
        if ids.as_array().is_some_and(|ids| !ids.is_empty()) {
            let ids = json!({ "QueryExecutionIds": ids });
            let told = scenario.athena("BatchGetQueryExecution", &ids).await;
            states.extend(told["QueryExecutions"].as_array().unwrap().iter().map(|query| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&query["QueryExecutionId"]), text(&query["Status"]["State"]))
            }));
        }
        match &page["NextToken"] {
            Value::Null => return states,
            token => request["NextToken"] = token.clone(),
        }
    }
}

async fn count_in_state(scenario: &Scenario, state: &str) -> usize {
    executions(scenario).await.values().filter(|found| *found == state).count()
}

async fn events_of_type(scenario: &Scenario, run_id: &str, kind: &str) -> usize {
    let arn = json!(execution_arn(scenario, run_id));
    history(scenario, &arn).await.iter().filter(|event| event["type"] == kind).count()
}

/// Every object of the results, with its bytes.
async fn objects(scenario: &Scenario) -> BTreeMap<String, Vec<u8>> {
    let store = scenario.stack().store();
    let mut objects = BTreeMap::new();
    for object in store.list(RESULTS_BUCKET, "").await.unwrap() {
        let bytes = store.get(RESULTS_BUCKET, &object.key).await.unwrap();
        objects.insert(object.key, bytes.to_vec());
    }
    objects
}

/// The manifest of a run, once it is there, and its ETag.
pub(crate) async fn manifest(scenario: &Scenario, run_id: &str) -> (Manifest, String) {
    let key = format!("athena-results/{run_id}/manifest.json");
    let store = scenario.stack().store();
    let bytes = eventually("a manifest", async || store.get(RESULTS_BUCKET, &key).await.ok()).await;
    let etag = store.head(RESULTS_BUCKET, &key).await.unwrap().etag;
    (serde_json::from_slice(&bytes).unwrap(), etag)
}

#[track_caller]
fn check_succeeded(view: &RunView, attempts: &[(&str, u32)]) {
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    let told: BTreeMap<_, _> =
        view.queries.iter().map(|query| (query.name.as_str(), query.attempts)).collect();
    assert_eq!(told, attempts.iter().copied().collect());
    assert!(view.queries.iter().all(|query| query.state == QueryState::Succeeded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_events_are_all_lost_ends_well_after_one_time_out() {
    let scenario = Scenario::start_with(|config| {
        // The time-out of 65 s takes 3.
        config.speed = 20.0;
        config.event_faults.lose(QUERY_EVENTS.0, QUERY_EVENTS.1);
    })
    .await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.put_query("b", "SELECT 2 AS x").await;
    scenario.stack().athena().faults().delay_queries(BEYOND_A_CALL);
    let mut job = undelivered(&scenario, &["a", "b"]);
    job["query_timeout_minutes"] = json!(1);
    let view = scenario.run(&job).await.unwrap();
    check_succeeded(&view, &[("a", 1), ("b", 1)]);
    assert_eq!(executions(&scenario).await.len(), 2);
    let timed_out = events_of_type(&scenario, view.run_id.as_str(), "TaskTimedOut").await;
    assert_eq!(timed_out, 2, "each query is looked at once more");
    assert_eq!(scenario.usage("execute-single-query").invocations, 4);
    assert_eq!(scenario.stack().events().usage(QUERY_ENDED_RULE).matched, 0);
    scenario.end().await;
}

/// Three arrivals of an event, in an order that differs from query to query.
fn shuffled(event: &Value) -> Vec<Arrival> {
    let mut hasher = DefaultHasher::new();
    event["detail"]["queryExecutionId"].as_str().unwrap().hash(&mut hasher);
    event["detail"]["sequenceNumber"].as_str().unwrap().hash(&mut hasher);
    let late = hasher.finish() % 700;
    [late / 2, late, 1_400 - late]
        .map(|after| Arrival { after: Duration::from_millis(after) })
        .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_late_doubled_and_out_of_order_start_nothing_twice() {
    let scenario = Scenario::start().await;
    let bus = scenario.stack().events().clone();
    bus.faults().disturb(QUERY_EVENTS.0, QUERY_EVENTS.1, shuffled);
    let names = ["a", "b", "c", "quick", "retried"];
    for name in names {
        scenario.put_query(name, &format!("SELECT '{name}' AS x")).await;
    }
    let faults = scenario.stack().athena().faults();
    faults.delay_queries(Duration::from_millis(1_200));
    faults.run_for(|sql| sql.contains("quick"), Duration::ZERO);
    let mut job = scenario.job(&names);
    job["max_concurrency"] = json!(5);

    let view = scenario.run(&job).await.unwrap();
    check_succeeded(&view, &names.map(|name| (name, 1)));
    // A failed attempt's events arrive while the next attempt waits.
    faults.fail_next_query(InjectedFailure {
        category: 1,
        error_type: 1403,
        retryable: true,
        message: "Query exhausted resources at this scale factor".to_owned(),
    });
    let view = scenario.run(&scenario.job(&["retried"])).await.unwrap();
    check_succeeded(&view, &[("retried", 2)]);

    let before = objects(&scenario).await;
    bus.idle().await;
    let ends = executions(&scenario).await.len() as u64;
    assert_eq!(ends, 7, "one execution a query and attempt");
    let gatherer = eventually("every event is handled", async || {
        let usage = scenario.usage("results-gatherer");
        // Two runs gather and finish; each end of a query is told three times.
        (usage.invocations >= 3 * ends + 4).then_some(usage)
    })
    .await;
    assert_eq!((gatherer.invocations, gatherer.errors), (3 * ends + 4, 0));
    assert_eq!(bus.usage(QUERY_ENDED_RULE).delivered, 3 * ends);
    assert!(bus.dead_letters().is_empty());
    assert!(objects(&scenario).await == before, "a late event changes nothing");
    scenario.end().await;
}

/// Stops a run of these queries while some of them run. Nothing runs afterwards, and the run says so.
async fn check_stopped(names: &[&str], timeout_minutes: u32, told: Option<(&str, &str)>) {
    let scenario = Scenario::start().await;
    // The clean-up runs twice at the same time.
    let faults = scenario.stack().events().faults();
    faults.disturb(EXECUTION_EVENTS.0, EXECUTION_EVENTS.1, |_| vec![Arrival::default(); 2]);
    scenario.put_query("slow", "SELECT 1 AS x").await;
    scenario.put_index(names.iter().map(|name| (*name, json!("slow.sql")))).await;
    scenario.stack().athena().faults().delay_queries(Duration::from_mins(10));
    let mut job = scenario.job(names);
    job["query_timeout_minutes"] = json!(timeout_minutes);
    job["max_concurrency"] = json!(6);
    let run_id = start_run(&scenario, &job).await;
    eventually("queries run", async || {
        (count_in_state(&scenario, "RUNNING").await >= names.len().min(4)).then_some(())
    })
    .await;

    let mut stop = json!({ "executionArn": execution_arn(&scenario, &run_id) });
    if let Some((error, cause)) = told {
        (stop["error"], stop["cause"]) = (json!(error), json!(cause));
    }
    let stopped = scenario.step_functions("StopExecution", &stop).await;
    assert!(stopped["stopDate"].is_number(), "{stopped}");
    let view = scenario.follow(&run_id).await;
    assert_eq!(view.status, RunState::Aborted);

    let (told_error, told_cause) = told.unwrap_or(("Run.Aborted", "Step Functions gives no cause"));
    let (manifest, etag) = manifest(&scenario, &run_id).await;
    let failure = manifest.failure.unwrap();
    assert_eq!(manifest.status, RunStatus::Failed);
    assert_eq!(
        (failure.state.as_str(), failure.error.as_str(), failure.cause.as_str()),
        ("Execution", told_error, told_cause)
    );
    assert_eq!(manifest.queries.len(), names.len());
    let key = format!("athena-results/{run_id}/errors/Execution.json");
    let error = scenario.stack().store().get(RESULTS_BUCKET, &key).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&error).unwrap(), json!(failure));

    // A call that was under way ends its query itself, which may come after the clean-up.
    eventually("nothing runs", async || {
        let states = executions(&scenario).await;
        states.values().all(|state| state == "CANCELLED" || state == "FAILED").then_some(())
    })
    .await;
    let bus = scenario.stack().events();
    bus.idle().await;
    eventually("both clean-ups end", async || {
        let handled = scenario.usage("results-gatherer").invocations;
        (handled >= bus.usage(RUN_FAILED_RULE).delivered).then_some(())
    })
    .await;
    assert_eq!(bus.usage(RUN_FAILED_RULE).delivered, 2);
    let view: RunView =
        serde_json::from_str(&scenario.get(&format!("/jobs/{run_id}")).await).unwrap();
    let place = format!("s3://{RESULTS_BUCKET}/athena-results/{run_id}/manifest.json");
    assert_eq!((view.failure.unwrap(), view.manifest), (failure, Some(place)));
    let key = format!("athena-results/{run_id}/manifest.json");
    let object = scenario.stack().store().head(RESULTS_BUCKET, &key).await.unwrap();
    assert_eq!(object.etag, etag, "the manifest is written once");
    assert!(scenario.delivered().is_empty());
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_leaves_no_query_running() {
    check_stopped(&["a", "b", "c"], 240, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_distributed_run_that_is_stopped_leaves_no_query_running_and_tells_the_given_error() {
    let names: Vec<String> = (0..50).map(|i| format!("q{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // The longest time-out makes the inline map too small for them.
    check_stopped(&names, 1_440, Some(("Operator.Stopped", "the lake is closed today"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_outlasts_the_machine_is_cleaned_up() {
    let scenario = Scenario::start_with(|config| {
        config.deployment = dev_with(|resources| {
            let machines = &mut resources["aws:sfn/stateMachine:StateMachine"];
            machines["athena-workflow-dev"]["inputs"]["definition"]["TimeoutSeconds"] = json!(5);
        });
    })
    .await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.stack().athena().faults().delay_queries(Duration::from_mins(10));
    let view = scenario.run(&scenario.job(&["a"])).await.unwrap();
    assert_eq!(view.status, RunState::TimedOut);
    let (manifest, _) = manifest(&scenario, view.run_id.as_str()).await;
    let failure = manifest.failure.unwrap();
    assert_eq!(
        (failure.state.as_str(), failure.error.as_str()),
        ("Execution", "Run.TimedOut"),
        "{}",
        failure.cause
    );
    assert_eq!(manifest.queries[0].state, QueryState::Cancelled);
    assert_eq!(executions(&scenario).await.into_values().collect::<Vec<_>>(), ["CANCELLED"]);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_outlasts_its_time_is_cancelled() {
    let scenario = Scenario::start_with(|config| config.speed = 20.0).await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.stack().athena().faults().delay_queries(Duration::from_mins(10));
    let mut job = scenario.job(&["a"]);
    job["query_timeout_minutes"] = json!(1);
    let run_id = start_run(&scenario, &job).await;
    // The machine's timers are compressed, the function's clock is not: the minute is taken off
    // the record instead.
    let key = format!("athena-results/{run_id}/results/a.json");
    let store = scenario.stack().store();
    let mut record = eventually("the query runs", async || {
        let bytes = store.get(RESULTS_BUCKET, &key).await.ok()?;
        let record: Value = serde_json::from_slice(&bytes).unwrap();
        (record["state"] == "RUNNING").then_some(record)
    })
    .await;
    record["started_at"] = json!("2026-01-31T12:00:00Z");
    store.put(RESULTS_BUCKET, &key, None, record.to_string().into()).await.unwrap();

    let view = scenario.follow(&run_id).await;
    assert_eq!(view.status, RunState::Failed);
    let failure = view.failure.unwrap();
    assert_eq!(
        (failure.state.as_str(), failure.error.as_str(), failure.cause.as_str()),
        (
            "RunQueries",
            "Query.TimedOut",
            "query `a` was cancelled after 1 minutes; a longer time is given by `query_timeout_minutes`"
        )
    );
    assert_eq!(executions(&scenario).await.into_values().collect::<Vec<_>>(), ["CANCELLED"]);
    scenario.end().await;
}

/// A stack over directories that outlive it.
async fn start_over(directory: &TempDir) -> Scenario {
    Scenario::start_with(|config| {
        config.work_dir = directory.path().join("work");
        config.delivery_dir = directory.path().join("partner");
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_comes_back_touches_nothing_of_its_owner() {
    let directory = TempDir::new().unwrap();
    let scenario = start_over(&directory).await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.put_query("b", "SELECT 2 AS x").await;
    let view = scenario.run(&scenario.job(&["a", "b"])).await.unwrap();
    check_succeeded(&view, &[("a", 1), ("b", 1)]);
    let run_id = view.run_id.as_str();
    let arn = json!({ "executionArn": execution_arn(&scenario, run_id) });
    let described = scenario.step_functions("DescribeExecution", &arn).await;
    let before = objects(&scenario).await;
    scenario.end().await;
    let sent = std::fs::read(directory.path().join(format!("partner/inbox/{run_id}.zip"))).unwrap();

    // Step Functions forgets a name after 90 days, and the new stack has never heard of it.
    let scenario = start_over(&directory).await;
    scenario.put_query("a", "SELECT 'other' AS x").await;
    let started = scenario
        .step_functions(
            "StartExecution",
            &json!({
                "stateMachineArn": scenario.stack().endpoints().state_machine_arn,
                "name": run_id, "input": described["input"],
            }),
        )
        .await;
    assert!(started["startDate"].is_number(), "{started}");
    let described = eventually("the execution ends", async || {
        let described = scenario.step_functions("DescribeExecution", &arn).await;
        (described["status"] != "RUNNING").then_some(described)
    })
    .await;
    assert_eq!(described["status"], "FAILED");
    assert_eq!(described["error"], "Run.Conflict", "{}", described["cause"]);
    let bus = scenario.stack().events();
    bus.idle().await;
    eventually("the clean-up ends", async || {
        // RecordFailure, and the event of the failure.
        (scenario.usage("results-gatherer").invocations >= 2).then_some(())
    })
    .await;
    assert_eq!(executions(&scenario).await, BTreeMap::new());
    let after = objects(&scenario).await;
    let changed: Vec<_> =
        after.iter().filter(|(key, bytes)| before.get(*key) != Some(bytes)).collect();
    assert!(changed.is_empty(), "{:?}", changed.iter().map(|(key, _)| key).collect::<Vec<_>>());
    assert_eq!(after.len(), before.len());
    let still =
        std::fs::read(directory.path().join(format!("partner/inbox/{run_id}.zip"))).unwrap();
    assert!(sent == still);
    scenario.end().await;
}

/// Tasks of an execution that has the name of another one, which still runs.
fn tasks_of_a_stranger(
    scenario: &Scenario,
    loaded: &Value,
    run_id: &str,
) -> Vec<(&'static str, Value)> {
    let mut run = loaded["run"].clone();
    run["execution"] = execution(run_id);
    let loaded = json!({ "run": run, "queries": loaded["queries"] });
    let failure = json!({ "state": "RunQueries", "error": "Query.Failed", "cause": "c" });
    let query = &loaded["queries"][0];
    vec![
        ("query-loader", Scenario::load(run_id, scenario.job(&["a"]))),
        ("execute-single-query", Scenario::run_query(&loaded, 0)),
        ("execute-single-query-result", Scenario::write_result(&loaded, 0)),
        ("results-gatherer", json!({ "action": "gather", "run": run })),
        ("results-gatherer", json!({ "action": "stop", "run": run })),
        (
            "results-gatherer",
            json!({ "action": "fail_query", "run": run, "query": query, "failure": failure }),
        ),
        (
            "results-gatherer",
            json!({
                "action": "fail", "run": run, "run_id": run_id, "execution": execution(run_id),
                "failure": failure,
            }),
        ),
        (
            "results-gatherer",
            json!({
                "action": "clean_up", "execution": execution_arn(scenario, run_id),
                "run_id": run_id, "status": "ABORTED", "started_at": 1_769_860_800_000_i64,
            }),
        ),
        ("zip-s3-folder", json!({ "run": run })),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_an_execution_of_the_same_name_leave_a_running_owner_alone() {
    let scenario = Scenario::start().await;
    scenario.put_query("a", "SELECT 1 AS x").await;
    // It runs until it is let go, so that nothing of the owner changes meanwhile.
    let faults = scenario.stack().athena().faults();
    faults.delay_queries(Duration::from_secs(8));
    let run_id = start_run(&scenario, &scenario.job(&["a"])).await;
    eventually("the query runs", async || {
        let record = format!("athena-results/{run_id}/results/a.json");
        let bytes = scenario.stack().store().get(RESULTS_BUCKET, &record).await.ok()?;
        let record: Value = serde_json::from_slice(&bytes).unwrap();
        (record["state"] == "RUNNING").then_some(())
    })
    .await;
    let key = format!("athena-results/{run_id}/run.json");
    let claim = scenario.stack().store().get(RESULTS_BUCKET, &key).await.unwrap();
    let claim: Value = serde_json::from_slice(&claim).unwrap();
    let key = format!("athena-results/{run_id}/plan.json");
    let plan = scenario.stack().store().get(RESULTS_BUCKET, &key).await.unwrap();
    let plan: Value = serde_json::from_slice(&plan).unwrap();
    let loaded = json!({ "run": claim["run"], "queries": plan });

    let before = objects(&scenario).await;
    for (function, task) in tasks_of_a_stranger(&scenario, &loaded, &run_id) {
        let answer = scenario.invoke(function, &task).await;
        let is_refused = answer["errorType"] == "Run.Conflict";
        // The two that clean up end well, so that nobody tries them again.
        let is_passed_over = answer == json!({ "manifest": null });
        assert!(is_refused || is_passed_over, "{function} {}: {answer}", task["action"]);
        assert!(objects(&scenario).await == before, "{function} {}", task["action"]);
        assert_eq!(executions(&scenario).await.into_values().collect::<Vec<_>>(), ["RUNNING"]);
    }
    check_succeeded(&scenario.follow(&run_id).await, &[("a", 1)]);
    scenario.end().await;
}

#[test]
fn every_callback_of_the_workflow_passes_its_token_on_and_has_a_time_out() {
    let definition = Deployment::dev().state_machine.definition;
    let faults = |definition: &str| local_states::check(definition).err().unwrap_or_default();
    assert_eq!(faults(&definition), []);
    // The check sees each of them.
    let callbacks = definition.matches(".waitForTaskToken").count();
    assert!(callbacks >= 2, "{callbacks}");
    let without = |part: &str| {
        assert_eq!(definition.matches(part).count(), callbacks, "{part}");
        faults(&definition.replace(part, "1205")).len()
    };
    assert_eq!(without("{% $states.context.Task.Token %}"), callbacks);
}

/// The tokens that the history of an execution holds, with its ARN.
async fn tokens(scenario: &Scenario, arn: &str) -> Vec<(String, String)> {
    let mut tokens = Vec::new();
    for event in history(scenario, &json!(arn)).await {
        let Some(parameters) = event["taskScheduledEventDetails"]["parameters"].as_str() else {
            continue;
        };
        let parameters: Value = serde_json::from_str(parameters).unwrap();
        if let Some(token) = parameters["Payload"]["wait"]["token"].as_str() {
            tokens.push((token.to_owned(), arn.to_owned()));
        }
    }
    tokens
}

/// The ARNs of all executions, children of distributed maps among them.
async fn all_executions(scenario: &Scenario) -> Vec<String> {
    let machine = &scenario.stack().endpoints().state_machine_arn;
    let arns = |listed: &Value, list: &str, field: &str| -> Vec<String> {
        let listed = listed[list].as_array().unwrap().iter();
        listed.map(|execution| execution[field].as_str().unwrap().to_owned()).collect()
    };
    let listed =
        scenario.step_functions("ListExecutions", &json!({ "stateMachineArn": machine })).await;
    let mut all = arns(&listed, "executions", "executionArn");
    for arn in all.clone() {
        let runs = scenario.step_functions("ListMapRuns", &json!({ "executionArn": arn })).await;
        for map_run in arns(&runs, "mapRuns", "mapRunArn") {
            let listed =
                scenario.step_functions("ListExecutions", &json!({ "mapRunArn": map_run })).await;
            assert_eq!(listed["nextToken"], Value::Null);
            all.extend(arns(&listed, "executions", "executionArn"));
        }
    }
    all
}

/// Everything that could hold a token: files, executions, answers, events and what became of them.
async fn places(scenario: &Scenario, executions: &[String]) -> Vec<Trace> {
    let mut places = Vec::new();
    collect_files(scenario.logs().parent().unwrap(), &mut places);
    for arn in executions {
        let described =
            scenario.step_functions("DescribeExecution", &json!({ "executionArn": arn })).await;
        collect_leaves(&format!("{arn} DescribeExecution"), &described, &mut places);
        for event in history(scenario, &json!(arn)).await {
            let kind = event["type"].as_str().unwrap();
            collect_leaves(&format!("{arn} {kind}"), &event, &mut places);
        }
        if let Some((_, run_id)) = arn.rsplit_once(":athena-workflow-dev:") {
            let view = scenario.get(&format!("/jobs/{run_id}")).await;
            places.push(Trace { place: format!("/jobs/{run_id}"), bytes: view.into() });
        }
    }
    let stack = scenario.stack();
    for event in stack.events().events() {
        places.push(Trace { place: "event".to_owned(), bytes: event.to_string().into() });
    }
    for letter in stack.events().dead_letters() {
        let bytes = format!("{letter:?}").into();
        places.push(Trace { place: "dead letter".to_owned(), bytes });
    }
    for failed in stack.lambda().failed_events() {
        let bytes = failed.record.to_string().into();
        places.push(Trace { place: "failed event".to_owned(), bytes });
    }
    places
}

/// The places that hold the token, beside the callbacks that are kept for events.
fn found(places: &[Trace], callbacks: &BTreeSet<String>, token: &str) -> BTreeSet<String> {
    // The ARN at a token's end is no secret: what is before it is looked for.
    let forms = encodings(&token[..32]);
    let mut found = BTreeSet::new();
    for form in forms {
        let finder = memmem::Finder::new(form.as_bytes());
        let holders = places.iter().filter(|place| finder.find(&place.bytes).is_some());
        found.extend(holders.map(|place| place.place.clone()));
    }
    found.retain(|place| {
        let mut parts = Path::new(place).components();
        !parts.any(|part| callbacks.contains(&*part.as_os_str().to_string_lossy()))
    });
    found
}

/// The names under which the store keeps callbacks as files: query execution ids, and the digests of
/// their keys for older versions.
async fn callbacks(scenario: &Scenario) -> BTreeSet<String> {
    let bucket = scenario.stack().deployment().state_bucket.clone();
    let kept = scenario.stack().store().list(&bucket, "waits/").await.unwrap();
    let names = kept.into_iter().flat_map(|object| {
        let digest = format!("{:x}", Sha256::digest(&object.key));
        [object.key["waits/".len()..].to_owned(), digest]
    });
    names.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_token_is_in_no_log_queue_result_or_other_execution() {
    let scenario = Scenario::start_with(|config| {
        config.speed = 20.0;
        "debug".clone_into(&mut config.log_filter);
    })
    .await;
    for (name, sql) in
        [("a", "SELECT 1 AS x"), ("slow", "SELECT 2 AS x"), ("bad", "SELECT nothing")]
    {
        scenario.put_query(name, sql).await;
    }
    let faults = scenario.stack().athena().faults();
    faults.run_for(|sql| sql.contains('2'), BEYOND_A_CALL);

    // Answered by the call and by the event.
    let view = scenario.run(&undelivered(&scenario, &["a", "slow"])).await.unwrap();
    check_succeeded(&view, &[("a", 1), ("slow", 1)]);
    // Answered after a time-out, by a second token.
    let bus = scenario.stack().events();
    bus.faults().lose(QUERY_EVENTS.0, QUERY_EVENTS.1);
    let mut job = undelivered(&scenario, &["slow"]);
    job["query_timeout_minutes"] = json!(1);
    let view = scenario.run(&job).await.unwrap();
    check_succeeded(&view, &[("slow", 1)]);
    bus.faults().clear();
    // Failed.
    let mut job = undelivered(&scenario, &["bad", "slow"]);
    job["on_query_failure"] = json!("continue");
    let view = scenario.run(&job).await.unwrap();
    assert_eq!(view.status, RunState::Succeeded);
    // Children of a distributed map.
    let names: Vec<String> = (0..46).map(|i| format!("q{i:02}")).collect();
    scenario.put_index(names.iter().map(|name| (name.as_str(), json!("a.sql")))).await;
    let mut job = undelivered(&scenario, &names.iter().map(String::as_str).collect::<Vec<_>>());
    job["query_timeout_minutes"] = json!(1_440);
    let view = scenario.run(&job).await.unwrap();
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    // Stopped.
    scenario.stack().store().delete(QUERIES_BUCKET, "queries/query_index.json").await.unwrap();
    let run_id = start_run(&scenario, &undelivered(&scenario, &["slow"])).await;
    eventually("the query runs", async || {
        (count_in_state(&scenario, "RUNNING").await == 1).then_some(())
    })
    .await;
    let stop = json!({ "executionArn": execution_arn(&scenario, &run_id) });
    scenario.step_functions("StopExecution", &stop).await;
    manifest(&scenario, &run_id).await;
    bus.idle().await;

    let executions = all_executions(&scenario).await;
    let mut all_tokens = Vec::new();
    for arn in &executions {
        all_tokens.extend(tokens(&scenario, arn).await);
    }
    let distinct: BTreeSet<_> = all_tokens.iter().map(|(token, _)| token).collect();
    assert_eq!(distinct.len(), all_tokens.len(), "each attempt has its own");
    // Of 52 queries, one of which is looked at again.
    let attempts_min = 53;
    assert!(all_tokens.len() >= attempts_min, "{}", all_tokens.len());
    let places = places(&scenario, &executions).await;
    let callbacks = callbacks(&scenario).await;
    assert!(callbacks.len() >= 2 * 52, "{}", callbacks.len());
    assert!(places.len() > 10_000, "{}", places.len());
    for (token, arn) in all_tokens {
        let own = format!("{arn} TaskScheduled/taskScheduledEventDetails/parameters");
        assert_eq!(found(&places, &callbacks, &token), BTreeSet::from([own]));
    }
    scenario.end().await;
}
