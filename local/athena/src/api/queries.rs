//! The operations on query executions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answers::{QueryExecution, QueryResults};
use super::error::ApiError;
use crate::engine::Engine;
use crate::execution::{Request, State};
use crate::page::{Page, read_page};

/// The most rows of a page, and the number if the client does not say.
const PAGE_ROWS_MAX: usize = 1000;
/// The most ids of a list, and the number if the client does not say.
const LIST_IDS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartInput {
    query_string: String,
    client_request_token: Option<String>,
    query_execution_context: Option<Context>,
    result_configuration: Option<ResultConfiguration>,
    work_group: Option<String>,
    #[serde(default)]
    execution_parameters: Option<Vec<String>>,
    result_reuse_configuration: Option<ReuseConfiguration>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    database: Option<String>,
    catalog: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResultConfiguration {
    output_location: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReuseConfiguration {
    result_reuse_by_age_configuration: Option<Reuse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reuse {
    #[serde(default)]
    enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartOutput {
    query_execution_id: String,
}

/// Starts a query. A wish to reuse an earlier result is allowed and never granted.
pub(super) async fn start(
    engine: &Arc<Engine>,
    input: StartInput,
    caller: Option<String>,
) -> Result<StartOutput, ApiError> {
    let reuse = input.result_reuse_configuration.and_then(|c| c.result_reuse_by_age_configuration);
    if reuse.is_some_and(|reuse| reuse.enabled) {
        tracing::debug!("result reuse is asked for, which the local endpoint does not do");
    }
    let context = input.query_execution_context.unwrap_or_default();
    let request = Request {
        query: input.query_string,
        parameters: input.execution_parameters.unwrap_or_default(),
        catalog: context.catalog,
        database: context.database,
        work_group: input.work_group.unwrap_or_else(|| "primary".to_owned()),
        output_location: input.result_configuration.and_then(|c| c.output_location),
    };
    let held = engine.faults.start_wait(&request.query);
    let query_execution_id = engine.start(request, input.client_request_token, caller)?;
    tokio::time::sleep(held).await;
    Ok(StartOutput { query_execution_id })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IdInput {
    query_execution_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetOutput {
    query_execution: QueryExecution,
}

pub(super) async fn get(engine: &Engine, input: &IdInput) -> Result<GetOutput, ApiError> {
    let execution = engine.execution(&input.query_execution_id)?;
    let output = GetOutput { query_execution: QueryExecution::from(execution.as_ref()) };
    // What is answered late is old then.
    tokio::time::sleep(engine.faults.get_wait(&execution.request.query)).await;
    Ok(output)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchGetInput {
    query_execution_ids: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchGetOutput {
    query_executions: Vec<QueryExecution>,
    unprocessed_query_execution_ids: Vec<Unprocessed>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Unprocessed {
    query_execution_id: String,
    error_code: &'static str,
    error_message: String,
}

pub(super) fn batch_get(engine: &Engine, input: BatchGetInput) -> Result<BatchGetOutput, ApiError> {
    let asked = input.query_execution_ids.len();
    if !(1..=LIST_IDS_MAX).contains(&asked) {
        let message = format!("{asked} query execution ids, of 1 to {LIST_IDS_MAX}");
        return Err(ApiError::invalid(message));
    }
    let mut output = BatchGetOutput {
        query_executions: Vec::new(),
        unprocessed_query_execution_ids: Vec::new(),
    };
    for id in input.query_execution_ids {
        match engine.execution(&id) {
            Ok(execution) => output.query_executions.push(QueryExecution::from(execution.as_ref())),
            Err(error) => output.unprocessed_query_execution_ids.push(Unprocessed {
                query_execution_id: id,
                error_code: "INVALID_INPUT",
                error_message: error.to_string(),
            }),
        }
    }
    Ok(output)
}

#[derive(Serialize)]
pub(super) struct Empty {}

/// Cancels a query; one that has ended stays as it is.
pub(super) fn stop(engine: &Engine, input: &IdInput) -> Result<Empty, ApiError> {
    engine.execution(&input.query_execution_id)?.stop();
    Ok(Empty {})
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListInput {
    work_group: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListOutput {
    query_execution_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Lists the ids of a work group's queries, newest first. A token is the last id of its page.
pub(super) fn list(engine: &Engine, input: &ListInput) -> Result<ListOutput, ApiError> {
    let group = engine.work_group(input.work_group.as_deref())?;
    let limit = page_size(input.max_results, LIST_IDS_MAX)?;
    let mut ids = engine.execution_ids(&group.name);
    if let Some(token) = &input.next_token {
        let last = ids.iter().position(|id| id == token).ok_or_else(bad_token)?;
        ids.drain(..=last);
    }
    let is_more = ids.len() > limit;
    ids.truncate(limit);
    let next_token = ids.last().filter(|_| is_more).cloned();
    Ok(ListOutput { query_execution_ids: ids, next_token })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ResultsInput {
    query_execution_id: String,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Reads a page of a result. A token is where its page begins in the result object.
pub(super) async fn results(
    engine: &Engine,
    input: &ResultsInput,
) -> Result<QueryResults, ApiError> {
    let execution = engine.execution(&input.query_execution_id)?;
    let limit = page_size(input.max_results, PAGE_ROWS_MAX)?;
    let offset = match &input.next_token {
        Some(token) => token.parse().map_err(|_| bad_token())?,
        None => 0,
    };
    let progress = execution.progress();
    match progress.state {
        State::Succeeded => {}
        State::Queued | State::Running => {
            let state = progress.state.name();
            let message = format!("Query has not yet finished. Current state: {state}");
            return Err(ApiError::invalid(message));
        }
        State::Failed | State::Cancelled => {
            let state = progress.state.name();
            let message = format!("Query did not finish successfully. Final query state: {state}");
            return Err(ApiError::invalid(message));
        }
    }
    let store = engine.config.results.as_ref();
    let (bucket, key) = (&execution.output.bucket, &execution.output.key);
    let form = execution.statement.form();
    let page = read_page(store, bucket, key, form, offset, limit).await;
    let Page { rows, next } = page.map_err(|error| {
        tracing::warn!(query.id = execution.id, %error, "reading a result");
        ApiError::invalid("Could not find results")
    })?;
    let next = next.map(|offset| offset.to_string());
    Ok(QueryResults::new(rows, progress.columns, next))
}

fn page_size(asked: Option<usize>, most: usize) -> Result<usize, ApiError> {
    let size = asked.unwrap_or(most);
    if (1..=most).contains(&size) {
        return Ok(size);
    }
    Err(ApiError::invalid(format!("MaxResults is {size}, of 1 to {most}")))
}

fn bad_token() -> ApiError {
    ApiError::invalid("Invalid NextToken")
}
