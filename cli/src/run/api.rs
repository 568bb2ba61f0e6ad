//! The endpoint for jobs.

use std::time::Duration;

use job::{
    name::RunId,
    view::{ProblemDetails, RunView, StartedRun},
};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;

/// How long an answer may take; a Lambda behind the real endpoint has no more than 30 s either.
const ANSWER_SECONDS_MAX: u64 = 35;

/// How many looks at a run may fail one after the other before it is given up.
const FAILED_LOOKS_MAX: u32 = 5;

/// How much of an unexpected answer is shown.
const ANSWER_CHARS_MAX: usize = 500;

/// A client of the endpoint.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    url: String,
}

impl Api {
    /// A client of the endpoint at `url`, which no proxy comes between.
    ///
    /// # Errors
    ///
    /// When the client can not be made.
    pub fn new(url: &str) -> Result<Self, Error> {
        let client =
            Client::builder().no_proxy().timeout(Duration::from_secs(ANSWER_SECONDS_MAX)).build();
        let url = url.trim_end_matches('/').to_owned();
        let client = client
            .map_err(|source| Error::Request { doing: format!("connecting to {url}"), source })?;
        Ok(Self { client, url })
    }

    /// Starts a run of `job`.
    ///
    /// # Errors
    ///
    /// [`Error::RefusedJob`] with everything that is wrong with the job.
    pub async fn start(&self, job: &Value) -> Result<RunId, Error> {
        let url = format!("{}/jobs", self.url);
        let started: StartedRun =
            answer(format!("POST {url}"), self.client.post(&url).json(job)).await?;
        Ok(started.run_id)
    }

    /// How a run stands. A look that fails is repeated a few times, with growing waits.
    ///
    /// # Errors
    ///
    /// When there is no such run, or no look succeeds.
    pub async fn view(&self, run_id: &RunId) -> Result<RunView, Error> {
        let url = format!("{}/jobs/{run_id}", self.url);
        let mut failed = 0;
        loop {
            match answer(format!("GET {url}"), self.client.get(&url)).await {
                Err(error) if is_transient(&error) && failed < FAILED_LOOKS_MAX => {
                    failed += 1;
                    tracing::warn!(run.id = %run_id, error = %job::error::Chain(&error), "a look at the run failed");
                    tokio::time::sleep(Duration::from_millis(50 << failed)).await;
                }
                answer => return answer,
            }
        }
    }
}

/// Whether the same look may succeed a moment later.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Request { .. } => true,
        Error::Answer { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}

async fn answer<T: DeserializeOwned>(doing: String, request: RequestBuilder) -> Result<T, Error> {
    let failed = |source| Error::Request { doing: doing.clone(), source };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(failed)?;
    if status.is_success()
        && let Ok(answer) = serde_json::from_slice(&body)
    {
        return Ok(answer);
    }
    match serde_json::from_slice::<ProblemDetails>(&body) {
        Ok(problem) if refuses_a_job(status) => Err(Error::RefusedJob(Box::new(problem))),
        Ok(_) | Err(_) => {
            let text = String::from_utf8_lossy(&body).chars().take(ANSWER_CHARS_MAX).collect();
            Err(Error::Answer { doing, status: status.as_u16(), text })
        }
    }
}

fn refuses_a_job(status: StatusCode) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY]
        .contains(&status)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        process::Command,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::{Router, http::StatusCode, routing::any};
    use serde_json::json;

    use super::*;
    use crate::{Exit, Terminal, progress::Progress, run::watch};

    /// An endpoint that gives these answers, one after the other.
    async fn endpoint<const N: usize>(answers: [(u16, Value); N]) -> Api {
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let app = Router::new().fallback(any(move || {
            let (status, body) =
                answers.lock().unwrap().pop_front().unwrap_or((410, json!("no more answers")));
            async move { (StatusCode::from_u16(status).unwrap(), body.to_string()) }
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Api::new(&format!("http://{address}/")).unwrap()
    }

    fn view(status: &str, query: &str) -> Value {
        json!({
            "run_id": "r1", "status": status, "started_at": "2026-01-02T03:04:05Z", "finished_at": null,
            "stage": null, "query_count": 1, "file": null, "delivery": null, "failure": null, "manifest": null,
            "data_scanned_bytes": 0,
            "queries": [{
                "name": "q01", "state": query, "query_execution_id": null, "attempts": 1, "file_name": "q01.csv",
                "csv": null, "failure": null,
            }],
        })
    }

    #[tokio::test]
    #[ignore = "`no_proxy_comes_between` runs it in an environment of its own"]
    async fn runs_in_an_environment_with_a_proxy() {
        let api = endpoint([(202, json!({ "run_id": "r1" }))]).await;
        assert_eq!(api.start(&json!({})).await.unwrap().as_str(), "r1");
    }

    #[test]
    fn no_proxy_comes_between() {
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", proxy.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // A connection is counted, and closed without an answer.
        std::thread::spawn(move || {
            for _ in proxy.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let test = "run::api::tests::runs_in_an_environment_with_a_proxy";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", test])
            .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, &url)))
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(asked.load(Ordering::Relaxed), 0, "{printed}");
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }

    #[tokio::test]
    async fn a_job_starts_a_run() {
        let api = endpoint([(202, json!({ "run_id": "r1" }))]).await;
        assert_eq!(api.start(&json!({})).await.unwrap().as_str(), "r1");
    }

    #[tokio::test]
    async fn a_refused_job_tells_all_its_problems() {
        let problem = json!({
            "type": "Job.Invalid", "title": "the job is not valid", "status": 400, "detail": "2 problems",
            "problems": [{ "path": "$.a", "message": "unknown" }, { "path": "$.b", "message": "missing" }],
        });
        let api = endpoint([(400, problem.clone())]).await;
        let Err(Error::RefusedJob(details)) = api.start(&json!({})).await else {
            panic!("a refusal")
        };
        assert_eq!(serde_json::to_value(&details).unwrap(), problem);
        assert_eq!(Error::RefusedJob(details).exit(), Exit::Refused);
    }

    #[tokio::test]
    async fn an_answer_that_is_no_run_is_shown() {
        for (status, body) in
            [(500, json!({ "message": "Internal Server Error" })), (200, json!("hello"))]
        {
            let api = endpoint([(status, body.clone())]).await;
            match api.start(&json!({})).await {
                Err(Error::Answer { status: told, text, .. }) => {
                    assert_eq!((told, text), (status, body.to_string()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_run_is_watched_to_its_end_over_looks_that_fail() {
        let (running, succeeded) = (view("RUNNING", "RUNNING"), view("SUCCEEDED", "SUCCEEDED"));
        let busy = (503, json!({ "message": "Service Unavailable" }));
        let answers = [(200, running.clone()), busy, (200, running), (200, succeeded.clone())];
        let api = endpoint(answers).await;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal::new(&mut out, &mut err, false);

        let run_id = "r1".parse().unwrap();
        let ended =
            watch(&api, &run_id, Duration::ZERO, &mut Progress::new(&mut terminal)).await.unwrap();

        assert_eq!(ended, serde_json::from_value(succeeded).unwrap());
        let lines = String::from_utf8(err).unwrap();
        assert_eq!(lines, "planned: 1 query\nquery q01: RUNNING\nquery q01: SUCCEEDED\n");
    }

    #[tokio::test]
    async fn a_run_that_is_gone_is_not_waited_for() {
        let api = endpoint([
            (404, json!({ "message": "no such run" })),
            (200, view("RUNNING", "RUNNING")),
        ])
        .await;
        let error = api.view(&"r1".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Answer { status: 404, .. }), "{error}");
    }
}
