use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::simulation::{Reply, Transcript, World};
use super::{Failure, Outcome};

fn ok(value: Value) -> Reply {
    Reply::Value(0, value)
}

/// A machine whose states are given, starting with `A`.
fn machine(states: &Value) -> Value {
    json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": states})
}

/// A task that calls the function `f` and ends, with other fields added.
fn task(fields: &Value) -> Value {
    let mut state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": "f", "Payload": "{% $states.input %}"},
        "End": true,
    });
    let state_fields = state.as_object_mut().expect("an object");
    for (name, value) in fields.as_object().expect("an object") {
        state_fields.insert(name.clone(), value.clone());
    }
    if fields.get("Next").is_some() {
        state_fields.remove("End");
    }
    state
}

fn failed(error: &str) -> Value {
    json!({"error": error, "cause": format!("{error} happened")})
}

#[test]
fn retries_wait_longer_each_time_up_to_a_limit() {
    #[track_caller]
    fn check(retrier: &Value, waits: &[f64]) {
        let mut retrier = retrier.clone();
        retrier["ErrorEquals"] = json!(["Boom"]);
        let definition = machine(&json!({"A": task(&json!({"Retry": [retrier]}))}));
        let run =
            World::default().function("f", [Reply::Error("Boom")]).run(&definition, json!({}));
        assert_eq!(run.waits(), waits);
        assert_eq!(run.calls.len(), waits.len() + 1);
        assert_eq!(run.result(), failed("Boom"));
    }
    check(&json!({}), &[1.0, 2.0, 4.0]);
    check(&json!({"MaxAttempts": 0}), &[]);
    check(
        &json!({"IntervalSeconds": 3, "MaxAttempts": 4, "BackoffRate": 1.5}),
        &[3.0, 4.5, 6.75, 10.125],
    );
    check(
        &json!({"IntervalSeconds": 2, "MaxAttempts": 4, "MaxDelaySeconds": 5}),
        &[2.0, 4.0, 5.0, 5.0],
    );
}

#[test]
fn full_jitter_waits_between_nothing_and_the_delay() {
    let retry = json!([{
        "ErrorEquals": ["Boom"],
        "IntervalSeconds": 10,
        "BackoffRate": 1,
        "MaxAttempts": 200,
        "JitterStrategy": "FULL",
    }]);
    let run = World::default()
        .function("f", [Reply::Error("Boom")])
        .run(&machine(&json!({"A": task(&json!({"Retry": retry}))})), json!({}));
    let waits = run.waits();
    assert_eq!(waits.len(), 200);
    assert!(waits.iter().all(|wait| (0.0..=10.0).contains(wait)), "{waits:?}");
    let mean = waits.iter().sum::<f64>() / 200.0;
    assert!((4.0..6.0).contains(&mean), "the mean of {waits:?} is {mean}");
}

#[test]
fn each_retrier_counts_its_own_attempts_and_the_first_that_matches_decides() {
    let retry = json!([
        {"ErrorEquals": ["One"], "MaxAttempts": 1, "IntervalSeconds": 1},
        {"ErrorEquals": ["Two"], "MaxAttempts": 2, "IntervalSeconds": 10, "BackoffRate": 1},
        {"ErrorEquals": ["States.ALL"], "MaxAttempts": 9, "IntervalSeconds": 100},
    ]);
    let replies = ["Two", "One", "Two", "One"].map(Reply::Error);
    let run = World::default()
        .function("f", replies)
        .run(&machine(&json!({"A": task(&json!({"Retry": retry}))})), json!({}));
    // The second `One` finds its retrier used up; the one for all errors is not asked.
    assert_eq!(run.waits(), [10.0, 1.0, 10.0]);
    assert_eq!(run.result(), failed("One"));
}

