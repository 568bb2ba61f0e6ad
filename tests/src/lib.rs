//! What the end-to-end tests share: a stack of its own for every scenario, and a job sent to it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use job::view::{ProblemDetails, RunView, StartedRun};
use local::{Deployment, Guard, Stack, StackConfig, Usage};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::time::sleep;

/// The stack's bucket of SQL files.
pub const QUERIES_BUCKET: &str = "athena-workflow-dev-queries";

/// The stack's bucket of results.
pub const RESULTS_BUCKET: &str = "athena-workflow-dev-results";

/// The stack's work group, which is a job's if it names none.
pub const WORK_GROUP: &str = "athena-workflow-dev";

/// The developer's own access key.
const DEVELOPER: &str =
    "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/any/aws4_request, Signature=none";

/// How long a run is left alone between two looks: at first, and at the most. It grows with the run.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(2);

/// The scale of the sample data: 86,000 rows in all.
const SCALE: f64 = 0.01;

/// The stack `dev` with sample data, and a partner's SFTP directory.
pub struct Scenario {
    stack: Stack,
    work: TempDir,
    http: reqwest::Client,
    _reported: Reported,
}

/// The stack `dev` after a change of its resources.
pub fn dev_with(change: impl FnOnce(&mut Value)) -> Deployment {
    let dev = include_str!("../../infra/stacks/dev.json");
    let mut document: Value = serde_json::from_str(dev).expect("the stack is JSON");
    change(&mut document["resources"]);
    Deployment::parse(&document.to_string()).unwrap_or_else(|error| {
        panic!("the stack can be followed: {}", job::error::Chain(&error));
    })
}

/// What became of a job that was sent.
pub type Sent = Result<RunView, ProblemDetails>;

impl Scenario {
    /// Starts a stack.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a stack that differs from the usual one.
    pub async fn start_with(change: impl FnOnce(&mut StackConfig)) -> Self {
        let work = TempDir::new().expect("a temporary directory can be made");
        let mut config = StackConfig::new(
            work.path().join("work"),
            sample_data(),
            work.path().join("partner"),
            binaries(),
        );
        change(&mut config);
        let stack = Stack::start(config).await.unwrap_or_else(|error| {
            panic!("the stack starts: {}", job::error::Chain(&error));
        });
        let reported = Reported(stack.guard().clone());
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        Self { stack, work, http, _reported: reported }
    }

    /// The stack.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The directory that the partner sees.
    pub fn partner(&self) -> PathBuf {
        self.work.path().join("partner")
    }

    /// The directory with the logs of the functions.
    pub fn logs(&self) -> PathBuf {
        self.work.path().join("work/logs")
    }

    /// Every file that the partner has, as a path below the partner's directory, sorted.
    pub fn delivered(&self) -> Vec<String> {
        let mut files = Vec::new();
        list_files(&self.partner(), &self.partner(), &mut files);
        files.sort();
        files
    }

    /// Puts a SQL file where jobs look for it.
    pub async fn put_query(&self, name: &str, sql: &str) {
        let bytes = Bytes::copy_from_slice(sql.as_bytes());
        let key = format!("queries/{name}.sql");
        let put = self.stack.store().put(QUERIES_BUCKET, &key, Some("text/plain"), bytes).await;
        put.expect("an object can be written");
    }

