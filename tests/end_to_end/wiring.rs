//! What is wired wrongly in the Pulumi program fails here as it would fail on AWS.
//!
//! Each test breaks one thing in what `infra/stacks/dev.json` deploys, and runs a job over it.

use end_to_end::{Scenario, dev_with};
use job::view::RunState;
use local::Stack;
use serde_json::{Value, json};

async fn start(change: impl FnOnce(&mut Value)) -> Scenario {
    Scenario::start_with(|config| config.deployment = dev_with(change)).await
}

fn function<'a>(resources: &'a mut Value, binary: &str) -> &'a mut Value {
    &mut resources["aws:lambda/function:Function"][format!("athena-workflow-dev-{binary}")]
}

/// Puts a text into the place of another in the definition of the workflow.
fn replace(resources: &mut Value, from: &str, to: &str) {
    let machine = &mut resources["aws:sfn/stateMachine:StateMachine"]["athena-workflow-dev"];
    let definition = machine["inputs"]["definition"].to_string();
    assert!(definition.contains(from), "{from}");
    machine["inputs"]["definition"] = serde_json::from_str(&definition.replace(from, to)).unwrap();
}

/// The same, and in what the workflow's role may do.
fn replace_with_rights(resources: &mut Value, from: &str, to: &str) {
    replace(resources, from, to);
    let policy = &mut resources["aws:iam/rolePolicy:RolePolicy"]["athena-workflow-dev"];
    *policy = serde_json::from_str(&policy.to_string().replace(from, to)).unwrap();
}

fn arn(binary: &str) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-{binary}")
}

/// Runs a job of two queries, and compares where and with which error it fails, and a part of the
/// cause.
async fn check_failure(scenario: Scenario, state: &str, error: &str, cause: &str) {
    scenario.put_query("a", "SELECT 1 AS x").await;
    scenario.put_query("b", "SELECT 2 AS x").await;
    let view = scenario.run(&scenario.job(&["a", "b"])).await.unwrap();
    assert_eq!(view.status, RunState::Failed);
    let failure = view.failure.unwrap();
    assert_eq!((failure.state.as_str(), failure.error.as_str()), (state, error), "{failure:?}");
    assert!(failure.cause.contains(cause), "{}", failure.cause);
    assert_eq!(scenario.delivered(), Vec::<String>::new());
    scenario.end().await;
}

/// Sends a job, and compares the status of the answer and its text.
async fn check_answer(scenario: &Scenario, status: u16, text: &str) {
    let answer = scenario.post("/jobs", &scenario.job(&["a"])).await;
    assert_eq!(answer, (status, text.to_owned()));
}

