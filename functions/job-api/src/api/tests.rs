use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use aws_io::StorageError;
use job::{
    record::{Manifest, QuerySummary},
    run_record::ExecutionId,
    view::{ProblemDetails, RunState},
};
use serde_json::json;

use super::*;
use crate::{Execution, ExecutionsError, Queries};

/// Step Functions, its time standing still.
#[derive(Debug, Default)]
struct Runs {
    runs: Mutex<HashMap<RunId, (Execution, Option<String>)>>,
    busy: bool,
}

impl Runs {
    fn change(&self, run_id: &str, change: impl FnOnce(&mut (Execution, Option<String>))) {
        change(self.runs.lock().unwrap().get_mut(&run_id.parse().unwrap()).unwrap());
    }

    fn up(&self, action: &'static str, run_id: &RunId) -> Result<(), ExecutionsError> {
        let (run_id, source) = (run_id.clone(), "a role's name".into());
        if self.busy {
            Err(ExecutionsError::Unavailable { action, run_id, source })
        } else {
            Ok(())
        }
    }
}

impl Executions for Runs {
    async fn start(&self, run_id: &RunId, input: &str) -> Result<Start, ExecutionsError> {
        self.up("starting", run_id)?;
        let mut runs = self.runs.lock().unwrap();
        if let Some((known, _)) = runs.get(run_id) {
            let same = known.status == RunState::Running && known.input.expose_secret() == input;
            return Ok(if same { Start::Started } else { Start::NameTaken });
        }
        let execution = Execution {
            id: ExecutionId {
                arn: format!("arn:{run_id}"),
                started_at: "2026-01-31T12:00:00Z".parse().unwrap(),
            },
            status: RunState::Running,
            finished_at: None,
            input: input.into(),
            error: None,
            cause: None,
        };
        runs.insert(run_id.clone(), (execution, None));
        Ok(Start::Started)
    }

    async fn look(&self, run_id: &RunId) -> Result<Option<Execution>, ExecutionsError> {
        self.up("looking at", run_id)?;
        Ok(self.runs.lock().unwrap().get(run_id).map(|(execution, _)| execution.clone()))
    }

    async fn stage(&self, run_id: &RunId) -> Result<Option<String>, ExecutionsError> {
        Ok(self.runs.lock().unwrap().get(run_id).and_then(|(_, stage)| stage.clone()))
    }
}

/// Records by the places of the plan and the manifest.
#[derive(Debug, Default)]
struct Bucket {
    queries: Mutex<BTreeMap<String, Vec<QuerySummary>>>,
    manifests: Mutex<BTreeMap<String, Manifest>>,
    broken: bool,
}

impl Records for Bucket {
    async fn queries(
        &self,
        layout: &RunLayout,
        _: &ExecutionId,
    ) -> Result<Option<Queries>, StorageError> {
        if self.broken {
            let source = serde_json::from_str::<Value>("s3cret").unwrap_err();
            let (action, location) = ("reading", layout.plan());
            return Err(StorageError::Document { action, location, source });
        }
        let records = self.queries.lock().unwrap().get(&layout.plan().to_string()).cloned();
        Ok(records.map(|summaries| Queries { count: summaries.len(), summaries }))
    }

    async fn manifest(
        &self,
        layout: &RunLayout,
        _: &ExecutionId,
    ) -> Result<Option<Manifest>, StorageError> {
        Ok(self.manifests.lock().unwrap().get(&layout.manifest().to_string()).cloned())
    }
}

fn api() -> Api<Runs, Bucket> {
    let now = || "2026-01-31T12:00:00Z".parse().unwrap();
    let run_ids = RunIdSource { now, random: || 0xfeed };
    Api::new(Runs::default(), Bucket::default(), run_ids)
}

fn job() -> Value {
    json!({
        "query_names": ["users", "daily/orders"],
        "query_index_bucket": "acme-queries",
        "output_bucket": "acme-results",
        "output_prefix": "out",
        "zip_prefix": "zips/",
        "transporter": {
            "type": "sftp",
            "config": {
                "sftp_host": "sftp.partner.example", "sftp_port": "22", "sftp_user": "acme",
                "sftp_password": "s3cret", "sftp_path": "/in/daily",
            },
        },
    })
}

