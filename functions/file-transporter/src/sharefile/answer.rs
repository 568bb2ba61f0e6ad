//! What an answer means. ShareFile has three ways to say that something failed, and may say any of
//! them with the status 200.

use std::time::Duration;

use hyper::header::{DATE, HeaderValue, RETRY_AFTER};
use jiff::fmt::rfc2822;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::http::Answer;

/// The code that an upload address answers with when the upload behind it is gone.
const UNRECOGNIZED_UPLOAD: u64 = 605;

/// Why something was not done, without saying yet what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) kind: Kind,
    /// The server's text. It is not fit to be shown yet.
    pub(super) said: String,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Wait, and ask again.
    Busy,
    /// Ask once more: nobody knows.
    Failed,
    /// Log in again.
    Unauthenticated,
    /// Ask again at once: the token is shown now.
    AskedForToken,
    /// Nothing: the user may not do it.
    Denied,
    /// The item is not there.
    NotFound,
    /// The upload is gone: begin a new one.
    UploadGone,
    /// Nothing: it would be refused again.
    Refused,
}

impl Kind {
    /// By the API's words, of `ExceptionReason.cs` in ShareFile's client for .NET.
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
}

/// The content of an answer of the API.
pub(super) fn of_api(answer: &Answer) -> Result<Value, Verdict> {
    let value = serde_json::from_slice::<Value>(&answer.body).ok();
    let status = answer.status.as_u16();
    match (value, status) {
        (Some(Value::Object(object)), _) if is_api_error(&object) => {
            Err(api_error(&object, status))
        }
        (Some(value), 200 | 201) => Ok(value),
        (None, 204) => Ok(Value::Null),
        (_, 202) => {
            let said = "the request was put into a queue, which is not supported".to_owned();
            Err(Verdict { kind: Kind::Refused, said })
        }
        (None, 200 | 201) => {
            Err(Verdict { kind: Kind::Failed, said: "the answer is not JSON".to_owned() })
        }
        _ => Err(of_bare_status(answer)),
    }
}

fn of_bare_status(answer: &Answer) -> Verdict {
    let status = answer.status;
    let is_text = std::str::from_utf8(&answer.body).ok().filter(|text| !text.contains('<'));
    let text = is_text.map(str::trim).filter(|text| !text.is_empty());
    let said =
        text.map_or_else(|| format!("HTTP {status}"), |text| format!("HTTP {status}: {text}"));
    Verdict { kind: Kind::of_status(status.as_u16()), said }
}

fn is_api_error(object: &Map<String, Value>) -> bool {
    // An item has no `code`, and a `message` neither.
    object.contains_key("code") && object.contains_key("message")
        || object.get("reason").is_some_and(Value::is_string)
}

fn api_error(object: &Map<String, Value>, status: u16) -> Verdict {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let message = object.get("message");
    let message = text(message).or_else(|| text(message.and_then(|m| m.get("value"))));
    let word = text(object.get("reason")).or_else(|| text(object.get("code")));
    let kind = word.as_deref().and_then(Kind::of_reason);
    let said = match (message, word) {
        (Some(message), Some(word)) if !message.is_empty() => format!("{word}: {message}"),
        (_, Some(word)) => word,
        (message, None) => message.unwrap_or_default(),
    };
    let kind = kind.unwrap_or_else(|| Kind::of_status(status));
    Verdict { kind, said: format!("HTTP {status}: {said}") }
}

/// What became of an uploaded file, as far as ShareFile tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Uploaded {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) md5: Option<String>,
}

/// The answer of an upload address.
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

/// What an upload address answered: what became of the file, if the file is complete.
pub(super) fn of_upload(answer: &Answer) -> Result<Uploaded, Verdict> {
    let status = answer.status.as_u16();
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim();
    let gone = |said: &str| said.to_ascii_lowercase().contains("unrecognized upload id");
    if let Some(message) = text.strip_prefix("ERROR:") {
        let kind = if gone(message) { Kind::UploadGone } else { Kind::Failed };
        return Err(Verdict { kind, said: message.trim().to_owned() });
    }
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return match status {
            200 | 201 | 204 if matches!(text, "" | "OK") => Ok(Uploaded::default()),
            200 | 201 | 204 => {
                let said = "the answer is neither JSON nor `OK`".to_owned();
                Err(Verdict { kind: Kind::Failed, said })
            }
            _ => Err(of_bare_status(answer)),
        };
    };
    let Ok(answer) = serde_json::from_value::<UploadAnswer>(Value::Object(object.clone())) else {
        return Err(api_error(&object, status));
    };
    if answer.error || status >= 400 {
        let message = answer.message.unwrap_or_default();
        let kind = match answer.code {
            Some(UNRECOGNIZED_UPLOAD) => Kind::UploadGone,
            _ if gone(&message) => Kind::UploadGone,
            _ if status >= 400 => Kind::of_status(status),
            _ => Kind::Failed,
        };
        let code = answer.code.map(|code| format!("error {code}: ")).unwrap_or_default();
        return Err(Verdict { kind, said: format!("{code}{message}") });
    }
    // After a chunk, `value` may be anything.
    let first = answer.value.get(0).cloned().unwrap_or_default();
    Ok(serde_json::from_value(first).unwrap_or_default())
}