const INTERNAL: &str = r#"{"message":"Internal Server Error"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_is_missing_fails_its_function() {
    let scenario = start(|resources| {
        let variables = &mut function(resources, "job-api")["inputs"]["environment"]["variables"];
        variables.as_object_mut().unwrap().remove("STATE_MACHINE_ARN").unwrap();
    })
    .await;
    check_answer(&scenario, 500, INTERNAL).await;
    let log = scenario.logs().join("athena-workflow-dev-job-api.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(r#"missing configuration field "state_machine_arn""#), "{log}");
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_with_another_arn_fails_the_start_of_a_run() {
    let scenario = start(|resources| {
        let variables = &mut function(resources, "job-api")["inputs"]["environment"]["variables"];
        variables["STATE_MACHINE_ARN"] =
            json!("arn:aws:states:us-east-1:000000000000:stateMachine:athena-workflow-other");
    })
    .await;
    let (status, _) = scenario.post("/jobs", &scenario.job(&["a"])).await;
    assert_eq!(status, 500);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_without_a_permission_is_an_internal_error() {
    let scenario = start(|resources| {
        let permissions = resources["aws:lambda/permission:Permission"].as_object_mut().unwrap();
        permissions.remove("athena-workflow-dev-POST-jobs").unwrap();
    })
    .await;
    check_answer(&scenario, 500, INTERNAL).await;
    // The other route has its own.
    let answer: Value = serde_json::from_str(&scenario.get("/jobs/none").await).unwrap();
    assert_eq!(answer["status"], 404, "{answer}");
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_is_missing_is_not_found() {
    let scenario = start(|resources| {
        let routes = resources["aws:apigatewayv2/route:Route"].as_object_mut().unwrap();
        routes.remove("athena-workflow-dev POST /jobs").unwrap();
    })
    .await;
    check_answer(&scenario, 404, r#"{"message":"Not Found"}"#).await;
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_is_not_there_fails_the_state_that_calls_it() {
    let scenario = start(|resources| {
        replace_with_rights(resources, &arn("extract-s3-key"), &arn("extract-s3-keys"));
    })
    .await;
    let cause = format!("Function not found: {}", arn("extract-s3-keys"));
    check_failure(scenario, "ExtractS3Key", "Lambda.ResourceNotFoundException", &cause).await;

    let scenario = start(|resources| {
        let functions = resources["aws:lambda/function:Function"].as_object_mut().unwrap();
        functions.remove("athena-workflow-dev-zip-s3-folder").unwrap();
    })
    .await;
    let cause = format!("Function not found: {}", arn("zip-s3-folder"));
    check_failure(scenario, "ZipResults", "Lambda.ResourceNotFoundException", &cause).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placeholder_with_the_value_of_another_fails_the_state_that_uses_it() {
    let scenario = start(|resources| {
        replace(resources, &arn("query-loader"), &arn("zip-s3-folder"));
    })
    .await;
    let cause = "the event is not what this function takes";
    check_failure(scenario, "LoadQueries", "Job.Invalid", cause).await;

    let scenario = start(|resources| {
        replace(resources, "'work_group': 'athena-workflow-dev'", "'work_group': 'primary-2'");
    })
    .await;
    let cause = "athena:StartQueryExecution on resource: arn:aws:athena:us-east-1:000000000000:workgroup/primary-2";
    check_failure(scenario, "RunQueries", "Query.Denied", cause).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placeholder_that_is_left_fails_the_state_that_uses_it() {
    let scenario = start(|resources| {
        replace(resources, &arn("query-loader"), "${QueryLoaderFunctionArn}");
        // It would be tried again for minutes.
        replace(resources, "Lambda.AWSLambdaException", "Lambda.ServiceException");
    })
    .await;
    let cause = "${QueryLoaderFunctionArn}";
    check_failure(scenario, "LoadQueries", "Lambda.AWSLambdaException", cause).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_out_that_is_too_short_ends_the_function() {
    let scenario = start(|resources| {
        function(resources, "execute-single-query")["inputs"]["timeout"] = json!(1);
    })
    .await;
    let faults = scenario.stack().athena().faults();
    faults.hold_starts(|_| true, std::time::Duration::from_secs(20));
    let cause = "Task timed out after 1.00 seconds";
    check_failure(scenario, "RunQueries", "Sandbox.Timedout", cause).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_work_group_whose_bucket_is_not_there_fails_the_query() {
    let scenario = start(|resources| {
        let group = &mut resources["aws:athena/workgroup:Workgroup"]["athena-workflow-dev"];
        group["inputs"]["configuration"]["resultConfiguration"]["outputLocation"] =
            json!("s3://athena-workflow-dev-result/athena/");
    })
    .await;
    let cause = "Access denied when writing output to url: s3://athena-workflow-dev-result/athena/";
    check_failure(scenario, "RunQueries", "Query.Failed", cause).await;
}

#[tokio::test]
async fn a_package_that_nobody_builds_stops_the_stack() {
    let work = tempfile::tempdir().unwrap();
    let mut config = local::StackConfig::new(
        work.path().join("work"),
        end_to_end::sample_data(),
        work.path().join("partner"),
        end_to_end::binaries(),
    );
    config.deployment = dev_with(|resources| {
        function(resources, "query-loader")["inputs"]["code"]["archive"] = json!("query-loade.zip");
    });
    let Err(error) = Stack::start(config).await else { panic!("a stack without a binary starts") };
    let text = job::error::Chain(&error).to_string();
    let place = "function `athena-workflow-dev-query-loader` has no binary at `";
    assert!(text.contains(place) && text.contains("query-loade`"), "{text}");
}
