//! Whole runs in bad weather: everything that may fail does, at times that a seed decides.

use std::{io::Cursor, ops::Range, time::Duration};

use end_to_end::{RESULTS_BUCKET, Scenario};
use job::{
    record::{Manifest, RunStatus},
    view::{RunState, RunView},
};
use local::{Arrival, InjectedFailure, Refusal};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{events, faults::Faulty, secrets::history};

const SEEDS: Range<u64> = 0..12;

const QUERIES: [&str; 6] = ["q0", "q1", "q2", "q3", "q4", "q5"];

/// Processes that are killed in a run. A state gives up after the third crash.
const KILLS_MAX: u32 = 2;

/// The functions whose processes are killed.
const PROGRAMS: [&str; 4] =
    ["execute-single-query", "results-gatherer", "zip-s3-folder", "query-loader"];

/// Lets everything fail now and then, but nothing so often that a run cannot end well.
fn make_weather(scenario: &Scenario, random: &mut StdRng) {
    let stack = scenario.stack();
    stack.store().faults().slow_down_every(random.random_range(25..80));
    stack.store().faults().delay(Duration::from_millis(random.random_range(0..15)));
    let athena = stack.athena().faults();
    athena.delay_queries(Duration::from_millis(random.random_range(0..2_500)));
    athena.refuse_every_start(
        random.random_range(3..7),
        [Refusal::TooManyRequests, Refusal::Throttling, Refusal::InternalServer]
            [random.random_range(0..3)],
    );
    athena.hold_starts(|sql| sql.contains('1'), Duration::from_millis(random.random_range(0..700)));
    athena.hold_gets(|sql| sql.contains('2'), Duration::from_millis(random.random_range(0..700)));
    athena.requeue_next_queries(random.random_range(0..3));
    for _ in 0..random.random_range(0..3) {
        athena.fail_next_query(InjectedFailure {
            category: 1,
            error_type: 1403,
            retryable: true,
            message: "Query exhausted resources at this scale factor".to_owned(),
        });
    }
    let [lost, doubled, late] = [30, 30, 1_500].map(|max| random.random_range(0..max));
    stack.events().faults().disturb(
        "aws.athena",
        "Athena Query State Change",
        move |event: &Value| {
            let event_seed = event["id"].as_str().map_or(0, |id| {
                id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
            });
            let mut random = StdRng::seed_from_u64(event_seed);
            let arrivals = match random.random_range(0..100) {
                percent if percent < lost => 0,
                percent if percent < lost + doubled => 2,
                _ => 1,
            };
            let after = |random: &mut StdRng| Duration::from_millis(random.random_range(0..=late));
            (0..arrivals).map(|_| Arrival { after: after(&mut random) }).collect()
        },
    );
}

/// Sends calls that the history tells of again, kills processes and perhaps stops the execution,
/// until it has ended.
async fn rage(faulty: &Faulty, run_id: &str, random: &mut StdRng) {
    let scenario = &faulty.scenario;
    let arn = json!(events::execution_arn(scenario, run_id));
    let stop_after = random.random_bool(0.4).then(|| random.random_range(0..150));
    let mut duplicates = Vec::new();
    let (mut seen, mut kills) = (0, 0);
    for look in 0.. {
        let told = history(scenario, &arn).await;
        for event in told.iter().skip(seen) {
            let parameters = event["taskScheduledEventDetails"]["parameters"].as_str();
            let Some(parameters) = parameters else { continue };
            let parameters: Value = serde_json::from_str(parameters).unwrap();
            // Its calls share no lease yet: two at once may meet at the partner.
            let function = parameters["FunctionName"].as_str().unwrap().to_owned();
            if random.random_bool(0.5) && !function.ends_with("file-transporter") {
                let after = [0, 0, 50, 200, 1_000][random.random_range(0..5)];
                let payload = parameters["Payload"].to_string().into();
                let lambda = scenario.stack().lambda().clone();
                duplicates.push(tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    lambda.invoke(&function, payload, false).await
                }));
            }
        }
        seen = told.len();
        if kills < KILLS_MAX && random.random_bool(0.05) {
            faulty.kill(PROGRAMS[random.random_range(0..PROGRAMS.len())]);
            kills += 1;
        }
        if stop_after == Some(look) {
            scenario.step_functions("StopExecution", &json!({ "executionArn": arn })).await;
        }
        let described =
            scenario.step_functions("DescribeExecution", &json!({ "executionArn": arn })).await;
        if described["status"] != "RUNNING" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    for duplicate in duplicates {
        // It may be refused for the function's concurrency.
        _ = duplicate.await.unwrap();
    }
}

async fn check_seed(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let faulty = Faulty::start_with(|config| config.speed = 10.0).await;
    let scenario = &faulty.scenario;
    for name in QUERIES {
        scenario.put_query(name, &format!("SELECT '{name}' AS x, n_name FROM nation")).await;
    }
    make_weather(scenario, &mut random);
    let mut job = scenario.job(&QUERIES);
    job["query_timeout_minutes"] = json!(1);
    let run_id = events::start_run(scenario, &job).await;
    rage(&faulty, &run_id, &mut random).await;
    scenario.stack().athena().faults().clear();
    scenario.stack().store().faults().clear();

    let view = scenario.follow(&run_id).await;
    let (manifest, _) = events::manifest(scenario, &run_id).await;
    match view.status {
        RunState::Succeeded => check_success(scenario, &view, &manifest, seed).await,
        RunState::Aborted => {
            assert_eq!(manifest.status, RunStatus::Failed, "seed {seed}");
            assert!([0, QUERIES.len()].contains(&manifest.queries.len()), "seed {seed}");
        }
        status => panic!("seed {seed}: {status:?}: {:?}", view.failure),
    }
    events::eventually("nothing runs", async || {
        let states = events::executions(scenario).await;
        let has_ended = |state: &String| !["QUEUED", "RUNNING"].contains(&state.as_str());
        states.values().all(has_ended).then_some(())
    })
    .await;
    let temporary =
        |file: &String| file.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
    let left: Vec<_> = scenario.delivered().into_iter().filter(temporary).collect();
    assert!(view.status == RunState::Aborted || left.is_empty(), "seed {seed}: {left:?}");
    faulty.scenario.end().await;
}

async fn check_success(scenario: &Scenario, view: &RunView, manifest: &Manifest, seed: u64) {
    assert_eq!((manifest.succeeded, manifest.failed), (QUERIES.len(), 0), "seed {seed}");
    let attempts: usize = manifest.queries.iter().map(|query| query.attempts as usize).sum();
    let executions = events::executions(scenario).await;
    assert_eq!(executions.len(), attempts, "seed {seed}");
    let key = format!("zipped-results/{}.zip", view.run_id);
    let archive = scenario.stack().store().get(RESULTS_BUCKET, &key).await.unwrap();
    let members = zip::ZipArchive::new(Cursor::new(&archive)).unwrap();
    let names: Vec<_> = members.file_names().map(Result::unwrap).collect();
    assert_eq!(names, QUERIES.map(|name| format!("{name}.csv")), "seed {seed}");
    let delivered = scenario.partner().join(format!("inbox/{}.zip", view.run_id));
    assert!(std::fs::read(delivered).unwrap() == archive, "seed {seed}: another file is delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: scripts/test --long runs it"]
async fn runs_in_bad_weather_end_well_or_leave_nothing() {
    for seed in SEEDS {
        check_seed(seed).await;
    }
}
