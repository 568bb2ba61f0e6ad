//! An engine behind its API, with doubles of Lambda and of the object store.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use local_states::{Config, ObjectEntry, ObjectError, Objects, StepFunctions, router};
use serde_json::{Value, json};

pub(crate) const ROLE: &str = "arn:aws:iam::000000000000:role/role";

pub(crate) struct Stack {
    pub(crate) engine: StepFunctions,
    url: String,
    http: reqwest::Client,
    objects: Arc<Store>,
    functions: Arc<Functions>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(Config) -> Config) -> Self {
        let functions = Arc::new(Functions::default());
        let invoke = "/2015-03-31/functions/{name}/invocations";
        let lambda =
            Router::new().route(invoke, post(call_function)).with_state(Arc::clone(&functions));
        let objects = Arc::new(Store::default());
        let engine = StepFunctions::new(change(Config::new(
            "000000000000",
            "us-east-1",
            serve(lambda).await,
            Arc::clone(&objects) as Arc<dyn Objects>,
            Arc::new(local_states::Unrestricted),
        )));
        Self {
            url: serve(router(engine.clone())).await,
            engine,
            http: reqwest::Client::new(),
            objects,
            functions,
        }
    }

    pub(crate) fn put(&self, bucket: &str, key: &str, content: &str) {
        let mut objects = self.objects.0.lock().expect("the objects");
        let bucket = objects.entry(bucket.to_string()).or_default();
        bucket.insert(key.to_string(), content.to_string().into());
    }

    /// Sends a request; the status and the answer.
    pub(crate) async fn call(&self, operation: &str, request: Value) -> (u16, Value) {
        let response = self
            .http
            .post(&self.url)
            .header("x-amz-target", format!("AWSStepFunctions.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(request.to_string())
            .send()
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.expect("an answer that is JSON"))
    }

    pub(crate) async fn ok(&self, operation: &str, request: Value) -> Value {
        let (status, answer) = self.call(operation, request).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// All entries of a list, over all its pages.
    pub(crate) async fn pages(
        &self,
        operation: &str,
        mut request: Value,
        field: &str,
    ) -> Vec<Value> {
        let mut entries = Vec::new();
        loop {
            let page = self.ok(operation, request.clone()).await;
            entries.extend(page[field].as_array().expect("a list").iter().cloned());
            let Some(token) = page.get("nextToken") else {
                return entries;
            };
            request["nextToken"] = token.clone();
        }
    }

    pub(crate) async fn create(&self, name: &str, definition: &Value) -> String {
        let request = json!({
            "name": name, "definition": definition.to_string(), "roleArn": ROLE,
        });
        let answer = self.ok("CreateStateMachine", request).await;
        answer["stateMachineArn"].as_str().expect("an ARN").to_string()
    }

    pub(crate) async fn begin(&self, machine: &str, name: &str, input: &Value) -> String {
        let request = json!({
            "stateMachineArn": machine, "name": name, "input": input.to_string(),
        });
        let answer = self.ok("StartExecution", request).await;
        answer["executionArn"].as_str().expect("an ARN").to_string()
    }

    /// Runs an execution to its end and describes it.
    pub(crate) async fn run(&self, machine: &str, name: &str, input: &Value) -> Value {
        let arn = self.begin(machine, name, input).await;
        self.ended(&arn).await
    }

    /// The task token of a callback, when it has been given out.
    pub(crate) async fn token(&self, index: usize) -> String {
        loop {
            if let Some(token) = self.functions.tokens.lock().expect("the tokens").get(index) {
                return token.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for the end of an execution and describes it.
    pub(crate) async fn ended(&self, arn: &str) -> Value {
        loop {
            let execution = self.ok("DescribeExecution", json!({"executionArn": arn})).await;
            if execution["status"] != json!("RUNNING") {
                return execution;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The types of the events of an execution.
    pub(crate) async fn event_types(&self, arn: &str) -> Vec<String> {
        let request = json!({"executionArn": arn});
        let events = self.pages("GetExecutionHistory", request, "events").await;
        let types = events.iter().map(|event| event["type"].as_str().expect("a type"));
        types.map(str::to_string).collect()
    }

    pub(crate) async fn calls_of(&self, function: &str, count: usize) {
        wait_for(&self.functions.begun, function, count).await;
    }

    pub(crate) async fn dropped_calls_of(&self, function: &str, count: usize) {
        wait_for(&self.functions.dropped, function, count).await;
    }
}

async fn wait_for(counts: &Mutex<HashMap<String, usize>>, function: &str, count: usize) {
    while counts.lock().expect("the counts").get(function) != Some(&count) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(router: Router) -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[derive(Default)]
struct Store(Mutex<BTreeMap<String, BTreeMap<String, Bytes>>>);

#[async_trait]
impl Objects for Store {
    async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectError> {
        let objects = self.0.lock().expect("the objects");
        let object = objects.get(bucket).and_then(|bucket| bucket.get(key));
        object.cloned().ok_or_else(|| ObjectError::NoSuchKey(key.to_string()))
    }

    async fn list(&self, bucket: &str, _prefix: &str) -> Result<Vec<ObjectEntry>, ObjectError> {
        Err(ObjectError::NoSuchBucket(bucket.to_string()))
    }
}

/// How often each function was called, and how often its caller went away.
#[derive(Default)]
struct Functions {
    begun: Mutex<HashMap<String, usize>>,
    dropped: Mutex<HashMap<String, usize>>,
    queries: Mutex<HashMap<String, usize>>,
    /// The task tokens that callback functions were given, in the order of the calls.
    tokens: Mutex<Vec<String>>,
}

impl Functions {
    fn keep_token(&self, event: &Value) {
        let token = event["token"].as_str().expect("a token").to_string();
        self.tokens.lock().expect("the tokens").push(token);
    }
}

struct Dropped(Arc<Functions>, String);

impl Drop for Dropped {
    fn drop(&mut self) {
        let mut dropped = self.0.dropped.lock().expect("the counts");
        *dropped.entry(self.1.clone()).or_default() += 1;
    }
}

async fn call_function(
    State(functions): State<Arc<Functions>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let event: Value = serde_json::from_slice(&body).expect("an event that is JSON");
    let name = name.rsplit("function:").next().unwrap_or(&name);
    let name = name.split(':').next().unwrap_or(name);
    {
        let mut begun = functions.begun.lock().expect("the counts");
        *begun.entry(name.to_string()).or_default() += 1;
    }
    match name {
        "load" => load(&event),
        "execute" => execute(&functions, &event),
        "callback" => {
            functions.keep_token(&event);
            json!({"started": true}).to_string().into_response()
        }
        "callback-hang" => {
            functions.keep_token(&event);
            std::future::pending().await
        }
        "hang" => {
            let _dropped = Dropped(Arc::clone(&functions), name.to_string());
            std::future::pending().await
        }
        _ => {
            let kind = [("x-amzn-errortype", "ResourceNotFoundException")];
            let message = json!({"Message": format!("Function not found: {name}")});
            (StatusCode::NOT_FOUND, kind, message.to_string()).into_response()
        }
    }
}

fn function_error(payload: &Value) -> Response {
    ([("x-amz-function-error", "Unhandled")], payload.to_string()).into_response()
}

/// Makes a plan of a job, or fails where the job wants it.
fn load(event: &Value) -> Response {
    let mut plan = event["job"].clone();
    if plan["fail"] == json!(true) {
        return function_error(&json!({"errorType": "Job.Invalid", "errorMessage": "no queries"}));
    }
    plan["run_id"] = event["run_id"].clone();
    ([("x-amzn-requestid", "request-1")], plan.to_string()).into_response()
}

/// Every query has two rows; a slow one runs at first, a throttled one is refused at first.
fn execute(functions: &Functions, event: &Value) -> Response {
    // A query that is asked for again comes as the answer of the first call.
    let query = event["query"].as_str().expect("a query").to_string();
    let mut queries = functions.queries.lock().expect("the queries");
    let attempt = queries.entry(query.clone()).or_default();
    *attempt += 1;
    match (query.as_str(), *attempt) {
        ("slow", 1) => json!({"state": "RUNNING", "wait_seconds": 0, "query": query})
            .to_string()
            .into_response(),
        ("throttled", 1) => {
            function_error(&json!({"errorType": "Query.Throttled", "errorMessage": "later"}))
        }
        _ => json!({"state": "SUCCEEDED", "rows": 2}).to_string().into_response(),
    }
}
