//! Callback tasks, status events, roles and time over the API.

use std::sync::{Arc, Mutex};

use local_states::{Config, Roles, Status, StatusChange, StatusListener};
use serde_json::{Value, json};

use crate::stack::{ROLE, Stack};

/// A state machine of one callback task that calls `function`.
fn callback(function: &str) -> Value {
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Wait",
        "States": {"Wait": callback_state(function)},
    })
}

fn callback_state(function: &str) -> Value {
    json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Arguments": {
            "FunctionName": function,
            "Payload": {"token": "{% $states.context.Task.Token %}"},
        },
        "TimeoutSeconds": 600,
        "End": true,
    })
}

/// A distributed map of one callback task for each item of the input.
fn distributed() -> Value {
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Many",
        "States": {"Many": {
            "Type": "Map",
            "Label": "Queries",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "Wait",
                "States": {"Wait": callback_state("callback")},
            },
            "End": true,
        }},
    })
}

#[track_caller]
fn refused(answer: &(u16, Value), kind: &str, message: &str) {
    assert_eq!(answer, &(400, json!({"__type": kind, "message": message})));
}

const CLOSED: &str = "Task Timed Out: 'Provided task does not exist anymore'";

async fn succeed(stack: &Stack, token: &str, output: &Value) -> (u16, Value) {
    let request = json!({"taskToken": token, "output": output.to_string()});
    stack.call("SendTaskSuccess", request).await
}

#[tokio::test]
async fn a_task_is_settled_once_and_what_comes_later_is_told_so() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &callback("callback")).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    let token = stack.token(0).await;
    assert_eq!(stack.engine.state_machine_of_token(&token), Some(machine));
    let beat = json!({"taskToken": token});
    assert_eq!(stack.ok("SendTaskHeartbeat", beat.clone()).await, json!({}));
    assert_eq!(succeed(&stack, &token, &json!({"rows": 1})).await, (200, json!({})));
    // The history has the end as soon as the call is answered.
    let types = stack.event_types(&arn).await;
    assert_eq!(
        types,
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskStarted",
            "TaskSubmitted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded",
        ]
    );
    assert_eq!(stack.ended(&arn).await["output"], json!(r#"{"rows":1}"#));
    refused(&succeed(&stack, &token, &json!(2)).await, "TaskTimedOut", CLOSED);
    refused(&stack.call("SendTaskFailure", beat.clone()).await, "TaskTimedOut", CLOSED);
    refused(&stack.call("SendTaskHeartbeat", beat).await, "TaskTimedOut", CLOSED);
    assert_eq!(stack.event_types(&arn).await, types);
}

#[tokio::test]
async fn of_many_settlements_at_once_one_counts() {
    let stack = Stack::start().await;
    let mut definition = callback("callback");
    // The execution lives on, so that its end is not what refuses the others.
    definition["States"]["Wait"]["Next"] = json!("Rest");
    definition["States"]["Wait"].as_object_mut().expect("an object").remove("End");
    definition["States"]["Rest"] = json!({"Type": "Wait", "Seconds": 600, "End": true});
    let machine = stack.create("machine", &definition).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    let token = stack.token(0).await;
    let stack = Arc::new(stack);
    let senders = (0..20).map(|number| {
        let (stack, token) = (Arc::clone(&stack), token.clone());
        tokio::spawn(async move { succeed(&stack, &token, &json!(number)).await.0 })
    });
    let mut answers = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        answers.push(sender.await.expect("an answer"));
    }
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 400).count(), 19);
    let types = stack.event_types(&arn).await;
    assert_eq!(types.iter().filter(|name| *name == "TaskSucceeded").count(), 1);
}

#[tokio::test]
async fn a_failure_ends_the_task_with_its_error() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &callback("callback")).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    let request = json!({
        "taskToken": stack.token(0).await, "error": "Query.Failed", "cause": "no such table",
    });
    stack.ok("SendTaskFailure", request).await;
    let execution = stack.ended(&arn).await;
    assert_eq!(
        (&execution["status"], &execution["error"], &execution["cause"]),
        (&json!("FAILED"), &json!("Query.Failed"), &json!("no such table"))
    );
}