    /// Puts an index of these queries where jobs look for it.
    pub async fn put_index<'a>(&self, entries: impl IntoIterator<Item = (&'a str, Value)>) {
        let queries: serde_json::Map<String, Value> =
            entries.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect();
        let bytes = Bytes::from(json!({ "queries": queries }).to_string());
        let key = "queries/query_index.json";
        let put =
            self.stack.store().put(QUERIES_BUCKET, key, Some("application/json"), bytes).await;
        put.expect("an object can be written");
    }

    /// Invokes a function by its name within the stack. Returns its answer; of one that fails, with its
    /// `errorType`.
    pub async fn invoke(&self, name: &str, event: &Value) -> Value {
        let payload = Bytes::from(event.to_string());
        let invoked = self.stack.lambda().invoke(self.function(name), payload, false).await;
        let payload = invoked.expect("the function is there").payload;
        serde_json::from_slice(&payload).expect("an answer is JSON")
    }

    /// Returns the use so far of a function by its name within the stack.
    pub fn usage(&self, name: &str) -> Usage {
        self.stack.lambda().usage().remove(self.function(name)).expect("the function is there")
    }

    fn function(&self, name: &str) -> &str {
        &self.stack.deployment().function(name).expect("the function is deployed").name
    }

    /// Calls an operation of Athena's API.
    pub async fn athena(&self, operation: &str, request: &Value) -> Value {
        self.call(&format!("AmazonAthena.{operation}"), request).await
    }

    /// Calls an operation of Step Functions' API.
    pub async fn step_functions(&self, operation: &str, request: &Value) -> Value {
        self.call(&format!("AWSStepFunctions.{operation}"), request).await
    }

    async fn call(&self, target: &str, request: &Value) -> Value {
        let post = self
            .http
            .post(&self.stack.endpoints().aws)
            .header("x-amz-target", target)
            .header("authorization", DEVELOPER);
        let answer = post.json(request).send().await.expect("the endpoint answers");
        answer.json().await.expect("an answer is JSON")
    }

    /// A job over these queries that delivers to the partner.
    pub fn job(&self, query_names: &[&str]) -> Value {
        let endpoints = self.stack.endpoints();
        json!({
            "query_names": query_names,
            "query_index_bucket": QUERIES_BUCKET,
            "query_prefix": "queries/",
            "output_bucket": RESULTS_BUCKET,
            "output_prefix": "athena-results/",
            "zip_prefix": "zipped-results/",
            "database": "tpch",
            "transporter": {
                "type": "sftp",
                "config": {
                    "sftp_host": endpoints.sftp.ip().to_string(),
                    "sftp_port": endpoints.sftp.port().to_string(),
                    "sftp_user": "partner",
                    "sftp_password": "partner",
                    "sftp_path": "/inbox",
                    "sftp_host_keys": [endpoints.sftp_host_key],
                },
            },
        })
    }

    /// The event of `LoadQueries` for a run of `job`.
    pub fn load(run_id: &str, mut job: Value) -> Value {
        job["work_group"] = json!(WORK_GROUP);
        json!({
            "run_id": run_id, "execution": execution(run_id),
            "started_at": "2026-01-31T12:00:00Z", "job": job,
        })
    }

    /// The event of `RunQuery` for a query of a run that is `loaded`. Nothing waits for its token.
    pub fn run_query(loaded: &Value, index: usize) -> Value {
        let run = &loaded["run"];
        let token =
            closed_token(run["execution"]["arn"].as_str().expect("a run is of an execution"));
        json!({
            "action": "run_query", "run": run, "query": loaded["queries"][index],
            "wait": { "token": token, "retry_count": 0, "redrive_count": 0 },
        })
    }

    /// The event of `WriteResult` for a query of a run that is `loaded`.
    pub fn write_result(loaded: &Value, index: usize) -> Value {
        json!({
            "action": "write_result", "run": loaded["run"], "query": loaded["queries"][index],
        })
    }

    /// Runs a query of a run that is `loaded` up to its end in Athena, without an event.
    pub async fn run_to_end(&self, loaded: &Value, index: usize) {
        let query = loaded["queries"][index]["name"].as_str().expect("a query has a name");
        loop {
            let answer = self.invoke("execute-single-query", &Self::run_query(loaded, index)).await;
            assert_eq!(answer, json!({}), "{query}");
            let record = self.record(loaded, query).await;
            if record["state"] != "RUNNING" {
                return;
            }
        }
    }

    /// The record of a query of a run that is `loaded`.
    pub async fn record(&self, loaded: &Value, query: &str) -> Value {
        let run = &loaded["run"];
        let text = |field: &str| run[field].as_str().expect("a run has it").to_owned();
        let key = format!("{}{}/results/{query}.json", text("output_prefix"), text("run_id"));
        let bytes = self.stack.store().get(RESULTS_BUCKET, &key).await;
        serde_json::from_slice(&bytes.expect("the record is there")).expect("a record is JSON")
    }

    /// Sends a job and waits for the end of its run.
    pub async fn run(&self, job: &Value) -> Sent {
        let url = format!("{}/jobs", self.stack.endpoints().api);
        let answer = self.http.post(url).json(job).send().await.expect("the HTTP API answers");
        if answer.status() != 202 {
            return Err(answer.json().await.expect("an error is problem+json"));
        }
        let StartedRun { run_id } = answer.json().await.expect("a started run has an id");
        Ok(self.follow(run_id.as_str()).await)
    }

    /// Waits for the end of a run.
    pub async fn follow(&self, run_id: &str) -> RunView {
        let url = format!("{}/jobs/{run_id}", self.stack.endpoints().api);
        let begun = Instant::now();
        loop {
            let answer = self.http.get(&url).send().await.expect("the HTTP API answers");
            // The function timed out: it is to be asked again.
            if answer.status().as_u16() == 503 {
                sleep(POLL_MAX).await;
                continue;
            }
            let text = answer.text().await.expect("an answer has a body");
            let view: RunView =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            if view.status.is_end() {
                return view;
            }
            sleep((begun.elapsed() / 20).clamp(POLL_MIN, POLL_MAX)).await;
        }
    }

    /// What the HTTP API answers to a `POST`: status and text.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let url = format!("{}{path}", self.stack.endpoints().api);
        let answer = self.http.post(url).json(body).send().await.expect("the HTTP API answers");
        (answer.status().as_u16(), answer.text().await.expect("an answer has a body"))
    }

    /// What the HTTP API answers to a `GET`, as text.
    pub async fn get(&self, path: &str) -> String {
        let url = format!("{}{path}", self.stack.endpoints().api);
        let answer = self.http.get(url).send().await.expect("the HTTP API answers");
        answer.text().await.expect("an answer has a body")
    }

    /// Ends the stack.
    pub async fn end(self) {
        self.stack.shutdown().await;
    }
}

