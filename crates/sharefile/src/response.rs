//! The meaning of a response. ShareFile has three ways to say that something failed, and may say any
//! of them with the status 200.

use std::time::Duration;

use hyper::header::{DATE, HeaderValue, RETRY_AFTER};
use jiff::fmt::rfc2822;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::http::Response;

/// The code of an upload address whose upload is forgotten (`UploadStatusCode.cs` in ShareFile's client
/// for .NET).
const UNRECOGNIZED_UPLOAD: u64 = 605;

/// The server's reason for not doing something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) kind: RejectionKind,
    /// The server's text.
    pub(crate) text: String,
}

/// The step that a rejection calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectionKind {
    /// Wait, and ask again.
    Busy,
    /// Ask once more: nobody knows.
    Failed,
    /// Log in again.
    Unauthenticated,
    /// Ask again at once, and show the token.
    TokenWanted,
    /// None: the user may not do it.
    Denied,
    /// None: the item is not there.
    NotFound,
    /// Begin a new upload: the server has forgotten this one.
    UploadForgotten,
    /// Ask for a new upload address: this one has ended.
    AddressEnded,
    /// None: it would be refused again.
    Refused,
}

impl RejectionKind {
    /// Returns the kind of the API's reasons (`ExceptionReason.cs` in ShareFile's client for .NET).
    fn of_reason(reason: &str) -> Option<Self> {
        Some(match reason {
            "Throttled"
            | "TemporaryConnectivityFailure"
            | "ServiceUnavailable"
            | "MaintenanceMode"
            | "ZoneUnavailable"
            | "StorageZoneServerError"
            | "DatabaseError"
            | "FileIsLocked" => Self::Busy,
            "NotAuthenticated" | "LoginWhitelistViolation" | "LoginBlacklistViolation" => {
                Self::Unauthenticated
            }
            "NotAuthorized" | "Forbidden" | "FeatureDisabled" | "DlpViolation"
            | "UnlicensedUser" => Self::Denied,
            "NotFound" => Self::NotFound,
            "FileTooLarge"
            | "QuotaExceeded"
            | "InsufficientDiskSpace"
            | "Conflict"
            | "FilesRestrictedByAntiVirus"
            | "InvalidTarget" => Self::Refused,
            _ => return None,
        })
    }

    fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::Denied,
            404 => Self::NotFound,
            408 | 429 | 500 | 502 | 503 | 504 | 509 => Self::Busy,
            400..=499 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// Returns the kind of a bare status of an upload address. Such an address needs no login, so 403
    /// says that its signature is valid no longer.
    fn of_upload_status(status: u16) -> Self {
        match status {
            403 => Self::AddressEnded,
            404 | 410 => Self::UploadForgotten,
            _ => Self::of_status(status),
        }
    }
}

/// Returns the content of a response of the API.
pub(crate) fn of_api(answer: &Response) -> Result<Value, Rejection> {
    let value = serde_json::from_slice::<Value>(&answer.body).ok();
    let status = answer.status.as_u16();
    match (value, status) {
        (Some(Value::Object(object)), _) if is_api_error(&object) => {
            Err(api_error(&object, status))
        }
        (Some(value), 200 | 201) => Ok(value),
        (None, 204) => Ok(Value::Null),
        (_, 202) => {
            let text = "the request was put into a queue, which is not supported".to_owned();
            Err(Rejection { kind: RejectionKind::Refused, text })
        }
        (None, 200 | 201) => Err(Rejection {
            kind: RejectionKind::Failed,
            text: "the answer is not JSON".to_owned(),
        }),
        _ => Err(of_bare_status(answer)),
    }
}

fn of_bare_status(answer: &Response) -> Rejection {
    let status = answer.status;
    // A page of HTML says nothing that fits into an error.
    let body = std::str::from_utf8(&answer.body).ok().filter(|body| !body.contains('<'));
    let body = body.map(str::trim).filter(|body| !body.is_empty());
    let text =
        body.map_or_else(|| format!("HTTP {status}"), |body| format!("HTTP {status}: {body}"));
    Rejection { kind: RejectionKind::of_status(status.as_u16()), text }
}

fn is_api_error(object: &Map<String, Value>) -> bool {
    // An item has no `code`, and a `message` neither.
    object.contains_key("code") && object.contains_key("message")
        || object.get("reason").is_some_and(Value::is_string)
}

fn api_error(object: &Map<String, Value>, status: u16) -> Rejection {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let message = object.get("message");
    let message = text(message).or_else(|| text(message.and_then(|m| m.get("value"))));
    let word = text(object.get("reason")).or_else(|| text(object.get("code")));
    let kind = word.as_deref().and_then(RejectionKind::of_reason);
    let text = match (message, word) {
        (Some(message), Some(word)) if !message.is_empty() => format!("{word}: {message}"),
        (_, Some(word)) => word,
        (message, None) => message.unwrap_or_default(),
    };
    let kind = kind.unwrap_or_else(|| RejectionKind::of_status(status));
    Rejection { kind, text: format!("HTTP {status}: {text}") }
}

