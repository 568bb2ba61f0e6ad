//! Bad input ends with an error that names the thing, and leaves nothing at the recipient.

use end_to_end::{Scenario, Sent};
use job::view::RunState;
use serde_json::{Value, json};

/// A job that is refused before it runs: its problems, as path and message.
#[track_caller]
fn refused(sent: Sent) -> Vec<(String, String)> {
    let details = sent.expect_err("the job is refused");
    assert_eq!((details.kind.as_str(), details.status), ("Job.Invalid", 400));
    details.problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

/// A run that failed: state, error name and cause.
#[track_caller]
fn failed(sent: Sent) -> (String, String, String) {
    let view = sent.expect("the job is accepted");
    assert_eq!(view.status, RunState::Failed);
    let failure = view.failure.expect("a failed run says why");
    (failure.state, failure.error, failure.cause)
}

#[tokio::test]
async fn a_job_without_a_bucket_or_with_an_unknown_field_is_refused_with_every_problem() {
    let scenario = Scenario::start().await;
    let mut job = scenario.job(&["a"]);
    job.as_object_mut().unwrap().remove("output_bucket");
    job["databse"] = json!("tpch");
    let expected = [
        ("$.databse", "unknown field `databse`; did you mean `database`?"),
        ("$.output_bucket", "the field `output_bucket` is missing"),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(p, m)| ((*p).to_owned(), (*m).to_owned())).collect();
    assert_eq!(refused(scenario.run(&job).await), expected);
    assert_eq!(scenario.delivered(), Vec::<String>::new());
    scenario.end().await;
}

#[tokio::test]
async fn a_bucket_that_the_stack_may_not_read_is_named() {
    let scenario = Scenario::start().await;
    let mut job = scenario.job(&["a"]);
    job["query_index_bucket"] = json!("acme-nowhere");
    let (state, error, cause) = failed(scenario.run(&job).await);
    assert_eq!((state.as_str(), error.as_str()), ("LoadQueries", "Storage.Denied"));
    assert!(cause.contains("arn:aws:s3:::acme-nowhere/queries/query_index.json"), "{cause}");
    scenario.end().await;
}

#[tokio::test]
async fn an_unknown_query_is_named_with_the_one_that_was_meant() {
    let scenario = Scenario::start().await;
    scenario.put_query("users_report", "SELECT 1 AS one").await;
    scenario.put_query("orders_report", "SELECT 1 AS one").await;
    let job = scenario.job(&["orders_report", "user_report", "zebra"]);
    let (state, error, cause) = failed(scenario.run(&job).await);
    assert_eq!((state.as_str(), error.as_str()), ("LoadQueries", "Query.NotFound"));
    assert!(cause.contains("$.query_names[1]: there is no query `user_report`"), "{cause}");
    assert!(cause.contains("did you mean `users_report`?"), "{cause}");
    assert!(cause.contains("$.query_names[2]: there is no query `zebra`"), "{cause}");
    assert_eq!(scenario.delivered(), Vec::<String>::new());
    scenario.end().await;
}

#[tokio::test]
async fn broken_sql_fails_the_run_with_athenas_own_text() {
    let scenario = Scenario::start().await;
    scenario.put_query("good", "SELECT 1 AS one").await;
    scenario.put_query("broken", "SELECT FROM WHERE").await;
    let view = scenario.run(&scenario.job(&["good", "broken"])).await.expect("the job is accepted");
    let failure = view.failure.clone().expect("a failed run says why");
    assert_eq!((failure.state.as_str(), failure.error.as_str()), ("RunQueries", "Query.Failed"));
    let place = "query `broken` failed in Athena, line 1, column 8 of `s3://athena-workflow-dev-queries/queries/broken.sql`: ";
    assert!(failure.cause.starts_with(place), "{}", failure.cause);
    let record = view.queries.iter().find(|query| query.name.as_str() == "broken").unwrap();
    assert!(record.failure.as_ref().unwrap().cause.contains("line 1:"), "{record:?}");
    assert_eq!(scenario.delivered(), Vec::<String>::new());

    let error_file = format!("athena-results/{}/errors/RunQueries.json", view.run_id);
    let bytes =
        scenario.stack().store().get(end_to_end::RESULTS_BUCKET, &error_file).await.unwrap();
    let written: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(written["error"], "Query.Failed");
    scenario.end().await;
}

#[tokio::test]
async fn a_statement_without_a_result_set_is_named() {
    let scenario = Scenario::start().await;
    scenario.put_query("tables", "SHOW TABLES").await;
    let (_, error, cause) = failed(scenario.run(&scenario.job(&["tables"])).await);
    assert_eq!(error, "Query.Invalid");
    assert!(cause.contains("query `tables` has no result set"), "{cause}");
    scenario.end().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_leaves_nothing_at_the_partner() {
    let scenario = Scenario::start().await;
    scenario.put_query("one", "SELECT 1 AS one").await;
    let mut job = scenario.job(&["one"]);
    job["transporter"]["config"]["sftp_password"] = json!("wrong-s3cret");
    let (state, error, cause) = failed(scenario.run(&job).await);
    assert_eq!((state.as_str(), error.as_str()), ("TransportFile", "Transport.Auth"));
    assert!(cause.contains("partner"), "{cause}");
    assert!(!cause.contains("wrong-s3cret"), "{cause}");
    assert_eq!(scenario.stack().sftp().logins_rejected(), 1);
    assert_eq!(scenario.delivered(), Vec::<String>::new());
    scenario.end().await;
}

#[tokio::test]
async fn another_host_key_stops_the_run() {
    let scenario = Scenario::start().await;
    scenario.put_query("one", "SELECT 1 AS one").await;
    let mut job = scenario.job(&["one"]);
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    job["transporter"]["config"]["sftp_host_keys"] = json!([other]);
    let (state, error, cause) = failed(scenario.run(&job).await);
    assert_eq!((state.as_str(), error.as_str()), ("TransportFile", "Transport.HostKey"));
    assert!(cause.contains(&scenario.stack().endpoints().sftp_host_key), "{cause}");
    assert_eq!(scenario.delivered(), Vec::<String>::new());
    scenario.end().await;
}

#[tokio::test]
async fn a_job_that_goes_on_after_a_failed_query_delivers_the_rest() {
    let scenario = Scenario::start().await;
    scenario.put_query("good", "SELECT 1 AS one").await;
    scenario.put_query("broken", "SELECT nothing FROM nowhere").await;
    let mut job = scenario.job(&["good", "broken"]);
    job["on_query_failure"] = json!("continue");
    job["file_name"] = json!("reports.zip");
    let view = scenario.run(&job).await.expect("the job is accepted");
    assert_eq!(view.status, RunState::Succeeded, "{:?}", view.failure);
    assert_eq!(scenario.delivered(), ["inbox/reports.zip"]);
    let failures: Vec<_> = view.queries.iter().filter(|query| query.failure.is_some()).collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].name.as_str(), "broken");
    scenario.end().await;
}
