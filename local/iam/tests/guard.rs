//! The guard in front of a small service: who gets through, and what the others are told.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use local_iam::{AccessKey, Assumer, Call, Guard, Names, Policies, Refusal, Report};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const STACK: &str = include_str!("../../../infra/stacks/dev.json");
const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:athena-workflow-dev";
const GROUP: &str = "arn:aws:scheduler:us-east-1:000000000000:schedule-group/athena-workflow-dev";

struct Nothing;

impl Names for Nothing {
    fn work_group_of(&self, _: &str) -> Option<String> {
        None
    }

    fn secret_arn(&self, _: &str) -> Option<String> {
        None
    }

    fn state_machine_of_token(&self, _: &str) -> Option<String> {
        None
    }

    fn tables_of(&self, _: &str, _: &str) -> Vec<(String, String)> {
        Vec::new()
    }
}

fn stack() -> Value {
    serde_json::from_str(STACK).unwrap()
}

fn guard_of(stack: &Value) -> Guard {
    Guard::new(Policies::read(stack).unwrap(), Arc::new(Nothing), ["developer".to_owned()])
}

fn role(name: &str) -> String {
    format!("arn:aws:iam::000000000000:role/athena-workflow-dev{name}")
}

fn function(guard: &Guard, name: &str) -> AccessKey {
    let function = format!("athena-workflow-dev-{name}");
    guard.assume(Assumer::Function(&function), &role(&format!("-{name}"))).unwrap()
}

/// Answers the body it got; what has `missing` in its path is not found.
async fn echo(request: Request) -> Response {
    let is_missing = request.uri().path().contains("missing");
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let status = if is_missing { StatusCode::NOT_FOUND } else { StatusCode::OK };
    (status, body).into_response()
}