/// A request as API Gateway hands it over: `path` is without percent-encoding.
fn request(method: &str, path: &str, headers: &Value, body: Option<&str>) -> Request {
    let mut all = json!({ "host": "api.example", "x-forwarded-proto": "https" });
    all.as_object_mut().unwrap().extend(headers.as_object().unwrap().clone());
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": all,
        "requestContext": {
            "accountId": "000000000000", "apiId": "api", "domainName": "api.example",
            "domainPrefix": "api", "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default",
            "stage": "$default", "time": "31/Jan/2026:12:00:00 +0000", "timeEpoch": 0,
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": "test",
            },
        },
        "body": body, "isBase64Encoded": false,
    });
    lambda_http::request::from_str(&event.to_string()).unwrap()
}

/// What a caller gets: status, content type, one more header if there is one, and the body.
type Answer = (u16, String, Option<String>, Value);

async fn send(api: &Api<Runs, Bucket>, request: Request) -> Answer {
    let answer = api.answer(request).await.unwrap();
    let header = |name: header::HeaderName| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let more = [header::LOCATION, header::ALLOW, header::RETRY_AFTER].into_iter().find_map(header);
    let body = serde_json::from_slice(answer.body()).unwrap();
    (answer.status().as_u16(), header(header::CONTENT_TYPE).unwrap(), more, body)
}

async fn post(api: &Api<Runs, Bucket>, key: Option<&str>, body: &str) -> Answer {
    let headers = key.map_or_else(|| json!({}), |key| json!({ "idempotency-key": key }));
    send(api, request("POST", "/jobs", &headers, Some(body))).await
}

async fn get(api: &Api<Runs, Bucket>, run_id: &str) -> Answer {
    send(api, request("GET", &format!("/jobs/{run_id}"), &json!({}), None)).await
}

fn accepted(run_id: &str) -> Answer {
    let location = Some(format!("/jobs/{run_id}"));
    (202, "application/json".to_owned(), location, json!({ "run_id": run_id }))
}

/// Compares a refusal: its status, its kind and its detail.
#[track_caller]
fn check_refused(answer: &Answer, status: u16, kind: &str, detail: &str) {
    let (found, content_type, _, body) = answer;
    let problem: ProblemDetails = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(
        (*found, content_type.as_str(), problem.status, &*problem.kind, &*problem.detail),
        (status, "application/problem+json", status, kind, detail)
    );
}

#[tokio::test]
async fn a_job_becomes_a_run_with_a_new_id() {
    let api = api();
    let run_id = "20260131T120000Z-0000feed";
    assert_eq!(post(&api, None, &job().to_string()).await, accepted(run_id));
    let runs = api.executions.runs.lock().unwrap();
    let input = runs[&run_id.parse().unwrap()].0.input.expose_secret();
    assert_eq!(serde_json::from_str::<Value>(input).unwrap(), job());
}

#[tokio::test]
async fn a_job_in_base64_with_any_content_type_is_a_job() {
    let mut event = request("POST", "/jobs", &json!({ "content-type": "text/plain" }), None);
    *event.body_mut() = Body::Binary(job().to_string().into_bytes());
    assert_eq!(send(&api(), event).await, accepted("20260131T120000Z-0000feed"));
}