#[tokio::test]
async fn a_token_comes_back_while_its_function_still_runs() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &callback("callback-hang")).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    let token = stack.token(0).await;
    assert_eq!(succeed(&stack, &token, &json!("early")).await.0, 200);
    assert_eq!(stack.ended(&arn).await["output"], json!("\"early\""));
}

#[tokio::test]
async fn the_token_of_a_stopped_execution_is_closed() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &callback("callback")).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    let token = stack.token(0).await;
    stack.ok("StopExecution", json!({"executionArn": arn})).await;
    refused(&succeed(&stack, &token, &json!(1)).await, "TaskTimedOut", CLOSED);
}

#[tokio::test]
async fn a_settlement_that_cannot_be_taken_leaves_the_task_open() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &callback("callback")).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    let token = stack.token(0).await;
    let mut changed = token.clone();
    changed.pop();
    for malformed in ["token", changed.as_str(), ""] {
        let answer = succeed(&stack, malformed, &json!(1)).await;
        refused(&answer, "InvalidToken", "Invalid Token: 'Invalid token'");
        assert_eq!(stack.engine.state_machine_of_token(malformed), None);
    }
    let largest = json!("o".repeat(262_142));
    let rows = [
        ("SendTaskSuccess", json!({"taskToken": token, "output": "{"}), "InvalidOutput"),
        ("SendTaskSuccess", json!({"taskToken": token}), "ValidationException"),
        (
            "SendTaskSuccess",
            json!({"taskToken": token, "output": format!(" {largest}")}),
            "ValidationException",
        ),
        (
            "SendTaskFailure",
            json!({"taskToken": token, "error": "e".repeat(257)}),
            "ValidationException",
        ),
        (
            "SendTaskFailure",
            json!({"taskToken": token, "cause": "c".repeat(32_769)}),
            "ValidationException",
        ),
        ("SendTaskHeartbeat", json!({"taskToken": "t".repeat(2049)}), "ValidationException"),
    ];
    for (operation, request, expected) in rows {
        let (status, answer) = stack.call(operation, request).await;
        assert_eq!((status, &answer["__type"]), (400, &json!(expected)), "{operation} {answer}");
    }
    assert_eq!(succeed(&stack, &token, &largest).await.0, 200);
    assert_eq!(stack.ended(&arn).await["status"], json!("SUCCEEDED"));
}

#[tokio::test]
async fn hours_pass_in_moments_where_time_is_fast() {
    let stack = Stack::start_with(|config| Config { speed: 100_000.0, ..config }).await;
    let mut definition = callback("callback");
    definition["States"]["Wait"]["TimeoutSeconds"] = json!(1200);
    definition["States"]["Wait"]["Retry"] = json!([{
        "ErrorEquals": ["States.Timeout"], "IntervalSeconds": 3600, "MaxAttempts": 3,
    }]);
    let machine = stack.create("machine", &definition).await;
    let execution = stack.run(&machine, "run", &json!({})).await;
    assert_eq!(
        (&execution["status"], &execution["error"]),
        (&json!("FAILED"), &json!("States.Timeout"))
    );
    let arn = execution["executionArn"].as_str().expect("an ARN");
    let types = stack.event_types(arn).await;
    assert_eq!(types.iter().filter(|name| *name == "TaskTimedOut").count(), 4);
}

/// Keeps every event.
#[derive(Default)]
struct Events(Mutex<Vec<StatusChange>>);

impl StatusListener for Events {
    fn changed(&self, event: StatusChange) {
        self.0.lock().expect("the events").push(event);
    }
}

impl Events {
    /// The statuses of one execution, in the order of the events.
    fn of(&self, execution_arn: &str) -> Vec<Status> {
        let events = self.0.lock().expect("the events");
        let events = events.iter().filter(|event| event.execution_arn == execution_arn);
        events.map(|event| event.status).collect()
    }
}

