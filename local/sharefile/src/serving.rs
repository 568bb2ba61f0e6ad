//! Connections, and the faults that any request may have.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Request, State as Shared},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{
    State,
    fault::{Call, Fault},
    items, lock, token, uploads,
};

/// The faults of a request that its handler has to show.
#[derive(Clone, Debug)]
pub(crate) struct Shown(pub(crate) Vec<Fault>);

impl Shown {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }
}

pub(crate) async fn accept(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let router = Router::new()
        .route("/oauth/token", post(token::give))
        .route("/{api}/v3/{item}", get(items::get))
        .route("/{api}/v3/{item}/{part}", get(items::get_part).post(items::post_part))
        .route("/upload/prepare", get(uploads::prepare))
        .route("/upload/standard", post(uploads::standard))
        .route("/upload/chunk", post(uploads::chunk))
        .route("/upload/finish", get(uploads::finish).post(uploads::finish))
        .layer(middleware::from_fn_with_state(state.clone(), misbehave))
        .with_state(state);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, router.clone(), stop.child_token()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Without a pause, running out of file descriptors would become a busy loop.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, cut: CancellationToken) {
    let service = TowerToHyperService::new(router.layer(Extension(cut.clone())));
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = cut.cancelled() => {}
        ended = serving => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

fn call_of(request: &Request) -> Call {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    match path {
        "/oauth/token" => Call::Token,
        "/upload/prepare" => Call::Prepare,
        "/upload/standard" => Call::Standard,
        "/upload/chunk" if !query.contains("finish=true") => Call::Chunk,
        "/upload/chunk" | "/upload/finish" => Call::Finish,
        _ if path.ends_with("/Upload2") => Call::Specification,
        _ if request.method() == Method::POST => Call::Folder,
        _ => Call::Look,
    }
}

/// Counts the request, and does what its faults say.
async fn misbehave(
    Shared(state): Shared<Arc<State>>,
    Extension(cut): Extension<CancellationToken>,
    mut request: Request,
    next: Next,
) -> Response {
    let call = call_of(&request);
    lock(&state.requests).push((call, request.uri().path().to_owned()));
    let _counted = (call == Call::Chunk).then(|| InFlight::new(&state));
    let mut faults = state.faults.of(call);
    let (mut cuts_answer, mut is_mute) = (false, false);
    for fault in std::mem::take(&mut faults) {
        match fault {
            Fault::Mute => std::future::pending().await,
            Fault::Slow(wait) => tokio::time::sleep(wait).await,
            Fault::CutRequest => {
                read_half(request.body_mut()).await;
                return gone(&cut).await;
            }
            Fault::CutAnswer => cuts_answer = true,
            Fault::DoneLater(wait) => {
                request.extensions_mut().insert(Shown(Vec::new()));
                do_later(wait, request, next).await;
                return gone(&cut).await;
            }
            Fault::MuteAnswer => is_mute = true,
            Fault::ForgetTokens => lock(&state.tokens).clear(),
            _ => match instead(fault) {
                Some(answer) => {
                    // Who answers early and keeps the connection must read what is still coming.
                    while request.body_mut().frame().await.is_some() {}
                    return answer;
                }
                None => faults.push(fault),
            },
        }
    }
    request.extensions_mut().insert(Shown(faults));
    let answer = next.run(request).await;
    if is_mute {
        std::future::pending::<()>().await;
    }
    if cuts_answer { gone(&cut).await } else { answer }
}

/// The answer that a fault puts in the place of the right one.
fn instead(fault: Fault) -> Option<Response> {
    let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    Some(match fault {
        Fault::Status(code) => status(code).into_response(),
        Fault::RetryAfter(code, wait) => {
            let mut answer = status(code).into_response();
            let wait = if wait == "date" { soon() } else { HeaderValue::from_static(wait) };
            answer.headers_mut().insert(header::RETRY_AFTER, wait);
            answer
        }
        Fault::Reason(code, reason) => items::refusal(status(code), reason, "a fault says so"),
        Fault::ErrorObject(code) => {
            Json(json!({ "error": true, "errorMessage": "a fault says so", "errorCode": code }))
                .into_response()
        }
        Fault::Gibberish => Json(json!({ "value": "gibberish" })).into_response(),
        Fault::Page(code) => {
            let page = "<!DOCTYPE html><html><body>Sign in with your company</body></html>";
            (status(code), [(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Fault::Text(code, text) => (status(code), text).into_response(),
        Fault::RedirectsTo(address) => {
            (StatusCode::FOUND, [(header::LOCATION, address)]).into_response()
        }
        Fault::ErrorText(text) => format!("ERROR:{text}").into_response(),
        _ => return None,
    })
}

fn soon() -> HeaderValue {
    let soon = Timestamp::now() + Duration::from_secs(1);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&soon).ok();
    date.and_then(|date| date.try_into().ok()).unwrap_or(HeaderValue::from_static("1"))
}

/// Does what is asked for after `wait`, although the connection may be gone by then.
async fn do_later(wait: Duration, request: Request, next: Next) {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        next.run(Request::from_parts(head, Body::from(body))).await;
    });
}

async fn read_half(body: &mut Body) {
    let size = body.size_hint().lower();
    let mut read = 0;
    while read < size / 2 {
        let Some(Ok(frame)) = body.frame().await else { return };
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

async fn gone(cut: &CancellationToken) -> Response {
    cut.cancel();
    std::future::pending().await
}

/// Takes a number of chunks in flight back when a request ends, however it ends.
struct InFlight<'a>(&'a State);

impl<'a> InFlight<'a> {
    fn new(state: &'a State) -> Self {
        let now = state.chunks_in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        state.chunks_in_flight_max.fetch_max(now, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.chunks_in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
