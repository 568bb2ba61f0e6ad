//! The API over HTTP, with functions and objects that are doubles.

mod callbacks;
mod stack;

use serde_json::{Value, json};
use stack::Stack;

/// Loads queries, runs each until it is no longer running, then gathers; small jobs in an inline
/// map, large ones in a distributed map over an object.
fn workflow() -> Value {
    let run = |name: &str, pause: &str, check: &str, done: &str| {
        json!({
            "StartAt": name,
            "States": {
                name: {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::lambda:invoke",
                    "Arguments": {
                        "FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:execute:$LATEST",
                        "Payload": "{% $states.input %}",
                    },
                    "TimeoutSeconds": 60,
                    "Retry": [{"ErrorEquals": ["Query.Throttled"], "IntervalSeconds": 1, "MaxAttempts": 2}],
                    "Output": "{% $states.result.Payload %}",
                    "Next": check,
                },
                check: {
                    "Type": "Choice",
                    "Choices": [{"Condition": "{% $states.input.state = 'RUNNING' %}", "Next": pause}],
                    "Default": done,
                },
                pause: {"Type": "Wait", "Seconds": "{% $states.input.wait_seconds %}", "Next": name},
                done: {"Type": "Pass", "Output": "{% $states.input.rows %}", "End": true},
            },
        })
    };
    let mut many = run("RunBig", "PauseBig", "CheckBig", "DoneBig");
    many["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
    json!({
        "QueryLanguage": "JSONata",
        "TimeoutSeconds": 300,
        "StartAt": "Load",
        "States": {
            "Load": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Arguments": {
                    "FunctionName": "load",
                    "Payload": {
                        "run_id": "{% $states.context.Execution.Name %}",
                        "job": "{% $states.input %}",
                    },
                },
                "TimeoutSeconds": 60,
                "Assign": {"plan": "{% $states.result.Payload %}"},
                "Catch": [{
                    "ErrorEquals": ["States.ALL"],
                    "Assign": {"error": "{% $states.errorOutput %}"},
                    "Next": "Failed",
                }],
                "Next": "HowMany",
            },
            "HowMany": {
                "Type": "Choice",
                "Choices": [{"Condition": "{% $exists($plan.key) %}", "Next": "Many"}],
                "Default": "Few",
            },
            "Few": {
                "Type": "Map",
                "Items": "{% $plan.queries %}",
                "ItemSelector": {"query": "{% $states.context.Map.Item.Value %}"},
                "ItemProcessor": run("Run", "Pause", "Check", "Done"),
                "Next": "Gather",
            },
            "Many": {
                "Type": "Map",
                "Label": "Queries",
                "MaxConcurrency": 8,
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "JSON"},
                    "Arguments": {"Bucket": "{% $plan.bucket %}", "Key": "{% $plan.key %}"},
                },
                "ItemSelector": {"query": "{% $states.context.Map.Item.Value %}"},
                "ItemProcessor": many,
                "Next": "Gather",
            },
            "Gather": {
                "Type": "Pass",
                "Output": {"run": "{% $plan.run_id %}", "rows": "{% $sum($states.input) %}"},
                "End": true,
            },
            "Failed": {"Type": "Fail", "Error": "{% $error.Error %}", "Cause": "{% $error.Cause %}"},
        },
    })
}

#[tokio::test]
async fn a_workflow_runs_its_queries_in_an_inline_map() {
    let stack = Stack::start().await;
    let machine = stack.create("workflow", &workflow()).await;
    let input = json!({"queries": ["a", "slow", "throttled"]});
    let execution = stack.run(&machine, "run-1", &input).await;
    assert_eq!(execution["status"], json!("SUCCEEDED"));
    let output: Value = serde_json::from_str(execution["output"].as_str().expect("an output"))
        .expect("an output that is JSON");
    assert_eq!(output, json!({"run": "run-1", "rows": 6}));
    // The start; Load, HowMany, Few, Gather; Run, Check and Done of each query; Run, Check and
    // Pause of the slow one once more; and the retry of the throttled one.
    let arn = execution["executionArn"].as_str().expect("an ARN");
    assert_eq!(stack.engine.transitions(arn), Some(1 + 4 + 3 * 3 + 3 + 1));
}