#[tokio::test]
async fn executions_and_children_of_maps_tell_their_start_and_end_once() {
    let events = Arc::new(Events::default());
    let listener = Arc::clone(&events) as Arc<dyn StatusListener>;
    let change = |config| Config { status_listener: Some(listener), ..config };
    let stack = Stack::start_with(change).await;
    let machine = stack.create("machine", &distributed()).await;
    let arn = stack.begin(&machine, "run", &json!([1, 2])).await;
    for index in 0..2 {
        let token = stack.token(index).await;
        let child = format!("{machine}/Queries");
        assert_eq!(stack.engine.state_machine_of_token(&token), Some(child));
        assert_eq!(succeed(&stack, &token, &json!("done")).await.0, 200);
    }
    stack.ended(&arn).await;
    // The status is set a moment before it is told.
    while events.of(&arn).len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(events.of(&arn), [Status::Running, Status::Succeeded]);
    let all = events.0.lock().expect("the events").clone();
    let children: Vec<_> = all.iter().filter(|event| event.execution_arn != arn).collect();
    assert_eq!(children.len(), 4);
    for child in children {
        assert_eq!(child.state_machine_arn, format!("{machine}/Queries"));
        let name = format!("execution:machine/Queries:{}", child.name);
        assert!(child.execution_arn.ends_with(&name), "{}", child.execution_arn);
    }
    let end = all.iter().rev().find(|event| event.execution_arn == arn).expect("an end");
    assert_eq!((&*end.input, end.output.as_deref()), ("[1,2]", Some(r#"["done","done"]"#)));
    let described = stack.ended(&arn).await;
    let milliseconds = described["stopDate"].as_f64().map(|seconds| (seconds * 1000.0).round());
    let detail = &end.to_event()["detail"];
    assert_eq!(detail["stopDate"].as_f64(), milliseconds);

    let stopped = stack.begin(&machine, "stopped", &json!([1])).await;
    stack.token(2).await;
    for _ in 0..2 {
        stack.ok("StopExecution", json!({"executionArn": stopped})).await;
    }
    assert_eq!(events.of(&stopped), [Status::Running, Status::Aborted]);
}

/// A role that only some state machines may take, and who asked for it.
struct Trusting {
    trusted: Vec<String>,
    asked: Mutex<Vec<String>>,
}

impl Trusting {
    fn ask(&self, role_arn: &str, state_machine_arn: &str) -> Result<(), String> {
        assert_eq!(role_arn, ROLE);
        self.asked.lock().expect("the names").push(state_machine_arn.to_string());
        if self.trusted.iter().any(|trusted| trusted == state_machine_arn) {
            return Ok(());
        }
        Err(format!("{state_machine_arn} may not take the role"))
    }
}

impl Roles for Trusting {
    fn authorization(&self, role: &str, machine: &str) -> Result<Option<String>, String> {
        self.ask(role, machine).map(|()| None)
    }

    fn check(&self, role: &str, machine: &str, _: &str, _: &str) -> Result<(), String> {
        self.ask(role, machine)
    }
}

#[tokio::test]
async fn a_child_of_a_distributed_map_acts_under_an_arn_of_its_own() {
    let machine = "arn:aws:states:us-east-1:000000000000:stateMachine:machine";
    let child = format!("{machine}/Queries");
    for trusts_children in [true, false] {
        let mut trusted = vec![machine.to_string()];
        trusted.extend(trusts_children.then(|| child.clone()));
        let roles = Arc::new(Trusting { trusted, asked: Mutex::default() });
        let port = Arc::clone(&roles) as Arc<dyn Roles>;
        let stack = Stack::start_with(|config| Config { roles: port, ..config }).await;
        assert_eq!(stack.create("machine", &distributed()).await, machine);
        let arn = stack.begin(machine, "run", &json!([1])).await;
        if trusts_children {
            succeed(&stack, &stack.token(0).await, &json!(1)).await;
        }
        let execution = stack.ended(&arn).await;
        let asked = roles.asked.lock().expect("the names").clone();
        assert_eq!(asked, [machine, &child]);
        if trusts_children {
            assert_eq!(execution["status"], json!("SUCCEEDED"));
            continue;
        }
        assert_eq!(execution["error"], json!("States.ExceedToleratedFailureThreshold"));
        let runs = stack.ok("ListMapRuns", json!({"executionArn": arn})).await;
        let request = json!({"mapRunArn": runs["mapRuns"][0]["mapRunArn"]});
        let children = stack.pages("ListExecutions", request, "executions").await;
        let child_arn = children[0]["executionArn"].as_str().expect("an ARN");
        let failed = stack.ended(child_arn).await;
        assert_eq!(
            (&failed["error"], &failed["cause"]),
            (&json!("States.Permissions"), &json!(format!("{child} may not take the role")))
        );
    }
}
