//! The routes.

use std::convert::Infallible;

use job::{
    BucketName, Job, Prefix, RunId, RunLayout, document,
    error::Chain,
    run_record::ExecutionId,
    view::{RunView, StartedRun},
};
use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{StatusCode, header, response::Builder},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Executions, Records, RunIdSource, Start,
    error::ApiError,
    view::{self, Receipt},
};

/// The most bytes that an execution's input
/// [may have](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
const INPUT_BYTES_MAX: usize = 262_144;

/// The most bytes of an answer's body.
///
/// Lambda answers with [6 MB](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)
/// at the most, the body in it as a JSON string, in which every quote takes two bytes.
const ANSWER_BYTES_MAX: usize = 5_000_000;

/// When a caller may try again.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The endpoint.
#[derive(Debug)]
pub struct Api<E, R> {
    executions: E,
    records: R,
    run_ids: RunIdSource,
}

/// The fields of a job that say where its run writes.
#[derive(Deserialize)]
struct Places {
    output_bucket: BucketName,
    #[serde(default)]
    output_prefix: Prefix,
    #[serde(default)]
    zip_prefix: Prefix,
}

impl<E: Executions, R: Records> Api<E, R> {
    /// The endpoint to `executions`, whose runs write `records`.
    pub fn new(executions: E, records: R, run_ids: RunIdSource) -> Self {
        Self { executions, records, run_ids }
    }

    /// Answers a request; an error is an answer, too.
    pub async fn answer(&self, request: Request) -> Result<Response<Body>, Infallible> {
        Ok(self.route(&request).await.unwrap_or_else(refuse))
    }

    async fn route(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        // API Gateway has taken the percent-encoding off this path.
        let (method, path) = (request.method().as_str(), request.raw_http_path());
        match (method, &path.split('/').collect::<Vec<_>>()[..]) {
            ("POST", ["", "jobs"]) => self.start(request).await,
            ("GET", ["", "jobs", run_id]) => {
                let place = "the path";
                let parsed = run_id.parse().map_err(|source| ApiError::RunId { place, source });
                self.follow(parsed?).await
            }
            (_, ["", "jobs"]) => Err(not_allowed(method, path, "POST")),
            (_, ["", "jobs", _]) => Err(not_allowed(method, path, "GET")),
            _ => Err(ApiError::NoRoute { path: path.to_owned() }),
        }
    }

    /// `POST /jobs`.
    async fn start(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let run_id = self.run_id(request)?;
        let document = document::parse(request.body()).map_err(ApiError::NotJson)?;
        let input = document.to_string();
        if input.len() > INPUT_BYTES_MAX {
            let (size_bytes, limit_bytes) = (input.len(), INPUT_BYTES_MAX);
            return Err(ApiError::JobTooLarge { size_bytes, limit_bytes });
        }
        Job::parse(&document).map_err(ApiError::JobInvalid)?;
        match self.executions.start(&run_id, &input).await? {
            Start::Started => tracing::info!(run.id = %run_id, "a run was started"),
            Start::NameTaken => self.expect_same_job(&run_id, &document).await?,
        }
        let answer = Response::builder()
            .status(StatusCode::ACCEPTED)
            .header(header::LOCATION, format!("/jobs/{run_id}"));
        Ok(json(answer, "application/json", to_json(&StartedRun { run_id })))
    }

    /// The id that the caller names, or a new one.
    fn run_id(&self, request: &Request) -> Result<RunId, ApiError> {
        let Some(key) = request.headers().get("idempotency-key") else {
            return Ok(self.run_ids.next());
        };
        let key = key.to_str().map_err(|_| ApiError::KeyNotText)?;
        let place = "the header `Idempotency-Key`";
        key.parse().map_err(|source| ApiError::RunId { place, source })
    }

