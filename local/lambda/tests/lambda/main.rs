//! Real functions in real processes, called as their callers call them.

mod failures;
mod http_api;
mod invocations;
mod invoke_api;
mod processes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use local_lambda::{Config, EventInvokeConfig, Function, Invocation, Lambda};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An example of this crate, which `cargo test` builds next to the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target =
        test.ancestors().nth(2).expect("tests are built in a directory of the target directory");
    target.join("examples").join(name)
}

fn function(name: &str) -> Function {
    Function {
        name: name.to_owned(),
        binary: example("behaviours"),
        environment: BTreeMap::new(),
        credentials: local_lambda::Credentials::new("test", "test"),
        memory_mb: 512,
        timeout_seconds: 20,
        concurrency_max: 1000,
        events: EventInvokeConfig::default(),
    }
}

/// One function, with its log in a directory of its own.
struct Stack {
    lambda: Lambda,
    logs: TempDir,
}

impl Stack {
    fn of(function: Function) -> Self {
        Self::with(function, |_| {})
    }

    fn with(function: Function, change: impl FnOnce(&mut Config)) -> Self {
        let logs = tempfile::tempdir().expect("a directory can be made");
        let mut config = Config::new(vec![function]);
        config.log_dir = Some(logs.path().to_owned());
        change(&mut config);
        Self { lambda: Lambda::new(config).expect("the functions are valid"), logs }
    }

    /// Invokes the function `f`.
    async fn invoke(&self, payload: Value) -> Invocation {
        let payload = Bytes::from(payload.to_string());
        self.lambda.invoke("f", payload, true).await.expect("the function is run")
    }

    /// Invokes the function `f`, which must answer without an error.
    async fn answer(&self, payload: Value) -> Value {
        let invocation = self.invoke(payload).await;
        assert!(!invocation.function_error, "{invocation:?}");
        serde_json::from_slice(&invocation.payload).expect("the answer is JSON")
    }

    async fn process(&self) -> Value {
        self.answer(json!({"do": "process"})).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.logs.path().join("f.log")).expect("there is a log")
    }
}

/// Serves a router and returns its address.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    format!("http://{address}")
}

/// Waits until something is so, which it must be within half a minute.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen");
}

fn is_running(process: &Value) -> bool {
    let process =
        process.as_i64().and_then(|id| i32::try_from(id).ok()).expect("an identifier of a process");
    let process = rustix::process::Pid::from_raw(process).expect("no process is 0");
    rustix::process::test_kill_process(process).is_ok()
}
