//! Calling Lambda functions over HTTP, and what Step Functions makes of their answers.

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::history::{Service, Trouble};
use crate::machine::Invocation;

/// How many calls run at once. Each holds two sockets of the process when functions and states run
/// in one, and 1,024 is a usual limit; a call beyond the limit waits for another to end.
const CALLS_AT_ONCE_MAX: usize = 256;

/// A client of one Lambda endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Lambda {
    endpoint: String,
    http: reqwest::Client,
    calls: Arc<Semaphore>,
}

/// The headers of Lambda's answer that Step Functions shows, under the names it shows them.
const SHOWN_HEADERS: [&str; 8] = [
    "X-Amz-Executed-Version",
    "x-amzn-Remapped-Content-Length",
    "Connection",
    "x-amzn-RequestId",
    "Content-Length",
    "Date",
    "X-Amzn-Trace-Id",
    "Content-Type",
];

/// A client that asks no proxy. The endpoint is on this machine, and the proxies that the
/// environment names would see every invocation, passwords in jobs included.
fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().build();
    client.expect("a client without TLS and files of certificates can be built")
}

impl Lambda {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            http: client(),
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
        }
    }

    /// Calls a function and answers the result of the task, or the error of it.
    pub(crate) async fn invoke(
        &self,
        invocation: &Invocation,
        authorization: Option<String>,
    ) -> Result<Value, Trouble> {
        // The semaphore is never closed, so there is always a permit in the end.
        let _permit = self.calls.acquire().await;
        let response = self.request(invocation, authorization).send().await.map_err(unreachable)?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(refused(status.as_u16(), &headers, &body));
        }
        if headers.contains_key("x-amz-function-error") {
            return Err(function_error(&body));
        }
        Ok(result(&invocation.service, status.as_u16(), &headers, &body))
    }

    fn request(
        &self,
        invocation: &Invocation,
        authorization: Option<String>,
    ) -> reqwest::RequestBuilder {
        let mut url = format!(
            "{}/2015-03-31/functions/{}/invocations",
            self.endpoint,
            percent_encoded(&invocation.function)
        );
        if let Some(qualifier) = &invocation.qualifier {
            url.push_str("?Qualifier=");
            url.push_str(&percent_encoded(qualifier));
        }
        let mut request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(invocation.body.clone());
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let optional = [
            ("x-amz-invocation-type", &invocation.kind),
            ("x-amz-log-type", &invocation.log_type),
            ("x-amz-client-context", &invocation.client_context),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                request = request.header(HeaderName::from_static(name), value);
            }
        }
        request
    }
}

/// Names and ARNs have characters that mean something in a path.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn trouble(error: impl Into<String>, cause: impl Into<String>) -> Trouble {
    Trouble { error: Some(error.into()), cause: Some(cause.into()) }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unreachable(error: reqwest::Error) -> Trouble {
    let mut cause = format!("Unable to execute HTTP request: {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        cause = format!("{cause}: {deeper}");
        source = deeper.source();
    }
    trouble("Lambda.SdkClientException", cause)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Lambda itself refused the call.
fn refused(status: u16, headers: &HeaderMap, body: &[u8]) -> Trouble {
    let code = header(headers, "x-amzn-errortype").unwrap_or("Unknown");
    let code = code.split(':').next().unwrap_or(code);
    let fields: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = ["Message", "message", "errorMessage"]
        .iter()
        .find_map(|name| fields[name].as_str())
        .unwrap_or_default();
    let request_id = header(headers, "x-amzn-requestid").unwrap_or_default();
    let cause = format!(
        "{message} (Service: AWSLambda; Status Code: {status}; Error Code: {code}; \
         Request ID: {request_id}; Proxy: null)"
    );
    // Step Functions has a name of its own for what the SDK has no exception for.
    let code = if code == "AccessDeniedException" { "AWSLambdaException" } else { code };
    trouble(format!("Lambda.{code}"), cause)
}

/// The function ran and failed; the answer names its error.
fn function_error(body: &[u8]) -> Trouble {
    let Ok(payload) = serde_json::from_slice::<Value>(body) else {
        return unnamed_error(&String::from_utf8_lossy(body));
    };
    match payload["errorType"].as_str() {
        Some(error) => trouble(error, payload.to_string()),
        None => unnamed_error(&payload.to_string()),
    }
}

fn unnamed_error(payload: &str) -> Trouble {
    let cause = format!(
        "The cause could not be determined because Lambda did not return an error type. Returned \
         payload: {payload}"
    );
    trouble("Lambda.Unknown", cause)
}

/// What the task returns: the answer alone, or the envelope of `lambda:invoke`.
fn result(service: &Service, status: u16, headers: &HeaderMap, body: &[u8]) -> Value {
    let payload = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()));
    if matches!(service, Service::Function { .. }) {
        return payload;
    }
    let request_id = header(headers, "x-amzn-requestid").unwrap_or_default();
    let shown: Vec<(&str, String)> = SHOWN_HEADERS
        .iter()
        .map(|name| {
            let value = header(headers, name).map(str::to_string);
            (*name, value.unwrap_or_else(|| usual(name, body)))
        })
        .collect();
    let log = header(headers, "x-amz-log-result");
    let one = |(name, value): &(&str, String)| ((*name).to_string(), json!(value));
    let many = |(name, value): &(&str, String)| ((*name).to_string(), json!([value]));
    let mut result = json!({
        "ExecutedVersion": header(headers, "x-amz-executed-version").unwrap_or("$LATEST"),
        "Payload": payload,
        "SdkHttpMetadata": {
            "AllHttpHeaders": shown.iter().map(many).collect::<Map<_, _>>(),
            "HttpHeaders": shown.iter().map(one).collect::<Map<_, _>>(),
            "HttpStatusCode": status,
        },
        "SdkResponseMetadata": {"RequestId": request_id},
        "StatusCode": status,
    });
    if let Some(log) = log {
        result["LogResult"] = json!(log);
    }
    result
}

