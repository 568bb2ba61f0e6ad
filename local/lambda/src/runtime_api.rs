//! The Runtime API: what a function's process asks for work and answers to.
//!
//! The contract is AWS's "Lambda runtime API" (version 2018-06-01) as `lambda_runtime` uses it. One
//! listener serves one process, so the port says who is calling.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::RESPONSE_BYTES_MAX;
use crate::body::{Received, read_limited};
use crate::fault::{Fault, error_payload};

/// One invocation on its way to a process.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) request_id: String,
    /// Names this delivery; the runtime repeats it in its answer.
    pub(crate) invocation_id: String,
    pub(crate) deadline_ms: i64,
    pub(crate) invoked_arn: String,
    pub(crate) trace_id: String,
    pub(crate) client_context: Option<String>,
    pub(crate) payload: Bytes,
}

/// What the function made of an invocation.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Response(Bytes),
    Error(Bytes),
    Fault(Fault),
}

/// A call of the process.
#[derive(Debug)]
pub(crate) enum RuntimeCall {
    /// It asks for an invocation and waits until there is one.
    Next(oneshot::Sender<Delivery>),
    /// It has done what it was asked to do.
    Answer(Answer),
    /// It can not start; the payload says why.
    InitialisationError(Bytes),
}

/// The Runtime API of one process; the listener closes when this is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    pub(crate) address: SocketAddr,
    pub(crate) calls: mpsc::Receiver<RuntimeCall>,
    expected: Expected,
    _server: AbortOnDropHandle<()>,
}

/// The delivery that may be answered, if there is one.
type Expected = Arc<Mutex<Option<ExpectedAnswer>>>;

#[derive(Debug)]
struct ExpectedAnswer {
    request_id: String,
    invocation_id: String,
}

impl RuntimeApi {
    /// Opens a Runtime API on a free port of `127.0.0.1`.
    pub(crate) async fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (sender, calls) = mpsc::channel(4);
        let expected = Expected::default();
        let router = router(Caller { calls: sender, expected: Arc::clone(&expected) });
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "a Runtime API ended");
            }
        });
        Ok(Self { address, calls, expected, _server: AbortOnDropHandle::new(server) })
    }

    /// From now on an answer to `delivery` is taken, and to none before it.
    pub(crate) fn expect_answer_to(&self, delivery: &Delivery) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = Some(ExpectedAnswer {
            request_id: delivery.request_id.clone(),
            invocation_id: delivery.invocation_id.clone(),
        });
    }
}

#[derive(Clone)]
struct Caller {
    calls: mpsc::Sender<RuntimeCall>,
    expected: Expected,
}

fn router(caller: Caller) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{request_id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{request_id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(initialisation_error))
        .with_state(caller)
}

const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

