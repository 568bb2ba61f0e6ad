//! Operations on task tokens.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use crate::engine::StepFunctions;
use crate::history::Trouble;
use crate::machine::Signal;
use crate::payload::{PAYLOAD_BYTES_MAX, Payload};

/// AWS: a token has at most this many characters.
const TOKEN_CHARACTERS_MAX: usize = 2048;
/// AWS: the name of an error has at most this many characters.
const ERROR_CHARACTERS_MAX: usize = 256;
/// AWS: the cause of an error has at most this many characters.
const CAUSE_CHARACTERS_MAX: usize = 32_768;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Success {
    task_token: String,
    output: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    task_token: String,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Heartbeat {
    task_token: String,
}

pub(super) async fn succeed(engine: &StepFunctions, request: Success) -> Result<Value, ApiError> {
    check_token(&request.task_token)?;
    ApiError::check_length("output", request.output.len(), PAYLOAD_BYTES_MAX)?;
    let output = Payload::parse(&request.output)
        .map_err(|error| ApiError::new("InvalidOutput", format!("Invalid Output: '{error}'")))?;
    send(engine, &request.task_token, Signal::Settled(Ok(output))).await
}

pub(super) async fn fail(engine: &StepFunctions, request: Failure) -> Result<Value, ApiError> {
    check_token(&request.task_token)?;
    let characters = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
    ApiError::check_length("error", characters(&request.error), ERROR_CHARACTERS_MAX)?;
    ApiError::check_length("cause", characters(&request.cause), CAUSE_CHARACTERS_MAX)?;
    let trouble = Trouble { error: request.error, cause: request.cause };
    send(engine, &request.task_token, Signal::Settled(Err(trouble))).await
}

pub(super) async fn beat(engine: &StepFunctions, request: Heartbeat) -> Result<Value, ApiError> {
    check_token(&request.task_token)?;
    send(engine, &request.task_token, Signal::Heartbeat).await
}

fn check_token(token: &str) -> Result<(), ApiError> {
    ApiError::check_length("taskToken", token.chars().count(), TOKEN_CHARACTERS_MAX)
}

async fn send(engine: &StepFunctions, token: &str, signal: Signal) -> Result<Value, ApiError> {
    engine.signal(token, signal).await?;
    Ok(json!({}))
}
