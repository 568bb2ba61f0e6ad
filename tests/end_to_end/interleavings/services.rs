//! S3, Athena and Step Functions as far as the functions use them, in memory: each request is one
//! step.

use std::collections::BTreeMap;

use aws_smithy_runtime_api::{
    client::orchestrator::{HttpRequest, HttpResponse},
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use job::record::QueryState;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The function that sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The one that may run queries.
    ExecuteSingleQuery,
    /// The one whose queries fail, because its role has no rights on catalog and sources.
    ResultsGatherer,
}

/// End of a callback task, as the machine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Succeeded,
    Failed,
    TimedOut,
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) bytes: Vec<u8>,
}

/// One execution of a query in Athena.
#[derive(Clone, Debug)]
pub(super) struct QueryExecution {
    pub(super) id: String,
    pub(super) token: String,
    pub(super) request: Value,
    pub(super) started_by: Caller,
    pub(super) state: &'static str,
    pub(super) is_retryable: bool,
}

impl QueryExecution {
    pub(super) fn runs(&self) -> bool {
        self.state == "RUNNING"
    }
}

/// A callback task. It waits while it has a sender.
struct Task {
    query: usize,
    waiting: Option<oneshot::Sender<Settled>>,
}

/// Everything that outlives a call.
#[derive(Default)]
pub(super) struct Services {
    objects: BTreeMap<String, Vec<Version>>,
    /// Successful writes: place and bytes.
    pub(super) writes: Vec<(String, Vec<u8>)>,
    pub(super) executions: Vec<QueryExecution>,
    /// Athena's ids of the queries that have ended since this was last taken.
    pub(super) ended: Vec<String>,
    tasks: BTreeMap<String, Task>,
    /// The places of the records, by the number of the query.
    pub(super) records: Vec<String>,
    pub(super) execution_status: &'static str,
    pub(super) faults: Vec<String>,
}

impl Services {
    pub(super) fn answer(&mut self, caller: Caller, request: &HttpRequest) -> HttpResponse {
        let target = request.headers().get("x-amz-target").map(str::to_owned);
        let body = request.body().bytes().unwrap_or_default();
        match target.as_deref().and_then(|target| target.split_once('.')) {
            Some((_, operation)) => {
                let input = serde_json::from_slice(body).unwrap_or(Value::Null);
                self.operation(caller, operation, &input)
            }
            None => self.object(request, body),
        }
    }

    fn operation(&mut self, caller: Caller, operation: &str, input: &Value) -> HttpResponse {
        let id = input["QueryExecutionId"].as_str();
        let found = id.and_then(|id| self.executions.iter().position(|query| query.id == id));
        match (operation, found) {
            ("StartQueryExecution", _) => self.start(caller, input),
            ("GetQueryExecution", Some(position)) => described(&self.executions[position]),
            ("StopQueryExecution", Some(position)) => {
                self.end(position, "CANCELLED", false);
                json_answer(200, &json!({}))
            }
            ("GetQueryExecution" | "StopQueryExecution", None) => {
                refused("InvalidRequestException", "QueryExecution was not found")
            }
            ("SendTaskSuccess", _) => self.settle(input, Settled::Succeeded),
            ("SendTaskFailure", _) => self.settle(input, Settled::Failed),
            ("DescribeExecution", _) => json_answer(
                200,
                &json!({
                    "executionArn": input["executionArn"], "stateMachineArn": "arn", "name": "r1",
                    "status": self.execution_status, "startDate": 1_769_860_800.123,
                    "input": json!({ "output_bucket": "acme-results", "output_prefix": "" }).to_string(),
                }),
            ),
            (operation, _) => {
                self.faults.push(format!("`{operation}` is not expected"));
                refused("UnknownOperationException", operation)
            }
        }
    }

