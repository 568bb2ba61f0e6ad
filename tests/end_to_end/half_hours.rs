//! Runs in which half-hours pass, in compressed time.

use std::time::Duration;

use end_to_end::{Scenario, dev_with};
use job::{
    record::{Manifest, QueryState, RunStatus},
    view::{RunState, RunView},
};
use local::{Lambda, StackConfig};
use serde_json::{Value, json};

use crate::{events, secrets::history};

/// How many times faster than real time the timers of these runs are.
const SPEED: u32 = 120;

/// The same for the run of a thousand queries, which takes a day.
const SPEED_OF_A_DAY: u32 = 300;

const HALF_AN_HOUR: Duration = Duration::from_mins(30);

/// The events that a history may have:
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>.
const HISTORY_EVENTS_MAX: usize = 25_000;

/// Compresses time. The functions take their real time, so the time-outs of their states are made
/// longer by as much; a `RunQuery` times out by the run's own value, which stays as it is.
fn compress(config: &mut StackConfig, speed: u32) {
    config.speed = f64::from(speed);
    config.deployment = dev_with(|resources| {
        let machines = &mut resources["aws:sfn/stateMachine:StateMachine"];
        let definition = &mut machines["athena-workflow-dev"]["inputs"]["definition"];
        lengthen_time_outs(&mut definition["States"], speed);
    });
}

fn lengthen_time_outs(states: &mut Value, factor: u32) {
    for state in states.as_object_mut().unwrap().values_mut() {
        if let Some(seconds) = state["TimeoutSeconds"].as_u64() {
            state["TimeoutSeconds"] = json!(seconds * u64::from(factor));
        }
        if let Some(processor) = state.get_mut("ItemProcessor") {
            lengthen_time_outs(&mut processor["States"], factor);
        }
    }
}

/// What the executions of a run come to.
#[derive(Debug, Default)]
struct Count {
    executions: usize,
    transitions: usize,
    time_outs: usize,
    events: usize,
    events_max: usize,
    /// Children that were under way at the same time.
    children_at_once_max: usize,
}

impl Count {
    async fn of(scenario: &Scenario, run_id: &str) -> Self {
        let mut count = Self::default();
        let parent = events::execution_arn(scenario, run_id);
        count.add(scenario, &parent).await;
        let runs = scenario.step_functions("ListMapRuns", &json!({ "executionArn": parent })).await;
        let mut changes = Vec::new();
        for map_run in runs["mapRuns"].as_array().unwrap() {
            for child in children(scenario, &map_run["mapRunArn"]).await {
                count.add(scenario, child["executionArn"].as_str().unwrap()).await;
                changes.push((child["startDate"].as_f64().unwrap(), 1));
                changes.push((child["stopDate"].as_f64().unwrap(), -1));
            }
        }
        changes.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let mut at_once: isize = 0;
        for (_, change) in changes {
            at_once += change;
            count.children_at_once_max = count.children_at_once_max.max(at_once.unsigned_abs());
        }
        count
    }

    async fn add(&mut self, scenario: &Scenario, arn: &str) {
        let history = history(scenario, &json!(arn)).await;
        let of_type = |holds: &dyn Fn(&str) -> bool| {
            history.iter().filter(|event| holds(event["type"].as_str().unwrap())).count()
        };
        let retries =
            of_type(&|kind| kind == "TaskScheduled") - of_type(&|kind| kind == "TaskStateEntered");
        self.executions += 1;
        self.transitions += of_type(&|kind| kind.ends_with("StateEntered")) + retries;
        self.time_outs += of_type(&|kind| kind == "TaskTimedOut");
        self.events += history.len();
        self.events_max = self.events_max.max(history.len());
    }
}

async fn children(scenario: &Scenario, map_run_arn: &Value) -> Vec<Value> {
    let mut children = Vec::new();
    let mut request = json!({ "mapRunArn": map_run_arn, "maxResults": 1_000 });
    loop {
        let page = scenario.step_functions("ListExecutions", &request).await;
        children.extend(page["executions"].as_array().unwrap().iter().cloned());
        match &page["nextToken"] {
            Value::Null => return children,
            token => request["nextToken"] = token.clone(),
        }
    }
}

/// Puts so many queries, of the same SQL, and gives their names.
async fn put_queries(scenario: &Scenario, count: usize) -> Vec<String> {
    scenario.put_query("one", "SELECT 1 AS x").await;
    let names: Vec<String> = (0..count).map(|number| format!("q{number:04}")).collect();
    scenario.put_index(names.iter().map(|name| (name.as_str(), json!("one.sql")))).await;
    names
}

fn job(scenario: &Scenario, names: &[String], max_concurrency: usize) -> Value {
    let mut job = scenario.job(&names.iter().map(String::as_str).collect::<Vec<_>>());
    job["max_concurrency"] = json!(max_concurrency);
    job["file_name"] = json!("many.zip");
    job
}

