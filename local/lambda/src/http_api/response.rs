//! What a caller gets for a function's answer.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// Why an answer can not be turned into a response. Callers see only `500`.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedAnswer {
    #[error("the answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("the answer has a `statusCode` but not the form of a response")]
    NotAResponse(#[source] serde_json::Error),
    #[error("`{0}` is no HTTP status")]
    Status(Value),
    #[error("header `{0}` is not valid")]
    Header(String),
    #[error("the body is not base64")]
    NotBase64(#[source] base64::DecodeError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: Value,
    headers: Option<BTreeMap<String, HeaderText>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// The value of a header, which need not be a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderText {
    Text(String),
    Number(serde_json::Number),
    Flag(bool),
}

/// Makes a response of a function's answer. JSON without a `statusCode` is the body of a `200`.
pub(super) fn from_payload(payload: &[u8]) -> Result<Response<Body>, MalformedAnswer> {
    let answer: Value = serde_json::from_slice(payload).map_err(MalformedAnswer::NotJson)?;
    if answer.get("statusCode").is_some() {
        return from_answer(serde_json::from_value(answer).map_err(MalformedAnswer::NotAResponse)?);
    }
    let body = match answer {
        Value::String(text) => Body::from(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Body::from(payload.to_vec())
        }
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn from_answer(answer: Answer) -> Result<Response<Body>, MalformedAnswer> {
    let body = answer.body.unwrap_or_default();
    let body = if answer.is_base64_encoded == Some(true) {
        BASE64_STANDARD.decode(body).map_err(MalformedAnswer::NotBase64)?
    } else {
        body.into_bytes()
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status(answer.status_code)?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=utf-8"));
    for (name, value) in answer.headers.unwrap_or_default() {
        let value = match value {
            HeaderText::Text(text) => text,
            HeaderText::Number(number) => number.to_string(),
            HeaderText::Flag(flag) => flag.to_string(),
        };
        let (name, value) = parsed(&name, &value)?;
        // The server sends what is true of this connection.
        if ![header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(&name)
        {
            headers.insert(name, value);
        }
    }
    for cookie in answer.cookies.unwrap_or_default() {
        let (name, value) = parsed("set-cookie", &cookie)?;
        headers.append(name, value);
    }
    Ok(response)
}

fn status(code: Value) -> Result<StatusCode, MalformedAnswer> {
    let number = match &code {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| StatusCode::from_u16(number).ok())
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or(MalformedAnswer::Status(code))
}

fn parsed(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), MalformedAnswer> {
    let refuse = || MalformedAnswer::Header(name.to_owned());
    Ok((
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?,
        HeaderValue::from_str(value).map_err(|_| refuse())?,
    ))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// Status, headers and body.
    type Whole = (u16, Vec<(String, String)>, Vec<u8>);
    type Expected<'a> = (u16, &'a [(&'a str, &'a str)], &'a str);

    async fn whole(payload: &str) -> Option<Whole> {
        let response = from_payload(payload.as_bytes()).ok()?;
        let (parts, body) = response.into_parts();
        let text = |value: &HeaderValue| value.to_str().expect("the header is text").to_owned();
        let headers =
            parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = body.collect().await.expect("the body is there").to_bytes();
        Some((parts.status.as_u16(), headers, body.to_vec()))
    }

    #[track_caller]
    fn check(payload: &str, expected: Option<Expected<'_>>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let expected = expected.map(|(status, headers, body)| {
            let headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            (status, headers.collect::<Vec<_>>(), body.as_bytes().to_vec())
        });
        assert_eq!(runtime.block_on(whole(payload)), expected, "{payload}");
    }

    #[test]
    fn json_without_a_status_is_the_body_of_a_200() {
        let json: &[_] = &[("content-type", "application/json")];
        check(r#"{ "message": "hello" }"#, Some((200, json, r#"{ "message": "hello" }"#)));
        check(r#""Hello from Lambda!""#, Some((200, json, "Hello from Lambda!")));
        check("[1,2]", Some((200, json, "[1,2]")));
        check("null", Some((200, json, "null")));
    }

    #[test]
    fn an_answer_with_a_status_is_taken_apart() {
        let plain: &[_] = &[("content-type", "text/plain;charset=utf-8")];
        check(r#"{"statusCode":204}"#, Some((204, plain, "")));
        check(r#"{"statusCode":"201","body":null}"#, Some((201, plain, "")));
        check(
            r#"{"statusCode":202,"headers":{"Content-Type":"application/json","X-Count":3,"content-length":"99"},
                "cookies":["a=1","b=2; Path=/"],"body":"{}","isBase64Encoded":false,"multiValueHeaders":{}}"#,
            Some((
                202,
                &[
                    ("content-type", "application/json"),
                    ("x-count", "3"),
                    ("set-cookie", "a=1"),
                    ("set-cookie", "b=2; Path=/"),
                ],
                "{}",
            )),
        );
        check(
            r#"{"statusCode":200,"body":"aGk=","isBase64Encoded":true}"#,
            Some((200, plain, "hi")),
        );
    }

    #[test]
    fn a_malformed_answer_is_no_response() {
        for payload in [
            "",
            "{",
            r#"{"statusCode":null}"#,
            r#"{"statusCode":42}"#,
            r#"{"statusCode":"ok"}"#,
            r#"{"statusCode":200,"body":{"a":1}}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            r#"{"statusCode":200,"headers":{"a":["c"]}}"#,
            r#"{"statusCode":200,"body":"?","isBase64Encoded":true}"#,
        ] {
            check(payload, None);
        }
    }
}