    fn start(&mut self, caller: Caller, input: &Value) -> HttpResponse {
        let token = input["ClientRequestToken"].as_str().unwrap_or_default().to_owned();
        if let Some(known) = self.executions.iter().find(|query| query.token == token) {
            if known.request != *input {
                self.faults.push("a start is repeated with other parameters".to_owned());
                return refused("InvalidRequestException", "Idempotent parameters do not match");
            }
            return json_answer(200, &json!({ "QueryExecutionId": known.id }));
        }
        let is_intended = self.writes.iter().any(|(_, bytes)| {
            let record: Value = serde_json::from_slice(bytes).unwrap_or_default();
            record["state"] == "STARTING" && record["token"] == token.as_str()
        });
        if !is_intended {
            self.faults.push("a query is started without an intent".to_owned());
        }
        let id = format!("execution-{}", self.executions.len() + 1);
        self.executions.push(QueryExecution {
            id: id.clone(),
            token,
            request: input.clone(),
            started_by: caller,
            state: "RUNNING",
            is_retryable: false,
        });
        json_answer(200, &json!({ "QueryExecutionId": id }))
    }

    /// The state of a query that has ended, as its event tells it.
    pub(super) fn state(&self, id: &str) -> QueryState {
        match self.executions.iter().find(|query| query.id == id).map(|query| query.state) {
            Some("SUCCEEDED") => QueryState::Succeeded,
            Some("FAILED") => QueryState::Failed,
            _ => QueryState::Cancelled,
        }
    }

    /// Ends a query, unless it has ended.
    pub(super) fn end(&mut self, position: usize, state: &'static str, is_retryable: bool) {
        let query = &mut self.executions[position];
        if !query.runs() {
            return;
        }
        query.state = state;
        query.is_retryable = is_retryable;
        let id = query.id.clone();
        if state == "SUCCEEDED" {
            let result = format!("acme-results/r1/athena/{id}.csv");
            self.put(&result, b"\"x\"\n\"1\"\n".to_vec());
        }
        self.ended.push(id);
    }

    /// Makes a callback task wait for this token.
    pub(super) fn wait(&mut self, token: &str, query: usize) -> oneshot::Receiver<Settled> {
        let (sender, receiver) = oneshot::channel();
        self.tasks.insert(token.to_owned(), Task { query, waiting: Some(sender) });
        receiver
    }

    /// The tokens of the tasks that wait.
    pub(super) fn waiting(&self) -> Vec<String> {
        let waiting = self.tasks.iter().filter(|(_, task)| task.waiting.is_some());
        waiting.map(|(token, _)| token.clone()).collect()
    }

    /// Ends the wait of a task, and gives whether it waited.
    pub(super) fn close(&mut self, token: &str, settled: Settled) -> bool {
        let waiting = self.tasks.get_mut(token).and_then(|task| task.waiting.take());
        waiting.is_some_and(|waiting| waiting.send(settled).is_ok())
    }

    fn settle(&mut self, input: &Value, settled: Settled) -> HttpResponse {
        let token = input["taskToken"].as_str().unwrap_or_default().to_owned();
        let Some(task) = self.tasks.get(&token) else {
            self.faults.push("a token is answered that nobody gave out".to_owned());
            return refused("InvalidToken", "Invalid Token: 'Invalid token'");
        };
        let query = task.query;
        if task.waiting.is_none() {
            let text = "Task Timed Out: 'Provided task does not exist anymore'";
            return refused("TaskTimedOut", text);
        }
        if settled == Settled::Succeeded
            && let Some(fault) = self.not_ended(query)
        {
            self.faults.push(fault);
        }
        self.close(&token, settled);
        json_answer(200, &json!({}))
    }

    /// Says why a query's callback may not be completed, if it may not.
    fn not_ended(&self, query: usize) -> Option<String> {
        let record = self.record(query)?;
        let id = record["query_execution_id"].as_str();
        let runs =
            self.executions.iter().any(|query| Some(query.id.as_str()) == id && query.runs());
        let is_early = record["state"] == "STARTING" || (record["state"] == "RUNNING" && runs);
        is_early.then(|| format!("a callback is completed too early: {record}"))
    }

    pub(super) fn record(&self, query: usize) -> Option<Value> {
        let newest = self.newest(&self.records[query])?;
        serde_json::from_slice(&newest.bytes).ok()
    }

