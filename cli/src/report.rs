//! What the command says: the table of a run's queries, where the file is, what failed.
//!
//! Every function gives the whole text, without a line ending.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{BinaryBytes, HumanCount};
use job::{
    error::Chain,
    record::{Failure, QueryState, QuerySummary},
    view::{RunState, RunView},
};
use serde::Serialize as _;

use crate::{
    Error,
    run::{Outcome, StandIn},
};

/// A table with its columns `numbers` to the right.
pub fn table<const N: usize, const M: usize>(
    header: [&str; N],
    numbers: [usize; M],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for column in table.column_iter_mut() {
        let right = numbers.contains(&column.index);
        column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A number of things.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number as u64), if number == 1 { one } else { many })
}

/// The queries of a run, with what each came to.
pub fn queries(view: &RunView) -> String {
    let rows = view.queries.iter().map(|query| {
        let of_csv = |text: fn(u64, u64) -> String| {
            query.csv.as_ref().map_or_else(|| "-".to_owned(), |csv| text(csv.rows, csv.size_bytes))
        };
        [
            query.name.to_string(),
            word(query.state),
            of_csv(|rows, _| HumanCount(rows).to_string()),
            of_csv(|_, size_bytes| BinaryBytes(size_bytes).to_string()),
            BinaryBytes(query.statistics.data_scanned_bytes).to_string(),
            seconds(query.statistics.total_milliseconds),
        ]
    });
    table(["query", "state", "rows", "bytes", "scanned", "time"], [2, 3, 4, 5], rows)
}

/// The state in Athena's words.
fn word(state: QueryState) -> String {
    let word = state.serialize(serde_json::value::Serializer);
    word.ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
}

/// Where the file of a run that succeeded is, and what else there is to know of it.
pub fn success(outcome: &Outcome) -> String {
    let Outcome { view, file, receipt, manifest, .. } = outcome;
    let mut lines = failed_queries(view);
    let failed = view.queries.iter().filter(|query| query.failure.is_some()).count();
    if failed > 0 {
        lines.push(format!("{failed} of {} failed", count(view.queries.len(), "query", "queries")));
    }
    let mut line = |name: &str, text: String| lines.push(format!("{name:<10}{text}"));
    if let Some(path) = file {
        line("file", path.display().to_string());
    }
    if let Some(made) = &view.file {
        line("size", format!("{} bytes", HumanCount(made.size_bytes)));
        if let Some(sha256) = &made.sha256 {
            line("sha256", sha256.clone());
        }
        line("object", made.uri.clone());
    }
    if let Some(receipt) = receipt {
        let was_there = receipt.status == "already_there";
        let how = if was_there { ", where it was already: nothing was sent" } else { "" };
        line("delivered", format!("{}{how}", receipt.remote_path));
        if let Some(key) = &receipt.host_key {
            let pinned =
                if receipt.host_key_verified == Some(true) { "pinned" } else { "not pinned" };
            line("host key", format!("{key}, {pinned}"));
        }
    }
    if let Some(path) = manifest {
        line("manifest", path.display().to_string());
    }
    line("scanned", format!("{} by Athena", BinaryBytes(view.data_scanned_bytes)));
    format!("\n{}", lines.join("\n"))
}

/// Why a run failed.
pub fn failure(outcome: &Outcome) -> String {
    let Outcome { view, manifest, errors, .. } = outcome;
    let ended = match view.status {
        RunState::Running => "still runs",
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::TimedOut => "took too long",
        RunState::Aborted => "was stopped",
    };
    let mut lines = match &view.failure {
        Some(Failure { state, error, cause }) => {
            vec![format!("run {} {ended} in {state}: {error}", view.run_id), indented(cause)]
        }
        None => vec![format!("run {} {ended}", view.run_id)],
    };
    lines.extend(failed_queries(view));
    if let Some(file) = &view.file {
        lines.push(format!("the file was made and not delivered: {}", file.uri));
    }
    lines.extend(errors.iter().map(|uri| format!("error     {uri}")));
    if let Some(path) = manifest {
        lines.push(format!("manifest  {}", path.display()));
    }
    lines.join("\n")
}

