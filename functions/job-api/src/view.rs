//! A run as the endpoint shows it: put together from what Step Functions and the records say.

use job::{
    ErrorName, RunId,
    record::{EXECUTION, Failure, Manifest, QuerySummary},
    view::{RunState, RunView, VIEW_QUERIES_MAX},
};

use crate::{Execution, Queries};

/// The state in which every run that succeeds ends.
const LAST_STATE: &str = "RecordSuccess";

/// The receipt of a run, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) uri: String,
    pub(crate) manifest: Manifest,
}

/// The stage in which a run ended, if that can be said without its history.
pub(crate) fn last_stage(status: RunState, manifest: Option<&Manifest>) -> Option<String> {
    let failure = manifest.and_then(|manifest| manifest.failure.as_ref());
    match status {
        RunState::Running => None,
        RunState::Succeeded => Some(LAST_STATE.to_owned()),
        RunState::Failed | RunState::TimedOut | RunState::Aborted => {
            // A run that was stopped or timed out: its history knows the state.
            let state = failure.map(|failure| failure.state.clone());
            state.filter(|state| state != EXECUTION)
        }
    }
}

/// The run.
///
/// `queries` is nothing until the run is planned; a receipt's own queries go before it.
pub(crate) fn run_view(
    run_id: RunId,
    execution: &Execution,
    stage: Option<String>,
    queries: Option<Queries>,
    receipt: Option<Receipt>,
) -> RunView {
    let told = failure(execution, stage.as_deref());
    let Execution { status, finished_at, .. } = *execution;
    let view = RunView {
        run_id,
        status,
        started_at: execution.id.started_at,
        finished_at,
        stage,
        query_count: queries.as_ref().map(|queries| queries.count),
        data_scanned_bytes: queries.as_ref().map_or(0, |queries| scanned_bytes(&queries.summaries)),
        queries: queries.map(|queries| queries.summaries).unwrap_or_default(),
        file: None,
        delivery: None,
        failure: told,
        manifest: None,
    };
    let Some(Receipt { uri, manifest }) = receipt else { return view };
    let count = manifest.queries.len();
    RunView {
        query_count: Some(count).filter(|count| *count > 0),
        queries: if count > VIEW_QUERIES_MAX { Vec::new() } else { manifest.queries },
        file: manifest.file,
        delivery: manifest.delivery,
        failure: manifest.failure.or(view.failure),
        manifest: Some(uri),
        data_scanned_bytes: manifest.data_scanned_bytes,
        ..view
    }
}

/// Why the run failed, as Step Functions tells it.
fn failure(execution: &Execution, stage: Option<&str>) -> Option<Failure> {
    let error = match execution.status {
        RunState::Running | RunState::Succeeded => return None,
        RunState::Failed => ErrorName::RunFailed,
        RunState::TimedOut => ErrorName::RunTimedOut,
        RunState::Aborted => ErrorName::RunAborted,
    };
    let error = execution.error.as_deref().unwrap_or(error.as_str());
    let cause = execution.cause.as_deref().unwrap_or("Step Functions gives no cause");
    Some(Failure::of_state(stage.unwrap_or_default(), error, cause))
}

fn scanned_bytes(queries: &[QuerySummary]) -> u64 {
    queries.iter().map(|query| query.statistics.data_scanned_bytes).sum()
}

#[cfg(test)]
mod tests {
    use job::{
        record::{RunStatus, Statistics},
        run_record::ExecutionId,
    };
    use serde_json::json;

    use super::*;

    fn execution(status: RunState, error: Option<&str>, cause: Option<&str>) -> Execution {
        Execution {
            id: ExecutionId {
                arn: "arn:e".to_owned(),
                started_at: "2026-01-31T12:00:00Z".parse().unwrap(),
            },
            status,
            finished_at: status.is_end().then(|| "2026-01-31T12:05:00Z".parse().unwrap()),
            input: "{}".to_owned().into(),
            error: error.map(str::to_owned),
            cause: cause.map(str::to_owned),
        }
    }

    fn query(name: &str, data_scanned_bytes: u64) -> QuerySummary {
        let record = json!({
            "name": name, "state": "RUNNING", "query_execution_id": "q1", "attempts": 1,
            "file_name": "f.csv", "csv": null, "failure": null,
        });
        let statistics = Statistics { data_scanned_bytes, ..Statistics::default() };
        QuerySummary { statistics, ..serde_json::from_value(record).unwrap() }
    }

    fn failure(state: &str, error: &str, cause: &str) -> Failure {
        Failure { state: state.to_owned(), error: error.to_owned(), cause: cause.to_owned() }
    }

