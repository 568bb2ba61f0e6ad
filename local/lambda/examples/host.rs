//! Runs a function until it is killed. The tests kill it without giving it a chance to clean up.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use local_lambda::{Config, EventInvokeConfig, Function, Lambda};

/// Its argument is the binary of a function, whose answer goes to standard output.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let binary = std::env::args_os().nth(1).expect("the binary is an argument").into();
    let function = Function {
        name: "f".to_owned(),
        binary,
        environment: BTreeMap::new(),
        credentials: local_lambda::Credentials::new("test", "test"),
        memory_mb: 128,
        timeout_seconds: 60,
        concurrency_max: 10,
        events: EventInvokeConfig::default(),
    };
    let lambda = Lambda::new(Config::new(vec![function])).expect("the function is valid");
    let payload = Bytes::from_static(br#"{"do":"process"}"#);
    let invocation = lambda.invoke("f", payload, false).await.expect("the function is run");
    let mut output = std::io::stdout();
    output.write_all(&invocation.payload).expect("the answer can be written");
    output.write_all(b"\n").expect("the answer can be written");
    std::future::pending::<()>().await;
}
