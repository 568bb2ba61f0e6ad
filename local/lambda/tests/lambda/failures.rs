//! What callers see when a function does not answer.

use serde_json::{Value, json};

use crate::{Stack, function, is_running};

/// Invokes a function that fails and compares the whole error, `ID` standing for the request's identifier.
#[track_caller]
fn check(stack: &Stack, behaviour: Value, expected: Value) {
    let runtime = tokio::runtime::Handle::current();
    let invocation = tokio::task::block_in_place(|| runtime.block_on(stack.invoke(behaviour)));
    let payload = String::from_utf8(invocation.payload.to_vec()).expect("the payload is text");
    let payload: Value = serde_json::from_str(&payload.replace(&invocation.request_id, "ID"))
        .expect("the payload is JSON");
    assert_eq!((payload, invocation.function_error), (expected, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_function_keeps_its_name_and_its_process() {
    let stack = Stack::of(function("f"));
    let process = stack.process().await;
    check(
        &stack,
        json!({"do": "fail", "error_type": "Query.Failed", "message": "line 1: no such table"}),
        json!({"errorType": "Query.Failed", "errorMessage": "line 1: no such table"}),
    );
    assert_eq!(stack.process().await, process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_error_of_the_function() {
    let stack = Stack::of(function("f"));
    let process = stack.process().await;
    check(
        &stack,
        json!({"do": "panic", "message": "out of luck"}),
        json!({
            "errorType": "&alloc::boxed::Box<dyn core::any::Any + core::marker::Send>",
            "errorMessage": "Lambda panicked: out of luck",
        }),
    );
    assert_eq!(stack.process().await, process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_is_reported_and_replaced() {
    let stack = Stack::of(function("f"));
    let before = stack.process().await;
    let exited = |reason: &str| json!({"errorType": "Runtime.ExitError", "errorMessage": format!("RequestId: ID Error: {reason}")});
    check(
        &stack,
        json!({"do": "exit", "code": 3}),
        exited("Runtime exited with error: exit status 3"),
    );
    assert_ne!(stack.process().await, before);
    check(
        &stack,
        json!({"do": "exit", "code": 0}),
        exited("Runtime exited without providing a reason"),
    );
    check(&stack, json!({"do": "abort"}), exited("Runtime exited with error: signal: aborted"));
    let log = stack.log();
    assert!(log.contains("Status: error\tError Type: Runtime.ExitError\t\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_takes_too_long_is_killed_with_its_process() {
    let mut slow = function("f");
    slow.timeout_seconds = 1;
    let stack = Stack::of(slow);
    let process = stack.process().await;
    check(
        &stack,
        json!({"do": "sleep", "milliseconds": 600_000}),
        json!({
            "errorType": "Sandbox.Timedout",
            "errorMessage": "RequestId: ID Error: Task timed out after 1.00 seconds",
        }),
    );
    crate::eventually("the end of the process", || !is_running(&process)).await;
    assert_ne!(stack.process().await, process);
    let log = stack.log();
    let report = log
        .lines()
        .find(|line| line.contains("Status: timeout"))
        .expect("the time-out is reported");
    assert!(report.contains("\tDuration: 1000.00 ms\tBilled Duration: 1000 ms\t"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_be_as_large_as_the_limit_and_no_larger() {
    let stack = Stack::of(function("f"));
    let process = stack.process().await;
    let largest = stack.invoke(json!({"do": "answer", "size_bytes": 6_291_556})).await;
    assert_eq!((largest.payload.len(), largest.function_error), (6_291_556, false));
    check(
        &stack,
        json!({"do": "answer", "size_bytes": 6_291_557}),
        json!({
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        }),
    );
    assert_eq!(stack.process().await, process);
}

fn failing_to_initialise(how: &str) -> Stack {
    let mut failing = function("f");
    failing.timeout_seconds = 1;
    failing.environment.insert("INITIALISATION".to_owned(), how.to_owned());
    Stack::of(failing)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_before_its_first_invocation_is_started_once_more() {
    let stack = failing_to_initialise("exit");
    check(
        &stack,
        json!({"do": "process"}),
        json!({
            "errorType": "Runtime.ExitError",
            "errorMessage": "RequestId: ID Error: Runtime exited with error: exit status 7",
        }),
    );
    let log = stack.log();
    let phases: Vec<_> = log
        .lines()
        .filter_map(|line| line.split('\t').find(|field| field.starts_with("Phase")))
        .collect();
    assert_eq!(phases, ["Phase: init", "Phase: invoke"], "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_at_the_second_attempt_answers() {
    let marker = tempfile::tempdir().expect("a directory can be made");
    let mut failing = function("f");
    failing.environment.insert("INITIALISATION".to_owned(), "fail_once".to_owned());
    failing
        .environment
        .insert("MARKER".to_owned(), marker.path().join("marker").display().to_string());
    let stack = Stack::of(failing);
    assert_eq!(stack.answer(json!({"do": "echo", "value": 1})).await, json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reported_initialisation_error_reaches_the_caller_as_it_is() {
    let stack = failing_to_initialise("report");
    let expected = json!({"errorType": "Settings.Missing", "errorMessage": "`BUCKET` is not set"});
    check(&stack, json!({"do": "process"}), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initialisation_that_does_not_end_is_a_time_out() {
    let stack = failing_to_initialise("hang");
    check(
        &stack,
        json!({"do": "process"}),
        json!({
            "errorType": "Sandbox.Timedout",
            "errorMessage": "RequestId: ID Error: Task timed out after 1.00 seconds",
        }),
    );
    let log = stack.log();
    assert_eq!(log.matches("Status: timeout").count(), 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_program_is_an_invalid_entry_point() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let mut broken = function("f");
    broken.binary = dir.path().join("bootstrap");
    std::fs::copy(crate::example("behaviours"), &broken.binary).expect("the binary can be copied");
    let stack = Stack::of(broken.clone());
    std::fs::remove_file(&broken.binary).expect("the binary can be removed");
    let reason = format!("fork/exec {}: no such file or directory", broken.binary.display());
    check(
        &stack,
        json!({"do": "process"}),
        json!({
            "errorType": "Runtime.InvalidEntrypoint",
            "errorMessage": format!("RequestId: ID Error: {reason}"),
        }),
    );
}
