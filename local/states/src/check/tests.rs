use serde_json::{Value, json};

use super::{check, examine};
use crate::diagnostic::Severity;

/// A definition without faults that uses most of the language.
fn sound() -> Value {
    json!({
        "Comment": "sound",
        "QueryLanguage": "JSONata",
        "TimeoutSeconds": 3600,
        "StartAt": "Load",
        "States": {
            "Load": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Arguments": {
                    "FunctionName": "${QueryLoader}",
                    "Payload": {"run_id": "{% $states.context.Execution.Name %}", "job": "{% $states.input %}"},
                },
                "TimeoutSeconds": 60,
                "Retry": [
                    {"ErrorEquals": ["Lambda.TooManyRequestsException"], "JitterStrategy": "FULL",
                     "IntervalSeconds": 1, "MaxDelaySeconds": 20, "MaxAttempts": 8},
                    {"ErrorEquals": ["States.ALL"]},
                ],
                "Catch": [{
                    "ErrorEquals": ["States.ALL"],
                    "Assign": {"error": "{% $states.errorOutput %}"},
                    "Output": "{% $states.input %}",
                    "Next": "Failed",
                }],
                "Assign": {"plan": "{% $states.result.Payload %}"},
                "Output": "{% $states.result.Payload.queries %}",
                "Next": "Which",
            },
            "Which": {
                "Type": "Choice",
                "Choices": [{"Condition": "{% $count($states.input) > 40 %}", "Next": "Many"}],
                "Default": "Few",
            },
            "Few": {
                "Type": "Map",
                "Items": "{% $states.input %}",
                "MaxConcurrency": "{% $min([$plan.max_concurrency, 40]) %}",
                "ItemProcessor": {"StartAt": "Query", "States": {
                    "Query": {"Type": "Pass", "Assign": {"own": "{% $plan %}"}, "Next": "Pause"},
                    "Pause": {"Type": "Wait", "Seconds": "{% $own.seconds %}", "End": true},
                }},
                "Next": "Done",
            },
            "Many": {
                "Type": "Map",
                "Label": "Queries",
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "JSON", "MaxItems": 10000},
                    "Arguments": {"Bucket": "{% $plan.bucket %}", "Key": "{% $plan.key %}"},
                },
                "ItemSelector": {"query": "{% $states.context.Map.Item.Value %}", "plan": "{% $plan %}"},
                "ToleratedFailureCount": 0,
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "BigQuery",
                    "States": {"BigQuery": {"Type": "Pass", "End": true}},
                },
                "Next": "Both",
            },
            "Both": {
                "Type": "Parallel",
                "Branches": [{"StartAt": "Left", "States": {"Left": {"Type": "Succeed"}}}],
                "Next": "Done",
            },
            "Done": {"Type": "Succeed", "Output": "{% $reduce($states.input, function($a, $b){ $a + $b }, 0) %}"},
            "Failed": {
                "Type": "Fail",
                "Error": "{% $error.Error %}",
                "Cause": "{% $error.Cause %}",
            },
        },
    })
}

/// The sound definition with one place changed; `null` removes what is there.
fn mutated(pointer: &str, value: Value) -> String {
    let mut definition = sound();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = definition.pointer_mut(parent).expect("the parent is there");
    if let Value::Array(items) = parent {
        items.insert(name.parse().expect("an index"), value);
    } else if value.is_null() {
        parent.as_object_mut().expect("an object").shift_remove(name);
    } else {
        parent[name] = value;
    }
    definition.to_string()
}

/// One change leads to exactly this fault.
#[track_caller]
fn refuses(severity: Severity, pointer: &str, value: Value, location: &str, message: &str) {
    let found = check(&mutated(pointer, value)).map(|_| "no fault");
    let found = found.map_err(|diagnostics| {
        let diagnostics = diagnostics.into_iter();
        let known = diagnostics.map(|fault| (fault.severity, fault.location, fault.message));
        known.collect::<Vec<_>>()
    });
    assert_eq!(found, Err(vec![(severity, location.to_string(), message.to_string())]));
}

#[track_caller]
fn error(pointer: &str, value: Value, location: &str, message: &str) {
    refuses(Severity::Error, pointer, value, location, message);
}

#[track_caller]
fn warning(pointer: &str, value: Value, location: &str, message: &str) {
    refuses(Severity::Warning, pointer, value, location, message);
}

#[test]
fn a_sound_definition_has_no_faults() {
    let definition = check(&sound().to_string()).map_err(|faults| format!("{faults:#?}"));
    let names: Vec<String> =
        definition.expect("no faults").state_names().map(str::to_string).collect();
    assert_eq!(names, ["Both", "Done", "Failed", "Few", "Load", "Many", "Which"]);
}