#[tokio::test]
async fn a_workflow_runs_its_queries_in_executions_of_a_distributed_map() {
    let stack = Stack::start().await;
    let plan = json!((0..100).map(|n| format!("q{n}")).collect::<Vec<_>>());
    stack.put("bucket", "plan.json", &plan.to_string());
    let machine = stack.create("workflow", &workflow()).await;
    let input = json!({"bucket": "bucket", "key": "plan.json"});
    let execution = stack.run(&machine, "run-1", &input).await;
    assert_eq!(execution["output"], json!(r#"{"run":"run-1","rows":200}"#));

    let arn = execution["executionArn"].as_str().expect("an ARN");
    assert_eq!(stack.engine.transitions(arn), Some(1 + 4 + 100 * 4));
    let runs = stack.ok("ListMapRuns", json!({"executionArn": arn})).await;
    let run = &runs["mapRuns"][0]["mapRunArn"];
    let prefix = "arn:aws:states:us-east-1:000000000000:mapRun:workflow/Queries:";
    assert!(run.as_str().is_some_and(|run| run.starts_with(prefix)), "{run}");
    let described = stack.ok("DescribeMapRun", json!({"mapRunArn": run})).await;
    assert_eq!(
        (&described["status"], &described["maxConcurrency"], &described["itemCounts"]["succeeded"]),
        (&json!("SUCCEEDED"), &json!(8), &json!(100))
    );
    let request = json!({"mapRunArn": run, "maxResults": 1000, "statusFilter": "SUCCEEDED"});
    let children = stack.ok("ListExecutions", request).await;
    let children = children["executions"].as_array().expect("a list");
    assert_eq!(children.len(), 100);
    assert_eq!(children[0]["mapRunArn"], *run);
    let child = json!({"executionArn": children[0]["executionArn"]});
    let history = stack.ok("GetExecutionHistory", child).await;
    assert_eq!(history["events"][1]["type"], json!("TaskStateEntered"));
}

#[tokio::test]
async fn an_object_that_is_missing_fails_the_map_run() {
    let stack = Stack::start().await;
    let machine = stack.create("workflow", &workflow()).await;
    let input = json!({"bucket": "bucket", "key": "missing.json"});
    let execution = stack.run(&machine, "run-1", &input).await;
    assert_eq!(
        (&execution["status"], &execution["error"], &execution["cause"]),
        (
            &json!("FAILED"),
            &json!("States.ItemReaderFailed"),
            &json!("the key `missing.json` does not exist")
        )
    );
}

#[tokio::test]
async fn the_error_of_a_function_becomes_that_of_the_execution() {
    let stack = Stack::start().await;
    let machine = stack.create("workflow", &workflow()).await;
    let execution = stack.run(&machine, "run-1", &json!({"fail": true})).await;
    let cause = r#"{"errorType":"Job.Invalid","errorMessage":"no queries"}"#;
    assert_eq!(
        (&execution["status"], &execution["error"], &execution["cause"]),
        (&json!("FAILED"), &json!("Job.Invalid"), &json!(cause))
    );
}

#[tokio::test]
async fn invoking_a_function_answers_what_the_sdk_would() {
    let stack = Stack::start().await;
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": "load", "Payload": {"job": {}, "run_id": "r"}},
            "End": true,
        }},
    });
    let machine = stack.create("machine", &definition).await;
    let execution = stack.run(&machine, "run", &json!({})).await;
    let output = execution["output"].as_str().expect("an output");
    let mut output: Value = serde_json::from_str(output).expect("an output that is JSON");
    let metadata = output["SdkHttpMetadata"].take();
    assert_eq!(
        output,
        json!({
            "ExecutedVersion": "$LATEST",
            "Payload": {"run_id": "r"},
            "SdkHttpMetadata": null,
            "SdkResponseMetadata": {"RequestId": "request-1"},
            "StatusCode": 200,
        })
    );
    assert_eq!(metadata["HttpHeaders"]["x-amzn-RequestId"], json!("request-1"));
    assert_eq!(metadata["AllHttpHeaders"]["Content-Length"], json!(["14"]));
}

#[tokio::test]
async fn a_function_that_is_not_there_is_named() {
    let stack = Stack::start().await;
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": {
            "Type": "Task",
            "Resource": "arn:aws:lambda:us-east-1:000000000000:function:nowhere",
            "End": true,
        }},
    });
    let machine = stack.create("machine", &definition).await;
    let execution = stack.run(&machine, "run", &json!({})).await;
    assert_eq!(execution["error"], json!("Lambda.ResourceNotFoundException"));
    let cause = execution["cause"].as_str().expect("a cause");
    let expected = "Function not found: nowhere (Service: AWSLambda; Status Code: 404; \
                    Error Code: ResourceNotFoundException; Request ID: ";
    assert!(cause.starts_with(expected), "{cause}");
}

/// A machine that waits so long that it always still runs.
fn waiting() -> Value {
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": {"Type": "Wait", "Seconds": 3600, "End": true}},
    })
}