/// Every query ran once, and its CSV was delivered.
async fn check_delivered(scenario: &Scenario, view: &RunView, names: &[String]) {
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    let (manifest, _) = events::manifest(scenario, view.run_id.as_str()).await;
    let Manifest { status, succeeded, failed, queries, .. } = &manifest;
    assert_eq!((*status, *succeeded, *failed), (RunStatus::Succeeded, names.len(), 0));
    assert!(queries.iter().all(|query| query.attempts == 1));
    assert_eq!(events::executions(scenario).await.len(), names.len());
    let archive = std::fs::File::open(scenario.partner().join("inbox/many.zip")).unwrap();
    assert_eq!(zip::ZipArchive::new(archive).unwrap().len(), names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: scripts/test --long runs it"]
async fn a_thousand_queries_of_half_an_hour_are_one_run_of_twenty_at_once() {
    let scenario = Scenario::start_with(|config| compress(config, SPEED_OF_A_DAY)).await;
    let names = put_queries(&scenario, 1_000).await;
    scenario.stack().athena().faults().delay_queries(HALF_AN_HOUR / SPEED_OF_A_DAY);
    let begun = std::time::Instant::now();
    let view = scenario.run(&job(&scenario, &names, 20)).await.unwrap();
    let took = begun.elapsed();
    check_delivered(&scenario, &view, &names).await;
    let count = Count::of(&scenario, view.run_id.as_str()).await;
    eprintln!("1,000 queries of half an hour: {took:?}, {count:?}");
    assert_eq!((count.executions, count.children_at_once_max), (1_001, 20));
    // Each query is looked at once after a time-out at least.
    assert!(count.time_outs >= names.len(), "{count:?}");
    assert!(count.events_max < HISTORY_EVENTS_MAX, "{count:?}");
    scenario.end().await;
}

/// Throttles every function from its first call on, for half an hour each.
fn throttle_each(scenario: &Scenario) {
    for function in &scenario.stack().deployment().functions {
        // It starts the run and tells of it.
        if function.binary == "job-api" {
            continue;
        }
        tokio::spawn(release(scenario.stack().lambda().clone(), function.name.clone(), 1));
    }
}

/// Lets a function go half an hour after its first refusal. In each further round it refuses again once
/// a call has passed.
async fn release(lambda: Lambda, name: String, rounds: u32) {
    for round in 1..=rounds {
        let refused = lambda.usage()[&name].throttles;
        lambda.throttle(&name, true).unwrap();
        eventually(|| lambda.usage()[&name].throttles > refused).await;
        tokio::time::sleep(HALF_AN_HOUR / SPEED).await;
        let passed = lambda.usage()[&name].invocations;
        lambda.throttle(&name, false).unwrap();
        if round < rounds {
            eventually(|| lambda.usage()[&name].invocations > passed).await;
        }
    }
}

async fn eventually(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The functions that were throttled, and how often.
fn throttled(scenario: &Scenario) -> Vec<(String, u64)> {
    let usage = scenario.stack().lambda().usage();
    let throttled = usage.into_iter().filter(|(_, usage)| usage.throttles > 0);
    throttled
        .map(|(name, usage)| {
            (name.trim_start_matches("athena-workflow-dev-").to_owned(), usage.throttles)
        })
        .collect()
}

async fn check_throttled(queries: usize, max_concurrency: usize, children: usize) {
    let scenario = Scenario::start_with(|config| compress(config, SPEED)).await;
    let names = put_queries(&scenario, queries).await;
    throttle_each(&scenario);
    let begun = std::time::Instant::now();
    let view = scenario.run(&job(&scenario, &names, max_concurrency)).await.unwrap();
    let took = begun.elapsed();
    let throttled = throttled(&scenario);
    let count = Count::of(&scenario, view.run_id.as_str()).await;
    eprintln!("{queries} queries: {took:?}, {count:?}, {throttled:?}");
    check_delivered(&scenario, &view, &names).await;
    let functions: Vec<_> = throttled.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        functions,
        [
            "execute-single-query",
            "execute-single-query-result",
            "extract-s3-key",
            "file-transporter",
            "query-loader",
            "results-gatherer",
            "zip-s3-folder",
        ]
    );
    assert_eq!(count.executions, 1 + children);
    assert!(count.events_max < HISTORY_EVENTS_MAX, "{count:?}");
    assert_eq!(scenario.stack().lambda().failed_events(), []);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: scripts/test --long runs it"]
async fn half_an_hour_of_throttled_functions_is_waited_out_by_the_largest_inline_run() {
    check_throttled(44, 40, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: scripts/test --long runs it"]
async fn half_an_hour_of_throttled_functions_is_waited_out_by_a_distributed_run() {
    check_throttled(200, 100, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: scripts/test --long runs it"]
async fn half_an_hour_of_throttled_functions_does_not_keep_a_failed_run_from_its_manifest() {
    let scenario = Scenario::start_with(|config| compress(config, SPEED)).await;
    scenario.put_query("bad", "SELECT nothing").await;
    scenario.put_query("slow", "SELECT 1 AS x").await;
    let faults = scenario.stack().athena().faults();
    faults.run_for(|sql| sql.contains('1'), Duration::from_mins(10));
    // RecordQueryFailure, StopQueries and RecordFailure are calls of this one.
    let gatherer = scenario.stack().deployment().function("results-gatherer").unwrap();
    tokio::spawn(release(scenario.stack().lambda().clone(), gatherer.name.clone(), 4));

    let view = scenario.run(&scenario.job(&["slow", "bad"])).await.unwrap();
    let count = Count::of(&scenario, view.run_id.as_str()).await;
    eprintln!("a failed run: {count:?}, {:?}", throttled(&scenario));
    assert_eq!(view.status, RunState::Failed);
    let failure = view.failure.unwrap();
    assert_eq!((failure.state.as_str(), failure.error.as_str()), ("RunQueries", "Query.Failed"));
    let (manifest, _) = events::manifest(&scenario, view.run_id.as_str()).await;
    let states: Vec<_> =
        manifest.queries.iter().map(|query| (query.name.as_str(), query.state)).collect();
    assert_eq!(states, [("slow", QueryState::Cancelled), ("bad", QueryState::Failed)]);
    let mut left: Vec<_> = events::executions(&scenario).await.into_values().collect();
    left.sort();
    assert_eq!(left, ["CANCELLED", "FAILED"]);
    scenario.end().await;
}
