//! The Invoke API over HTTP.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{Stack, eventually, function, serve};

struct Api {
    stack: Stack,
    address: String,
}

/// Status, the headers of Lambda without the request's identifier, and body.
type Answer = (u16, Vec<(String, String)>, String);

impl Api {
    async fn start() -> Self {
        let stack = Stack::of(function("f"));
        let address = serve(local_lambda::router(stack.lambda.clone())).await;
        Self { stack, address }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        client().request(method, format!("{}/2015-03-31/functions{path}", self.address))
    }

    fn invoke(&self, path: &str, body: impl Into<String>) -> RequestBuilder {
        self.request(Method::POST, path).body(body.into())
    }
}

/// A client that no proxy of the environment comes between.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client can be made")
}

async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("there is an answer");
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-amzn-requestid"));
    let headers = lambda_headers(response.headers());
    (status, headers, response.text().await.expect("the answer is text"))
}

fn lambda_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-am") && *name != "x-amzn-requestid")
        .map(|(name, value)| {
            (name.to_string(), value.to_str().expect("the header is text").to_owned())
        })
        .collect()
}

async fn check(request: RequestBuilder, status: u16, headers: &[(&str, &str)], body: &str) {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (found_status, found_headers, found_body) = answer(request).await;
    assert_eq!((found_status, found_headers), (status, headers.collect()));
    // The order of the fields depends on the features of `serde_json` in the build.
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    match (json(&found_body), json(body)) {
        (Some(found), Some(expected)) => assert_eq!(found, expected),
        _ => assert_eq!(found_body, body),
    }
}

const ECHO: &str = r#"{"do":"echo","value":[1]}"#;
const LATEST: (&str, &str) = ("x-amz-executed-version", "$LATEST");

#[tokio::test]
async fn every_way_to_name_a_function_works() {
    let api = Api::start().await;
    for name in [
        "/f/invocations",
        "/f:$LATEST/invocations",
        "/f/invocations?Qualifier=$LATEST",
        "/000000000000:function:f/invocations",
        "/arn:aws:lambda:us-east-1:000000000000:function:f/invocations",
        "/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af%3A%24LATEST/invocations",
    ] {
        check(api.invoke(name, ECHO), 200, &[LATEST], "[1]").await;
    }
}

#[tokio::test]
async fn an_error_of_the_function_is_a_200_with_a_header() {
    let api = Api::start().await;
    let fail = r#"{"do":"fail","error_type":"Query.Failed","message":"no such table"}"#;
    let expected = r#"{"errorType":"Query.Failed","errorMessage":"no such table"}"#;
    check(
        api.invoke("/f/invocations", fail),
        200,
        &[LATEST, ("x-amz-function-error", "Unhandled")],
        expected,
    )
    .await;
}