    pub(super) fn newest(&self, place: &str) -> Option<&Version> {
        self.objects.get(place).and_then(|versions| versions.last())
    }

    pub(super) fn version(&self, place: &str, id: &str) -> Option<&Version> {
        self.objects.get(place)?.iter().find(|version| version.id == id)
    }

    /// Writes an object past the endpoint.
    pub(super) fn put(&mut self, place: &str, bytes: Vec<u8>) -> String {
        let versions = self.objects.entry(place.to_owned()).or_default();
        let id = format!("version-{}", versions.len() + 1);
        versions.push(Version { id: id.clone(), bytes });
        id
    }

    fn object(&mut self, request: &HttpRequest, body: &[u8]) -> HttpResponse {
        let path = request.uri().split_once("://").map_or(request.uri(), |(_, rest)| rest);
        let path = path.split_once('/').map_or("", |(_, path)| path);
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        let newest = self.newest(place).map(|version| version.id.clone());
        match request.method() {
            "GET" => {
                let wanted = query.split('&').find_map(|pair| pair.strip_prefix("versionId="));
                let id = wanted.map(str::to_owned).or(newest);
                match id.and_then(|id| self.version(place, &id)) {
                    Some(version) => object_answer(&version.id, version.bytes.clone()),
                    None => s3_error(404, "NoSuchKey"),
                }
            }
            "PUT" => {
                let etag = newest.as_deref().map(etag);
                let if_match = request.headers().get("if-match");
                match (request.headers().get("if-none-match"), if_match, etag) {
                    (Some(_), _, Some(_)) => s3_error(412, "PreconditionFailed"),
                    (_, Some(_), None) => s3_error(404, "NoSuchKey"),
                    (_, Some(expected), Some(etag)) if expected != etag => {
                        s3_error(412, "PreconditionFailed")
                    }
                    _ => {
                        self.writes.push((place.to_owned(), body.to_vec()));
                        let id = self.put(place, body.to_vec());
                        object_answer(&id, Vec::new())
                    }
                }
            }
            method => {
                self.faults.push(format!("`{method}` is not expected of S3"));
                s3_error(400, "InvalidRequest")
            }
        }
    }
}

/// Equal bytes have another ETag each time, as under SSE-KMS.
fn etag(version_id: &str) -> String {
    format!("\"etag-of-{version_id}\"")
}

fn described(query: &QueryExecution) -> HttpResponse {
    let mut status = json!({ "State": query.state, "StateChangeReason": "as the seed decides" });
    if query.state == "FAILED" {
        status["AthenaError"] = json!({
            "ErrorCategory": 1, "ErrorType": 1403, "Retryable": query.is_retryable,
            "ErrorMessage": "as the seed decides",
        });
    }
    let place = format!("s3://acme-results/r1/athena/{}.csv", query.id);
    let execution = json!({
        "QueryExecutionId": query.id, "Status": status,
        "ResultConfiguration": { "OutputLocation": place },
    });
    json_answer(200, &json!({ "QueryExecution": execution }))
}

fn json_answer(status: u16, body: &Value) -> HttpResponse {
    answer(status, body.to_string().into_bytes())
}

fn refused(kind: &str, message: &str) -> HttpResponse {
    json_answer(400, &json!({ "__type": kind, "message": message, "Message": message }))
}

pub(super) fn unavailable() -> HttpResponse {
    answer(503, Vec::new())
}

fn s3_error(status: u16, code: &str) -> HttpResponse {
    answer(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>").into())
}

fn object_answer(version_id: &str, bytes: Vec<u8>) -> HttpResponse {
    let mut answer = answer(200, bytes);
    answer.headers_mut().insert("x-amz-version-id", version_id.to_owned());
    answer.headers_mut().insert("etag", etag(version_id));
    answer
}

fn answer(status: u16, bytes: Vec<u8>) -> HttpResponse {
    let status = StatusCode::try_from(status).expect("the statuses are valid");
    let length = bytes.len().to_string();
    let mut answer = HttpResponse::new(status, SdkBody::from(bytes));
    answer.headers_mut().insert("content-length", length);
    answer
}
