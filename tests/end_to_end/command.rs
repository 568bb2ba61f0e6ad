//! The command, as a user calls it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use end_to_end::{binaries, sample_data};
use serde_json::{Value, json};
use tempfile::TempDir;

fn job() -> Value {
    json!({
        "query_names": ["nations"],
        "query_index_bucket": "athena-workflow-dev-queries",
        "query_prefix": "queries",
        "output_bucket": "athena-workflow-dev-results",
        "output_prefix": "athena-results",
        "zip_prefix": "zipped-results",
        "database": "tpch",
        "transporter": {
            "type": "sftp",
            "config": {
                "sftp_host": "sftp.partner.example", "sftp_port": "22", "sftp_user": "partner",
                "sftp_password": "partner", "sftp_path": "/in/daily",
            },
        },
    })
}

fn run(directory: &Path, job: &Value, sql: &str) -> Output {
    fs::create_dir_all(directory.join("sql")).unwrap();
    fs::write(directory.join("sql/nations.sql"), sql).unwrap();
    fs::write(directory.join("job.json"), job.to_string()).unwrap();
    Command::new(binaries().join("athena-workflow"))
        .args(["run", "job.json", "--queries", "sql", "--out", "out", "--data"])
        .arg(sample_data())
        .current_dir(directory)
        .output()
        .unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, texts: &[&str]) {
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{shown}");
    for text in texts {
        assert!(shown.contains(text), "`{text}` is not in:\n{shown}");
    }
}

const NATIONS: &str = "SELECT n_nationkey, n_name FROM nation ORDER BY n_nationkey";

#[test]
fn a_run_that_succeeds_leaves_the_file_and_says_where() {
    let directory = TempDir::new().unwrap();
    let output = run(directory.path(), &job(), NATIONS);
    check(&output, 0, &["nations", "25", "out/in/daily/nations.csv"]);
    let text = fs::read_to_string(directory.path().join("out/in/daily/nations.csv")).unwrap();
    assert_eq!(text.lines().count(), 26);
    assert_eq!(text.lines().nth(1), Some("0,ALGERIA"));
}

#[test]
fn a_refused_job_shows_every_problem() {
    let directory = TempDir::new().unwrap();
    let mut job = job();
    job["outputbucket"] = job.as_object_mut().unwrap().remove("output_bucket").unwrap();
    let output = run(directory.path(), &job, NATIONS);
    check(&output, 2, &["$.output_bucket", "$.outputbucket", "did you mean `output_bucket`?"]);
}

#[test]
fn a_failed_run_shows_state_error_and_cause() {
    let directory = TempDir::new().unwrap();
    let output = run(directory.path(), &job(), "SELECT nothing FROM nation");
    check(&output, 3, &["RunQueries", "Query.Failed", "COLUMN_NOT_FOUND", "nothing"]);
    let mut job = job();
    job["transporter"]["config"]["sftp_password"] = json!("wrong-s3cret");
    let output = run(directory.path(), &job, NATIONS);
    check(&output, 3, &["TransportFile", "Transport.Auth"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("wrong-s3cret"));
    assert!(!directory.path().join("out/in/daily/nations.csv").exists());
}

#[test]
fn a_job_that_is_no_json_says_where() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("sql")).unwrap();
    fs::write(directory.path().join("job.json"), "{\n  \"query_names\": [}\n").unwrap();
    let output = Command::new(binaries().join("athena-workflow"))
        .args(["run", "job.json", "--queries", "sql", "--data", "."])
        .current_dir(directory.path())
        .output()
        .unwrap();
    check(&output, 2, &["job.json", "line 2", "column 19"]);
}