/// The execution of a run whose functions a test calls itself.
pub fn execution(run_id: &str) -> Value {
    json!({
        "arn": format!("arn:aws:states:us-east-1:000000000000:execution:athena-workflow-dev:{run_id}"),
        "started_at": "2026-01-31T12:00:00Z",
    })
}

/// A task token of the execution as the stack's Step Functions gives them out, for which nothing
/// waits: version, checksum, nonce and ARN.
fn closed_token(execution_arn: &str) -> String {
    let mut body = vec![0; 16];
    body.extend_from_slice(execution_arn.as_bytes());
    let mut token = vec![1];
    token.extend_from_slice(&Sha256::digest(&body)[..8]);
    token.extend_from_slice(&body);
    URL_SAFE_NO_PAD.encode(token)
}

/// The directory with the binaries of the functions and of the command.
pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let directory = test.parent().and_then(Path::parent).expect("tests are in `deps/`").to_owned();
    assert!(
        directory.join("athena-workflow").is_file(),
        "`{}` has no binaries: run `cargo build --workspace --bins` first",
        directory.display()
    );
    directory
}

/// The TPC-H tables as `DIR/tpch/*.parquet`, made once per build directory.
pub fn sample_data() -> PathBuf {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let data = binaries().join(format!("sample-data-{SCALE}"));
        if !data.is_dir() {
            // Written beside it and renamed, so that a test that was killed leaves no half of it.
            let parent = binaries();
            let fresh = tempfile::tempdir_in(parent).expect("a temporary directory can be made");
            local_athena::write_tpch(&fresh.path().join("tpch"), SCALE)
                .expect("sample data can be written");
            fs::rename(fresh.keep(), &data).expect("a directory can be renamed");
        }
        data
    })
    .clone()
}

/// `unzip`, 7-Zip and Python's `zipfile` read the archive and find no fault.
pub fn other_programs_accept(archive: &Path) {
    let path = archive.to_str().unwrap();
    let python =
        "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); sys.exit(z.testzip() is not None)";
    for command in
        [vec!["unzip", "-tq", path], vec!["7z", "t", path], vec!["python3", "-c", python, path]]
    {
        match Command::new(command[0]).args(&command[1..]).output() {
            Ok(output) => assert!(
                output.status.success(),
                "{command:?}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => assert!(!servers_are_required(), "`{}` can not run: {error}", command[0]),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the continuous integration says it by this variable"
)]
fn servers_are_required() -> bool {
    let required = std::env::var("ATHENA_WORKFLOW_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    if !required {
        eprintln!(
            "a program to read the archive is missing; ATHENA_WORKFLOW_REQUIRE_SERVERS=1 makes that a failure"
        );
    }
    required
}

fn list_files(root: &Path, directory: &Path, files: &mut Vec<String>) {
    let entries = fs::read_dir(directory).expect("a directory can be read");
    for entry in entries {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            list_files(root, &path, files);
        } else {
            let below = path.strip_prefix(root).expect("an entry is below its root");
            files.push(below.to_string_lossy().into_owned());
        }
    }
}

/// What was used of the policies goes into the report over all tests.
struct Reported(Guard);

impl Drop for Reported {
    fn drop(&mut self) {
        let report = binaries().join("iam-report.jsonl");
        self.0.report().append_to(&report).expect("a report can be written");
    }
}