/// An uploaded file, as far as ShareFile tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Uploaded {
    /// The name that is stored.
    #[serde(default, rename = "filename")]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub(crate) size: Option<u64>,
    #[serde(default)]
    pub(crate) md5: Option<String>,
}

/// The response of an upload address.
#[derive(Deserialize)]
struct UploadAnswer {
    error: bool,
    #[serde(default, rename = "errorMessage")]
    message: Option<String>,
    #[serde(default, rename = "errorCode", deserialize_with = "number")]
    code: Option<u64>,
    #[serde(default)]
    value: Value,
}

/// Returns the file of an upload address's response, if the upload has ended with it.
pub(crate) fn of_upload(answer: &Response) -> Result<Uploaded, Rejection> {
    let status = answer.status.as_u16();
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim();
    let is_unknown = |text: &str| text.to_ascii_lowercase().contains("unrecognized upload id");
    if let Some(message) = text.strip_prefix("ERROR:") {
        let kind = if is_unknown(message) {
            RejectionKind::UploadForgotten
        } else {
            RejectionKind::Failed
        };
        return Err(Rejection { kind, text: message.trim().to_owned() });
    }
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return match status {
            200 | 201 | 204 if matches!(text, "" | "OK") => Ok(Uploaded::default()),
            200 | 201 | 204 => {
                let text = "the answer is neither JSON nor `OK`".to_owned();
                Err(Rejection { kind: RejectionKind::Failed, text })
            }
            _ => {
                let kind = RejectionKind::of_upload_status(status);
                Err(Rejection { kind, ..of_bare_status(answer) })
            }
        };
    };
    let Ok(answer) = serde_json::from_value::<UploadAnswer>(Value::Object(object.clone())) else {
        let rejection = api_error(&object, status);
        let is_gone = rejection.kind == RejectionKind::NotFound;
        let kind = if is_gone { RejectionKind::UploadForgotten } else { rejection.kind };
        return Err(Rejection { kind, ..rejection });
    };
    if answer.error || status >= 400 {
        let message = answer.message.unwrap_or_default();
        let kind = match answer.code {
            Some(UNRECOGNIZED_UPLOAD) => RejectionKind::UploadForgotten,
            _ if is_unknown(&message) => RejectionKind::UploadForgotten,
            _ if status >= 400 => RejectionKind::of_upload_status(status),
            _ => RejectionKind::Failed,
        };
        let code = answer.code.map(|code| format!("error {code}: ")).unwrap_or_default();
        return Err(Rejection { kind, text: format!("{code}{message}") });
    }
    // After a chunk, `value` may be anything.
    let first = answer.value.get(0).cloned().unwrap_or_default();
    Ok(serde_json::from_value(first).unwrap_or_default())
}

/// Reads a number, which some of ShareFile's servers write as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