/// A number, which some of ShareFile's servers write as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

/// How long the server asks to be left alone: seconds, or a date, which is compared with the
/// server's own so that no clock is needed.
pub(super) fn retry_after(answer: &Answer) -> Option<Duration> {
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

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[track_caller]
    fn check_api(status: u16, body: &str, expected: Result<&str, (Kind, &str)>) {
        let found = of_api(&answer(status, body)).map(|value| value.to_string());
        let expected = expected
            .map(str::to_owned)
            .map_err(|(kind, said)| Verdict { kind, said: said.to_owned() });
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
        check_api(404, &odata("NotFound"), Err((Kind::NotFound, "HTTP 404: NotFound: no")));
        check_api(400, &odata("Throttled"), Err((Kind::Busy, "HTTP 400: Throttled: no")));
        check_api(200, &odata("Forbidden"), Err((Kind::Denied, "HTTP 200: Forbidden: no")));
        check_api(
            500,
            &odata("QuotaExceeded"),
            Err((Kind::Refused, "HTTP 500: QuotaExceeded: no")),
        );
        check_api(403, &odata("Novel"), Err((Kind::Denied, "HTTP 403: Novel: no")));
        let words = r#"{"code":"NotAuthenticated","message":"who"}"#;
        check_api(401, words, Err((Kind::Unauthenticated, "HTTP 401: NotAuthenticated: who")));
        check_api(503, "<html>", Err((Kind::Busy, "HTTP 503 Service Unavailable")));
        check_api(429, "slow down", Err((Kind::Busy, "HTTP 429 Too Many Requests: slow down")));
        check_api(409, "", Err((Kind::Refused, "HTTP 409 Conflict")));
        check_api(501, "", Err((Kind::Failed, "HTTP 501 Not Implemented")));
        check_api(200, "<html>", Err((Kind::Failed, "the answer is not JSON")));
        let queued = "the request was put into a queue, which is not supported";
        check_api(202, "{}", Err((Kind::Refused, queued)));
    }

    #[track_caller]
    fn check_upload(status: u16, body: &str, expected: Result<Uploaded, (Kind, &str)>) {
        let expected = expected.map_err(|(kind, said)| Verdict { kind, said: said.to_owned() });
        assert_eq!(of_upload(&answer(status, body)), expected, "{status} {body}");
    }

    #[test]
    fn an_upload_address_may_answer_an_error_with_the_status_200() {
        let told = Uploaded { id: Some("fi1".into()), size: Some(3), md5: Some("ab".into()) };
        let success = r#"{"error":false,"value":[{"id":"fi1","size":3,"md5":"ab","x":1}]}"#;
        check_upload(200, success, Ok(told.clone()));
        check_upload(200, &success.replace('3', "\"3\""), Ok(told));
        check_upload(200, r#"{"error":false,"value":"1000"}"#, Ok(Uploaded::default()));
        check_upload(200, "OK\r\n", Ok(Uploaded::default()));
        check_upload(200, "", Ok(Uploaded::default()));
        let error = r#"{"error":true,"errorMessage":"bad chunk","errorCode":420}"#;
        check_upload(200, error, Err((Kind::Failed, "error 420: bad chunk")));
        check_upload(503, error, Err((Kind::Busy, "error 420: bad chunk")));
        let gone = r#"{"error":true,"errorMessage":"?","errorCode":"605"}"#;
        check_upload(200, gone, Err((Kind::UploadGone, "error 605: ?")));
        let words = r#"{"error":true,"errorMessage":"Unrecognized Upload ID"}"#;
        check_upload(200, words, Err((Kind::UploadGone, "Unrecognized Upload ID")));
        check_upload(200, "ERROR:no room", Err((Kind::Failed, "no room")));
        let said = "Unrecognized upload id x";
        check_upload(500, &format!("ERROR:{said}"), Err((Kind::UploadGone, said)));
        let odata = r#"{"code":"X","message":{"value":"full"},"reason":"QuotaExceeded"}"#;
        check_upload(200, odata, Err((Kind::Refused, "HTTP 200: QuotaExceeded: full")));
        check_upload(200, "{}", Err((Kind::Failed, "HTTP 200: ")));
        check_upload(200, "<html>", Err((Kind::Failed, "the answer is neither JSON nor `OK`")));
        check_upload(401, "", Err((Kind::Unauthenticated, "HTTP 401 Unauthorized")));
    }

    #[test]
    fn the_wait_that_a_server_asks_for_is_in_seconds_or_until_a_date() {
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