/// Sends a request through the guard; a target makes it one in JSON.
async fn send(
    guard: &Guard,
    authorization: Option<&str>,
    request: &str,
    target: Option<&str>,
    body: impl Into<Body>,
) -> (StatusCode, String) {
    let (method, uri) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(uri);
    if let Some(authorization) = authorization {
        builder = builder.header("authorization", authorization);
    }
    if let Some(target) = target {
        builder = builder.header("x-amz-target", target);
    }
    let service = guard.protect(Router::new().fallback(echo));
    let response = service.oneshot(builder.body(body.into()).unwrap()).await.unwrap();
    let status = response.status();
    let body: Bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn signed(key: &AccessKey) -> String {
    key.authorization("us-east-1", "s3")
}

#[tokio::test]
async fn a_function_does_what_its_role_allows_and_its_body_arrives_whole() {
    let guard = guard_of(&stack());
    let signed = signed(&function(&guard, "query-loader"));
    let put = "PUT /athena-workflow-dev-results/runs/r/plan.json";
    let sent = send(&guard, Some(&signed), put, None, "[]").await;
    assert_eq!(sent, (StatusCode::OK, "[]".to_owned()));

    let signed = self::signed(&function(&guard, "job-api"));
    let start = format!(r#"{{"stateMachineArn":"{MACHINE}"}}"#);
    let target = Some("AWSStepFunctions.StartExecution");
    let sent = send(&guard, Some(&signed), "POST /", target, start.clone()).await;
    assert_eq!(sent, (StatusCode::OK, start));

    let key = function(&guard, "query-loader");
    let presigned = format!(
        "GET /athena-workflow-dev-queries/q.sql?X-Amz-Credential={}%2F20261123%2Fus-east-1%2Fs3",
        key.id
    );
    assert_eq!(send(&guard, None, &presigned, None, "").await, (StatusCode::OK, String::new()));
}

#[tokio::test]
async fn a_refusal_is_the_one_of_aws_in_each_protocol() {
    let guard = guard_of(&stack());
    let signed = signed(&function(&guard, "extract-s3-key"));
    let user = "arn:aws:sts::000000000000:assumed-role/athena-workflow-dev-extract-s3-key/\
                athena-workflow-dev-extract-s3-key";
    let xml = |quoted: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code>\
             <Message>User: {user} is not authorized to perform: s3:GetObject on resource: \
             &quot;arn:aws:s3:::b/{quoted}&quot; because no identity-based policy allows the \
             s3:GetObject action</Message></Error>"
        )
    };
    let sent = send(&guard, Some(&signed), "GET /b/a%3Cb", None, "").await;
    assert_eq!(sent, (StatusCode::FORBIDDEN, xml("a&lt;b")));
    let sent = send(&guard, Some(&signed), "HEAD /b/k", None, "").await;
    assert_eq!(sent, (StatusCode::FORBIDDEN, String::new()));

    let denied = |action: &str, resource: &str| {
        let message = format!(
            "User: {user} is not authorized to perform: {action} on resource: {resource} because \
             no identity-based policy allows the {action} action"
        );
        json!({ "__type": "AccessDeniedException", "Message": message, "message": message })
    };
    let parsed = |(status, body): (StatusCode, String)| {
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    for (target, body, action, resource) in [
        (
            "secretsmanager.GetSecretValue",
            r#"{"SecretId":"athena-workflow/dev/partner"}"#,
            "secretsmanager:GetSecretValue",
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:athena-workflow/dev/partner",
        ),
        (
            "AmazonAthena.StartQueryExecution",
            r#"{"QueryString":"SELECT 1"}"#,
            "athena:StartQueryExecution",
            "arn:aws:athena:us-east-1:000000000000:workgroup/primary",
        ),
    ] {
        let sent = send(&guard, Some(&signed), "POST /", Some(target), body).await;
        assert_eq!(parsed(sent), (StatusCode::BAD_REQUEST, denied(action, resource)));
    }
    let invoke = "POST /2015-03-31/functions/f/invocations";
    let sent = send(&guard, Some(&signed), invoke, None, "{}").await;
    let resource = "arn:aws:lambda:us-east-1:000000000000:function:f";
    assert_eq!(parsed(sent), (StatusCode::FORBIDDEN, denied("lambda:InvokeFunction", resource)));
}

#[tokio::test]
async fn who_may_not_list_a_bucket_is_not_told_that_an_object_is_missing() {
    let mut stack = stack();
    let request = "GET /athena-workflow-dev-queries/missing.sql";
    let guard = guard_of(&stack);
    let signed_listing = signed(&function(&guard, "query-loader"));
    let sent = send(&guard, Some(&signed_listing), request, None, "").await;
    assert_eq!(sent, (StatusCode::NOT_FOUND, String::new()));

    let name = "athena-workflow-dev-query-loader";
    let policy = &mut stack["resources"]["aws:iam/rolePolicy:RolePolicy"][name]["inputs"]["policy"];
    let statements = policy["Statement"].as_array_mut().unwrap();
    statements.retain(|statement| statement["Sid"] != "ListQueries");
    let guard = guard_of(&stack);
    let signed = signed(&function(&guard, "query-loader"));
    let (status, body) = send(&guard, Some(&signed), request, None, "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains("s3:ListBucket"), "{body}");
}

/// A role whose own policy has no room for all its statements gets others attached.
#[tokio::test]
async fn a_managed_policy_counts_where_it_is_attached() {
    let mut stack = stack();
    let name = "athena-workflow-dev-query-loader";
    let inline = stack["resources"]["aws:iam/rolePolicy:RolePolicy"].as_object_mut().unwrap();
    let moved = inline.remove(name).unwrap()["inputs"]["policy"].take();
    let arn = "arn:aws:iam::000000000000:policy/loader-1";
    stack["resources"]["aws:iam/policy:Policy"] = json!({
        "loader-1": { "inputs": { "policy": moved }, "outputs": { "arn": arn } },
    });
    let request = "GET /athena-workflow-dev-queries/q.sql";
    let status = async |stack: &Value| {
        let guard = guard_of(stack);
        let signed = signed(&function(&guard, "query-loader"));
        send(&guard, Some(&signed), request, None, "").await.0
    };
    assert_eq!(status(&stack).await, StatusCode::FORBIDDEN);
    stack["resources"]["aws:iam/rolePolicyAttachment:RolePolicyAttachment"] = json!({
        "loader-1": { "inputs": { "role": name, "policyArn": arn }, "outputs": {} },
    });
    assert_eq!(status(&stack).await, StatusCode::OK);
    stack["resources"]["aws:iam/policy:Policy"] = json!({});
    let refused = Policies::read(&stack).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("the attachment `loader-1` is for `{arn}`, which the stack does not have")
    );
}

#[tokio::test]
async fn without_a_known_access_key_nothing_is_answered_and_the_developer_may_do_everything() {
    let guard = guard_of(&stack());
    let request = "GET /athena-workflow-dev-queries/q.sql";
    let status = async |authorization: Option<&str>, request: &str, target: Option<&str>| {
        let (status, body) = send(&guard, authorization, request, target, "{}").await;
        let codes = ["AccessDenied", "InvalidAccessKeyId", "MissingAuth", "UnrecognizedClient"];
        (status.as_u16(), codes.into_iter().find(|code| body.contains(code)))
    };
    let unknown = Some("AWS4-HMAC-SHA256 Credential=AKIA/20261123/r/s3/aws4_request, Signature=0");
    let target = Some("AmazonAthena.GetQueryExecution");
    assert_eq!(status(None, request, None).await, (403, Some("AccessDenied")));
    assert_eq!(status(Some("Bearer x"), request, None).await, (403, Some("AccessDenied")));
    assert_eq!(status(unknown, request, None).await, (403, Some("InvalidAccessKeyId")));
    assert_eq!(status(None, "POST /", target).await, (400, Some("MissingAuth")));
    assert_eq!(status(unknown, "POST /", target).await, (400, Some("UnrecognizedClient")));
    let invoke = "POST /2015-03-31/functions/f/invocations";
    assert_eq!(status(unknown, invoke, None).await, (403, Some("UnrecognizedClient")));
    let developer =
        Some("AWS4-HMAC-SHA256 Credential=developer/20261123/r/s3/aws4_request, Signature=0");
    assert_eq!(status(developer, "DELETE /b?policy", None).await, (200, None));
}

#[track_caller]
fn check_taken(guard: &Guard, assumer: Assumer<'_>, role_arn: &str, refusal: Option<&str>) {
    let taken = guard.assume(assumer, role_arn).map_err(|refusal| refusal.to_string());
    assert_eq!(taken.err().as_deref(), refusal);
}

#[test]
fn each_role_is_taken_by_the_service_that_it_is_for_and_by_no_other() {
    let guard = guard_of(&stack());
    let group = GROUP.replace("-dev", "-prod");
    check_taken(&guard, Assumer::Function("f"), &role("-job-api"), None);
    check_taken(&guard, Assumer::StateMachine(MACHINE), &role(""), None);
    check_taken(&guard, Assumer::ScheduleGroup(GROUP), &role("-schedules"), None);
    let lambda = Some("The role defined for the function cannot be assumed by Lambda.");
    check_taken(&guard, Assumer::Function("f"), &role(""), lambda);
    check_taken(&guard, Assumer::Function("f"), &role("-unknown"), lambda);
    let states = "Neither the global service principal states.amazonaws.com, nor the regional one \
                  is authorized to assume the provided role: \
                  arn:aws:iam::000000000000:role/athena-workflow-dev-schedules";
    check_taken(&guard, Assumer::StateMachine(MACHINE), &role("-schedules"), Some(states));
    let scheduler = "The execution role you provide must allow AWS EventBridge Scheduler to assume \
                     the role.";
    check_taken(&guard, Assumer::ScheduleGroup(&group), &role("-schedules"), Some(scheduler));
}

#[test]
fn the_http_api_calls_the_function_of_a_route_that_has_a_permission() {
    let guard = guard_of(&stack());
    let job_api = "arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-job-api";
    let call = |route: &str, service: &str| {
        let source = format!(
            "arn:aws:execute-api:us-east-1:000000000000:athena-workflow-dev/$default/{route}"
        );
        guard.authorize_service(service, &source, Call::new("lambda:InvokeFunction", job_api))
    };
    assert_eq!(call("POST/jobs", "apigateway.amazonaws.com"), Ok(()));
    assert_eq!(call("GET/jobs/{run_id}", "apigateway.amazonaws.com"), Ok(()));
    for refused in [
        call("DELETE/jobs/{run_id}", "apigateway.amazonaws.com"),
        call("POST/jobs", "sns.amazonaws.com"),
    ] {
        assert!(matches!(refused, Err(Refusal::Denied { .. })), "{refused:?}");
    }
}

/// Whether the HTTP API may call its function for `POST /jobs` with another property of the
/// permission.
#[track_caller]
fn check_permission(property: &str, value: Value, is_permitted: bool) {
    let mut stack = stack();
    let permissions = &mut stack["resources"]["aws:lambda/permission:Permission"];
    permissions["athena-workflow-dev-POST-jobs"]["inputs"][property] = value;
    let route = "arn:aws:execute-api:us-east-1:000000000000:athena-workflow-dev/$default/POST/jobs";
    let function = "arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-job-api";
    let call = Call::new("lambda:InvokeFunction", function);
    let decided = guard_of(&stack).authorize_service("apigateway.amazonaws.com", route, call);
    assert_eq!(decided.is_ok(), is_permitted, "{property}");
}

#[test]
fn a_permission_is_for_a_function_a_service_an_action_a_method_and_a_path() {
    let api = "arn:aws:execute-api:us-east-1:000000000000:athena-workflow-dev";
    check_permission("sourceArn", json!(format!("{api}/*/POST/jobs")), true);
    check_permission("sourceArn", json!(format!("{api}/$default/POST/jobs")), true);
    check_permission("sourceArn", json!(format!("{api}/*")), true);
    check_permission("sourceArn", Value::Null, true);
    check_permission("sourceArn", json!(format!("{api}/*/PUT/jobs")), false);
    check_permission("sourceArn", json!(format!("{api}/other/POST/jobs")), false);
    check_permission("sourceArn", json!(format!("{api}2/*/POST/jobs")), false);
    check_permission("principal", json!("events.amazonaws.com"), false);
    check_permission("action", json!("lambda:GetFunction"), false);
    check_permission("function", json!("athena-workflow-dev-query-loader"), false);
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-job-api";
    check_permission("function", json!(arn), true);
}

#[test]
fn the_report_tells_what_was_used_and_adds_up_over_runs() {
    let guard = guard_of(&stack());
    let key = guard.assume(Assumer::ScheduleGroup(GROUP), &role("-schedules")).unwrap();
    let start = Call::new("states:StartExecution", MACHINE);
    guard.authorize(&key.id, std::slice::from_ref(&start)).unwrap();
    guard.authorize(&key.id, &guard.reading("b", "k")).unwrap_err();
    guard.authorize(&key.id, &[Call::new("sqs:SendMessage", MACHINE)]).unwrap_err();
    let unused = guard.report().unused();
    let of = |role: &str| unused.iter().filter(|right| right.starts_with(role)).count();
    // Its other right is for a queue, which is not on a laptop.
    assert_eq!(of("athena-workflow-dev-schedules"), 0, "{unused:?}");
    assert!(of("athena-workflow-dev-zip-s3-folder") > 0, "{unused:?}");
    assert!(unused.contains("athena-workflow-dev-file-transporter ReadResults s3:GetObject"));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.jsonl");
    for _ in 0..2 {
        guard.report().append_to(&file).unwrap();
    }
    let table = Report::read(&file).unwrap().to_string();
    let (_, schedules) = table.split_once("athena-workflow-dev-schedules\n").unwrap();
    let lines: Vec<Vec<&str>> =
        schedules.lines().take(4).map(|line| line.split_whitespace().collect()).collect();
    let (sqs, states) = ("sqs:SendMessage", "states:StartExecution");
    assert_eq!(lines[0], ["SendDeadLetters", sqs, "not", "on", "a", "laptop"]);
    assert_eq!(lines[1], ["StartRuns", states, "2"]);
    let read = ["REFUSED", "2", "times:", "s3:GetObject", "on", "arn:aws:s3:::b/k"];
    assert_eq!(lines[2], read);
    assert_eq!(lines[3], ["REFUSED", "2", "times:", sqs, "on", MACHINE]);
}