/// The value AWS has in a header that a small endpoint does not send.
fn usual(name: &str, body: &[u8]) -> String {
    match name {
        "X-Amz-Executed-Version" => "$LATEST".to_string(),
        "x-amzn-Remapped-Content-Length" => "0".to_string(),
        "Connection" => "keep-alive".to_string(),
        "Content-Length" => body.len().to_string(),
        "Content-Type" => "application/json".to_string(),
        "Date" => Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        "X-Amzn-Trace-Id" => {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let seconds = Timestamp::now().as_second();
            format!("Root=1-{seconds:08x}-{};Sampled=0", &id[..24])
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &Trouble, error: &str, cause: &str) {
        assert_eq!(found, &trouble(error, cause));
    }

    #[test]
    fn a_failed_function_gives_its_error_type_and_its_whole_answer() {
        check(
            &function_error(br#"{ "errorType": "Query.Failed", "errorMessage": "no" }"#),
            "Query.Failed",
            r#"{"errorType":"Query.Failed","errorMessage":"no"}"#,
        );
        let unknown = "The cause could not be determined because Lambda did not return an error \
                       type. Returned payload: ";
        check(
            &function_error(br#"{"errorMessage":"late"}"#),
            "Lambda.Unknown",
            &format!(r#"{unknown}{{"errorMessage":"late"}}"#),
        );
        check(&function_error(b"not json"), "Lambda.Unknown", &format!("{unknown}not json"));
    }

    #[test]
    fn a_refused_call_is_named_after_what_refused_it() {
        let mut headers = HeaderMap::new();
        let kind = "TooManyRequestsException:http://internal.amazon.com/";
        headers.insert("x-amzn-errortype", kind.parse().expect("a value"));
        headers.insert("x-amzn-requestid", "r-1".parse().expect("a value"));
        check(
            &refused(429, &headers, br#"{"message":"Rate Exceeded."}"#),
            "Lambda.TooManyRequestsException",
            "Rate Exceeded. (Service: AWSLambda; Status Code: 429; Error Code: \
             TooManyRequestsException; Request ID: r-1; Proxy: null)",
        );
    }

    #[tokio::test]
    async fn an_endpoint_that_is_not_there_is_an_error_of_the_client() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let invocation = Invocation {
            function: "f".to_string(),
            qualifier: None,
            body: "{}".to_string(),
            kind: None,
            log_type: None,
            client_context: None,
            service: Service::LambdaInvoke,
        };
        let result = Lambda::new(&format!("http://{address}")).invoke(&invocation, None).await;
        let error = result.map_err(|trouble| trouble.error);
        assert_eq!(error, Err(Some("Lambda.SdkClientException".to_string())));
    }

    /// The environment of a process that is told to use a proxy which is not there.
    const PROXIES: [&str; 6] =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

    /// Runs in a process of its own, which `no_proxy_is_asked` starts.
    #[tokio::test]
    #[ignore = "it shows something only where the environment names a proxy"]
    async fn a_call_past_the_proxy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = axum::routing::post(|| async { "\"direct\"" });
        let router = axum::Router::new().fallback_service(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let invocation = Invocation {
            function: "f".to_string(),
            qualifier: None,
            body: "{}".to_string(),
            kind: None,
            log_type: None,
            client_context: None,
            service: Service::Function { arn: "f".to_string() },
        };
        let result = Lambda::new(&format!("http://{address}")).invoke(&invocation, None).await;
        assert_eq!(result, Ok(json!("direct")));
    }

    #[test]
    fn no_proxy_is_asked() {
        let program = std::env::current_exe().expect("the path of this program");
        let mut command = std::process::Command::new(program);
        command.args(["--exact", "lambda::tests::a_call_past_the_proxy", "--include-ignored"]);
        // Port 1 refuses connections, so a client that asks the proxy fails.
        command.envs(PROXIES.map(|name| (name, "http://127.0.0.1:1")));
        command.env_remove("NO_PROXY").env_remove("no_proxy");
        let output = command.output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn names_and_arns_fit_into_a_path() {
        assert_eq!(percent_encoded("my-function_1"), "my-function_1");
        assert_eq!(percent_encoded("arn:aws:lambda/ä"), "arn%3Aaws%3Alambda%2F%C3%A4");
    }
}