#[test]
fn a_retry_leaves_no_event_but_the_new_attempt_and_evaluates_the_arguments_again() {
    let state = task(&json!({
        "Arguments": {
            "FunctionName": "f",
            "Payload": {"attempt": "{% $states.context.State.RetryCount %}"},
        },
        "Retry": [{"ErrorEquals": ["States.TaskFailed"]}],
        "Output": "{% $states.result %}",
    }));
    let run = World::default()
        .function("f", [Reply::Error("Boom"), ok(json!("done"))])
        .run(&machine(&json!({"A": state})), json!({}));
    assert_eq!(
        run.types(),
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskStarted",
            "TaskFailed",
            "TaskScheduled",
            "TaskStarted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded",
        ]
    );
    let bodies: Vec<&str> = run.calls.iter().map(|call| call.body.as_str()).collect();
    assert_eq!(bodies, [r#"{"attempt":0}"#, r#"{"attempt":1}"#]);
    assert_eq!(run.result(), json!("done"));
}

#[test]
fn a_function_by_its_arn_has_events_of_its_own_and_no_envelope() {
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let definition = machine(&json!({
        "A": {"Type": "Task", "Resource": arn, "TimeoutSeconds": 9, "End": true},
    }));
    let run =
        World::default().function(arn, [ok(json!("answer"))]).run(&definition, json!({"a": 1}));
    assert_eq!(run.result(), json!("answer"));
    let history = run.history();
    assert_eq!(
        history[2],
        json!({
            "timestamp": 0.0,
            "type": "LambdaFunctionScheduled",
            "id": 3,
            "previousEventId": 2,
            "lambdaFunctionScheduledEventDetails": {
                "input": r#"{"a":1}"#,
                "inputDetails": {"truncated": false},
                "resource": arn,
                "timeoutInSeconds": 9,
            },
        })
    );
    assert_eq!(run.types()[3..5], ["LambdaFunctionStarted", "LambdaFunctionSucceeded"]);
}

#[test]
fn a_state_that_is_entered_again_has_all_its_retries_again() {
    let definition = machine(&json!({
        "A": task(&json!({
            "Retry": [{"ErrorEquals": ["Boom"], "MaxAttempts": 1}],
            "Catch": [{"ErrorEquals": ["Boom"], "Next": "Again", "Assign": {"caught": true}}],
            "Assign": {"caught": false},
            "Next": "Done",
        })),
        "Again": {"Type": "Wait", "Seconds": 100, "Next": "A"},
        "Done": {"Type": "Pass", "End": true, "Output": "{% $caught %}"},
    }));
    let boom = Reply::Error("Boom");
    let run = World::default()
        .function("f", [boom.clone(), boom.clone(), boom, ok(json!(1))])
        .run(&definition, json!({}));
    assert_eq!(run.waits(), [1.0, 100.0, 1.0]);
    assert_eq!(run.result(), json!(false));
}

#[test]
fn catchers_take_the_errors_they_name() {
    #[track_caller]
    fn check(error: &'static str, equals: &[&str], is_caught: bool) {
        let definition = machine(&json!({
            "A": task(&json!({
                "Catch": [{
                    "ErrorEquals": equals,
                    "Output": "{% $states.errorOutput %}",
                    "Next": "Caught",
                }],
            })),
            "Caught": {"Type": "Pass", "End": true},
        }));
        let run = World::default()
            .function("f", [Reply::Error(error)])
            .run(&definition, json!({"left": "out"}));
        let caught = json!({"Error": error, "Cause": format!("{error} happened")});
        let expected = if is_caught { caught } else { failed(error) };
        assert_eq!(run.result(), expected);
    }
    check("Query.Failed", &["Query.Failed"], true);
    check("Query.Failed", &["Query", "Query.Throttled"], false);
    check("Query.Failed", &["States.TaskFailed"], true);
    check("Query.Failed", &["States.ALL"], true);
    check("States.Timeout", &["States.TaskFailed"], false);
    check("States.Timeout", &["States.Timeout"], true);
    check("States.Timeout", &["States.ALL"], true);
}

#[test]
fn a_runtime_error_cannot_be_caught_not_even_by_name() {
    let definition = machine(&json!({
        "A": {
            "Type": "Map",
            "Items": [1],
            "ItemProcessor": {"StartAt": "B", "States": {
                "B": {"Type": "Choice", "Choices": [{"Condition": false, "Next": "C"}]},
                "C": {"Type": "Succeed"},
            }},
            "Catch": [
                {"ErrorEquals": ["States.Runtime"], "Next": "Caught"},
                {"ErrorEquals": ["States.ALL"], "Next": "Caught"},
            ],
            "End": true,
        },
        "Caught": {"Type": "Pass", "End": true},
    }));
    let run = World::default().run(&definition, json!({}));
    assert_eq!(run.result()["error"], json!("States.Runtime"));
}

#[test]
fn an_evaluation_error_can_be_caught_and_says_where_it_was() {
    let definition = machine(&json!({
        "A": task(&json!({
            "Output": {"rows": ["{% $states.result.nothing %}"]},
            "Catch": [{"ErrorEquals": ["States.QueryEvaluationError"], "Next": "Caught"}],
        })),
        "Caught": {"Type": "Pass", "End": true},
    }));
    let run = World::default().function("f", [ok(json!({}))]).run(&definition, json!({}));
    let cause = "An error occurred while executing the state 'A' (entered at the event id #2). \
                 The JSONata expression '$states.result.nothing' specified for the field \
                 'Output/rows[0]' returned nothing (undefined).";
    assert_eq!(run.result(), json!({"Error": "States.QueryEvaluationError", "Cause": cause}));
    assert_eq!(
        run.history()[5]["evaluationFailedEventDetails"],
        json!({
            "error": "States.QueryEvaluationError",
            "cause": cause,
            "state": "A",
            "location": "Output/rows[0]",
        })
    );
}

#[test]
fn a_task_that_takes_too_long_times_out_without_a_cause() {
    let definition = machine(&json!({"A": task(&json!({"TimeoutSeconds": "{% 3 * 10 %}"}))}));
    let run = World::default()
        .function("f", [Reply::Value(31, json!("late"))])
        .run(&definition, json!({}));
    assert_eq!(run.waits(), [30.0]);
    assert_eq!(run.result(), json!({"error": "States.Timeout", "cause": null}));
    assert_eq!(run.history()[2]["taskScheduledEventDetails"]["timeoutInSeconds"], json!(30));
    assert_eq!(run.types()[4], "TaskTimedOut");

    let run = World::default()
        .function("f", [Reply::Value(29, json!("in time"))])
        .run(&definition, json!({}));
    assert_eq!(run.result(), json!("in time"));
}

#[test]
fn the_execution_times_out_wherever_it_is() {
    let mut definition = machine(&json!({"A": {"Type": "Wait", "Seconds": 61, "End": true}}));
    definition["TimeoutSeconds"] = json!(60);
    let run = World::default().run(&definition, json!({}));
    assert_eq!(run.outcome, Some(Outcome::TimedOut));
    assert_eq!(run.took, Duration::from_mins(1));
    assert_eq!(run.types(), ["ExecutionStarted", "WaitStateEntered", "ExecutionTimedOut"]);
}

#[test]
fn a_stopped_execution_ends_at_once() {
    let definition = machine(&json!({"A": task(&json!({}))}));
    let run = World::default()
        .function("f", [Reply::Value(900, json!(1))])
        .stop_after(Duration::from_secs(5))
        .run(&definition, json!({}));
    assert_eq!(run.result(), json!("aborted"));
    assert_eq!(run.took, Duration::from_secs(5));
    assert_eq!(run.types().last().map(String::as_str), Some("ExecutionAborted"));
}

#[test]
fn waits_last_as_long_as_they_say() {
    #[track_caller]
    fn check(fields: &Value, input: Value, waits: &[f64]) {
        let mut state = json!({"Type": "Wait", "End": true});
        for (name, value) in fields.as_object().expect("an object") {
            state[name] = value.clone();
        }
        let run = World::default().run(&machine(&json!({"A": state})), input.clone());
        assert_eq!((run.waits().as_slice(), run.result()), (waits, input));
    }
    check(&json!({"Seconds": 0}), json!({}), &[]);
    check(&json!({"Seconds": 7}), json!({}), &[7.0]);
    check(&json!({"Seconds": "{% $states.input %}"}), json!(12), &[12.0]);
    // The simulated world begins in 1970.
    check(&json!({"Timestamp": "1970-01-01T01:00:30+01:00"}), json!({}), &[30.0]);
    check(&json!({"Timestamp": "{% $states.input %}"}), json!("1969-12-31T23:59:59Z"), &[]);
}

#[test]
fn values_that_cannot_be_waited_for_are_refused() {
    #[track_caller]
    fn check(field: &str, input: Value, message: &str) {
        let state = json!({"Type": "Wait", field: "{% $states.input %}", "End": true});
        let run = World::default().run(&machine(&json!({"A": state})), input);
        let prefix =
            "An error occurred while executing the state 'A' (entered at the event id #2). ";
        assert_eq!(
            run.result(),
            json!({"error": "States.QueryEvaluationError", "cause": format!("{prefix}{message}")})
        );
    }
    check("Seconds", json!(-1), "The Seconds field must be a positive integer but was: -1");
    check(
        "Seconds",
        json!("1"),
        "The JSONata expression '$states.input' specified for the field 'Seconds' returned an \
         unexpected result type. Expected 'number', but was 'string' for value: \"1\"",
    );
    check(
        "Timestamp",
        json!("2030-01-01 00:00:00Z"),
        "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format \
         string: 2030-01-01 00:00:00Z",
    );
}

#[test]
fn the_first_choice_that_holds_decides_and_brings_its_own_output() {
    #[track_caller]
    fn check(input: Value, expected: &Value) {
        let definition = machine(&json!({
            "A": {
                "Type": "Choice",
                "Choices": [
                    {
                        "Condition": "{% $states.input.n > 10 %}",
                        "Next": "End",
                        "Output": "large",
                        "Assign": {"by": "rule 0"},
                    },
                    {"Condition": "{% $states.input.n > 5 %}", "Next": "End", "Assign": {"by": "rule 1"}},
                ],
                "Default": "End",
                "Output": "default",
                "Assign": {"by": "default"},
            },
            "End": {"Type": "Succeed", "Output": "{% [$by, $states.input] %}"},
        }));
        assert_eq!(&World::default().run(&definition, input).result(), expected);
    }
    check(json!({"n": 11}), &json!(["rule 0", "large"]));
    check(json!({"n": 6}), &json!(["rule 1", {"n": 6}]));
    check(json!({"n": 1}), &json!(["default", "default"]));
}

#[test]
fn assign_and_output_see_the_values_before_the_assignment() {
    let definition = machine(&json!({
        "A": {"Type": "Pass", "Assign": {"n": 1, "list": ["{% $states.input.x %}"]}, "Next": "B"},
        "B": {
            "Type": "Pass",
            "Assign": {"n": "{% $n + 1 %}", "before": "{% $n %}"},
            "Output": "{% $n %}",
            "Next": "C",
        },
        "C": {"Type": "Pass", "Output": "{% [$n, $before, $states.input, $list] %}", "End": true},
    }));
    let run = World::default().run(&definition, json!({"x": null}));
    assert_eq!(run.result(), json!([2, 1, 1, null]));
    assert_eq!(
        run.history()[2]["stateExitedEventDetails"],
        json!({
            "name": "A",
            "output": r#"{"x":null}"#,
            "outputDetails": {"truncated": false},
            "assignedVariables": {"n": "1", "list": "[null]"},
            "assignedVariablesDetails": {"truncated": false},
        })
    );
}

#[test]
fn iterations_read_the_variables_around_them_and_keep_their_own() {
    let definition = machine(&json!({
        "A": {"Type": "Pass", "Assign": {"factor": 10}, "Next": "B"},
        "B": {
            "Type": "Map",
            "Items": [1, 2, 3],
            "ItemSelector": {
                "index": "{% $states.context.Map.Item.Index %}",
                "value": "{% $states.context.Map.Item.Value %}",
            },
            "ItemProcessor": {"StartAt": "C", "States": {
                "C": {"Type": "Pass", "Assign": {"own": "{% $states.input.value * $factor %}"}, "Next": "D"},
                "D": {
                    "Type": "Pass",
                    "Output": "{% [$states.input.index, $own, $states.context.Map.Item.Value] %}",
                    "End": true,
                },
            }},
            "Next": "E",
        },
        "E": {"Type": "Pass", "Output": "{% {'results': $states.input, 'own': $exists($own)} %}", "End": true},
    }));
    let run = World::default().run(&definition, json!({}));
    assert_eq!(
        run.result(),
        json!({"results": [[0, 10, 1], [1, 20, 2], [2, 30, 3]], "own": false})
    );
}

#[test]
fn branches_run_at_the_same_time_and_their_results_keep_the_order() {
    let branch = |seconds: u64| {
        let name = format!("W{seconds}");
        json!({"StartAt": name, "States": {
            name: {"Type": "Wait", "Seconds": seconds, "End": true},
        }})
    };
    let definition = machine(&json!({"A": {
        "Type": "Parallel",
        "Arguments": {"n": "{% $states.input %}"},
        "Branches": [branch(3), branch(1), branch(2)],
        "Output": "{% $states.result.n %}",
        "End": true,
    }}));
    let run = World::default().run(&definition, json!(5));
    assert_eq!(run.took, Duration::from_secs(3));
    assert_eq!(run.result(), json!([5, 5, 5]));
}

#[test]
fn a_failed_iteration_aborts_the_others_and_the_map_fails_with_its_error() {
    let map = json!({
        "Type": "Map",
        "Items": ["f", "slow", "wait", "never"],
        "MaxConcurrency": 3,
        "ItemProcessor": {"StartAt": "C", "States": {
            "C": {
                "Type": "Choice",
                "Choices": [{"Condition": "{% $states.input = 'wait' %}", "Next": "W"}],
                "Default": "T",
            },
            "W": {"Type": "Wait", "Seconds": 50, "End": true},
            "T": task(&json!({"Arguments": {"FunctionName": "{% $states.input %}"}})),
        }},
        "Catch": [{"ErrorEquals": ["Boom"], "Next": "Caught"}],
        "End": true,
    });
    let definition = machine(&json!({"A": map, "Caught": {"Type": "Pass", "End": true}}));
    let run = World::default()
        .function("f", [Reply::Error("Boom")])
        .function("slow", [Reply::Value(10, json!(1))])
        .run(&definition, json!({}));
    assert_eq!(run.result()["Error"], json!("Boom"));
    assert_eq!(run.took, Duration::ZERO);
    let types = run.types();
    let end = types.iter().position(|name| name == "MapIterationFailed");
    assert_eq!(
        types[end.expect("an iteration failed")..],
        [
            "MapIterationFailed",
            "TaskStateAborted",
            "MapIterationAborted",
            "WaitStateAborted",
            "MapIterationAborted",
            "MapStateFailed",
            "MapStateExited",
            "PassStateEntered",
            "PassStateExited",
            "ExecutionSucceeded",
        ]
    );
    assert!(run.calls.iter().all(|call| call.function != "never"));
}

#[test]
fn a_map_that_is_retried_begins_anew() {
    let definition = machine(&json!({"A": {
        "Type": "Map",
        "Items": [1, 2],
        "MaxConcurrency": 1,
        "ItemProcessor": {"StartAt": "T", "States": {"T": task(&json!({}))}},
        "Retry": [{"ErrorEquals": ["Boom"], "MaxAttempts": 1}],
        "End": true,
    }}));
    let run = World::default()
        .function("f", [ok(json!("a")), Reply::Error("Boom"), ok(json!("b"))])
        .run(&definition, json!({}));
    assert_eq!(run.result(), json!(["b", "b"]));
    let types = run.types();
    let count = |name: &str| types.iter().filter(|found| *found == name).count();
    assert_eq!((count("MapStateStarted"), count("MapStateFailed")), (2, 0));
}

#[test]
fn a_distributed_map_leaves_its_executions_to_the_shell() {
    let definition = machine(&json!({"A": {
        "Type": "Map",
        "Label": "Queries",
        "Items": "{% $states.input %}",
        "MaxConcurrency": 20000,
        "ToleratedFailurePercentage": 0.5,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "B",
            "States": {"B": {"Type": "Pass", "End": true}},
        },
        "Retry": [{"ErrorEquals": ["States.ExceedToleratedFailureThreshold"]}],
        "End": true,
    }}));
    let exceeded = Failure::named("States.ExceedToleratedFailureThreshold", "too many");
    let run = World::default()
        .map_run(Err(exceeded))
        .map_run(Ok(json!([1, 2])))
        .run(&definition, json!([1, 2]));
    assert_eq!(run.result(), json!([1, 2]));
    assert_eq!(
        run.types(),
        [
            "ExecutionStarted",
            "MapStateEntered",
            "MapStateStarted",
            "MapRunStarted",
            "MapRunFailed",
            "MapStateStarted",
            "MapRunStarted",
            "MapRunSucceeded",
            "MapStateSucceeded",
            "MapStateExited",
            "ExecutionSucceeded",
        ]
    );
    let order = &run.orders[0];
    assert_eq!((order.label.as_str(), order.concurrency), ("Queries", 10_000));
    let prefix = "arn:aws:states:us-east-1:000000000000:mapRun:machine/Queries:";
    assert!(order.arn.starts_with(prefix), "{}", order.arn);
}

