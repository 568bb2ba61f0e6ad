//! Invocations that go well, and what they leave behind.

use bytes::Bytes;
use local_lambda::{Config, FailedEvent, InvokeError, Lambda, Usage};
use serde_json::{Value, json};

use crate::{Stack, eventually, example, function};

#[tokio::test]
async fn a_function_answers_whatever_name_it_is_called_by() {
    let stack = Stack::of(function("f"));
    let payload = Bytes::from_static(br#"{"do":"echo","value":{"a":[1,null,"\u00e9"]}}"#);
    let arn = stack.lambda.arn("f");
    assert_eq!(arn, "arn:aws:lambda:us-east-1:000000000000:function:f");
    for name in ["f", "f:$LATEST", "000000000000:function:f", &arn, &format!("{arn}:$LATEST")] {
        let invocation =
            stack.lambda.invoke(name, payload.clone(), false).await.expect("the function is run");
        assert_eq!(invocation.payload, r#"{"a":[1,null,"é"]}"#, "{name}");
        assert_eq!((invocation.function_error, invocation.log_tail), (false, None), "{name}");
        assert_eq!(invocation.executed_version, "$LATEST", "{name}");
    }
}

#[tokio::test]
async fn a_process_has_the_environment_of_lambda_and_nothing_of_its_parents() {
    let mut own = function("f");
    own.environment.insert("BUCKET".to_owned(), "queries".to_owned());
    own.environment.insert("LANG".to_owned(), "C".to_owned());
    let stack = Stack::of(own);
    let Value::Object(mut variables) = stack.answer(json!({"do": "environment"})).await else {
        panic!("the environment is an object");
    };
    let mut changing =
        |name: &str| variables.remove(name).and_then(|value| value.as_str().map(str::to_owned));
    let runtime_api = changing("AWS_LAMBDA_RUNTIME_API").expect("the Runtime API is named");
    assert!(runtime_api.starts_with("127.0.0.1:"), "{runtime_api}");
    let stream = changing("AWS_LAMBDA_LOG_STREAM_NAME").expect("the log stream is named");
    assert!(stream.contains("/[$LATEST]"), "{stream}");
    let scratch = changing("TMPDIR").expect("there is a directory for temporary files");
    assert!(!std::path::Path::new(&scratch).starts_with(stack.logs.path()), "{scratch}");
    let expected = json!({
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_provided.al2023",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "test",
        "BUCKET": "queries",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": example("").parent().map(|dir| dir.join("examples")),
        "LANG": "C",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
        "TZ": ":UTC",
        "_HANDLER": "bootstrap",
    });
    // The runtime itself passes the trace on.
    variables.remove("_X_AMZN_TRACE_ID");
    assert_eq!(Value::Object(variables), expected);
}

#[tokio::test]
async fn an_invocation_knows_its_request_its_function_and_its_deadline() {
    let stack = Stack::of(function("f"));
    let before = jiff::Timestamp::now().as_millisecond();
    let invocation = stack.invoke(json!({"do": "context"})).await;
    let after = jiff::Timestamp::now().as_millisecond();
    let context: Value = serde_json::from_slice(&invocation.payload).expect("the context is JSON");
    assert_eq!(context["request_id"], json!(invocation.request_id));
    assert_eq!(context["invoked_function_arn"], json!(stack.lambda.arn("f")));
    assert_eq!(context["env_config"]["function_name"], json!("f"));
    assert_eq!(context["env_config"]["memory"], json!(512));
    let deadline = context["deadline"].as_i64().expect("the deadline is a number");
    assert!((before + 19_000..=after + 20_000).contains(&deadline), "{before} {deadline} {after}");
    let trace = context["xray_trace_id"].as_str().expect("there is a trace");
    assert!(trace.starts_with("Root=1-") && trace.ends_with(";Sampled=0"), "{trace}");
}

#[tokio::test]
async fn the_log_has_the_functions_output_between_the_lines_of_lambda() {
    let stack = Stack::of(function("f"));
    stack.process().await;
    let invocation = stack.invoke(json!({"do": "log", "text": "one\ntwo"})).await;
    let id = &invocation.request_id;
    let tail = invocation.log_tail.expect("the log was asked for");
    let (lines, report) = tail.split_once("REPORT").expect("there is a report");
    assert_eq!(
        lines,
        format!("START RequestId: {id} Version: $LATEST\none\ntwo\nEND RequestId: {id}\n")
    );
    let fields: Vec<_> =
        report.trim_end().split('\t').filter_map(|field| field.split_once(": ")).collect();
    let names: Vec<_> = fields.iter().map(|(name, _)| name.trim()).collect();
    let expected = ["RequestId", "Duration", "Billed Duration", "Memory Size"];
    assert_eq!(names[..4], expected);
    assert_eq!(fields[0].1, id);
    assert_eq!(fields[3].1, "512 MB");
    let log = stack.log();
    assert!(log.starts_with("INIT_START "), "{log}");
    assert!(log.ends_with(&tail), "{log}");
    assert_eq!(log.matches("Init Duration: ").count(), 1, "{log}");
}

#[tokio::test]
async fn use_is_counted_as_it_is_billed() {
    let stack = Stack::of(function("f"));
    stack.process().await;
    stack.process().await;
    stack.invoke(json!({"do": "exit", "code": 1})).await;
    let usage = stack.lambda.usage()["f"];
    let billed: u64 = stack
        .log()
        .lines()
        .filter_map(|line| {
            line.split("Billed Duration: ").nth(1)?.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    let expected = Usage {
        invocations: 3,
        errors: 1,
        throttles: 0,
        cold_starts: 1,
        billed_milliseconds: billed,
        memory_mb: 512,
        memory_used_mb_max: usage.memory_used_mb_max,
    };
    assert_eq!(usage, expected);
    let told = format!("Max Memory Used: {} MB", usage.memory_used_mb_max);
    assert!(stack.log().contains(&told), "{told}");
    assert!(billed >= 3, "{billed}");
    #[expect(clippy::cast_precision_loss, reason = "the test runs for seconds")]
    let gb_seconds = billed as f64 / 2000.0;
    assert!((usage.gb_seconds() - gb_seconds).abs() < 1e-9);
}

#[tokio::test]
async fn an_event_is_tried_again_until_it_succeeds() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let file = dir.path().join("attempts");
    let stack = Stack::with(function("f"), |config| {
        config.speed = 1e6;
    });
    let attempts = || std::fs::metadata(&file).map_or(0, |found| found.len());
    let send = |failures: u64| {
        let payload = json!({"do": "count", "file": file, "failures": failures}).to_string();
        stack.lambda.invoke_event("f", payload.into()).expect("the event is accepted")
    };
    let request_id = send(2);
    eventually("the third attempt", || attempts() == 3).await;
    eventually("the report", || {
        stack.log().matches(&format!("REPORT RequestId: {request_id}")).count() == 3
    })
    .await;
    let request_id = send(1000);
    eventually("the last retry", || {
        stack.log().matches(&format!("REPORT RequestId: {request_id}")).count() == 3
    })
    .await;
    // Whatever came after the last retry would have to be done with by the end of another invocation.
    stack.process().await;
    assert_eq!(attempts(), 6);
}

/// The events that are given up, once there are as many.
async fn given_up(stack: &Stack, count: usize) -> Vec<FailedEvent> {
    eventually("giving up", || stack.lambda.failed_events().len() == count).await;
    stack.lambda.failed_events()
}

#[tokio::test]
async fn an_event_that_is_given_up_is_told_with_its_payload_and_the_last_answer() {
    let mut own = function("f");
    own.events.on_failure = Some("arn:aws:sqs:us-east-1:000000000000:lost".to_owned());
    own.events.retries_max = 1;
    let stack = Stack::with(own, |config| config.speed = 1e6);
    let payload = json!({"do": "fail", "error_type": "Query.Failed", "message": "no"});
    let accepted = stack.lambda.invoke_event("f", payload.to_string().into());
    let request_id = accepted.expect("the event is accepted");
    let mut failed = given_up(&stack, 1).await.remove(0);
    let timestamp = failed.record["timestamp"].take();
    assert_eq!(timestamp.as_str().map(str::len), Some("2026-11-30T12:00:00.000Z".len()));
    let record = json!({
        "version": "1.0",
        "timestamp": null,
        "requestContext": {
            "requestId": request_id,
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 2,
        },
        "requestPayload": payload,
        "responseContext": {
            "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
        },
        "responsePayload": {"errorType": "Query.Failed", "errorMessage": "no"},
    });
    let destination = Some("arn:aws:sqs:us-east-1:000000000000:lost".to_owned());
    assert_eq!(failed, FailedEvent { function: "f".to_owned(), destination, record });
}

#[tokio::test]
async fn an_event_is_given_up_at_its_age() {
    let mut own = function("f");
    own.events.age_seconds_max = 0;
    // Nobody may run it, so that it only grows older.
    own.concurrency_max = 0;
    let stack = Stack::of(own);
    stack.lambda.invoke_event("f", r#"{"do":"process"}"#.into()).expect("the event is accepted");
    let failed = given_up(&stack, 1).await.remove(0);
    assert_eq!(failed.record["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(failed.record["requestContext"]["approximateInvokeCount"], 0);
    assert_eq!(failed.record.get("responsePayload"), None);
    assert_eq!(stack.lambda.usage()["f"].invocations, 0);
}

#[tokio::test]
async fn many_events_start_few_processes_and_none_is_lost_for_a_throttle() {
    let mut own = function("f");
    own.concurrency_max = 1;
    let stack = Stack::with(own, |config| {
        config.concurrent_events_max = 2;
        config.speed = 1000.0;
    });
    for _ in 0..20 {
        let payload = json!({"do": "sleep", "milliseconds": 5}).to_string();
        stack.lambda.invoke_event("f", payload.into()).expect("the event is accepted");
    }
    eventually("the last event", || stack.lambda.usage()["f"].invocations == 20).await;
    let usage = stack.lambda.usage()["f"];
    assert_eq!((usage.errors, usage.cold_starts), (0, 1));
    assert_eq!(stack.lambda.failed_events(), []);
}

#[tokio::test]
async fn a_throttled_function_refuses_every_call_until_it_is_let_go() {
    let stack = Stack::with(function("f"), |config| config.speed = 1000.0);
    stack.lambda.throttle("f", true).expect("the function is there");
    let refused = stack.lambda.invoke("f", "{}".into(), false).await;
    assert!(matches!(refused, Err(InvokeError::Throttled)), "{refused:?}");
    let payload = json!({"do": "sleep", "milliseconds": 5}).to_string();
    stack.lambda.invoke_event("f", payload.into()).expect("the event is accepted");
    eventually("the event is refused", || stack.lambda.usage()["f"].throttles >= 2).await;
    assert_eq!(stack.lambda.usage()["f"].invocations, 0);
    stack.lambda.throttle("f", false).expect("the function is there");
    eventually("the event runs", || stack.lambda.usage()["f"].invocations == 1).await;
    let unknown = stack.lambda.throttle("g", true);
    assert!(matches!(unknown, Err(InvokeError::NotFound { .. })), "{unknown:?}");
}

#[test]
fn all_that_is_wrong_with_the_functions_is_said_at_once() {
    let mut missing = function("missing");
    missing.binary = "/nowhere/bootstrap".into();
    let mut reserved = function("reserved");
    reserved.environment.insert("AWS_REGION".to_owned(), "eu-west-1".to_owned());
    reserved.timeout_seconds = 901;
    let mut text = function("text");
    text.binary = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into();
    let refused = Lambda::new(Config::new(vec![missing, reserved, text]))
        .expect_err("nothing of this is valid");
    assert_eq!(
        refused.to_string(),
        format!(
            "checking the functions: function `missing` has no binary at `/nowhere/bootstrap`: No such file or \
             directory (os error 2); the time-out of function `reserved` is 901 s, and must be 1 to 900 s; \
             function `reserved` sets `AWS_REGION`, which Lambda keeps for itself; the binary of function \
             `text` at `{}/Cargo.toml` is not an executable file",
            env!("CARGO_MANIFEST_DIR")
        )
    );
}
