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
    run_with(directory, job, sql, &sample_data(), &[])
}

fn run_with(directory: &Path, job: &Value, sql: &str, data: &Path, options: &[&str]) -> Output {
    fs::create_dir_all(directory.join("sql")).unwrap();
    fs::write(directory.join("sql/nations.sql"), sql).unwrap();
    fs::write(directory.join("job.json"), job.to_string()).unwrap();
    Command::new(binaries().join("athena-workflow"))
        .args(["run", "job.json", "--queries", "sql", "--out", "out", "--data"])
        .arg(data)
        .args(options)
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

/// What a stack's settings would name on AWS, and what has to be named there.
#[test]
fn databases_and_secrets_of_the_command_line_may_be_used() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    fs::create_dir_all(data.join("sales")).unwrap();
    fs::write(data.join("sales/orders.csv"), "id,total\n1,2.50\n").unwrap();
    let secret = r#"{"Username": "partner", "Password": "partner"}"#;
    fs::write(directory.path().join("partner.json"), secret).unwrap();
    let mut job = job();
    job["database"] = json!("sales");
    for (option, name) in
        [("sftp/partner=partner.json", "sftp/partner"), ("ssm:/acme=partner.json", "ssm:/acme")]
    {
        job["transporter"]["config"] = json!({
            "sftp_host": "sftp.partner.example", "sftp_path": "/in/daily", "sftp_secret": name,
        });
        let sql = "SELECT id, total FROM orders";
        let output = run_with(directory.path(), &job, sql, &data, &["--secret", option]);
        let secrets = format!(
            "jobs may use `{name}` here; on AWS the stack's setting `secrets` would have to name it"
        );
        let told = ["jobs may use `sales` here; on AWS the stack's setting `databases`", &secrets];
        check(&output, 0, &told);
    }
    let text = fs::read_to_string(directory.path().join("out/in/daily/nations.csv")).unwrap();
    assert_eq!(text, "id,total\n1,2.5\n");

    job["output_bucket"] = json!("acme-results");
    let output = run_with(directory.path(), &job, NATIONS, &data, &[]);
    check(&output, 2, &["`acme-results`", "`athena-workflow-dev-results` only"]);
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
