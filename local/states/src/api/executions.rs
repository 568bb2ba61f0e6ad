//! Operations on executions.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::paging::Page;
use super::state_machines::described;
use crate::engine::{Execution, StepFunctions};
use crate::history::{Trouble, epoch_seconds};
use crate::status::Status;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start {
    state_machine_arn: String,
    name: Option<String>,
    input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stop {
    execution_arn: String,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ByArn {
    execution_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    state_machine_arn: Option<String>,
    map_run_arn: Option<String>,
    status_filter: Option<String>,
    max_results: Option<u32>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    execution_arn: String,
    max_results: Option<u32>,
    next_token: Option<String>,
    #[serde(default)]
    reverse_order: bool,
    include_execution_data: Option<bool>,
}

pub(super) fn start(engine: &StepFunctions, request: &Start) -> Result<Value, ApiError> {
    ApiError::check_arn(&request.state_machine_arn, "stateMachine")?;
    let input = request.input.as_deref().unwrap_or("{}");
    let execution = engine.start(&request.state_machine_arn, request.name.as_deref(), input)?;
    Ok(json!({
        "executionArn": execution.identity.execution_arn,
        "startDate": epoch_seconds(execution.identity.started),
    }))
}

fn find(engine: &StepFunctions, arn: &str) -> Result<std::sync::Arc<Execution>, ApiError> {
    ApiError::check_arn(arn, "execution")?;
    engine.execution(arn).ok_or_else(|| ApiError::no_execution(arn))
}

pub(super) fn stop(engine: &StepFunctions, request: Stop) -> Result<Value, ApiError> {
    let execution = find(engine, &request.execution_arn)?;
    let trouble = Trouble { error: request.error, cause: request.cause };
    let stopped = execution.stop(trouble);
    Ok(json!({"stopDate": epoch_seconds(stopped)}))
}

pub(super) fn describe(engine: &StepFunctions, request: &ByArn) -> Result<Value, ApiError> {
    let execution = find(engine, &request.execution_arn)?;
    let snapshot = execution.snapshot();
    let mut answer = summary(&execution);
    answer["input"] = json!(&**execution.identity.input.text());
    answer["inputDetails"] = json!({"included": true});
    answer["redriveCount"] = json!(0);
    if let Some(output) = &snapshot.output {
        answer["output"] = json!(&**output.text());
        answer["outputDetails"] = json!({"included": true});
    }
    if let Some(error) = &snapshot.trouble.error {
        answer["error"] = json!(error);
    }
    if let Some(cause) = &snapshot.trouble.cause {
        answer["cause"] = json!(cause);
    }
    // Redriving is not supported, whatever the reason the execution ended for.
    answer["redriveStatus"] = json!("NOT_REDRIVABLE");
    answer["redriveStatusReason"] =
        json!(format!("Execution is {} and cannot be redriven", snapshot.status.name()));
    Ok(answer)
}

/// What a list of executions says about each, too.
fn summary(execution: &Execution) -> Value {
    let identity = &execution.identity;
    let snapshot = execution.snapshot();
    let mut summary = json!({
        "executionArn": identity.execution_arn,
        "stateMachineArn": identity.state_machine_arn,
        "name": identity.execution_name,
        "status": snapshot.status.name(),
        "startDate": epoch_seconds(identity.started),
    });
    if let Some(stopped) = snapshot.stopped {
        summary["stopDate"] = json!(epoch_seconds(stopped));
    }
    if let Some(arn) = &execution.map_run_arn {
        summary["mapRunArn"] = json!(arn);
    }
    summary
}

pub(super) fn describe_machine(engine: &StepFunctions, request: &ByArn) -> Result<Value, ApiError> {
    let execution = find(engine, &request.execution_arn)?;
    let arn = &execution.identity.state_machine_arn;
    // A child of a map run belongs to the state machine before the slash.
    let arn = arn.split('/').next().unwrap_or(arn);
    let machine = engine.state_machine(arn).ok_or_else(|| ApiError::no_state_machine(arn))?;
    let mut answer = described(&machine);
    answer["updateDate"] = json!(epoch_seconds(machine.updated));
    if let Some(arn) = &execution.map_run_arn {
        answer["mapRunArn"] = json!(arn);
    }
    Ok(answer)
}

pub(super) fn list(engine: &StepFunctions, request: &List) -> Result<Value, ApiError> {
    let page = Page::of(request.max_results, request.next_token.as_deref())?;
    let owner = match (&request.state_machine_arn, &request.map_run_arn) {
        (Some(arn), None) => {
            ApiError::check_arn(arn, "stateMachine")?;
            engine.state_machine(arn).ok_or_else(|| ApiError::no_state_machine(arn))?;
            arn
        }
        (None, Some(arn)) => {
            ApiError::check_arn(arn, "mapRun")?;
            engine.map_run(arn).ok_or_else(|| ApiError::no_resource(arn))?;
            arn
        }
        _ => {
            let message = "Must provide a state machine ARN or a map run ARN, and not both";
            return Err(ApiError::validation(message));
        }
    };
    let status = request.status_filter.as_deref().map(status).transpose()?;
    let executions = engine.executions(owner);
    // Places are those in the whole list, so that a page does not depend on what changes status.
    let end = page.place.unwrap_or(executions.len()).min(executions.len());
    let mut found = Vec::new();
    let mut next = None;
    for (place, execution) in executions[..end].iter().enumerate().rev() {
        if status.is_some_and(|status| status != execution.status()) {
            continue;
        }
        if found.len() == page.size {
            next = Some((place + 1).to_string());
            break;
        }
        found.push(summary(execution));
    }
    let mut answer = json!({"executions": found});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

fn status(name: &str) -> Result<Status, ApiError> {
    Status::ALL
        .into_iter()
        .find(|status| status.name() == name)
        .ok_or_else(|| ApiError::validation(format!("there is no status `{name}`")))
}

pub(super) fn history(engine: &StepFunctions, request: &History) -> Result<Value, ApiError> {
    let execution = find(engine, &request.execution_arn)?;
    let page = Page::of(request.max_results, request.next_token.as_deref())?;
    let (_, total) = execution.events(0..0);
    let (range, next) =
        if request.reverse_order { page.backward(total) } else { page.forward(total) };
    let (events, _) = execution.events(range);
    let include_data = request.include_execution_data.unwrap_or(true);
    let mut events: Vec<Value> = events.iter().map(|event| event.to_json(include_data)).collect();
    if request.reverse_order {
        events.reverse();
    }
    let mut answer = json!({"events": events});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}
