//! A right that the Pulumi program does not give is missed by a run, and named.

use end_to_end::{Scenario, dev_with};
use job::error::Chain;
use serde_json::Value;

/// Takes a statement away from the role of a function.
fn remove(resources: &mut Value, function: &str, sid: &str) {
    let role = format!("athena-workflow-dev-{function}");
    let policy = &mut resources["aws:iam/rolePolicy:RolePolicy"][role]["inputs"]["policy"];
    let statements = policy["Statement"].as_array_mut().unwrap();
    let count = statements.len();
    statements.retain(|statement| statement["Sid"] != sid);
    assert_eq!(statements.len(), count - 1, "{function} has no `{sid}`");
}

/// Runs a job over a stack in which a role of a function lacks a statement, and which therefore may
/// not do `action`.
async fn check(function: &str, sid: &str, expected: (&str, &str), action: &str) {
    let told = [
        format!("is not authorized to perform: {action} on resource: "),
        format!("because no identity-based policy allows the {action} action"),
    ];
    check_told(function, sid, expected, &told).await;
}

/// Runs a job over a stack in which a role of a function lacks a statement.
async fn check_told(function: &str, sid: &str, expected: (&str, &str), told: &[String]) {
    let scenario = Scenario::start_with(|config| {
        config.deployment = dev_with(|resources| remove(resources, function, sid));
    })
    .await;
    scenario.put_query("a", "SELECT r_name FROM region").await;
    let view = scenario.run(&scenario.job(&["a"])).await.unwrap();
    let failure = view.failure.unwrap_or_else(|| panic!("{function} does not need `{sid}`"));
    assert_eq!((failure.state.as_str(), failure.error.as_str()), expected, "{}", failure.cause);
    for told in told {
        assert!(failure.cause.contains(told), "{}", failure.cause);
    }
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_missing_fails_the_run_and_is_named() {
    let load = ("LoadQueries", "Storage.Denied");
    check("query-loader", "ReadQueries", load, "s3:GetObject").await;
    check("query-loader", "WritePlan", load, "s3:PutObject").await;
    check("query-loader", "EncryptInS3", load, "kms:GenerateDataKey").await;
    let run = ("RunQueries", "Query.Denied");
    check("execute-single-query", "RunQueries", run, "athena:StartQueryExecution").await;
    // What a query lacks while it runs fails the query, as on AWS.
    let query = ("RunQueries", "Query.Failed");
    check("execute-single-query", "ReadTables", query, "glue:GetDatabase").await;
    let told = ["Access denied when writing output to url: s3://".to_owned()];
    check_told("execute-single-query", "LocateResults", query, &told).await;
    let transport = ("TransportFile", "Storage.Denied");
    check("file-transporter", "ReadResults", transport, "s3:GetObject").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_without_the_right_to_start_runs_starts_none() {
    let scenario = Scenario::start_with(|config| {
        config.deployment = dev_with(|resources| remove(resources, "schedules", "StartRuns"));
    })
    .await;
    let schedule = &scenario.stack().deployment().schedules[0];
    let refused = scenario.stack().start_scheduled(schedule, "{}").unwrap_err();
    let told = "because no identity-based policy allows the states:StartExecution action";
    assert!(Chain(&refused).to_string().contains(told), "{refused}");
    scenario.end().await;
}
