//! An HTTP API (API Gateway v2) whose routes are functions, with payload format 2.0.
//!
//! The formats are those of "Working with AWS Lambda proxy integrations for HTTP APIs" in the API Gateway
//! developer guide. As on AWS, the path arrives decoded, and a body is text only if its content type is
//! `text/*`, `application/json`, `application/xml` or `application/javascript`. There are no authorisers,
//! no CORS configuration and one stage, `$default`.

mod event;
mod response;
mod route;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use uuid::Uuid;

use crate::InvokeError;
use crate::body::{Received, read_limited};
use crate::lambda::{Circumstances, Lambda, new_trace_root};
use event::{Api, Arrival, Event};
use route::RouteTable;
pub use route::{HttpApiError, Route};

/// The largest body that an HTTP API takes, in bytes.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// The longest that an HTTP API waits for a function.
const INTEGRATION_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// An HTTP API and its routes.
#[derive(Clone, Debug)]
pub struct HttpApi {
    /// The API's identifier, as in `requestContext.apiId`.
    pub id: String,
    /// The routes, in any order: the most specific one that matches is taken.
    pub routes: Vec<Route>,
    /// The variables of the stage.
    pub stage_variables: BTreeMap<String, String>,
    /// How long a function may take before the caller gets `503`; AWS allows at most 30 seconds. The
    /// function goes on meanwhile.
    pub integration_timeout: Duration,
}

impl HttpApi {
    /// An API with AWS's integration time-out of 30 seconds and no stage variables.
    pub fn new(id: impl Into<String>, routes: Vec<Route>) -> Self {
        Self {
            id: id.into(),
            routes,
            stage_variables: BTreeMap::new(),
            integration_timeout: INTEGRATION_TIMEOUT_MAX,
        }
    }
}

/// Serves an HTTP API. The caller's address is known only if the router is served with connection
/// information (`into_make_service_with_connect_info::<SocketAddr>`); otherwise it is `127.0.0.1`.
///
/// # Errors
///
/// When two routes match the same requests, a route's function does not exist, or the integration time-out
/// is longer than AWS's.
pub fn http_api_router(lambda: Lambda, api: HttpApi) -> Result<Router, HttpApiError> {
    if api.integration_timeout > INTEGRATION_TIMEOUT_MAX {
        return Err(HttpApiError::IntegrationTimeout { timeout: api.integration_timeout });
    }
    for route in &api.routes {
        lambda
            .dry_run(route.function())
            .map_err(|source| HttpApiError::Function { route: route.key().to_owned(), source })?;
    }
    let front = Front {
        routes: RouteTable::new(api.routes)?,
        api: Api {
            id: api.id,
            account: lambda.account().to_owned(),
            stage_variables: api.stage_variables,
        },
        integration_timeout: api.integration_timeout,
        lambda,
    };
    Ok(Router::new().fallback(handle).with_state(Arc::new(front)))
}

#[derive(Debug)]
struct Front {
    lambda: Lambda,
    routes: RouteTable,
    api: Api,
    integration_timeout: Duration,
}

async fn handle(State(front): State<Arc<Front>>, request: Request) -> Response {
    let request_id = request_id();
    let mut response =
        front.respond(request, &request_id).await.unwrap_or_else(Refusal::into_response);
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(HeaderName::from_static("apigw-requestid"), request_id);
    }
    response
}

impl Front {
    async fn respond(&self, request: Request, request_id: &str) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let found = self.routes.find(&parts.method, parts.uri.path()).ok_or(Refusal::NotFound)?;
        let body = match read_limited(body, BODY_BYTES_MAX).await {
            Ok(Received::Whole { bytes, .. }) => bytes,
            Ok(Received::TooLarge { .. }) => return Err(Refusal::TooLarge),
            Err(_) => return Err(Refusal::BadRequest),
        };
        let source_ip = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |connection| connection.0.ip());
        let function = found.route.function();
        if !found.route.is_permitted() {
            tracing::warn!(
                route.key = found.route.key(),
                function.name = function,
                "no permission of the function lets API Gateway call it for this route"
            );
            return Err(Refusal::Internal);
        }
        let trace_root = new_trace_root();
        let arrival = Arrival {
            parts: &parts,
            body: &body,
            source_ip,
            request_id,
            trace_root: &trace_root,
            now: Timestamp::now(),
        };
        let event = Event::new(&self.api, &found, &arrival);
        let payload = serde_json::to_vec(&event).map_err(|_| Refusal::Internal)?;
        let circumstances =
            Circumstances { trace_id: Some(trace_root), ..Circumstances::default() };
        let invoking = self.lambda.invoke_under(function, circumstances, payload.into());
        let invocation = match tokio::time::timeout(self.integration_timeout, invoking).await {
            Err(_) | Ok(Err(InvokeError::ShuttingDown)) => return Err(Refusal::Unavailable),
            Ok(Err(InvokeError::RequestTooLarge { .. })) => return Err(Refusal::TooLarge),
            Ok(Err(error)) => {
                tracing::warn!(function.name = function, %error, "a function could not be invoked");
                return Err(Refusal::Internal);
            }
            Ok(Ok(invocation)) => invocation,
        };
        if invocation.function_error {
            return Err(Refusal::Internal);
        }
        response::from_payload(&invocation.payload).map_err(|error| {
            tracing::warn!(function.name = function, %error, "a function's answer is no HTTP response");
            Refusal::Internal
        })
    }
}

/// An answer of the API itself.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    BadRequest,
    NotFound,
    TooLarge,
    Internal,
    Unavailable,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, r#"{"message":"Bad Request"}"#),
            Self::NotFound => (StatusCode::NOT_FOUND, r#"{"message":"Not Found"}"#),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, r#"{"message":"Request Entity Too Large"}"#)
            }
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, r#"{"message":"Internal Server Error"}"#)
            }
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, r#"{"message":"Service Unavailable"}"#)
            }
        };
        (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
    }
}

/// A request's identifier in API Gateway's form: sixteen characters, the last of them `=`.
fn request_id() -> String {
    BASE64_STANDARD.encode(&Uuid::new_v4().as_bytes()[..11])
}