#[tokio::test]
async fn the_same_name_and_input_is_the_same_execution_while_it_runs() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &waiting()).await;
    let start = |input: &str| json!({"stateMachineArn": machine, "name": "run", "input": input});
    let first = stack.ok("StartExecution", start(r#"{"a":1}"#)).await;
    let again = stack.ok("StartExecution", start(r#"{ "a": 1 }"#)).await;
    assert_eq!(first, again);
    let arn = first["executionArn"].as_str().expect("an ARN");
    let exists = json!({
        "__type": "ExecutionAlreadyExists",
        "message": format!("Execution Already Exists: '{arn}'"),
    });
    let other = stack.call("StartExecution", start("{}")).await;
    assert_eq!(other, (400, exists.clone()));
    stack.ok("StopExecution", json!({"executionArn": arn})).await;
    let over = stack.call("StartExecution", start(r#"{"a":1}"#)).await;
    assert_eq!(over, (400, exists));
}

#[tokio::test]
async fn stopping_an_execution_aborts_the_executions_of_its_map_runs() {
    let stack = Stack::start().await;
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": {
            "Type": "Map",
            "Items": [1, 2, 3],
            "MaxConcurrency": 2,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "B",
                "States": {"B": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::lambda:invoke",
                    "Arguments": {"FunctionName": "hang"},
                    "End": true,
                }},
            },
            "End": true,
        }},
    });
    let machine = stack.create("machine", &definition).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    stack.calls_of("hang", 2).await;
    stack.ok("StopExecution", json!({"executionArn": arn})).await;
    stack.dropped_calls_of("hang", 2).await;
    let runs = stack.ok("ListMapRuns", json!({"executionArn": arn})).await;
    let run = json!({"mapRunArn": runs["mapRuns"][0]["mapRunArn"]});
    let described = stack.ok("DescribeMapRun", run.clone()).await;
    assert_eq!(
        (&described["status"], &described["itemCounts"]["aborted"]),
        (&json!("ABORTED"), &json!(3))
    );
    let children = stack.ok("ListExecutions", run).await;
    let children = children["executions"].as_array().expect("a list");
    let statuses: Vec<&Value> = children.iter().map(|child| &child["status"]).collect();
    assert_eq!(statuses, [&json!("ABORTED"); 2]);
}

#[tokio::test]
async fn stopping_an_execution_drops_the_call_that_runs() {
    let stack = Stack::start().await;
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": "hang"},
            "End": true,
        }},
    });
    let machine = stack.create("machine", &definition).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    stack.calls_of("hang", 1).await;
    let stop = json!({"executionArn": arn, "error": "Enough", "cause": "of it"});
    let stopped = stack.ok("StopExecution", stop.clone()).await;
    let execution = stack.ok("DescribeExecution", json!({"executionArn": arn})).await;
    assert_eq!(
        (&execution["status"], &execution["error"], &execution["cause"], &execution["stopDate"]),
        (&json!("ABORTED"), &json!("Enough"), &json!("of it"), &stopped["stopDate"])
    );
    let request = json!({"executionArn": arn, "reverseOrder": true, "maxResults": 1});
    let last = stack.ok("GetExecutionHistory", request).await;
    let event = &last["events"][0];
    assert_eq!(
        (&event["type"], &event["id"], &event["executionAbortedEventDetails"]),
        (&json!("ExecutionAborted"), &json!(5), &json!({"error": "Enough", "cause": "of it"}))
    );
    stack.dropped_calls_of("hang", 1).await;
    // Stopping what is over changes nothing.
    assert_eq!(stack.ok("StopExecution", stop).await, stopped);
}

#[tokio::test]
async fn histories_and_lists_come_in_pages() {
    let stack = Stack::start().await;
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": {"Type": "Pass", "Output": "secret", "End": true}},
    });
    let machine = stack.create("machine", &definition).await;
    let mut arns = Vec::new();
    for name in ["a", "b", "c"] {
        let execution = stack.run(&machine, name, &json!({})).await;
        arns.push(execution["executionArn"].clone());
    }
    for is_reverse in [false, true] {
        let request = json!({
            "executionArn": arns[0], "maxResults": 3, "reverseOrder": is_reverse,
        });
        let events = stack.pages("GetExecutionHistory", request, "events").await;
        let mut ids: Vec<_> = events.iter().map(|event| event["id"].as_u64()).collect();
        if is_reverse {
            ids.reverse();
        }
        assert_eq!(ids, [1, 2, 3, 4].map(Some));
    }
    let request = json!({"executionArn": arns[0], "includeExecutionData": false});
    let bare = stack.ok("GetExecutionHistory", request).await;
    assert!(!bare.to_string().contains("secret"), "{bare}");

    let request = json!({"stateMachineArn": machine, "maxResults": 2});
    let listed = stack.pages("ListExecutions", request, "executions").await;
    let names: Vec<_> = listed.iter().map(|execution| &execution["name"]).collect();
    assert_eq!(names, ["c", "b", "a"]);
    let request = json!({"stateMachineArn": machine, "statusFilter": "RUNNING"});
    let running = stack.ok("ListExecutions", request).await;
    assert_eq!(running, json!({"executions": []}));
}