    fn receipt(queries: Vec<QuerySummary>, failure: Option<Failure>) -> Receipt {
        let file = json!({
            "uri": "s3://acme-results/zips/r1.zip", "etag": "\"e\"", "size_bytes": 9,
            "sha256": "00", "file_name": "r1.zip",
        });
        let manifest = Manifest {
            run_id: "r1".parse().unwrap(),
            execution: execution(RunState::Running, None, None).id,
            status: if failure.is_some() { RunStatus::Failed } else { RunStatus::Succeeded },
            started_at: "2026-01-31T12:00:00Z".parse().unwrap(),
            finished_at: "2026-01-31T12:04:59Z".parse().unwrap(),
            data_scanned_bytes: scanned_bytes(&queries),
            succeeded: queries.iter().filter(|query| query.csv.is_some()).count(),
            failed: queries.iter().filter(|query| query.csv.is_none()).count(),
            queries,
            file: failure.is_none().then(|| serde_json::from_value(file).unwrap()),
            delivery: failure.is_none().then(|| json!({ "remote_path": "/in/r1.zip" })),
            failure,
        };
        Receipt { uri: "s3://acme-results/out/r1/manifest.json".to_owned(), manifest }
    }

    /// Puts a run together, its last stage asked for as the endpoint does, and compares it with
    /// the view of a run of which nothing is known, changed by `expected`.
    #[track_caller]
    fn check(
        execution: &Execution,
        history: &str,
        queries: Option<Vec<QuerySummary>>,
        receipt: Option<Receipt>,
        expected: impl FnOnce(RunView) -> RunView,
    ) {
        let manifest = receipt.as_ref().map(|receipt| &receipt.manifest);
        let stage = last_stage(execution.status, manifest).or(Some(history.to_owned()));
        let nothing = RunView {
            run_id: "r1".parse().unwrap(),
            status: execution.status,
            started_at: execution.id.started_at,
            finished_at: execution.finished_at,
            stage: Some(history.to_owned()),
            query_count: None,
            queries: Vec::new(),
            file: None,
            delivery: None,
            failure: None,
            manifest: None,
            data_scanned_bytes: 0,
        };
        let queries = queries.map(|summaries| Queries { count: summaries.len(), summaries });
        let found = run_view("r1".parse().unwrap(), execution, stage, queries, receipt);
        assert_eq!(found, expected(nothing));
    }

    #[test]
    fn a_running_run_is_its_stage_and_its_records() {
        let running = || execution(RunState::Running, None, None);
        check(&running(), "LoadQueries", None, None, |nothing| nothing);
        let queries = vec![query("a", 3), query("b", 4)];
        check(&running(), "RunQueries", Some(queries.clone()), None, |nothing| RunView {
            query_count: Some(2),
            queries,
            data_scanned_bytes: 7,
            ..nothing
        });
    }

    #[test]
    fn a_run_that_succeeded_is_its_manifest() {
        let receipt = receipt(vec![query("a", 3)], None);
        let Manifest { queries, file, delivery, .. } = receipt.manifest.clone();
        let succeeded = execution(RunState::Succeeded, None, None);
        check(&succeeded, "unasked", None, Some(receipt), |nothing| RunView {
            stage: Some("RecordSuccess".to_owned()),
            query_count: Some(1),
            queries,
            file,
            delivery,
            manifest: Some("s3://acme-results/out/r1/manifest.json".to_owned()),
            data_scanned_bytes: 3,
            ..nothing
        });
    }

    #[test]
    fn a_run_that_failed_ended_where_its_manifest_says() {
        let told = failure("ZipResults", "Archive.Invalid", "two members of one name");
        let failed = execution(RunState::Failed, Some("Archive.Invalid"), Some("else"));
        let receipt = receipt(Vec::new(), Some(told.clone()));
        check(&failed, "Failed", None, Some(receipt), |nothing| RunView {
            stage: Some("ZipResults".to_owned()),
            failure: Some(told),
            manifest: Some("s3://acme-results/out/r1/manifest.json".to_owned()),
            ..nothing
        });
    }

    #[test]
    fn a_run_without_a_manifest_failed_as_step_functions_tells_it() {
        let cause = r#"{"errorType": "Job.Invalid", "errorMessage": "no queries"}"#;
        for (status, error, cause, expected) in [
            (RunState::Failed, Some("Job.Invalid"), Some(cause), ("Job.Invalid", "no queries")),
            (
                RunState::TimedOut,
                Some("States.Timeout"),
                Some("late"),
                ("Run.TimedOut", "States.Timeout: late"),
            ),
            (RunState::TimedOut, None, None, ("Run.TimedOut", "")),
            (RunState::Aborted, None, Some("enough"), ("Run.Aborted", "enough")),
        ] {
            let (error_name, text) = expected;
            let text = if text.is_empty() { "Step Functions gives no cause" } else { text };
            let told = failure("RunQueries", error_name, text);
            let queries = vec![query("a", 3)];
            let execution = execution(status, error, cause);
            check(&execution, "RunQueries", Some(queries.clone()), None, |nothing| RunView {
                query_count: Some(1),
                queries,
                data_scanned_bytes: 3,
                failure: Some(told),
                ..nothing
            });
        }
    }

    #[test]
    fn the_workflow_ends_well_in_one_state_only() {
        let workflow = include_str!("../../../infra/workflow.asl.json");
        let workflow: serde_json::Value = serde_json::from_str(workflow).unwrap();
        let states = workflow["States"].as_object().unwrap();
        let ends = |state: &serde_json::Value| state["End"] == true || state["Type"] == "Succeed";
        let last: Vec<&String> =
            states.iter().filter(|(_, state)| ends(state)).map(|(name, _)| name).collect();
        assert_eq!(last, [LAST_STATE]);
    }
}
