//! Tokens.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State as Shared,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde_json::json;
use uuid::Uuid;

use crate::{State, fault::Fault, lock, serving::Shown};

/// How long a token is said to be good.
const SECONDS: u32 = 28_800;

/// The password grant.
pub(crate) async fn give(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    body: Bytes,
) -> Response {
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let is = |field: &str, value: &str| form.get(field).is_some_and(|given| given == value);
    let known = state.accounts.iter().any(|account| {
        is("grant_type", "password")
            && is("client_id", &account.client_id)
            && is("client_secret", account.client_secret.expose_secret())
            && is("username", &account.username)
            && is("password", account.password.expose_secret())
    });
    if !known {
        state.logins_rejected.fetch_add(1, Ordering::SeqCst);
        let echo = if faults.has(Fault::EchoesCredentials) {
            format!(": {form:?}")
        } else {
            String::new()
        };
        let description = format!("invalid username or password{echo}");
        let error = json!({ "error": "invalid_grant", "error_description": description });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let token = Uuid::new_v4().simple().to_string();
    lock(&state.tokens).insert(token.clone());
    Json(json!({
        "access_token": token, "refresh_token": Uuid::new_v4().simple().to_string(),
        "token_type": "bearer", "expires_in": SECONDS,
        "appcp": "sharefile.com", "apicp": "sf-api.com", "subdomain": "local",
    }))
    .into_response()
}

/// Whether a request has a token that is good.
pub(crate) fn is_known(state: &State, headers: &HeaderMap) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    shown
        .and_then(|text| text.strip_prefix("Bearer "))
        .is_some_and(|token| lock(&state.tokens).contains(token))
}
