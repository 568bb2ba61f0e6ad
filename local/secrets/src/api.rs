//! Both services' protocol: AWS JSON 1.1 over HTTP, the operation in `X-Amz-Target`.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{SecretStores, error::ApiError, secrets::ListSecrets};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// The longest request: a secret of 64 KiB with every character escaped, and the rest.
const REQUEST_BYTES_MAX: usize = 512 * 1024;

/// Serves both services at `POST /`: the target says which is meant.
pub fn router(stores: SecretStores) -> Router {
    Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(stores)
}

async fn answer(State(stores): State<SecretStores>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default();
    let (status, body) = match dispatch(&stores, target, &body) {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => {
            tracing::debug!(target, error.name = error.name(), "refused a request");
            (error.status(), error.body())
        }
    };
    let request_id = uuid::Uuid::new_v4().to_string();
    let headers =
        [(header::CONTENT_TYPE.as_str(), CONTENT_TYPE), ("x-amzn-requestid", &request_id)];
    (status, headers, body.to_string()).into_response()
}

fn dispatch(stores: &SecretStores, target: &str, body: &[u8]) -> Result<Value, ApiError> {
    let action = match target.split_once('.') {
        Some(("AmazonSSM", operation)) => format!("ssm:{operation}"),
        Some((service, operation)) => format!("{service}:{operation}"),
        None => target.to_owned(),
    };
    let is_read = ["GetSecretValue", "GetParameter", "GetParameters"]
        .iter()
        .any(|operation| target.ends_with(&format!(".{operation}")));
    let mut kept = stores.kept();
    kept.reads += u64::from(is_read);
    stores.faults().next(&action)?;
    match target {
        "secretsmanager.CreateSecret" => kept.secrets.create(decode(body)?),
        "secretsmanager.PutSecretValue" => kept.secrets.put_value(decode(body)?),
        "secretsmanager.GetSecretValue" => kept.secrets.get_value(&decode(body)?),
        "secretsmanager.DescribeSecret" => kept.secrets.describe(&decode(body)?),
        "secretsmanager.ListSecrets" => {
            decode::<ListSecrets>(body)?;
            Ok(kept.secrets.list())
        }
        "secretsmanager.DeleteSecret" => kept.secrets.delete(&decode(body)?),
        "AmazonSSM.PutParameter" => kept.parameters.put(decode(body)?),
        "AmazonSSM.GetParameter" => kept.parameters.get(&decode(body)?),
        "AmazonSSM.GetParameters" => kept.parameters.get_several(decode(body)?),
        "AmazonSSM.DeleteParameter" => kept.parameters.delete(&decode(body)?),
        other => Err(ApiError::UnknownOperation(other.to_owned())),
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::Serialization(error.to_string()))
}
