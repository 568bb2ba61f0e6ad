//! Athena's protocol: AWS JSON 1.1 over HTTP.

mod answers;
mod catalog;
mod error;
mod queries;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use error::ApiError;

use crate::Athena;

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const TARGET_PREFIX: &str = "AmazonAthena.";
/// The longest request: a query of the longest length with every character escaped, and the rest.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Serves an endpoint: `POST /`, the operation in `X-Amz-Target`.
pub fn router(athena: Athena) -> Router {
    Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(athena)
}

async fn answer(State(athena): State<Athena>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX)).unwrap_or("");
    let answer = dispatch(&athena, operation, &body, caller(&headers)).await;
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            tracing::debug!(operation, %error, "request refused");
            (error.status(), error.body())
        }
    };
    let request_id = uuid::Uuid::new_v4().to_string();
    let headers =
        [(header::CONTENT_TYPE.as_str(), CONTENT_TYPE), ("x-amzn-requestid", &request_id)];
    (status, headers, body).into_response()
}

/// The access key id of a request's signature, which is not checked here.
fn caller(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = value.split_once("Credential=")?;
    Some(credential.split(['/', ',']).next()?.to_owned())
}

async fn dispatch(
    athena: &Athena,
    operation: &str,
    body: &[u8],
    caller: Option<String>,
) -> Result<Vec<u8>, ApiError> {
    let engine = athena.engine();
    match operation {
        "StartQueryExecution" => encode(&queries::start(engine, decode(body)?, caller).await?),
        "GetQueryExecution" => encode(&queries::get(engine, &decode(body)?).await?),
        "BatchGetQueryExecution" => encode(&queries::batch_get(engine, decode(body)?)?),
        "StopQueryExecution" => encode(&queries::stop(engine, &decode(body)?)?),
        "ListQueryExecutions" => encode(&queries::list(engine, &decode(body)?)?),
        "GetQueryResults" => encode(&queries::results(engine, &decode(body)?).await?),
        "GetWorkGroup" => encode(&catalog::get_work_group(engine, &decode(body)?)?),
        "ListWorkGroups" => encode(&catalog::list_work_groups(engine)),
        "GetDatabase" => encode(&catalog::get_database(engine, &decode(body)?)?),
        "ListDatabases" => encode(&catalog::list_databases(engine, &decode(body)?)?),
        "GetTableMetadata" => encode(&catalog::get_table(engine, &decode(body)?).await?),
        "ListTableMetadata" => encode(&catalog::list_tables(engine, &decode(body)?).await?),
        other => Err(ApiError::UnknownOperation(other.to_owned())),
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::Serialization(error.to_string()))
}

fn encode<T: Serialize>(answer: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(answer).map_err(|error| ApiError::Internal(error.to_string()))
}