#[tokio::test]
async fn the_same_key_with_the_same_job_is_the_same_run() {
    let api = api();
    let (compact, pretty) = (job().to_string(), serde_json::to_string_pretty(&job()).unwrap());
    assert_eq!(post(&api, Some("nightly-1"), &compact).await, accepted("nightly-1"));
    assert_eq!(post(&api, Some("nightly-1"), &pretty).await, accepted("nightly-1"));

    api.executions.change("nightly-1", |(run, _)| {
        run.status = RunState::Succeeded;
        run.input = pretty.clone().into();
    });
    assert_eq!(post(&api, Some("nightly-1"), &compact).await, accepted("nightly-1"));
    assert_eq!(api.executions.runs.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_key_with_another_job_is_a_conflict() {
    let api = api();
    let mut other = job();
    other["database"] = "other".into();
    post(&api, Some("nightly-1"), &job().to_string()).await;
    let detail = "there is a run `nightly-1` of another job; take another `Idempotency-Key`";
    let answer = post(&api, Some("nightly-1"), &other.to_string()).await;
    check_refused(&answer, 409, "Run.Conflict", detail);
}

#[tokio::test]
async fn a_key_that_is_no_run_id_is_refused() {
    let detail = "the header `Idempotency-Key` names no run: `a b` is not a run id: \
                  only the characters A-Z, a-z, 0-9, `-` and `_` may be in it";
    let answer = post(&api(), Some("a b"), &job().to_string()).await;
    check_refused(&answer, 400, "Run.InvalidId", detail);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_its_place() {
    for (body, detail) in [
        ("{\"a\": 1,\n s3cret}", "the body is not JSON: key must be a string at line 2 column 2"),
        ("", "the body is not JSON: EOF while parsing a value at line 1 column 0"),
    ] {
        check_refused(&post(&api(), None, body).await, 400, "Job.NotJson", detail);
    }
}

#[tokio::test]
async fn a_job_is_refused_with_all_its_problems_and_none_of_its_secrets() {
    let mut bad = job();
    bad["databse"] = "x".into();
    bad["output_bucket"] = 1.into();
    bad["transporter"]["config"]["sftp_port"] = "s3cret".into();
    let answer = post(&api(), None, &bad.to_string()).await;
    check_refused(&answer, 400, "Job.Invalid", "the job has 3 problem(s)");
    let problem: ProblemDetails = serde_json::from_value(answer.3.clone()).unwrap();
    let paths: Vec<&str> = problem.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["$.databse", "$.output_bucket", "$.transporter.config.sftp_port"]);
    assert!(!answer.3.to_string().contains("s3cret"));
}

#[tokio::test]
async fn a_job_that_step_functions_can_not_take_is_refused() {
    let mut large = job();
    large["query_names"] = (0..30_000).map(|i| format!("query-{i}")).collect();
    let size_bytes = large.to_string().len();
    let detail = format!("the job takes {size_bytes} bytes as JSON, and 262144 is the most");
    check_refused(&post(&api(), None, &large.to_string()).await, 413, "Job.TooLarge", &detail);
}

#[tokio::test]
async fn a_busy_step_functions_is_a_reason_to_come_back_and_no_reason_to_talk() {
    let mut api = api();
    api.executions.busy = true;
    for answer in [post(&api, None, &job().to_string()).await, get(&api, "r1").await] {
        let detail = "the log of the function says what happened";
        check_refused(&answer, 503, "Service.Unavailable", detail);
        assert_eq!(answer.2.as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn other_routes_and_methods_are_refused() {
    let expected = "; expected `/jobs` or `/jobs/{run_id}`";
    for (method, path, status, kind, detail, allow) in [
        (
            "GET",
            "/jobs",
            405,
            "Route.MethodNotAllowed",
            " does not take GET, only POST",
            Some("POST"),
        ),
        (
            "POST",
            "/jobs/r1",
            405,
            "Route.MethodNotAllowed",
            " does not take POST, only GET",
            Some("GET"),
        ),
        ("GET", "/", 404, "Route.NotFound", expected, None),
        ("POST", "/jobs//", 404, "Route.NotFound", expected, None),
        ("GET", "/jobsters", 404, "Route.NotFound", expected, None),
        ("GET", "/jobs/r1/result", 404, "Route.NotFound", expected, None),
        ("GET", "/a b\"<>#?%zz", 404, "Route.NotFound", expected, None),
    ] {
        let answer = send(&api(), request(method, path, &json!({}), None)).await;
        let there = if status == 404 { "there is nothing at " } else { "" };
        check_refused(&answer, status, kind, &format!("{there}`{path}`{detail}"));
        assert_eq!(answer.2.as_deref(), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn a_run_that_is_not_there_is_not_found_and_a_broken_id_is_refused() {
    let forgets = "there is no run `r1`; Step Functions forgets a run 90 days after its end";
    check_refused(&get(&api(), "r1").await, 404, "Run.NotFound", forgets);
    for run_id in ["a b", "ä", "a%20b"] {
        let detail = format!(
            "the path names no run: `{run_id}` is not a run id: \
             only the characters A-Z, a-z, 0-9, `-` and `_` may be in it"
        );
        check_refused(&get(&api(), run_id).await, 400, "Run.InvalidId", &detail);
    }
}

fn record(name: &str, state: &str, data_scanned_bytes: u64) -> Value {
    json!({
        "name": name, "state": state, "query_execution_id": null, "attempts": 1,
        "file_name": "f.csv", "csv": null, "failure": null,
        "statistics": {
            "data_scanned_bytes": data_scanned_bytes, "queue_milliseconds": 0,
            "engine_milliseconds": 0, "total_milliseconds": 0,
        },
    })
}

#[tokio::test]
async fn a_running_run_shows_its_queries_as_far_as_they_are() {
    let api = api();
    post(&api, Some("r1"), &job().to_string()).await;
    let expected = |stage: Value, count: Value, queries: Value, scanned: u64| {
        let view = json!({
            "run_id": "r1", "status": "RUNNING", "started_at": "2026-01-31T12:00:00Z",
            "finished_at": null, "stage": stage, "query_count": count, "queries": queries,
            "file": null, "delivery": null, "failure": null, "manifest": null,
            "data_scanned_bytes": scanned,
        });
        (200, "application/json".to_owned(), None, view)
    };
    assert_eq!(get(&api, "r1").await, expected(json!(null), json!(null), json!([]), 0));

    api.executions.change("r1", |(_, stage)| *stage = Some("RunQueries".to_owned()));
    let queries = json!([record("users", "RUNNING", 7), record("daily/orders", "SUCCEEDED", 35)]);
    let plan = "s3://acme-results/out/r1/plan.json".to_owned();
    let records = serde_json::from_value(queries.clone()).unwrap();
    api.records.queries.lock().unwrap().insert(plan, records);
    assert_eq!(get(&api, "r1").await, expected(json!("RunQueries"), json!(2), queries, 42));
}

#[tokio::test]
async fn a_run_that_ended_is_shown_by_its_manifest() {
    let api = api();
    post(&api, Some("r1"), &job().to_string()).await;
    let finished_at = "2026-01-31T12:05:00Z";
    api.executions.change("r1", |(run, _)| {
        run.status = RunState::Failed;
        run.finished_at = Some(finished_at.parse().unwrap());
        run.error = Some("Query.Failed".to_owned());
    });
    let queries = json!([record("users", "FAILED", 7)]);
    let failure = json!({ "state": "RunQueries", "error": "Query.Failed", "cause": "no table" });
    let place = "s3://acme-results/out/r1/manifest.json";
    let manifest = json!({
        "execution": { "arn": "arn:r1", "started_at": "2026-01-31T12:00:00Z" },
        "run_id": "r1", "status": "FAILED", "started_at": "2026-01-31T12:00:00Z",
        "finished_at": finished_at, "queries": queries, "file": null, "delivery": null,
        "failure": failure, "data_scanned_bytes": 7,
    });
    let manifest = serde_json::from_value(manifest).unwrap();
    api.records.manifests.lock().unwrap().insert(place.to_owned(), manifest);
    let view = json!({
        "run_id": "r1", "status": "FAILED", "started_at": "2026-01-31T12:00:00Z",
        "finished_at": finished_at, "stage": "RunQueries", "query_count": 1, "queries": queries,
        "file": null, "delivery": null, "failure": failure, "manifest": place,
        "data_scanned_bytes": 7,
    });
    assert_eq!(get(&api, "r1").await, (200, "application/json".to_owned(), None, view));
}

#[tokio::test]
async fn a_record_that_can_not_be_read_is_an_error_of_the_endpoint() {
    let mut api = api();
    post(&api, Some("r1"), &job().to_string()).await;
    api.records.broken = true;
    let detail = "the log of the function says what happened";
    check_refused(&get(&api, "r1").await, 500, "Service.Failed", detail);
}

#[tokio::test]
async fn a_run_that_was_started_with_nonsense_is_shown_without_its_queries() {
    let api = api();
    post(&api, Some("r1"), &job().to_string()).await;
    api.executions.change("r1", |(run, stage)| {
        run.input = "[]".to_owned().into();
        run.status = RunState::Failed;
        run.error = Some("Job.Invalid".to_owned());
        *stage = Some("Failed".to_owned());
    });
    let (status, _, _, view) = get(&api, "r1").await;
    let failure = json!({
        "state": "Failed", "error": "Job.Invalid", "cause": "Step Functions gives no cause",
    });
    assert_eq!((status, &view["queries"], &view["failure"]), (200, &json!([]), &failure));
}