#[test]
fn the_context_object_names_the_execution_the_state_and_the_machine() {
    let definition = machine(&json!({
        "A": {"Type": "Wait", "Seconds": 90, "Next": "B"},
        "B": {"Type": "Pass", "Output": "{% $states.context %}", "End": true},
    }));
    let run = World::default().run(&definition, json!({"a": 1}));
    assert_eq!(
        run.result(),
        json!({
            "Execution": {
                "Id": "arn:aws:states:us-east-1:000000000000:execution:machine:run",
                "Name": "run",
                "RoleArn": "arn:aws:iam::000000000000:role/role",
                "StartTime": "1970-01-01T00:00:00.000Z",
                "RedriveCount": 0,
                "Input": {"a": 1},
            },
            "StateMachine": {
                "Id": "arn:aws:states:us-east-1:000000000000:stateMachine:machine",
                "Name": "machine",
            },
            "State": {"Name": "B", "EnteredTime": "1970-01-01T00:01:30.000Z", "RetryCount": 0},
        })
    );
}

#[test]
fn the_functions_that_aws_adds_are_there() {
    #[track_caller]
    fn check(expression: &str, expected: &Value) {
        let output = format!("{{% {expression} %}}");
        let state = json!({"Type": "Pass", "Output": output, "End": true});
        let run = World::default().run(&machine(&json!({"A": state})), json!({}));
        assert_eq!(&run.result(), expected);
    }
    check("$partition([1,2,3,4,5], 2)", &json!([[1, 2], [3, 4], [5]]));
    check("$range(1, 9, 4)", &json!([1, 5, 9]));
    // Recorded on AWS: a sequence of one value is that value, and a partition is no sequence.
    check("$range(1, 9, 9)", &json!(1));
    check("$range(1, 9, 9)[]", &json!([1]));
    check("[$range(1, 9, 9)]", &json!([1]));
    check("$count($range(9, 1, 1))", &json!(0));
    check("$partition([0], 1)", &json!([[0]]));
    check("$keys({'only': 1})", &json!("only"));
    check("$range(3, 1, -1)", &json!([3, 2, 1]));
    check("$hash('input data', 'SHA-1')", &json!("aaff4a450a104cd177d28d18d74485e8cae074b7"));
    check("$hash('', 'MD5')", &json!("d41d8cd98f00b204e9800998ecf8427e"));
    check("$parse('{\"a\":[1]}').a[0]", &json!(1));
    check("$random(42) = $random(42)", &json!(true));
    check("$length($uuid())", &json!(36));
    check("$count($range(1, 1000, 1))", &json!(1000));
}