/// Athena's words for every query that failed, and how many were cancelled for that.
fn failed_queries(view: &RunView) -> Vec<String> {
    let line = |query: &QuerySummary| {
        let Failure { error, cause, .. } = query.failure.as_ref()?;
        let failed = query.state != QueryState::Cancelled;
        failed.then(|| format!("query {}: {error}\n{}", query.name, indented(cause)))
    };
    let mut lines: Vec<String> = view.queries.iter().filter_map(line).collect();
    let cancelled =
        view.queries.iter().filter(|query| query.state == QueryState::Cancelled).count();
    if cancelled > 0 {
        lines.push(format!("{} cancelled", count(cancelled, "query was", "queries were")));
    }
    lines
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

/// What went wrong, with every cause; a refused job with every problem.
pub fn error(error: &Error) -> String {
    let mut lines = vec![format!("error: {}", Chain(error))];
    if let Error::RefusedJob(details) = error {
        lines.extend(
            details
                .problems
                .iter()
                .map(|problem| format!("  {}: {}", problem.path, problem.message)),
        );
    }
    lines.join("\n")
}

/// Where the file goes instead of to the partner.
pub fn stand_in(stand_in: &StandIn) -> String {
    format!("{} stands in for `{}`", stand_in.server, stand_in.host)
}

/// Where to look for what happened.
pub fn traces(work_dir: &Path) -> String {
    let dir = work_dir.display();
    format!("logs      {dir}/logs\nobjects   {dir}/s3")
}

#[cfg(test)]
pub(crate) mod sample_run {
    //! A run of two queries, as the endpoint tells of it from beginning to end.

    use serde_json::{Value, json};

    use super::*;

    fn view(changes: &Value) -> RunView {
        let mut view = json!({
            "run_id": "r1", "status": "RUNNING", "started_at": "2026-01-02T03:04:05Z", "finished_at": null,
            "stage": "RunQueries", "query_count": 2, "queries": [], "file": null, "delivery": null,
            "failure": null, "manifest": null, "data_scanned_bytes": 0,
        });
        view.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    }

    fn query(name: &str, state: &str, csv: Option<(u64, u64)>) -> Value {
        let csv = csv.map(|(rows, size_bytes)| {
            json!({
                "location": { "bucket": "b", "key": "k" }, "etag": "e", "rows": rows, "size_bytes": size_bytes,
                "sha256": "00",
            })
        });
        json!({
            "name": name, "state": state, "query_execution_id": null, "attempts": 1, "file_name": "x.csv",
            "csv": csv, "failure": null,
            "statistics": {
                "data_scanned_bytes": 2048, "queue_milliseconds": 1, "engine_milliseconds": 2,
                "total_milliseconds": 1239,
            },
        })
    }

    pub(crate) fn views() -> Vec<RunView> {
        let done = [
            query("q01", "SUCCEEDED", Some((4, 512))),
            query("daily/users", "SUCCEEDED", Some((1500, 65_536))),
        ];
        let file = json!({
            "uri": "s3://acme-results/zip/r1.zip", "etag": "e", "size_bytes": 10_240, "sha256": "00ff",
            "file_name": "r1.zip",
        });
        let delivery = json!({
            "remote_path": "/in/daily/r1.zip", "host_key": "ssh-ed25519 SHA256:abc", "host_key_verified": true,
        });
        vec![
            view(&json!({ "stage": "LoadQueries", "query_count": null })),
            view(
                &json!({ "queries": [query("q01", "RUNNING", None), query("daily/users", "QUEUED", None)] }),
            ),
            view(&json!({ "queries": [done[0], query("daily/users", "RUNNING", None)] })),
            view(&json!({ "queries": done })),
            view(&json!({ "queries": done, "stage": "ZipResults" })),
            view(&json!({ "queries": done, "stage": "TransportFile", "file": file })),
            view(&json!({
                "queries": done, "status": "SUCCEEDED", "stage": "RecordSuccess", "file": file,
                "delivery": delivery, "manifest": "s3://acme-results/out/r1/manifest.json",
                "data_scanned_bytes": 4096,
            })),
        ]
    }

    pub(crate) fn failed() -> RunView {
        let mut bad = query("daily/users", "FAILED", None);
        let cause = "SYNTAX_ERROR: line 2:8: Column 'nme' cannot be resolved\nQuery: daily/users";
        bad["failure"] = json!({ "state": "daily/users", "error": "Query.Failed", "cause": cause });
        view(&json!({
            "status": "FAILED", "queries": [query("q01", "SUCCEEDED", Some((4, 512))), bad],
            "failure": { "state": "RunQueries", "error": "Query.Failed", "cause": "query `daily/users` failed" },
            "manifest": "s3://acme-results/out/r1/manifest.json",
        }))
    }
}

#[cfg(test)]
mod tests {
    use job::{Problem, view::ProblemDetails};

    use super::*;
    use crate::run::Receipt;

    fn outcome(view: RunView) -> Outcome {
        Outcome {
            file: view.delivery.as_ref().map(|_| "out/in/daily/r1.zip".into()),
            receipt: Receipt::of(&view),
            manifest: Some("out/r1.manifest.json".into()),
            errors: vec![],
            view,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn the_table_has_a_line_for_every_query() {
        check(
            &queries(&sample_run::views()[6]),
            "\
query        state       rows      bytes   scanned    time
q01          SUCCEEDED      4      512 B  2.00 KiB  1.23 s
daily/users  SUCCEEDED  1,500  64.00 KiB  2.00 KiB  1.23 s",
        );
        check(
            &queries(&sample_run::failed()),
            "\
query        state      rows  bytes   scanned    time
q01          SUCCEEDED     4  512 B  2.00 KiB  1.23 s
daily/users  FAILED        -      -  2.00 KiB  1.23 s",
        );
    }

    #[test]
    fn a_run_that_succeeded_says_where_its_file_is() {
        check(
            &success(&outcome(sample_run::views().remove(6))),
            "
file      out/in/daily/r1.zip
size      10,240 bytes
sha256    00ff
object    s3://acme-results/zip/r1.zip
delivered /in/daily/r1.zip
host key  ssh-ed25519 SHA256:abc, pinned
manifest  out/r1.manifest.json
scanned   4.00 KiB by Athena",
        );
    }

    #[test]
    fn a_file_that_was_there_already_is_not_said_to_be_sent() {
        let mut view = sample_run::views().remove(6);
        view.delivery.as_mut().unwrap()["status"] = "already_there".into();
        let text = success(&outcome(view));
        let expected = "\ndelivered /in/daily/r1.zip, where it was already: nothing was sent\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_run_that_failed_says_where_why_and_which_queries() {
        let mut outcome = outcome(sample_run::failed());
        outcome.errors = vec!["s3://acme-results/out/r1/errors/RunQueries.json".to_owned()];
        check(
            &failure(&outcome),
            "\
run r1 failed in RunQueries: Query.Failed
    query `daily/users` failed
query daily/users: Query.Failed
    SYNTAX_ERROR: line 2:8: Column 'nme' cannot be resolved
    Query: daily/users
error     s3://acme-results/out/r1/errors/RunQueries.json
manifest  out/r1.manifest.json",
        );
    }

    #[test]
    fn a_refused_job_lists_every_problem_with_its_place() {
        let problem = |path: &str, message: &str| Problem {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        let details = ProblemDetails {
            kind: "Job.Invalid".to_owned(),
            title: "the job is not valid".to_owned(),
            status: 400,
            detail: "it has 2 problems".to_owned(),
            problems: vec![
                problem("$.query_name", "unknown field `query_name`; did you mean `query_names`?"),
                problem("$.zip_prefix", "the field `zip_prefix` is missing"),
            ],
        };
        check(
            &error(&Error::RefusedJob(Box::new(details))),
            "\
error: the job is refused: it has 2 problems
  $.query_name: unknown field `query_name`; did you mean `query_names`?
  $.zip_prefix: the field `zip_prefix` is missing",
        );
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let source = std::io::Error::other("no space left on device");
        check(
            &error(&Error::WriteFile { path: "out/x.zip".into(), source }),
            "error: writing `out/x.zip`: no space left on device",
        );
    }
}
