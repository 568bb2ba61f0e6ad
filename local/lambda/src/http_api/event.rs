//! A request as a function sees it: payload format 2.0.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::route::{Found, decoded};

/// What all events of an API have in common.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) stage_variables: BTreeMap<String, String>,
}

/// A request, and how it came.
pub(super) struct Arrival<'a> {
    pub(super) parts: &'a Parts,
    pub(super) body: &'a Bytes,
    pub(super) source_ip: IpAddr,
    pub(super) request_id: &'a str,
    pub(super) trace_root: &'a str,
    pub(super) now: Timestamp,
}

/// The event. What a request does not have is left out, never null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    version: &'static str,
    route_key: String,
    raw_path: String,
    raw_query_string: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: RequestContext,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    path_parameters: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stage_variables: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    account_id: String,
    api_id: String,
    domain_name: String,
    domain_prefix: String,
    http: Http,
    request_id: String,
    route_key: String,
    stage: &'static str,
    time: String,
    time_epoch: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    path: String,
    protocol: String,
    source_ip: String,
    user_agent: String,
}

impl Event {
    /// The event of a request that was given to a route.
    pub(super) fn new(api: &Api, found: &Found<'_>, arrival: &Arrival<'_>) -> Self {
        let Arrival { parts, body, source_ip, request_id, trace_root, now } = arrival;
        let raw_query_string = parts.uri.query().unwrap_or_default();
        let raw_path = arrival.path();
        let domain_name =
            arrival.header(&header::HOST).unwrap_or_else(|| format!("{}.localhost", api.id));
        let (body, is_base64_encoded) =
            encoded(body, arrival.header(&header::CONTENT_TYPE).as_deref());
        Self {
            version: "2.0",
            route_key: found.route.key().to_owned(),
            raw_path: raw_path.clone(),
            raw_query_string: raw_query_string.to_owned(),
            cookies: cookies(&parts.headers),
            headers: arrival.headers(trace_root),
            query_string_parameters: joined(
                form_urlencoded::parse(raw_query_string.as_bytes())
                    .map(|(name, value)| (name.into_owned(), value.into_owned())),
            ),
            request_context: RequestContext {
                account_id: api.account.clone(),
                api_id: api.id.clone(),
                domain_prefix: domain_name.split(['.', ':']).next().unwrap_or_default().to_owned(),
                domain_name,
                http: Http {
                    method: parts.method.to_string(),
                    path: raw_path,
                    protocol: format!("{:?}", parts.version),
                    source_ip: source_ip.to_string(),
                    user_agent: arrival.header(&header::USER_AGENT).unwrap_or_default(),
                },
                request_id: (*request_id).to_owned(),
                route_key: found.route.key().to_owned(),
                stage: "$default",
                time: now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                time_epoch: now.as_millisecond(),
            },
            path_parameters: found.path_parameters.clone(),
            stage_variables: api.stage_variables.clone(),
            body,
            is_base64_encoded,
        }
    }
}

impl Arrival<'_> {
    /// The path without its percent-encoding. API Gateway cuts it at a `?` that appears by that.
    fn path(&self) -> String {
        let path = decoded(self.parts.uri.path());
        path.split('?').next().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &HeaderName) -> Option<String> {
        self.parts
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// The headers but those of one connection and the cookies, with those that API Gateway adds.
    fn headers(&self, trace_root: &str) -> BTreeMap<String, String> {
        let dropped = [
            header::CONNECTION,
            header::COOKIE,
            header::TE,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ];
        let sent = self.parts.headers.iter().filter(|(name, _)| !dropped.contains(name));
        let mut headers = joined(sent.map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        }));
        let host = headers.get("host").map_or("", String::as_str);
        let port = host.rsplit_once(':').map_or("80", |(_, port)| port).to_owned();
        let forwarded = headers.get("x-forwarded-for").map(|before| format!("{before}, "));
        let mut add = |name: &str, value: String| headers.insert(name.to_owned(), value);
        add("content-length", self.body.len().to_string());
        add("x-amzn-trace-id", trace_root.to_owned());
        add("x-forwarded-for", format!("{}{}", forwarded.unwrap_or_default(), self.source_ip));
        add("x-forwarded-port", port);
        add("x-forwarded-proto", "http".to_owned());
        headers
    }
}