#[test]
fn a_result_that_is_too_large_can_be_caught_and_an_output_that_is_cannot() {
    let definition = |output: &str| {
        machine(&json!({
            "A": task(&json!({
                "Output": output,
                "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "caught", "Next": "B"}],
            })),
            "B": {"Type": "Pass", "End": true},
        }))
    };
    let run = |text: &str, output: &str| {
        World::default().function("f", [ok(json!(text))]).run(&definition(output), json!({}))
    };
    // Two bytes of every JSON string are its quotes.
    let largest = "a".repeat(262_142);
    let too_large = "a".repeat(262_143);
    assert_eq!(run(&largest, "fits").result(), json!("fits"));
    assert_eq!(run(&too_large, "fits").result(), json!("caught"));
    let doubled = "{% $states.result & $states.result %}";
    assert_eq!(
        run(&largest, doubled).result(),
        json!({
            "error": "States.DataLimitExceeded",
            "cause": "The state/task 'A' returned a result with a size exceeding the maximum \
                      number of bytes service limit.",
        })
    );
}

#[test]
fn an_execution_that_goes_round_for_ever_ends_with_its_history_full() {
    let definition = machine(&json!({
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Condition": false, "Next": "C"}], "Default": "A"},
        "C": {"Type": "Succeed"},
    }));
    let run = World::default().run(&definition, json!({}));
    assert_eq!(run.events.len(), 25_000);
    assert_eq!(
        run.result(),
        json!({
            "error": "States.Runtime",
            "cause": "The execution reached the maximum number of history events (25000).",
        })
    );
}

