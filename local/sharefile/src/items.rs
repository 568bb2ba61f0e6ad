//! Items and folders.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State as Shared},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    State,
    fault::Fault,
    serving::Shown,
    token,
    tree::{below, child, children, is_name},
    uploads,
};

/// The API's error object.
pub(crate) fn refusal(status: StatusCode, reason: &str, text: &str) -> Response {
    let message = json!({ "lang": "en-US", "value": text });
    let error = json!({ "code": reason, "message": message, "reason": reason, "errorLog": [] });
    (status, Json(error)).into_response()
}

pub(crate) fn failure(error: &io::Error) -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "StorageZoneServerError", &error.to_string())
}

fn not_found(what: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, "NotFound", &format!("Cannot find {what}"))
}

/// The item that `Items(id)` names.
fn item(state: &State, headers: &HeaderMap, text: &str) -> Result<PathBuf, Response> {
    if !token::is_known(state, headers) {
        return Err(refusal(StatusCode::UNAUTHORIZED, "NotAuthenticated", "no valid token"));
    }
    let id = match text {
        "Items" => "top",
        text => text
            .strip_prefix("Items(")
            .and_then(|rest| rest.strip_suffix(')'))
            .ok_or_else(|| not_found(text))?,
    };
    state.tree.by_id(id).ok_or_else(|| not_found(id))
}

/// The answer that points to the same thing under another address, if a fault wants it.
fn elsewhere(state: &State, faults: &Shown, uri: &Uri) -> Option<Response> {
    let there = uri.to_string().replacen("/sf/", "/other/", 1);
    let there = format!("{}{there}", state.url());
    if faults.has(Fault::Redirects) {
        return Some((StatusCode::FOUND, [(header::LOCATION, there)]).into_response());
    }
    let object = json!({
        "odata.type": "ShareFile.Api.Models.Redirection", "Method": "GET", "Uri": there,
    });
    faults.has(Fault::RedirectsByObject).then(|| Json(object).into_response())
}

fn described(state: &State, path: Option<PathBuf>, what: &str) -> Response {
    match path.map(|path| state.tree.describe(&path)) {
        Some(Ok(item)) => Json(item).into_response(),
        Some(Err(error)) => failure(&error),
        None => not_found(what),
    }
}

/// `GET Items(id)`.
pub(crate) async fn get(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    Path((_, text)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match item(&state, &headers, &text) {
        Err(refusal) => refusal,
        Ok(path) => {
            elsewhere(&state, &faults, &uri).unwrap_or_else(|| described(&state, Some(path), &text))
        }
    }
}

/// `GET Items(id)/ByPath` and `GET Items(id)/Children`.
pub(crate) async fn get_part(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    Path((_, text, part)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let folder = match item(&state, &headers, &text) {
        Err(refusal) => return refusal,
        Ok(folder) => folder,
    };
    if let Some(answer) = elsewhere(&state, &faults, &uri) {
        return answer;
    }
    match part.as_str() {
        "ByPath" => {
            let path = query.get("path").map(String::as_str).unwrap_or_default();
            described(&state, below(&folder, path), path)
        }
        "Children" => {
            let children = children(&folder);
            let items = children.iter().map(|path| state.tree.describe(path));
            match items.collect::<Result<Vec<Value>, _>>() {
                Ok(items) => {
                    Json(json!({ "odata.count": items.len(), "value": items })).into_response()
                }
                Err(error) => failure(&error),
            }
        }
        other => not_found(other),
    }
}

/// `POST Items(id)/Folder` and `POST Items(id)/Upload2`.
pub(crate) async fn post_part(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    Path((_, text, part)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let folder = match item(&state, &headers, &text) {
        Err(refusal) => return refusal,
        Ok(folder) => folder,
    };
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "BadRequest", "the body is not JSON");
    };
    match part.as_str() {
        "Folder" => {
            make_folder(&state, &faults, &folder, body["Name"].as_str().unwrap_or_default())
        }
        "Upload2" => uploads::specify(&state, &faults, folder, body),
        other => not_found(other),
    }
}

fn make_folder(state: &State, faults: &Shown, folder: &std::path::Path, name: &str) -> Response {
    if !is_name(name) {
        return refusal(StatusCode::BAD_REQUEST, "InvalidTarget", "the name is not allowed");
    }
    let conflict = || refusal(StatusCode::CONFLICT, "Conflict", "the folder exists");
    if child(folder, name).is_some() {
        return conflict();
    }
    let path = folder.join(name);
    match std::fs::create_dir(&path) {
        Err(error) => failure(&error),
        Ok(()) if faults.has(Fault::JustMade) => conflict(),
        Ok(()) => described(state, Some(path), name),
    }
}