/// Returns the wait that the server asks for: seconds, or a date, which is compared with the server's
/// own so that no clock is needed.
pub(crate) fn retry_after(answer: &Response) -> Option<Duration> {
    let text = |value: &HeaderValue| value.to_str().ok().map(|text| text.trim().to_owned());
    let asked = answer.headers.get(RETRY_AFTER).and_then(text)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| rfc2822::parse(text).ok().map(|date| date.timestamp());
    let now = date(&answer.headers.get(DATE).and_then(text)?)?;
    // A date that is over is no wait.
    Some(Duration::try_from(date(&asked)?.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, body: &str) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[track_caller]
    fn check_api(status: u16, body: &str, expected: Result<&str, (RejectionKind, &str)>) {
        let found = of_api(&answer(status, body)).map(|value| value.to_string());
        let expected = expected
            .map(str::to_owned)
            .map_err(|(kind, text)| Rejection { kind, text: text.to_owned() });
        assert_eq!(found, expected, "{status} {body}");
    }

    #[test]
    fn an_answer_of_the_api_is_judged_by_its_reason_and_then_by_its_status() {
        check_api(200, r#"{"Id":"fo1"}"#, Ok(r#"{"Id":"fo1"}"#));
        check_api(204, "", Ok("null"));
        let odata = |reason: &str| {
            format!(
                r#"{{"code":"X","message":{{"lang":"en-US","value":"no"}},"reason":"{reason}"}}"#
            )
        };
        check_api(
            404,
            &odata("NotFound"),
            Err((RejectionKind::NotFound, "HTTP 404: NotFound: no")),
        );
        check_api(400, &odata("Throttled"), Err((RejectionKind::Busy, "HTTP 400: Throttled: no")));
        check_api(
            200,
            &odata("Forbidden"),
            Err((RejectionKind::Denied, "HTTP 200: Forbidden: no")),
        );
        check_api(
            500,
            &odata("QuotaExceeded"),
            Err((RejectionKind::Refused, "HTTP 500: QuotaExceeded: no")),
        );
        check_api(403, &odata("Novel"), Err((RejectionKind::Denied, "HTTP 403: Novel: no")));
        let words = r#"{"code":"NotAuthenticated","message":"who"}"#;
        check_api(
            401,
            words,
            Err((RejectionKind::Unauthenticated, "HTTP 401: NotAuthenticated: who")),
        );
        check_api(503, "<html>", Err((RejectionKind::Busy, "HTTP 503 Service Unavailable")));
        check_api(
            429,
            "slow down",
            Err((RejectionKind::Busy, "HTTP 429 Too Many Requests: slow down")),
        );
        check_api(409, "", Err((RejectionKind::Refused, "HTTP 409 Conflict")));
        check_api(501, "", Err((RejectionKind::Failed, "HTTP 501 Not Implemented")));
        check_api(200, "<html>", Err((RejectionKind::Failed, "the answer is not JSON")));
        let queued = "the request was put into a queue, which is not supported";
        check_api(202, "{}", Err((RejectionKind::Refused, queued)));
    }

    #[track_caller]
    fn check_upload(status: u16, body: &str, expected: Result<Uploaded, (RejectionKind, &str)>) {
        let expected = expected.map_err(|(kind, text)| Rejection { kind, text: text.to_owned() });
        assert_eq!(of_upload(&answer(status, body)), expected, "{status} {body}");
    }

    #[test]
    fn an_upload_address_may_answer_an_error_with_the_status_200() {
        let told = Uploaded {
            name: Some("a.zip".into()),
            id: Some("fi1".into()),
            size: Some(3),
            md5: Some("ab".into()),
        };
        let success = r#"{"error":false,"value":[{"id":"fi1","size":3,"md5":"ab","filename":"a.zip","x":1}]}"#;
        check_upload(200, success, Ok(told.clone()));
        check_upload(200, &success.replace('3', "\"3\""), Ok(told));
        check_upload(200, r#"{"error":false,"value":"1000"}"#, Ok(Uploaded::default()));
        check_upload(200, "OK\r\n", Ok(Uploaded::default()));
        check_upload(200, "", Ok(Uploaded::default()));
        let error = r#"{"error":true,"errorMessage":"bad chunk","errorCode":420}"#;
        check_upload(200, error, Err((RejectionKind::Failed, "error 420: bad chunk")));
        check_upload(503, error, Err((RejectionKind::Busy, "error 420: bad chunk")));
        let unknown = r#"{"error":true,"errorMessage":"?","errorCode":"605"}"#;
        check_upload(200, unknown, Err((RejectionKind::UploadForgotten, "error 605: ?")));
        let words = r#"{"error":true,"errorMessage":"Unrecognized Upload ID"}"#;
        check_upload(200, words, Err((RejectionKind::UploadForgotten, "Unrecognized Upload ID")));
        check_upload(200, "ERROR:no room", Err((RejectionKind::Failed, "no room")));
        let text = "Unrecognized upload id x";
        check_upload(500, &format!("ERROR:{text}"), Err((RejectionKind::UploadForgotten, text)));
        let odata = r#"{"code":"X","message":{"value":"full"},"reason":"QuotaExceeded"}"#;
        check_upload(200, odata, Err((RejectionKind::Refused, "HTTP 200: QuotaExceeded: full")));
        check_upload(200, "{}", Err((RejectionKind::Failed, "HTTP 200: ")));
        check_upload(
            200,
            "<html>",
            Err((RejectionKind::Failed, "the answer is neither JSON nor `OK`")),
        );
        check_upload(403, "", Err((RejectionKind::AddressEnded, "HTTP 403 Forbidden")));
        let ended = "HTTP 403 Forbidden: the signature has expired";
        let text = "the signature has expired";
        check_upload(403, text, Err((RejectionKind::AddressEnded, ended)));
        let object = format!(r#"{{"error":true,"errorMessage":"{text}"}}"#);
        check_upload(403, &object, Err((RejectionKind::AddressEnded, text)));
        let violation = r#"{"code":"X","message":"no","reason":"DlpViolation"}"#;
        check_upload(403, violation, Err((RejectionKind::Denied, "HTTP 403: DlpViolation: no")));
        check_upload(404, "", Err((RejectionKind::UploadForgotten, "HTTP 404 Not Found")));
        check_upload(401, "", Err((RejectionKind::Unauthenticated, "HTTP 401 Unauthorized")));
    }

    #[test]
    fn a_server_asks_for_a_wait_in_seconds_or_until_a_date() {
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (asked, date, expected) in [
            ("3", None, Some(3)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(now), Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(now), Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", None, None),
            ("soon", Some(now), None),
        ] {
            let mut answer = answer(429, "");
            answer.headers.insert(RETRY_AFTER, HeaderValue::from_static(asked));
            if let Some(date) = date {
                answer.headers.insert(DATE, HeaderValue::from_static(date));
            }
            assert_eq!(retry_after(&answer), expected.map(Duration::from_secs), "{asked}");
        }
    }
}