/// Values of one name, joined by commas in the order they came.
fn joined(pairs: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in pairs {
        all.entry(name)
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert(value);
    }
    all
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines
        .flat_map(|line| {
            let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
            line.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// The body and whether it had to be encoded. A text type whose bytes are no text is encoded, too.
fn encoded(body: &Bytes, content_type: Option<&str>) -> (Option<String>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    match std::str::from_utf8(body) {
        Ok(text) if content_type.is_some_and(is_text) => (Some(text.to_owned()), false),
        _ => (Some(BASE64_STANDARD.encode(body)), true),
    }
}

/// Whether API Gateway takes a content type for text. A form, surprisingly, is not; nor is a body without a
/// type, nor one of `application/problem+json`.
fn is_text(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"]
            .contains(&media_type.as_str())
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
    use axum::http::{Method, Request};
    use serde_json::{Value, json};

    use super::super::route::{Route, RouteTable};
    use super::*;

    fn event(key: &str, request: Request<&'static str>) -> Value {
        let table = RouteTable::new(vec![Route::new(key, "f").expect("the key is valid")])
            .expect("one route");
        let (parts, body) = request.into_parts();
        let found = table.find(&parts.method, parts.uri.path()).expect("the route matches");
        let api = Api {
            id: "a1b2c3".to_owned(),
            account: "000000000000".to_owned(),
            stage_variables: BTreeMap::new(),
        };
        let arrival = Arrival {
            parts: &parts,
            body: &Bytes::from_static(body.as_bytes()),
            source_ip: IpAddr::from([127, 0, 0, 1]),
            request_id: "JKJaXmPLvHcESHA=",
            trace_root: "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
            now: "2020-03-12T19:03:58.390Z".parse().expect("a time"),
        };
        let event =
            serde_json::to_value(Event::new(&api, &found, &arrival)).expect("an event is JSON");
        serde_json::from_value::<ApiGatewayV2httpRequest>(event.clone())
            .expect("a function can read it");
        event
    }

    #[test]
    fn an_event_has_every_field_of_the_format() {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/jobs/a%20b?status=failed&status=timed%20out&next=&q=a+b")
            .header("Host", "127.0.0.1:4000")
            .header("User-Agent", "agent")
            .header("Content-Type", "application/json; charset=utf-8")
            .header("Accept", "text/html")
            .header("Accept", "application/json")
            .header("Cookie", "one=1; two=2")
            .header("Connection", "keep-alive")
            .header("X-Forwarded-For", "10.0.0.1")
            .body("{\"a\":1}")
            .expect("a request");
        let expected = json!({
            "version": "2.0",
            "routeKey": "POST /jobs/{run_id}",
            "rawPath": "/jobs/a b",
            "rawQueryString": "status=failed&status=timed%20out&next=&q=a+b",
            "cookies": ["one=1", "two=2"],
            "headers": {
                "accept": "text/html,application/json",
                "content-length": "7",
                "content-type": "application/json; charset=utf-8",
                "host": "127.0.0.1:4000",
                "user-agent": "agent",
                "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
                "x-forwarded-for": "10.0.0.1, 127.0.0.1",
                "x-forwarded-port": "4000",
                "x-forwarded-proto": "http",
            },
            "queryStringParameters": { "next": "", "q": "a b", "status": "failed,timed out" },
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "a1b2c3",
                "domainName": "127.0.0.1:4000",
                "domainPrefix": "127",
                "http": {
                    "method": "POST",
                    "path": "/jobs/a b",
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": "agent",
                },
                "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": "POST /jobs/{run_id}",
                "stage": "$default",
                "time": "12/Mar/2020:19:03:58 +0000",
                "timeEpoch": 1_584_039_838_390_i64,
            },
            "pathParameters": { "run_id": "a b" },
            "body": "{\"a\":1}",
            "isBase64Encoded": false,
        });
        assert_eq!(event("POST /jobs/{run_id}", request), expected);
    }

    #[test]
    fn what_a_request_does_not_have_is_left_out() {
        let request = Request::get("/").body("").expect("a request");
        let event = event("$default", request);
        // The order of the fields depends on the features of `serde_json` in the build.
        let mut fields: Vec<_> =
            event.as_object().expect("an object").keys().map(String::as_str).collect();
        fields.sort_unstable();
        let expected = [
            "headers",
            "isBase64Encoded",
            "rawPath",
            "rawQueryString",
            "requestContext",
            "routeKey",
            "version",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_path_ends_where_decoding_makes_a_question_mark() {
        let request = Request::get("/files/a%3Fb%2Fc?d=e").body("").expect("a request");
        let event = event("GET /files/{name}", request);
        let seen = [&event["rawPath"], &event["pathParameters"]["name"], &event["rawQueryString"]];
        assert_eq!(seen, ["/files/a", "a?b/c", "d=e"]);
    }

    #[track_caller]
    fn check_body(content_type: Option<&str>, expected_body: &str, expected_base64: bool) {
        let (body, is_base64) = encoded(&Bytes::from_static(b"a=1"), content_type);
        assert_eq!(
            (body.as_deref(), is_base64),
            (Some(expected_body), expected_base64),
            "{content_type:?}"
        );
    }

    #[test]
    fn a_body_is_text_only_under_the_types_that_api_gateway_knows() {
        for text in [
            "application/json",
            "Application/JSON;charset=utf-8",
            "text/csv",
            "application/xml",
            "application/javascript",
        ] {
            check_body(Some(text), "a=1", false);
        }
        for binary in [
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "application/problem+json",
        ] {
            check_body(Some(binary), "YT0x", true);
        }
        check_body(None, "YT0x", true);
        let not_utf8 = Bytes::from_static(&[0xff, 0x00]);
        assert_eq!(encoded(&not_utf8, Some("text/plain")), (Some("/wA=".to_owned()), true));
    }
}