#[test]
fn fields_and_resources_that_are_not_known_are_refused_by_name() {
    error("/States/Load/Retries", json!(1), "/States/Load", "Field 'Retries' is not supported");
    error(
        "/States/Load/ResultPath",
        json!("$"),
        "/States/Load",
        "The QueryLanguage is set to 'JSONata', but field 'ResultPath' is only supported for the \
         'JSONPath' QueryLanguage",
    );
    error(
        "/States/Few/QueryLanguage",
        json!("JSONPath"),
        "/States/Few",
        "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
    );
    for resource in [
        "arn:aws:states:::aws-sdk:s3:listBuckets",
        "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "arn:aws:states:::lambda:invoke.sync",
        "arn:aws:lambda:us-east-1:000000000000:f.waitForTaskToken",
    ] {
        let message = format!(
            "the resource `{resource}` is not supported; `arn:aws:states:::lambda:invoke`, with or \
             without `.waitForTaskToken`, and the ARN of a Lambda function are"
        );
        error("/States/Load/Resource", json!(resource), "/States/Load/Resource", &message);
    }
    error(
        "/States/Many/ItemBatcher",
        json!({"MaxItemsPerBatch": 10}),
        "/States/Many/ItemBatcher",
        "`ItemBatcher` is not supported",
    );
    error(
        "/States/Many/ResultWriter",
        json!({}),
        "/States/Many/ResultWriter",
        "`ResultWriter` is not supported",
    );
}

#[test]
fn faults_that_validators_miss_are_found() {
    error(
        "/States/Load/Retry/0",
        json!({"ErrorEquals": ["States.ALL"]}),
        "/States/Load/Retry[0]/ErrorEquals",
        "`States.ALL` must come last in `Retry`",
    );
    error(
        "/States/Load/Retry/0/MaxDelaySeconds",
        json!(1),
        "/States/Load/Retry[0]/MaxDelaySeconds",
        "`MaxDelaySeconds` must be greater than `IntervalSeconds`",
    );
    error(
        "/States/Few/ItemReader",
        sound()["States"]["Many"]["ItemReader"].clone(),
        "/States/Few/ItemReader",
        "an INLINE Map has no `ItemReader`; only a DISTRIBUTED one has",
    );
    error(
        "/States/Load/Arguments/FunctionName",
        Value::Null,
        "/States/Load/Arguments",
        "`lambda:invoke` needs the field `FunctionName`",
    );
    error(
        "/States/Load/Arguments/Function",
        json!("f"),
        "/States/Load/Arguments/Function",
        "`lambda:invoke` has no parameter `Function`",
    );
    error(
        "/States/Load/Assign/states",
        json!(1),
        "/States/Load/Assign/states",
        "`states` is reserved and cannot be assigned",
    );
    error(
        "/States/Load/Arguments/Payload",
        json!("{% $states.result %}"),
        "/States/Load/Arguments/Payload",
        "there is no `$states.result` here",
    );
    error(
        "/States/Done/Output",
        json!("{% $eval('1') %}"),
        "/States/Done/Output",
        "`$eval` is not supported; use `$parse`",
    );
    error(
        "/States/Done/Output",
        json!("{% $flatten([1]) %}"),
        "/States/Done/Output",
        "there is no function `$flatten`",
    );
    error(
        "/States/Done/Output",
        json!("{% $.queries %}"),
        "/States/Done/Output",
        "`$` and `$$` mean nothing outside a path; use `$states`",
    );
    warning(
        "/States/Done/Output",
        json!("{% $nosuch %}"),
        "/States/Done/Output",
        "nothing assigns the variable `$nosuch`",
    );
    warning(
        "/States/Many/ItemProcessor/States/BigQuery/Output",
        json!("{% $plan %}"),
        "/States/Many/ItemProcessor/States/BigQuery/Output",
        "nothing assigns the variable `$plan`",
    );
}

#[test]
fn callback_states_that_nobody_can_answer_are_found() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
        let mut definition = sound();
        let load = &mut definition["States"]["Load"];
        load["Resource"] = json!("arn:aws:states:::lambda:invoke.waitForTaskToken");
        load["Arguments"]["Payload"]["token"] = json!("{% $states.context.Task.Token %}");
        change(load);
        let (definition, faults) = examine(&definition.to_string());
        assert!(definition.is_some(), "AWS takes it: {faults:?}");
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, expected);
    }
    let silent = "UNSAFE_CALLBACK: the state never passes `$states.context.Task.Token` on, so \
                  nobody can complete its task at /States/Load/Arguments";
    let endless = "UNSAFE_CALLBACK: without `TimeoutSeconds` or `HeartbeatSeconds` a lost \
                   callback is waited for until the execution ends at /States/Load";
    check(|_| {}, &[]);
    check(|load| load["Arguments"]["Payload"]["token"] = json!("token"), &[silent]);
    check(
        |load| load["Arguments"]["Payload"]["token"] = json!("{% $states.input.token %}"),
        &[silent],
    );
    check(|load| load["Arguments"]["Payload"]["token"] = json!("{% $states.context %}"), &[]);
    let without_time_out = |load: &mut Value| {
        load.as_object_mut().expect("an object").shift_remove("TimeoutSeconds");
    };
    check(without_time_out, &[endless]);
    check(
        |load| {
            without_time_out(load);
            load["HeartbeatSeconds"] = json!(10);
        },
        &[],
    );
    // A plain call has no token.
    check(
        |load| load["Resource"] = json!("arn:aws:states:::lambda:invoke"),
        &["INVALID_JSONATA_EXPRESSION: `$states.context.Task` is there in states with \
           `.waitForTaskToken` only at /States/Load/Arguments/Payload/token"],
    );
}

