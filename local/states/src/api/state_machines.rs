//! Operations on state machines.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::paging::Page;
use crate::check::examine;
use crate::diagnostic::{Diagnostic, Severity};
use crate::engine::{StateMachine, StepFunctions};
use crate::history::epoch_seconds;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    name: String,
    definition: String,
    role_arn: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

/// What is kept and given back, and has no effect here.
#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "loggingConfiguration")]
    logging: Option<Value>,
    #[serde(rename = "tracingConfiguration")]
    tracing: Option<Value>,
    #[serde(rename = "encryptionConfiguration")]
    encryption: Option<Value>,
}

impl Settings {
    fn given(self) -> BTreeMap<String, Value> {
        let settings = [
            ("loggingConfiguration", self.logging),
            ("tracingConfiguration", self.tracing),
            ("encryptionConfiguration", self.encryption),
        ];
        settings.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    state_machine_arn: String,
    definition: Option<String>,
    role_arn: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ByArn {
    state_machine_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    max_results: Option<u32>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Validate {
    definition: String,
}

pub(super) fn create(engine: &StepFunctions, request: Create) -> Result<Value, ApiError> {
    if let Some(kind) = request.kind.filter(|kind| kind != "STANDARD") {
        let message = format!("State Machine Type is not supported: '{kind}'");
        return Err(ApiError::new("StateMachineTypeNotSupported", message));
    }
    let machine = engine.create(
        &request.name,
        &request.definition,
        &request.role_arn,
        request.settings.given(),
    )?;
    Ok(json!({
        "stateMachineArn": machine.arn,
        "creationDate": epoch_seconds(machine.created),
    }))
}

fn find(engine: &StepFunctions, arn: &str) -> Result<StateMachine, ApiError> {
    ApiError::check_arn(arn, "stateMachine")?;
    engine.state_machine(arn).ok_or_else(|| ApiError::no_state_machine(arn))
}

pub(super) fn describe(engine: &StepFunctions, request: &ByArn) -> Result<Value, ApiError> {
    let machine = find(engine, &request.state_machine_arn)?;
    let mut answer = described(&machine);
    answer["status"] = json!("ACTIVE");
    answer["type"] = json!("STANDARD");
    answer["creationDate"] = json!(epoch_seconds(machine.created));
    Ok(answer)
}

/// What `DescribeStateMachine` and `DescribeStateMachineForExecution` have in common.
pub(super) fn described(machine: &StateMachine) -> Value {
    let mut answer = json!({
        "stateMachineArn": machine.arn,
        "name": machine.name,
        "definition": machine.text,
        "roleArn": machine.role_arn,
        "revisionId": machine.revision,
        "loggingConfiguration": {"level": "OFF", "includeExecutionData": false},
        "tracingConfiguration": {"enabled": false},
        "encryptionConfiguration": {"type": "AWS_OWNED_KEY"},
    });
    for (name, value) in &machine.settings {
        answer[name] = value.clone();
    }
    answer
}

pub(super) fn list(engine: &StepFunctions, request: &List) -> Result<Value, ApiError> {
    let page = Page::of(request.max_results, request.next_token.as_deref())?;
    let machines = engine.state_machines();
    let (range, next) = page.forward(machines.len());
    let machines = machines[range].iter().map(|machine| {
        json!({
            "stateMachineArn": machine.arn,
            "name": machine.name,
            "type": "STANDARD",
            "creationDate": epoch_seconds(machine.created),
        })
    });
    let mut answer = json!({"stateMachines": machines.collect::<Vec<_>>()});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

pub(super) fn update(engine: &StepFunctions, request: Update) -> Result<Value, ApiError> {
    let arn = &request.state_machine_arn;
    ApiError::check_arn(arn, "stateMachine")?;
    let settings = request.settings.given();
    if request.definition.is_none() && request.role_arn.is_none() && settings.is_empty() {
        let message = "Either the definition, the role ARN, the LoggingConfiguration, or the \
                       TracingConfiguration must be specified";
        return Err(ApiError::new("MissingRequiredParameter", message));
    }
    let definition = request.definition.as_deref();
    let machine = engine
        .update(arn, definition, request.role_arn.as_deref(), settings)
        .ok_or_else(|| ApiError::no_state_machine(arn))??;
    Ok(json!({
        "updateDate": epoch_seconds(machine.updated),
        "revisionId": machine.revision,
    }))
}

/// Deleting what is not there succeeds, as on AWS.
pub(super) fn delete(engine: &StepFunctions, request: &ByArn) -> Result<Value, ApiError> {
    ApiError::check_arn(&request.state_machine_arn, "stateMachine")?;
    engine.delete(&request.state_machine_arn);
    Ok(json!({}))
}

pub(super) fn validate(request: &Validate) -> Value {
    let (_, diagnostics) = examine(&request.definition);
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    let result = if diagnostics.iter().any(is_error) { "FAIL" } else { "OK" };
    let diagnostics = diagnostics.iter().map(|diagnostic| {
        let mut answer = json!({
            "severity": match diagnostic.severity {
                Severity::Error => "ERROR",
                Severity::Warning => "WARNING",
            },
            "code": diagnostic.code,
            "message": diagnostic.message,
        });
        if !diagnostic.location.is_empty() {
            answer["location"] = json!(diagnostic.location);
        }
        answer
    });
    json!({
        "result": result,
        "diagnostics": diagnostics.collect::<Vec<_>>(),
        "truncated": false,
    })
}
