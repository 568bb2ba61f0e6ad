//! The guard in front of the endpoints.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    guard::{Caller, Guard, Session, access_key_id},
    refusal::Refusal,
    request::{Access, Protocol},
};

/// The longest request of an API in JSON. No service takes longer ones.
const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lets a request through, or refuses it. Only what has its parameters in the body is read before.
pub(crate) async fn enforce(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let protocol = Protocol::of(&parts);
    let caller = access_key_id(&parts).and_then(|id| guard.caller(&id));
    let session = match caller {
        Ok(Caller::Administrator) => return next.run(Request::from_parts(parts, body)).await,
        Ok(Caller::Role(session)) => session,
        Err(refusal) => return refuse(&refusal, protocol, &parts.method),
    };
    let (bytes, body) = match protocol {
        Protocol::Json => match to_bytes(body, JSON_BYTES_MAX).await {
            Ok(bytes) => (bytes.clone(), Body::from(bytes)),
            Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        },
        Protocol::S3 | Protocol::Lambda => (Bytes::new(), body),
    };
    let access = match allowed(&guard, &session, &parts, &bytes) {
        Ok(access) => access,
        Err(refusal) => return refuse(&refusal, protocol, &parts.method),
    };
    let method = parts.method.clone();
    let response = next.run(Request::from_parts(parts, body)).await;
    if response.status() == StatusCode::NOT_FOUND
        && let Some(call) = access.if_missing
        && let Err(refusal) = guard.authorize_session(&session, &[call])
    {
        return refuse(&refusal, protocol, &method);
    }
    response
}

fn allowed(
    guard: &Guard,
    session: &Session,
    parts: &Parts,
    body: &[u8],
) -> Result<Access, Refusal> {
    let access = guard.access(parts, body)?;
    guard.authorize_session(session, &access.calls)?;
    Ok(access)
}

fn refuse(refusal: &Refusal, protocol: Protocol, method: &Method) -> Response {
    tracing::warn!(reason = %refusal, "a request is refused");
    let mut response = refusal.answer(protocol);
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}
