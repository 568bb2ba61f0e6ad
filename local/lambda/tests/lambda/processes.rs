//! How many processes there are, and when they end.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use local_lambda::InvokeError;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::{Stack, eventually, example, function, is_running};

#[tokio::test]
async fn a_warm_process_is_used_again() {
    let stack = Stack::of(function("f"));
    let first = stack.process().await;
    for _ in 0..5 {
        assert_eq!(stack.process().await, first);
    }
    assert_eq!(stack.lambda.usage()["f"].cold_starts, 1);
}

#[tokio::test]
async fn invocations_beyond_the_processes_wait_for_one() {
    let stack = Stack::with(function("f"), |config| config.processes_max = 2);
    let mut running = JoinSet::new();
    for number in 0..10 {
        let lambda = stack.lambda.clone();
        running.spawn(async move {
            let sleep = Bytes::from_static(br#"{"do":"sleep","milliseconds":20}"#);
            lambda.invoke("f", sleep, false).await.expect("the function is run");
            let echo = json!({"do": "echo", "value": number}).to_string();
            lambda.invoke("f", echo.into(), false).await.expect("the function is run").payload
        });
    }
    let answers: BTreeSet<_> = running.join_all().await.into_iter().collect();
    let expected: BTreeSet<_> = (0..10).map(|number| Bytes::from(number.to_string())).collect();
    assert_eq!(answers, expected);
    let usage = stack.lambda.usage()["f"];
    assert_eq!((usage.invocations, usage.errors, usage.throttles), (20, 0, 0));
    assert!(usage.cold_starts <= 2, "{usage:?}");
}

#[tokio::test]
async fn an_invocation_beyond_the_concurrency_is_refused() {
    let mut single = function("f");
    single.concurrency_max = 1;
    let stack = Stack::of(single);
    let lambda = stack.lambda.clone();
    let sleeping = tokio::spawn(async move {
        lambda
            .invoke("f", Bytes::from_static(br#"{"do":"sleep","milliseconds":3000}"#), false)
            .await
    });
    eventually("the first invocation", || stack.log().contains("START")).await;
    let refused = stack.lambda.invoke("f", Bytes::from_static(br#"{"do":"process"}"#), false).await;
    assert!(matches!(refused, Err(InvokeError::Throttled)), "{refused:?}");
    let slept = sleeping.await.expect("the task ends").expect("the function is run");
    assert_eq!(slept.payload, r#""awake""#);
    stack.process().await;
    assert_eq!(stack.lambda.usage()["f"].throttles, 1);
}

#[tokio::test]
async fn temporary_files_live_as_long_as_their_process() {
    let stack = Stack::of(function("f"));
    let write = |name: &str| json!({"do": "temporary", "name": name});
    assert_eq!(stack.answer(write("a")).await, json!(["a"]));
    assert_eq!(stack.answer(write("b")).await, json!(["a", "b"]));
    stack.invoke(json!({"do": "exit", "code": 1})).await;
    assert_eq!(stack.answer(write("c")).await, json!(["c"]));
}

#[tokio::test]
async fn a_function_goes_on_when_its_caller_does_not_wait() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let file = dir.path().join("done");
    let stack = Stack::of(function("f"));
    stack.process().await;
    let payload = json!({"do": "write_later", "file": file, "milliseconds": 500}).to_string();
    let waiting = stack.lambda.invoke("f", payload.into(), false);
    let gave_up = tokio::time::timeout(Duration::from_millis(50), waiting).await;
    assert!(gave_up.is_err(), "{gave_up:?}");
    eventually("the end of the function", || file.exists()).await;
}

#[tokio::test]
async fn nothing_survives_a_shutdown() {
    let stack = Stack::of(function("f"));
    let Value::Object(spawned) = stack.answer(json!({"do": "spawn"})).await else {
        panic!("two processes")
    };
    let lambda = stack.lambda.clone();
    let sleeping = tokio::spawn(async move {
        lambda
            .invoke("f", Bytes::from_static(br#"{"do":"sleep","milliseconds":600000}"#), false)
            .await
    });
    eventually("the second invocation", || stack.log().matches("START").count() == 2).await;
    assert!(spawned.values().all(is_running));
    stack.lambda.shutdown().await;
    let interrupted = sleeping.await.expect("the task ends");
    assert!(matches!(interrupted, Err(InvokeError::ShuttingDown)), "{interrupted:?}");
    for process in spawned.values() {
        eventually("the end of a process", || !is_running(process)).await;
    }
    let refused = stack.lambda.invoke("f", Bytes::new(), false).await;
    assert!(matches!(refused, Err(InvokeError::ShuttingDown)), "{refused:?}");
    stack.lambda.shutdown().await;
}

#[tokio::test]
async fn what_a_process_started_does_not_survive_it() {
    let stack = Stack::of(function("f"));
    let child = stack.answer(json!({"do": "spawn"})).await["child"].clone();
    assert!(is_running(&child));
    stack.invoke(json!({"do": "exit", "code": 1})).await;
    eventually("the end of the child", || !is_running(&child)).await;
}

#[tokio::test]
async fn processes_end_with_the_last_clone() {
    let stack = Stack::of(function("f"));
    let process = stack.process().await;
    assert!(is_running(&process));
    drop(stack);
    eventually("the end of the process", || !is_running(&process)).await;
}

#[tokio::test]
async fn a_warm_process_does_not_survive_a_host_that_is_killed() {
    let mut host = Command::new(example("host"))
        .arg(example("behaviours"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the host starts");
    let output = host.stdout.take().expect("the host's output is piped");
    let answer =
        BufReader::new(output).lines().next_line().await.expect("the host writes").expect("a line");
    let process: Value = serde_json::from_str(&answer).expect("the identifier of a process");
    assert!(is_running(&process));
    host.kill().await.expect("the host can be killed");
    eventually("the end of the function", || !is_running(&process)).await;
}