    /// Whether the run that has the id already is one of the same job.
    async fn expect_same_job(&self, run_id: &RunId, job: &Value) -> Result<(), ApiError> {
        let Some(existing) = self.executions.look(run_id).await? else {
            return Err(ApiError::Vanished { run_id: run_id.clone() });
        };
        match serde_json::from_str::<Value>(existing.input.expose_secret()) {
            Ok(input) if input == *job => Ok(()),
            _ => Err(ApiError::Conflict(run_id.clone())),
        }
    }

    /// `GET /jobs/{run_id}`.
    async fn follow(&self, run_id: RunId) -> Result<Response<Body>, ApiError> {
        let view = self.view(&run_id).await?;
        let body = to_json(&view);
        if body.len() > ANSWER_BYTES_MAX {
            let (size_bytes, limit_bytes) = (body.len(), ANSWER_BYTES_MAX);
            return Err(ApiError::ViewTooLarge { run_id, size_bytes, limit_bytes });
        }
        Ok(json(Response::builder(), "application/json", body))
    }

    async fn view(&self, run_id: &RunId) -> Result<RunView, ApiError> {
        let execution = self.executions.look(run_id).await?;
        let execution = execution.ok_or_else(|| ApiError::NoRun(run_id.clone()))?;
        let layout = layout(run_id, execution.input.expose_secret());
        let receipt = match &layout {
            Some(layout) if execution.status.is_end() => {
                self.receipt(layout, &execution.id).await?
            }
            _ => None,
        };
        let manifest = receipt.as_ref().map(|receipt| &receipt.manifest);
        let ended_in = view::last_stage(execution.status, manifest);
        let stage = async {
            match ended_in {
                Some(stage) => Ok(Some(stage)),
                None => self.executions.stage(run_id).await.map_err(ApiError::from),
            }
        };
        let queries = async {
            match &layout {
                Some(layout) if receipt.is_none() => {
                    self.records.queries(layout, &execution.id).await.map_err(ApiError::from)
                }
                _ => Ok(None),
            }
        };
        let (stage, queries) = tokio::try_join!(stage, queries)?;
        Ok(view::run_view(run_id.clone(), &execution, stage, queries, receipt))
    }

    async fn receipt(
        &self,
        layout: &RunLayout,
        execution: &ExecutionId,
    ) -> Result<Option<Receipt>, ApiError> {
        let manifest = self.records.manifest(layout, execution).await?;
        let uri = layout.manifest().to_string();
        Ok(manifest.map(|manifest| Receipt { uri, manifest }))
    }
}

/// Where a run writes, if its input says so: a run that nobody checked may have any input.
fn layout(run_id: &RunId, input: &str) -> Option<RunLayout> {
    let places: Places = serde_json::from_str(input).ok()?;
    let Places { output_bucket, output_prefix, zip_prefix } = places;
    Some(RunLayout::new(output_bucket, output_prefix, zip_prefix, run_id.clone()))
}

fn not_allowed(method: &str, path: &str, allowed: &'static str) -> ApiError {
    ApiError::Method { path: path.to_owned(), method: method.to_owned(), allowed }
}

/// The answer to a request that failed. This is the one place where that is logged.
fn refuse(error: ApiError) -> Response<Body> {
    let kind = error.kind();
    if kind.status >= 500 {
        tracing::error!(error.name = kind.name, error.message = %Chain(&error), "a request failed");
    } else {
        tracing::info!(error.name = kind.name, "a request was refused");
    }
    let mut answer = Response::builder().status(kind.status);
    if let ApiError::Method { allowed, .. } = error {
        answer = answer.header(header::ALLOW, allowed);
    }
    if kind.status == 503 {
        answer = answer.header(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    json(answer, "application/problem+json", to_json(&error.into_problem()))
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the types of an answer have text keys only")
}

fn json(answer: Builder, content_type: &'static str, body: String) -> Response<Body> {
    answer
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::Text(body))
        .expect("a run id and constants are valid in headers")
}

#[cfg(test)]
mod tests;
