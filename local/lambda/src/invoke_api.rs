//! Lambda's HTTP API, as far as calling and looking at functions goes.

use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::body::{Received, read_limited};
use crate::lambda::{Circumstances, Invocation, LATEST, Lambda};
use crate::pool::Pool;
use crate::{InvokeError, REQUEST_BYTES_MAX};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The API of Lambda: `Invoke` in all its types, `GetFunction`, `GetFunctionConfiguration` and
/// `ListFunctions` (all functions on one page). Signatures are not checked.
pub fn router(lambda: Lambda) -> Router {
    Router::new()
        .route("/2015-03-31/functions", get(list_functions))
        .route("/2015-03-31/functions/", get(list_functions))
        .route("/2015-03-31/functions/{function}", get(get_function))
        .route("/2015-03-31/functions/{function}/configuration", get(get_configuration))
        .route("/2015-03-31/functions/{function}/invocations", post(invoke))
        .with_state(lambda)
}

#[derive(Deserialize)]
struct Qualified {
    #[serde(rename = "Qualifier")]
    qualifier: Option<String>,
}

async fn invoke(
    State(lambda): State<Lambda>,
    Path(function): Path<String>,
    Query(Qualified { qualifier }): Query<Qualified>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, InvokeError> {
    let payload = match read_limited(body, REQUEST_BYTES_MAX).await {
        Ok(Received::Whole { bytes, .. }) => bytes,
        Ok(Received::TooLarge { size_bytes }) => {
            return Err(InvokeError::RequestTooLarge { size_bytes });
        }
        Err(error) => {
            return Err(InvokeError::Unreadable { reason: error.to_string() });
        }
    };
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let circumstances = Circumstances {
        qualifier,
        trace_id: header("x-amzn-trace-id"),
        client_context: header("x-amz-client-context").map(client_context),
    };
    match header("x-amz-invocation-type").as_deref() {
        None | Some("RequestResponse") => {
            let wants_log = header("x-amz-log-type").is_some_and(|wanted| wanted == "Tail");
            let invocation = lambda.invoke_under(&function, circumstances, payload).await?;
            Ok(answer(invocation, wants_log))
        }
        Some("Event") => {
            let request_id = lambda.invoke_event_under(&function, circumstances, payload)?;
            Ok((StatusCode::ACCEPTED, [(REQUEST_ID, request_id)]).into_response())
        }
        Some("DryRun") => {
            lambda.find(&function, circumstances.qualifier.as_deref())?;
            Ok((StatusCode::NO_CONTENT, [(REQUEST_ID, Uuid::new_v4().to_string())]).into_response())
        }
        Some(other) => Err(InvokeError::InvalidInvocationType { value: other.to_owned() }),
    }
}

/// The client context is JSON in base64 on its way to Lambda, and JSON on its way to the function.
fn client_context(encoded: String) -> String {
    let decoded =
        BASE64_STANDARD.decode(&encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or(encoded)
}

fn answer(invocation: Invocation, wants_log: bool) -> Response {
    let mut response = ([("content-type", "application/json")], invocation.payload).into_response();
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("x-amzn-requestid", &invocation.request_id);
    set("x-amz-executed-version", &invocation.executed_version);
    if invocation.function_error {
        set("x-amz-function-error", "Unhandled");
    }
    if let Some(log_tail) = invocation.log_tail.filter(|_| wants_log) {
        set("x-amz-log-result", &BASE64_STANDARD.encode(log_tail));
    }
    response
}

impl IntoResponse for InvokeError {
    fn into_response(self) -> Response {
        let message = self.to_string();
        let body = match &self {
            Self::NotFound { .. } => json!({"Type": "User", "Message": message}),
            Self::Throttled => json!({
                "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
                "Type": "User",
                "message": message,
            }),
            Self::ShuttingDown => json!({"Type": "Service", "Message": message}),
            Self::InvalidName { .. }
            | Self::NotJson { .. }
            | Self::Unreadable { .. }
            | Self::RequestTooLarge { .. }
            | Self::EventTooLarge { .. }
            | Self::InvalidInvocationType { .. } => json!({"Type": "User", "message": message}),
        };
        let headers =
            [(REQUEST_ID, Uuid::new_v4().to_string()), (ERROR_TYPE, self.error_name().to_owned())];
        (self.status(), headers, Json(body)).into_response()
    }
}

async fn list_functions(State(lambda): State<Lambda>) -> Json<Value> {
    let functions: Vec<_> = lambda.pools().map(|pool| FunctionConfiguration::of(pool)).collect();
    Json(json!({ "Functions": functions }))
}

async fn get_configuration(
    State(lambda): State<Lambda>,
    Path(function): Path<String>,
    Query(Qualified { qualifier }): Query<Qualified>,
) -> Result<Json<FunctionConfiguration>, InvokeError> {
    let (pool, _) = lambda.find(&function, qualifier.as_deref())?;
    Ok(Json(FunctionConfiguration::of(&pool)))
}

async fn get_function(
    State(lambda): State<Lambda>,
    Path(function): Path<String>,
    Query(Qualified { qualifier }): Query<Qualified>,
) -> Result<Json<Value>, InvokeError> {
    let (pool, _) = lambda.find(&function, qualifier.as_deref())?;
    Ok(Json(json!({
        "Configuration": FunctionConfiguration::of(&pool),
        "Code": {
            "RepositoryType": "local",
            "Location": format!("file://{}", pool.function.binary.display()),
        },
        "Concurrency": { "ReservedConcurrentExecutions": pool.function.concurrency_max },
    })))
}

/// A function as `ListFunctions` and `GetFunction` describe it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionConfiguration {
    function_name: String,
    function_arn: String,
    runtime: &'static str,
    handler: &'static str,
    code_size: u64,
    last_modified: String,
    timeout: u64,
    memory_size: u32,
    version: &'static str,
    environment: Value,
    package_type: &'static str,
    architectures: [&'static str; 1],
    state: &'static str,
    last_update_status: &'static str,
    logging_config: Value,
}

impl FunctionConfiguration {
    fn of(pool: &Pool) -> Self {
        let function = &pool.function;
        let binary = std::fs::metadata(&function.binary).ok();
        let modified = binary.as_ref().and_then(|found| found.modified().ok());
        let modified =
            Timestamp::try_from(modified.unwrap_or(SystemTime::UNIX_EPOCH)).unwrap_or_default();
        Self {
            function_name: function.name.clone(),
            function_arn: pool.arn.clone(),
            runtime: "provided.al2023",
            handler: "bootstrap",
            code_size: binary.map_or(0, |found| found.len()),
            last_modified: modified.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string(),
            timeout: function.timeout_seconds,
            memory_size: function.memory_mb,
            version: LATEST,
            environment: json!({ "Variables": function.environment }),
            package_type: "Zip",
            architectures: [if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }],
            state: "Active",
            last_update_status: "Successful",
            logging_config: json!({
                "LogFormat": "Text",
                "LogGroup": format!("/aws/lambda/{}", function.name),
            }),
        }
    }
}
