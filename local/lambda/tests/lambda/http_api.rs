//! A function written with `lambda_http`, behind an HTTP API.

use std::time::Duration;

use local_lambda::{HttpApi, Route, http_api_router};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::invoke_api::client;
use crate::{Stack, example, function, serve};

const ROUTES: [&str; 6] = [
    "POST /jobs",
    "GET /jobs/{run_id}",
    "GET /binary",
    "GET /slow",
    "GET /fail",
    "ANY /rest/{proxy+}",
];

struct Api {
    _stack: Stack,
    address: String,
}

impl Api {
    async fn start() -> Self {
        let mut web = function("f");
        web.binary = example("web");
        let stack = Stack::of(web);
        let routes =
            ROUTES.map(|key| Route::new(key, stack.lambda.arn("f")).expect("the key is valid"));
        let forbidden = Route::new("GET /forbidden", "f").expect("the key is valid");
        let routes = [routes.to_vec(), vec![forbidden.without_permission()]].concat();
        let mut api = HttpApi::new("a1b2c3", routes);
        api.integration_timeout = Duration::from_secs(5);
        let front = http_api_router(stack.lambda.clone(), api).expect("the routes are valid");
        Self { address: serve(front).await, _stack: stack }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        client().get(format!("{}{path}", self.address))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        client().post(format!("{}{path}", self.address))
    }
}

async fn send(request: RequestBuilder) -> Response {
    let response = request.send().await.expect("there is an answer");
    let request_id = response.headers()["apigw-requestid"].to_str().expect("the header is text");
    assert!(request_id.len() == 16 && request_id.ends_with('='), "{request_id}");
    response
}

#[tokio::test]
async fn a_job_goes_in_and_a_whole_response_comes_out() {
    let api = Api::start().await;
    let request = api.post("/jobs").header("content-type", "application/json").body(r#"{"a":1}"#);
    let response = send(request).await;
    let headers = response.headers();
    let cookies: Vec<_> =
        headers.get_all("set-cookie").iter().map(|value| value.to_str().ok()).collect();
    assert_eq!(response.status(), 202);
    assert_eq!(headers["location"], "/jobs/r-1");
    assert_eq!(headers["content-type"], "text/plain;charset=utf-8");
    assert_eq!(cookies, [Some("a=1"), Some("b=2; Path=/")]);
    assert_eq!(response.text().await.expect("text"), r#"{"job":{"a":1}}"#);
}

async fn check_seen(request: RequestBuilder, expected: Value) {
    let response = send(request).await;
    assert_eq!(response.status(), 200);
    let seen: Value = response.json().await.expect("the answer is JSON");
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_function_sees_the_request_as_it_was_sent() {
    let api = Api::start().await;
    check_seen(
        api.get("/jobs/r-1?status=failed&status=timed%20out").header("cookie", "one=1; two=2"),
        json!({
            "route": "GET /jobs/{run_id}",
            "method": "GET",
            "path": "/jobs/r-1",
            "parameters": [["run_id", "r-1"]],
            "query": [["status", "failed"], ["status", "timed out"]],
            "cookies": ["one=1; two=2"],
            "body": "",
        }),
    )
    .await;
    check_seen(
        client()
            .patch(format!("{}/rest/a/b", api.address))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("x=1&y=é"),
        json!({
            "route": "ANY /rest/{proxy+}",
            "method": "PATCH",
            "path": "/rest/a/b",
            "parameters": [["proxy", "a/b"]],
            "query": [],
            "cookies": [],
            "body": "x=1&y=é",
        }),
    )
    .await;
}

#[tokio::test]
async fn bytes_survive() {
    let api = Api::start().await;
    let response = send(api.get("/binary")).await;
    assert_eq!(response.bytes().await.expect("the body"), [0_u8, 159, 146, 150].as_slice());
}

async fn check_refusal(request: RequestBuilder, status: u16, body: &str) {
    let response = send(request).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(
        (response.status().as_u16(), response.text().await.expect("text")),
        (status, body.to_owned())
    );
}

#[tokio::test]
async fn what_fails_is_answered_as_api_gateway_answers() {
    let api = Api::start().await;
    check_refusal(api.get("/"), 404, r#"{"message":"Not Found"}"#).await;
    check_refusal(api.get("/jobs"), 404, r#"{"message":"Not Found"}"#).await;
    check_refusal(api.get("/forbidden"), 500, r#"{"message":"Internal Server Error"}"#).await;
    check_refusal(api.get("/fail"), 500, r#"{"message":"Internal Server Error"}"#).await;
    let not_json = api.post("/jobs").header("content-type", "application/json").body("{");
    check_refusal(not_json, 500, r#"{"message":"Internal Server Error"}"#).await;
    check_refusal(api.get("/slow"), 503, r#"{"message":"Service Unavailable"}"#).await;
    let text = |size_bytes: usize| {
        api.post("/jobs").header("content-type", "text/plain").body("x".repeat(size_bytes))
    };
    check_refusal(text(10_485_761), 413, r#"{"message":"Request Entity Too Large"}"#).await;
    // Smaller than what an HTTP API takes, but larger than what a function does.
    check_refusal(text(6_291_456), 413, r#"{"message":"Request Entity Too Large"}"#).await;
}

#[test]
fn no_api_waits_longer_than_api_gateway() {
    let stack = Stack::of(function("f"));
    let mut api = HttpApi::new("a1b2c3", Vec::new());
    api.integration_timeout = Duration::from_secs(31);
    let refused = http_api_router(stack.lambda, api).expect_err("31 s are too long");
    assert_eq!(refused.to_string(), "an integration time-out of 31s is longer than 30s");
}

#[test]
fn a_route_needs_a_function_that_exists() {
    let stack = Stack::of(function("f"));
    let route = Route::new("GET /", "g").expect("the key is valid");
    let refused = http_api_router(stack.lambda, HttpApi::new("a1b2c3", vec![route]))
        .expect_err("there is no g");
    assert_eq!(refused.to_string(), "looking for the function of route `GET /`");
}