#[test]
fn fail_names_its_error_and_cause_by_expressions() {
    let state = json!({
        "Type": "Fail",
        "Error": "{% $states.input.Error %}",
        "Cause": "{% 'run ' & $states.context.Execution.Name %}",
    });
    let input = json!({"Error": "Query.Failed"});
    let run = World::default().run(&machine(&json!({"A": state})), input);
    assert_eq!(run.result(), json!({"error": "Query.Failed", "cause": "run run"}));
}

/// The largest number of iterations that ran at the same time.
fn most_at_once(run: &Transcript) -> usize {
    let mut running: usize = 0;
    let mut most = 0;
    for name in run.types() {
        match name.as_str() {
            "MapIterationStarted" => running += 1,
            "MapIterationSucceeded" => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    most
}

proptest! {
    #[test]
    fn a_map_keeps_order_and_concurrency_and_takes_no_longer_than_it_must(
        seconds in prop::collection::vec(0_u64..50, 0..60),
        concurrency in 0_usize..50,
    ) {
        let definition = machine(&json!({"A": {
            "Type": "Map",
            "MaxConcurrency": concurrency,
            "ItemProcessor": {"StartAt": "W", "States": {
                "W": {"Type": "Wait", "Seconds": "{% $states.input %}", "End": true},
            }},
            "End": true,
        }}));
        let run = World::default().run(&definition, json!(seconds));
        prop_assert_eq!(run.result(), json!(seconds));
        // AWS runs 40 iterations of an inline map at once.
        let workers = if concurrency == 0 { 40 } else { concurrency.min(40) };
        prop_assert!(most_at_once(&run) <= workers);
        // Each item goes to the worker that is free first.
        let mut free_at = vec![0; workers];
        for seconds in &seconds {
            let worker = (0..workers).min_by_key(|worker| free_at[*worker]).expect("a worker");
            free_at[worker] += seconds;
        }
        let expected = free_at.into_iter().max().unwrap_or(0);
        prop_assert_eq!(run.took, Duration::from_secs(expected));
    }
}
