//! What the schedules of the stack start, and when.

use end_to_end::Scenario;
use job::{
    error::Chain,
    view::{RunState, RunView},
};
use local::Firing;
use serde_json::{Value, json};

/// The stack as if it was made at noon of a Sunday.
async fn start() -> Scenario {
    let since = "2026-11-22T12:00:00Z".parse().unwrap();
    let scenario = Scenario::start_with(|config| config.schedules_since = Some(since)).await;
    scenario.put_query("q01", "SELECT 1 AS x").await;
    scenario.put_query("q02", "SELECT 2 AS x").await;
    scenario
}

/// What fires when the clock is moved to `now`.
fn due(scenario: &Scenario, now: &str) -> Vec<Firing> {
    scenario.stack().due(now.parse().unwrap())
}

/// Runs what a schedule starts to its end.
async fn run(scenario: &Scenario, firing: &Firing, input: &str) -> RunView {
    let execution = scenario.stack().start_scheduled(&firing.schedule, input).unwrap();
    scenario.follow(execution.rsplit(':').next().unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_starts_a_run_that_is_dated_by_when_it_was_to_start() {
    let scenario = start().await;
    let weekly = due(&scenario, "2026-11-22T12:00:00Z");
    assert_eq!(
        weekly.iter().map(|firing| &*firing.schedule.name).collect::<Vec<_>>(),
        ["all-reports-weekly"]
    );
    let view = run(&scenario, &weekly[0], &weekly[0].input()).await;
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    let names: Vec<_> = view.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["q01", "q02"]);
    let uri = format!("s3://athena-workflow-dev-results/archives/{}.zip", view.run_id);
    assert_eq!(view.file.unwrap().uri, uri);

    // 02:30 in Berlin; the run starts late.
    assert_eq!(due(&scenario, "2026-11-23T01:29:59Z"), []);
    let nightly = due(&scenario, "2026-11-23T01:40:00Z");
    assert_eq!(nightly.len(), 1);
    let mut job: Value = serde_json::from_str(&nightly[0].input()).unwrap();
    assert_eq!(job["scheduled_at"], "2026-11-23T01:30:00Z");
    let secret = json!({ "Username": "partner", "Password": "partner" });
    let secrets = scenario.stack().secrets();
    secrets.put_secret("athena-workflow/dev/partner", secret.to_string()).unwrap();
    let sftp = scenario.stack().endpoints().sftp;
    job["transporter"]["config"]["sftp_host"] = json!(sftp.ip().to_string());
    job["transporter"]["config"]["sftp_port"] = json!(sftp.port());
    let view = run(&scenario, &nightly[0], &job.to_string()).await;
    assert_eq!((view.status, view.failure.clone()), (RunState::Succeeded, None));
    assert_eq!(scenario.delivered(), ["inbox/pricing_summary_2026-11-23.csv"]);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_fire_only_if_they_are_asked_to_and_start_only_what_is_json() {
    let scenario = Scenario::start().await;
    assert_eq!(scenario.stack().next_firing(), None);
    assert_eq!(due(&scenario, "2036-01-01T00:00:00Z"), []);
    let schedule = &scenario.stack().deployment().schedules[0];
    let refused = scenario.stack().start_scheduled(schedule, "no job").unwrap_err();
    let text = Chain(&refused).to_string();
    assert!(text.contains("the input of the execution is not JSON"), "{text}");
    scenario.end().await;
}