#[test]
fn a_heartbeat_is_shorter_than_the_time_out() {
    error(
        "/States/Load/HeartbeatSeconds",
        json!(60),
        "/States/Load/HeartbeatSeconds",
        "`HeartbeatSeconds` must be smaller than `TimeoutSeconds`",
    );
    assert!(check(&mutated("/States/Load/HeartbeatSeconds", json!(59))).is_ok());
}

#[test]
fn other_faults_are_found_at_their_place() {
    error(
        "/States/Few/Next",
        json!("Nowhere"),
        "/States/Few/Next",
        "Missing 'Next' target: Nowhere",
    );
    error(
        "/States/Few/Next",
        Value::Null,
        "/States/Few/Next",
        "the state needs `Next` or `\"End\": true`",
    );
    error(
        "/States/Done/Output",
        json!("{% 1 + %}"),
        "/States/Done/Output",
        "Unexpected end of expression",
    );
    error(
        "/States/Few/MaxConcurrency",
        json!(-1),
        "/States/Few/MaxConcurrency",
        "`MaxConcurrency` must be a whole number of at least 0 or an expression",
    );
    error(
        "/States/Load/Retry/0/BackoffRate",
        json!(0.5),
        "/States/Load/Retry[0]/BackoffRate",
        "`BackoffRate` must be a number of at least 1, not 0.5",
    );
    error("/States/Failed/Next", json!("Done"), "/States/Failed", "Field 'Next' is not supported");
    error("/States/Which/Default", json!("Many"), "/States/Few", "State \"Few\" is not reachable.");
    error(
        "/States/Few/ItemProcessor/States/Lost",
        json!({"Type": "Pass", "Next": "Query"}),
        "/States/Few/ItemProcessor/States/Lost",
        "State \"Lost\" is not reachable.",
    );
    error(
        "/States/Few/ItemProcessor/QueryLanguage",
        json!("JSONata"),
        "/States/Few/ItemProcessor",
        "Field 'QueryLanguage' is not supported",
    );
    error(
        "/States/Done/Output",
        json!("{% queries %}"),
        "/States/Done/Output",
        "Reference to 'queries' at the top level is not supported.",
    );
    warning(
        "/States/Done/Output",
        json!("{% 1"),
        "/States/Done/Output",
        "an expression must start with `{%` and end with `%}`",
    );
}

#[test]
fn every_fault_is_reported_at_once_errors_first() {
    #[track_caller]
    fn check(states: &Value, expected: &[&str]) {
        let definition = json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": states});
        let (definition, faults) = examine(&definition.to_string());
        assert!(definition.is_none());
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, expected);
    }
    check(
        &json!({
            "A": {"Type": "Pass", "Output": "{% $nosuch %}", "Next": "B"},
            "B": {"Type": "Pass", "Output": "{% $eval('') %}", "Next": "C"},
            "D": {"Type": "Pass", "End": true},
        }),
        &[
            "MISSING_TRANSITION_TARGET: Missing 'Next' target: C at /States/B/Next",
            "MISSING_TRANSITION_TARGET: State \"D\" is not reachable. at /States/D",
            "UNSUPPORTED_JSONATA_EXPRESSION: `$eval` is not supported; use `$parse` at \
             /States/B/Output",
            "INVALID_JSONATA_EXPRESSION: nothing assigns the variable `$nosuch` at /States/A/Output",
        ],
    );
    check(
        &json!({"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}),
        &["MISSING_END_STATE: Workflow has no terminal state at null"],
    );
    let branch = json!({"StartAt": "B", "States": {"B": {"Type": "Succeed"}}});
    check(
        &json!({"A": {"Type": "Parallel", "Branches": [branch, branch], "End": true}}),
        &["DUPLICATE_STATE_NAME: Duplicate State name: B at /States/A/Branches[1]/States/B"],
    );
}

#[test]
fn what_is_not_json_is_refused_as_such() {
    let faults = check("{").map(|_| ()).map_err(|faults| faults[0].code);
    assert_eq!(faults, Err("INVALID_JSON_DESCRIPTION"));
}