#[tokio::test]
async fn an_unknown_function_is_not_found() {
    let api = Api::start().await;
    for (name, arn) in [
        ("g", "arn:aws:lambda:us-east-1:000000000000:function:g"),
        ("f:prod", "arn:aws:lambda:us-east-1:000000000000:function:f:prod"),
        (
            "arn:aws:lambda:eu-west-1:000000000000:function:f",
            "arn:aws:lambda:eu-west-1:000000000000:function:f",
        ),
    ] {
        let body = format!(r#"{{"Message":"Function not found: {arn}","Type":"User"}}"#);
        let error = [("x-amzn-errortype", "ResourceNotFoundException")];
        check(api.invoke(&format!("/{name}/invocations"), ECHO), 404, &error, &body).await;
        check(api.request(Method::GET, &format!("/{name}")), 404, &error, &body).await;
    }
}

#[tokio::test]
async fn a_payload_must_be_json() {
    let api = Api::start().await;
    check(
        api.invoke("/f/invocations", "{oops"),
        400,
        &[("x-amzn-errortype", "InvalidRequestContentException")],
        r#"{"Type":"User","message":"Could not parse request body into json: key must be a string at line 1 column 2"}"#,
    )
    .await;
}

/// An echo whose request has a certain size.
fn echo_of_size(size_bytes: usize) -> String {
    let empty = r#"{"do":"echo","value":""}"#;
    format!(r#"{{"do":"echo","value":"{}"}}"#, "x".repeat(size_bytes - empty.len()))
}

#[tokio::test]
async fn a_payload_may_be_as_large_as_the_limit_and_no_larger() {
    let api = Api::start().await;
    let (status, _, body) = answer(api.invoke("/f/invocations", echo_of_size(6_291_456))).await;
    assert_eq!((status, body.len()), (200, 6_291_456 - r#"{"do":"echo","value":}"#.len()));
    let error = [("x-amzn-errortype", "RequestEntityTooLargeException")];
    check(
        api.invoke("/f/invocations", echo_of_size(6_291_457)),
        413,
        &error,
        r#"{"Type":"User","message":"6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"}"#,
    )
    .await;
    check(
        api.invoke("/f/invocations", echo_of_size(1_048_577)).header("X-Amz-Invocation-Type", "Event"),
        413,
        &error,
        r#"{"Type":"User","message":"1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"}"#,
    )
    .await;
}

#[tokio::test]
async fn a_throttled_invocation_says_why() {
    let mut none = function("f");
    none.concurrency_max = 0;
    let stack = Stack::of(none);
    let address = serve(local_lambda::router(stack.lambda.clone())).await;
    let api = Api { stack, address };
    check(
        api.invoke("/f/invocations", ECHO),
        429,
        &[("x-amzn-errortype", "TooManyRequestsException")],
        r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
    )
    .await;
    assert_eq!(api.stack.lambda.usage()["f"].throttles, 1);
}

#[tokio::test]
async fn an_event_is_accepted_and_runs() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let file = dir.path().join("done");
    let api = Api::start().await;
    let payload = json!({"do": "write_later", "file": file, "milliseconds": 1}).to_string();
    check(
        api.invoke("/f/invocations", payload).header("X-Amz-Invocation-Type", "Event"),
        202,
        &[],
        "",
    )
    .await;
    eventually("the event", || file.exists()).await;
}

#[tokio::test]
async fn a_dry_run_runs_nothing() {
    let api = Api::start().await;
    check(
        api.invoke("/f/invocations", ECHO).header("X-Amz-Invocation-Type", "DryRun"),
        204,
        &[],
        "",
    )
    .await;
    assert_eq!(api.stack.lambda.usage()["f"].invocations, 0);
    let (status, _, _) =
        answer(api.invoke("/g/invocations", ECHO).header("X-Amz-Invocation-Type", "DryRun")).await;
    assert_eq!(status, 404);
    let (status, headers, _) =
        answer(api.invoke("/f/invocations", ECHO).header("X-Amz-Invocation-Type", "Sync")).await;
    let expected = ("x-amzn-errortype".to_owned(), "InvalidParameterValueException".to_owned());
    assert_eq!((status, headers), (400, vec![expected]));
}

#[tokio::test]
async fn the_end_of_the_log_comes_on_request() {
    let api = Api::start().await;
    let request = api.invoke("/f/invocations", ECHO).header("X-Amz-Log-Type", "Tail");
    let response = request.send().await.expect("there is an answer");
    let header =
        |name: &str| response.headers()[name].to_str().expect("the header is text").to_owned();
    let log = BASE64_STANDARD.decode(header("x-amz-log-result")).expect("the log is base64");
    let log = String::from_utf8(log).expect("the log is text");
    let id = header("x-amzn-requestid");
    assert!(
        log.contains(&format!("START RequestId: {id} "))
            && log.contains(&format!("REPORT RequestId: {id}")),
        "{log}"
    );
}

#[tokio::test]
async fn trace_and_client_context_reach_the_function() {
    let api = Api::start().await;
    let client = json!({"client": {}, "custom": {"tenant": "a"}, "environment": {}});
    let request = api
        .invoke("/f:$LATEST/invocations", r#"{"do":"context"}"#)
        .header("X-Amzn-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=1")
        .header("X-Amz-Client-Context", BASE64_STANDARD.encode(r#"{"custom":{"tenant":"a"}}"#));
    let (_, _, body) = answer(request).await;
    let context: Value = serde_json::from_str(&body).expect("the context is JSON");
    assert_eq!(
        context["xray_trace_id"],
        json!("Root=1-00000000-000000000000000000000000;Sampled=1")
    );
    assert_eq!(context["client_context"]["custom"], client["custom"]);
    let arn = format!("{}:$LATEST", api.stack.lambda.arn("f"));
    assert_eq!(context["invoked_function_arn"], json!(arn));
}

#[tokio::test]
async fn functions_can_be_looked_at() {
    let api = Api::start().await;
    let read = async |path: &str| -> Value {
        let response = api.request(Method::GET, path).send().await.expect("there is an answer");
        serde_json::from_slice(&response.bytes().await.expect("the answer is whole"))
            .expect("the answer is JSON")
    };
    let mut configuration = read("/f/configuration").await;
    assert_eq!(read("").await, json!({"Functions": [configuration]}));
    assert_eq!(read("/").await, json!({"Functions": [configuration]}));
    let function = read("/f").await;
    assert_eq!(function["Configuration"], configuration);
    assert_eq!(function["Concurrency"], json!({"ReservedConcurrentExecutions": 1000}));
    let fields = configuration.as_object_mut().expect("an object");
    assert!(fields.remove("CodeSize").and_then(|size| size.as_u64()).is_some_and(|size| size > 0));
    let modified = fields.remove("LastModified").and_then(|time| time.as_str().map(str::to_owned));
    assert!(modified.is_some_and(|time| time.ends_with("+0000")));
    fields.remove("Architectures");
    let expected = json!({
        "FunctionName": "f",
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Timeout": 20,
        "MemorySize": 512,
        "Version": "$LATEST",
        "Environment": {"Variables": {}},
        "PackageType": "Zip",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
    });
    assert_eq!(configuration, expected);
}