#[tokio::test]
async fn a_state_machine_is_created_once_changed_and_deleted() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &waiting()).await;
    assert_eq!(machine, stack.create("machine", &waiting()).await);
    let mut other = waiting();
    other["Comment"] = json!("another");
    let create =
        json!({"name": "machine", "definition": other.to_string(), "roleArn": stack::ROLE});
    let exists = json!({
        "__type": "StateMachineAlreadyExists",
        "message": format!("State Machine Already Exists: '{machine}'"),
    });
    assert_eq!(stack.call("CreateStateMachine", create).await, (400, exists));

    let update = json!({"stateMachineArn": machine, "definition": other.to_string()});
    stack.ok("UpdateStateMachine", update).await;
    let by_arn = json!({"stateMachineArn": machine});
    let described = stack.ok("DescribeStateMachine", by_arn.clone()).await;
    assert_eq!(described["definition"], json!(other.to_string()));
    let listed = stack.ok("ListStateMachines", json!({})).await;
    assert_eq!(listed["stateMachines"][0]["name"], json!("machine"));

    stack.ok("DeleteStateMachine", by_arn.clone()).await;
    let gone = json!({
        "__type": "StateMachineDoesNotExist",
        "message": format!("State Machine Does Not Exist: '{machine}'"),
    });
    assert_eq!(stack.call("DescribeStateMachine", by_arn).await, (400, gone));
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_refused_by_name() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &waiting()).await;
    let missing = format!("{machine}x");
    let execution = "arn:aws:states:us-east-1:000000000000:execution:machine:none";
    let start =
        |name: &str, input: &str| json!({"stateMachineArn": machine, "name": name, "input": input});
    let rows = [
        ("DescribeStateMachine", json!({"stateMachineArn": missing}), "StateMachineDoesNotExist"),
        ("DescribeStateMachine", json!({"stateMachineArn": "machine"}), "InvalidArn"),
        ("DescribeStateMachine", json!({"stateMachineArn": execution}), "InvalidArn"),
        ("DescribeStateMachine", json!({}), "ValidationException"),
        ("DescribeExecution", json!({"executionArn": execution}), "ExecutionDoesNotExist"),
        ("StartExecution", start("a b", "{}"), "InvalidName"),
        ("StartExecution", start("a", "{"), "InvalidExecutionInput"),
        (
            "StartExecution",
            start("a", &json!("a".repeat(262_143)).to_string()),
            "ValidationException",
        ),
        ("ListExecutions", json!({}), "ValidationException"),
        (
            "GetExecutionHistory",
            json!({"executionArn": execution, "maxResults": 1}),
            "ExecutionDoesNotExist",
        ),
        ("UpdateStateMachine", json!({"stateMachineArn": machine}), "MissingRequiredParameter"),
        ("CreateActivity", json!({"name": "a"}), "UnknownOperationException"),
    ];
    for (operation, request, expected) in rows {
        let (status, answer) = stack.call(operation, request).await;
        assert_eq!((status, &answer["__type"]), (400, &json!(expected)), "{operation} {answer}");
    }
}

#[tokio::test]
async fn a_definition_is_refused_with_every_fault() {
    let stack = Stack::start().await;
    let definition = json!({
        "StartAt": "A",
        "States": {
            "A": {"Type": "Pass", "Next": "B"},
            "B": {"QueryLanguage": "JSONata", "Type": "Wait", "End": true},
        },
    });
    let definition = definition.to_string();
    let create = json!({"name": "m", "definition": definition, "roleArn": stack::ROLE});
    let message = "Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: JSONPath mode is \
                   not supported; set `QueryLanguage` to `JSONata` at /States/A, \
                   SCHEMA_VALIDATION_FAILED: a Wait needs `Seconds` or `Timestamp` at \
                   /States/B/Seconds'";
    let expected = json!({"__type": "InvalidDefinition", "message": message});
    assert_eq!(stack.call("CreateStateMachine", create).await, (400, expected));
    let validate = json!({"definition": definition});
    let validated = stack.ok("ValidateStateMachineDefinition", validate).await;
    assert_eq!(
        (&validated["result"], validated["diagnostics"].as_array().map(Vec::len)),
        (&json!("FAIL"), Some(2))
    );
}

#[tokio::test]
async fn shutting_down_stops_what_runs_and_starts_nothing_more() {
    let stack = Stack::start().await;
    let machine = stack.create("machine", &waiting()).await;
    let arn = stack.begin(&machine, "run", &json!({})).await;
    stack.engine.shut_down();
    let execution = stack.ok("DescribeExecution", json!({"executionArn": arn})).await;
    assert_eq!(execution["status"], json!("ABORTED"));
    let start = json!({"stateMachineArn": machine, "name": "other"});
    let (status, answer) = stack.call("StartExecution", start).await;
    assert_eq!((status, &answer["__type"]), (503, &json!("ServiceUnavailable")));
}