async fn next(State(caller): State<Caller>) -> Response {
    let (sender, delivery) = oneshot::channel();
    if caller.calls.send(RuntimeCall::Next(sender)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Ok(delivery) = delivery.await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header("lambda-runtime-aws-request-id", delivery.request_id)
        .header("lambda-runtime-deadline-ms", delivery.deadline_ms)
        .header("lambda-runtime-invoked-function-arn", delivery.invoked_arn)
        .header("lambda-runtime-trace-id", delivery.trace_id)
        .header(INVOCATION_ID, delivery.invocation_id);
    if let Some(client_context) = delivery.client_context {
        response = response.header("lambda-runtime-client-context", client_context);
    }
    response.body(Body::from(delivery.payload)).unwrap_or_else(|error| {
        tracing::error!(%error, "an invocation could not be handed to its process");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

async fn response(
    State(caller): State<Caller>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = match read_limited(body, RESPONSE_BYTES_MAX).await {
        Ok(Received::Whole { bytes, trailers }) => trailers
            .as_ref()
            .and_then(error_in_trailers)
            .map_or(Answer::Response(bytes), Answer::Error),
        Ok(Received::TooLarge { .. }) => Answer::Fault(Fault::ResponseTooLarge),
        Err(error) => return unreadable(&error),
    };
    caller.answer(&request_id, &headers, answer).await
}

async fn error(
    State(caller): State<Caller>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = match read_limited(body, RESPONSE_BYTES_MAX).await {
        Ok(Received::Whole { bytes, .. }) => Answer::Error(bytes),
        Ok(Received::TooLarge { .. }) => Answer::Fault(Fault::ResponseTooLarge),
        Err(error) => return unreadable(&error),
    };
    caller.answer(&request_id, &headers, answer).await
}

async fn initialisation_error(State(caller): State<Caller>, body: Body) -> Response {
    match read_limited(body, RESPONSE_BYTES_MAX).await {
        Ok(Received::Whole { bytes, .. }) => {
            caller.report(RuntimeCall::InitialisationError(bytes)).await;
            accepted()
        }
        Ok(Received::TooLarge { .. }) => too_large(),
        Err(error) => unreadable(&error),
    }
}

impl Caller {
    /// Passes an answer on, unless it is not the one that is waited for.
    async fn answer(&self, request_id: &str, headers: &HeaderMap, answer: Answer) -> Response {
        let repeated = headers.get(INVOCATION_ID);
        let is_expected = |expected: &mut ExpectedAnswer| {
            expected.request_id == request_id
                && repeated
                    .is_none_or(|repeated| repeated.as_bytes() == expected.invocation_id.as_bytes())
        };
        let expected =
            self.expected.lock().unwrap_or_else(PoisonError::into_inner).take_if(is_expected);
        if expected.is_none() {
            return refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID");
        }
        let is_too_large = matches!(answer, Answer::Fault(Fault::ResponseTooLarge));
        self.report(RuntimeCall::Answer(answer)).await;
        if is_too_large { too_large() } else { accepted() }
    }

    /// Tells whoever runs the process. Nobody listens to a process that is about to be killed.
    async fn report(&self, call: RuntimeCall) {
        if self.calls.send(call).await.is_err() {
            tracing::debug!("a process that is no longer wanted called its Runtime API");
        }
    }
}

/// The error at the end of a streamed response that failed half-way.
fn error_in_trailers(trailers: &HeaderMap) -> Option<Bytes> {
    let error_type = trailers.get("lambda-runtime-function-error-type")?.to_str().ok()?;
    let message = trailers
        .get("lambda-runtime-function-error-body")
        .and_then(|body| BASE64_STANDARD.decode(body).ok())
        .map(|body| String::from_utf8_lossy(&body).into_owned());
    Some(error_payload(error_type, &message.unwrap_or_default()))
}

fn accepted() -> Response {
    json(StatusCode::ACCEPTED, Bytes::from_static(br#"{"status":"OK"}"#))
}

fn too_large() -> Response {
    let message = format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes).");
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

fn unreadable(error: &axum::Error) -> Response {
    refusal(StatusCode::BAD_REQUEST, "InvalidRequest", &error.to_string())
}

fn refusal(status: StatusCode, error_type: &str, error_message: &str) -> Response {
    json(status, error_payload(error_type, error_message))
}

fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use reqwest::Client;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// A process that has been given the invocation `r-1`.
    async fn delivered() -> (RuntimeApi, Client, String) {
        let mut runtime_api = RuntimeApi::open().await.expect("a port is free");
        let address = format!("http://{}/2018-06-01/runtime", runtime_api.address);
        let client = Client::builder().no_proxy().build().expect("a client can be made");
        let next = tokio::spawn(client.get(format!("{address}/invocation/next")).send());
        let Some(RuntimeCall::Next(sender)) = runtime_api.calls.recv().await else {
            panic!("the process asks for an invocation");
        };
        let delivery = Delivery {
            request_id: "r-1".to_owned(),
            invocation_id: "d-1".to_owned(),
            deadline_ms: 1_584_039_838_390,
            invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
            trace_id: "Root=1-0;Parent=0;Sampled=0".to_owned(),
            client_context: None,
            payload: Bytes::from_static(b"{\"a\":1}"),
        };
        runtime_api.expect_answer_to(&delivery);
        sender.send(delivery).expect("the process waits");
        let response = next.await.expect("the task ends").expect("there is an answer");
        let names =
            ["aws-request-id", "deadline-ms", "invoked-function-arn", "trace-id", "invocation-id"];
        let headers =
            names.map(|name| response.headers()[format!("lambda-runtime-{name}")].to_str().ok());
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        let expected =
            ["r-1", "1584039838390", arn, "Root=1-0;Parent=0;Sampled=0", "d-1"].map(Some);
        assert_eq!((response.status().as_u16(), headers), (200, expected));
        assert_eq!(response.text().await.expect("the payload"), "{\"a\":1}");
        (runtime_api, client, address)
    }

    #[track_caller]
    fn check_call(runtime_api: &mut RuntimeApi, expected: &str) {
        let call = runtime_api.calls.try_recv().expect("there was a call");
        assert_eq!(format!("{call:?}"), expected);
    }

    async fn post(
        client: &Client,
        url: String,
        invocation_id: Option<&str>,
        body: &str,
    ) -> (u16, String) {
        let mut request = client.post(url).body(body.to_owned());
        if let Some(id) = invocation_id {
            request = request.header("Lambda-Runtime-Invocation-Id", id);
        }
        let response = request.send().await.expect("there is an answer");
        (response.status().as_u16(), response.text().await.expect("the answer is text"))
    }

    const OK: &str = "{\"status\":\"OK\"}";
    const UNKNOWN: &str = r#"{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}"#;

    #[tokio::test]
    async fn only_the_first_answer_to_the_current_invocation_is_taken() {
        let (mut runtime_api, client, address) = delivered().await;
        let response = format!("{address}/invocation/r-1/response");
        let other = format!("{address}/invocation/r-0/response");
        let refused = (400, UNKNOWN.to_owned());
        assert_eq!(post(&client, other, None, "0").await, refused);
        assert_eq!(post(&client, response.clone(), Some("d-0"), "0").await, refused);
        assert_eq!(post(&client, response.clone(), Some("d-1"), "1").await, (202, OK.to_owned()));
        assert_eq!(post(&client, response, Some("d-1"), "2").await, refused);
        check_call(&mut runtime_api, "Answer(Response(b\"1\"))");
        assert!(runtime_api.calls.try_recv().is_err());
    }

    #[tokio::test]
    async fn errors_are_accepted_as_they_are() {
        let (mut runtime_api, client, address) = delivered().await;
        let accepted = (202, OK.to_owned());
        assert_eq!(post(&client, format!("{address}/init/error"), None, "{}").await, accepted);
        check_call(&mut runtime_api, "InitialisationError(b\"{}\")");
        let error = r#"{"errorType":"A","errorMessage":"b","stackTrace":[]}"#;
        assert_eq!(
            post(&client, format!("{address}/invocation/r-1/error"), None, error).await,
            accepted
        );
        check_call(
            &mut runtime_api,
            r#"Answer(Error(b"{\"errorType\":\"A\",\"errorMessage\":\"b\",\"stackTrace\":[]}"))"#,
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_refused_and_ends_the_invocation() {
        let (mut runtime_api, client, address) = delivered().await;
        let body = "x".repeat(RESPONSE_BYTES_MAX + 1);
        let (status, refusal) =
            post(&client, format!("{address}/invocation/r-1/response"), None, &body).await;
        let message = "Exceeded maximum allowed payload size (6291556 bytes).";
        let expected =
            format!(r#"{{"errorType":"RequestEntityTooLarge","errorMessage":"{message}"}}"#);
        assert_eq!((status, refusal), (413, expected));
        check_call(&mut runtime_api, "Answer(Fault(ResponseTooLarge))");
    }

    /// Sends a chunked answer by hand, with what may follow its last chunk.
    async fn stream(runtime_api: &RuntimeApi, trailers: &str) -> String {
        let mut connection =
            TcpStream::connect(runtime_api.address).await.expect("the API listens");
        let request = format!(
            "POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\n\
             host: runtime\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
             lambda-runtime-function-response-mode: streaming\r\n\
             trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n\
             3\r\none\r\n3\r\ntwo\r\n0\r\n{trailers}\r\n"
        );
        connection.write_all(request.as_bytes()).await.expect("the request can be sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("there is an answer");
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_streamed_answer_is_whole_or_an_error() {
        let (mut runtime_api, ..) = delivered().await;
        assert_eq!(stream(&runtime_api, "").await, "HTTP/1.1 202 Accepted");
        check_call(&mut runtime_api, "Answer(Response(b\"onetwo\"))");

        let (mut runtime_api, ..) = delivered().await;
        let trailers = "Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n\
                        Lambda-Runtime-Function-Error-Body: YnJva2U=\r\n";
        assert_eq!(stream(&runtime_api, trailers).await, "HTTP/1.1 202 Accepted");
        check_call(
            &mut runtime_api,
            r#"Answer(Error(b"{\"errorType\":\"Runtime.StreamError\",\"errorMessage\":\"broke\"}"))"#,
        );
    }
}
