//! A function that does what its payload says, well or badly. The tests invoke it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};

/// What an invocation asks for.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Behaviour {
    Echo {
        value: Value,
    },
    Fail {
        error_type: String,
        message: String,
    },
    Panic {
        message: String,
    },
    Exit {
        code: i32,
    },
    Abort,
    Sleep {
        milliseconds: u64,
    },
    /// Answers with a string whose JSON has this size.
    Answer {
        size_bytes: usize,
    },
    Environment,
    Context,
    /// The identifier of the process.
    Process,
    /// Starts a process that outlives the invocation and answers with its identifier.
    Spawn,
    Log {
        text: String,
    },
    /// Writes a byte to the end of a file; fails until the file is longer than `failures`.
    Count {
        file: PathBuf,
        failures: u64,
    },
    /// Writes a file after a while.
    WriteLater {
        file: PathBuf,
        milliseconds: u64,
    },
    /// Writes into the directory for temporary files and answers with what is there.
    Temporary {
        name: String,
    },
}

async fn behave(event: LambdaEvent<Behaviour>) -> Result<Value, Diagnostic> {
    Ok(match event.payload {
        Behaviour::Echo { value } => value,
        Behaviour::Fail { error_type, message } => {
            return Err(Diagnostic { error_type, error_message: message });
        }
        Behaviour::Panic { message } => panic!("{message}"),
        Behaviour::Exit { code } => std::process::exit(code),
        Behaviour::Abort => std::process::abort(),
        Behaviour::Sleep { milliseconds } => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            json!("awake")
        }
        Behaviour::Answer { size_bytes } => json!("x".repeat(size_bytes - 2)),
        Behaviour::Environment => json!(variables()),
        Behaviour::Context => json!(event.context),
        Behaviour::Process => json!(std::process::id()),
        Behaviour::Spawn => {
            let child = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn();
            json!({"own": std::process::id(), "child": child.map_err(failed)?.id()})
        }
        Behaviour::Log { text } => {
            std::io::stdout().write_all(text.as_bytes()).map_err(failed)?;
            std::io::stdout().flush().map_err(failed)?;
            Value::Null
        }
        Behaviour::Count { file, failures } => {
            let mut opened =
                File::options().create(true).append(true).open(&file).map_err(failed)?;
            opened.write_all(b"+").map_err(failed)?;
            if opened.metadata().map_err(failed)?.len() <= failures {
                return Err(Diagnostic {
                    error_type: "Count.Low".into(),
                    error_message: "not yet".into(),
                });
            }
            Value::Null
        }
        Behaviour::WriteLater { file, milliseconds } => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            std::fs::write(file, "done").map_err(failed)?;
            Value::Null
        }
        Behaviour::Temporary { name } => {
            let dir = std::env::temp_dir();
            std::fs::write(dir.join(name), "x").map_err(failed)?;
            let mut names = std::fs::read_dir(dir)
                .map_err(failed)?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect::<Vec<_>>();
            names.sort();
            json!(names)
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands the error over")]
fn failed(error: std::io::Error) -> Diagnostic {
    Diagnostic { error_type: "Io".to_owned(), error_message: error.to_string() }
}

#[expect(clippy::disallowed_methods, reason = "the tests look at what a function sees")]
fn variables() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

/// Misbehaves before the first invocation, if the environment says so.
fn initialise() {
    let variables = variables();
    match variables.get("INITIALISATION").map(String::as_str) {
        Some("exit") => std::process::exit(7),
        Some("hang") => std::thread::sleep(Duration::from_secs(1000)),
        Some("report") => {
            let body = r#"{"errorType":"Settings.Missing","errorMessage":"`BUCKET` is not set"}"#;
            post(&variables["AWS_LAMBDA_RUNTIME_API"], "/2018-06-01/runtime/init/error", body);
            std::process::exit(1);
        }
        // Fails unless a process before this one has left the marker.
        Some("fail_once") => {
            let marker = &variables["MARKER"];
            if std::fs::metadata(marker).is_err() {
                std::fs::write(marker, "").expect("the marker can be written");
                std::process::exit(7);
            }
        }
        _ => {}
    }
}

fn post(address: &str, path: &str, body: &str) {
    let mut stream = TcpStream::connect(address).expect("the Runtime API is there");
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("the request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer can be read");
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    initialise();
    lambda_runtime::run(service_fn(behave)).await
}
