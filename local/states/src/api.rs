//! The API in front of the engine: AWS JSON 1.0 over HTTP, one target per operation.

mod error;
mod executions;
mod map_runs;
mod paging;
mod state_machines;
mod tasks;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::engine::StepFunctions;
use error::ApiError;

/// The prefix of `X-Amz-Target`.
const TARGET_PREFIX: &str = "AWSStepFunctions.";

/// Serves the engine at `POST /`.
pub fn router(engine: StepFunctions) -> Router {
    Router::new().route("/", post(handle)).with_state(engine)
}

async fn handle(State(engine): State<StepFunctions>, headers: HeaderMap, body: Bytes) -> Response {
    let target =
        headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix(TARGET_PREFIX).unwrap_or(target);
    let request_id = ("x-amzn-requestid", uuid::Uuid::new_v4().to_string());
    match answer(&engine, operation, &body).await {
        Ok(answer) => ([request_id], json_body(&answer)).into_response(),
        Err(error) => {
            tracing::debug!(operation, error.kind = error.kind, "refused a request");
            let body = json!({"__type": error.kind, "message": error.message});
            let kind = ("x-amzn-errortype", error.kind.to_string());
            (error.status, [request_id, kind], json_body(&body)).into_response()
        }
    }
}

fn json_body(value: &Value) -> impl IntoResponse + use<> {
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];
    (content_type, value.to_string())
}

async fn answer(engine: &StepFunctions, operation: &str, body: &[u8]) -> Result<Value, ApiError> {
    match operation {
        "CreateStateMachine" => state_machines::create(engine, request(body)?),
        "DescribeStateMachine" => state_machines::describe(engine, &request(body)?),
        "ListStateMachines" => state_machines::list(engine, &request(body)?),
        "UpdateStateMachine" => state_machines::update(engine, request(body)?),
        "DeleteStateMachine" => state_machines::delete(engine, &request(body)?),
        "ValidateStateMachineDefinition" => Ok(state_machines::validate(&request(body)?)),
        "StartExecution" => executions::start(engine, &request(body)?),
        "StopExecution" => executions::stop(engine, request(body)?),
        "DescribeExecution" => executions::describe(engine, &request(body)?),
        "DescribeStateMachineForExecution" => executions::describe_machine(engine, &request(body)?),
        "ListExecutions" => executions::list(engine, &request(body)?),
        "GetExecutionHistory" => executions::history(engine, &request(body)?),
        "DescribeMapRun" => map_runs::describe(engine, &request(body)?),
        "ListMapRuns" => map_runs::list(engine, &request(body)?),
        "SendTaskSuccess" => tasks::succeed(engine, request(body)?).await,
        "SendTaskFailure" => tasks::fail(engine, request(body)?).await,
        "SendTaskHeartbeat" => tasks::beat(engine, request(body)?).await,
        other => Err(ApiError::unknown_operation(other)),
    }
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::validation(error.to_string()))
}
