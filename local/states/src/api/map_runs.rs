//! Operations on the runs of distributed maps.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::paging::Page;
use crate::engine::{MapRunRecord, StepFunctions};
use crate::history::epoch_seconds;
use crate::status::Status;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ByArn {
    map_run_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    execution_arn: String,
    max_results: Option<u32>,
    next_token: Option<String>,
}

pub(super) fn describe(engine: &StepFunctions, request: &ByArn) -> Result<Value, ApiError> {
    let arn = &request.map_run_arn;
    ApiError::check_arn(arn, "mapRun")?;
    let run = engine.map_run(arn).ok_or_else(|| ApiError::no_resource(arn))?;
    let progress = run.progress();
    let counts = progress.counts;
    let open = counts.total - counts.succeeded - counts.failed;
    let (pending, running, aborted) = match progress.status {
        Status::Running => (open - counts.running, counts.running, 0),
        _ => (0, 0, open),
    };
    let counts = json!({
        "pending": pending,
        "running": running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "timedOut": 0,
        "aborted": aborted,
        "total": counts.total,
        "resultsWritten": 0,
    });
    let mut answer = summary(&run);
    answer["status"] = json!(progress.status.name());
    answer["maxConcurrency"] = json!(run.max_concurrency);
    answer["toleratedFailureCount"] = json!(run.tolerance.count.unwrap_or_default());
    answer["toleratedFailurePercentage"] = json!(run.tolerance.percentage.unwrap_or_default());
    answer["executionCounts"] = counts.clone();
    answer["itemCounts"] = counts;
    answer["redriveCount"] = json!(0);
    Ok(answer)
}

pub(super) fn list(engine: &StepFunctions, request: &List) -> Result<Value, ApiError> {
    let arn = &request.execution_arn;
    ApiError::check_arn(arn, "execution")?;
    engine.execution(arn).ok_or_else(|| ApiError::no_execution(arn))?;
    let page = Page::of(request.max_results, request.next_token.as_deref())?;
    let runs = engine.map_runs(arn);
    let (range, next) = page.forward(runs.len());
    let runs: Vec<Value> = runs[range].iter().map(|run| summary(run)).collect();
    let mut answer = json!({"mapRuns": runs});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

fn summary(run: &MapRunRecord) -> Value {
    let mut summary = json!({
        "mapRunArn": run.arn,
        "executionArn": run.execution_arn,
        "stateMachineArn": run.state_machine_arn,
        "startDate": epoch_seconds(run.started),
    });
    if let Some(stopped) = run.progress().stopped {
        summary["stopDate"] = json!(epoch_seconds(stopped));
    }
    summary
}
