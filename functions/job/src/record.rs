//! What a run leaves behind for people to read: a record per query, and the manifest.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::ErrorName,
    name::{FileName, QueryName, RunId},
    run_record::ExecutionId,
    s3::{ObjectVersion, S3Location},
    states::{Deliverable, PlannedQuery},
};

/// State of a query as people read it, in Athena's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum QueryState {
    /// Planned, or waiting in Athena.
    Queued,
    /// Running in Athena, or ended there without a CSV yet.
    Running,
    /// The CSV is there.
    Succeeded,
    /// Failed for good.
    Failed,
    /// Cancelled.
    Cancelled,
}

/// One query in the manifest and in the view of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuerySummary {
    /// Name of the query.
    pub name: QueryName,
    /// State of the query.
    pub state: QueryState,
    /// Athena's id of it.
    pub query_execution_id: Option<String>,
    /// Number of times it was started.
    pub attempts: u32,
    /// Name of its CSV.
    pub file_name: FileName,
    /// Its CSV, once it is there.
    pub csv: Option<CsvFile>,
    /// The same as an archive of one entry, if the run has several queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberFile>,
    /// Counts of Athena.
    #[serde(default)]
    pub statistics: Statistics,
    /// Reason of its failure.
    pub failure: Option<Failure>,
}

/// One query of a run as the functions record it: `results/{query}.json`.
///
/// The record only goes forward, by [`next`](Self::next): `STARTING -> RUNNING -> ENDED -> WRITTEN |
/// FAILED | CANCELLED`. A query that Athena failed for now begins anew as `STARTING` of the next
/// attempt. Every write is conditional on the version that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryRecord {
    /// Name of the query.
    pub name: QueryName,
    /// Name of its CSV.
    pub file_name: FileName,
    /// Execution that owns the run.
    pub execution: ExecutionId,
    /// Number of times it was started, the start that is only intended counted.
    pub attempt: u32,
    /// Time of the first start that Athena answered: a query that Athena was too busy to start has
    /// all of its time still.
    pub started_at: Option<Timestamp>,
    /// Counts of Athena.
    #[serde(default)]
    pub statistics: Statistics,
    /// Stage of the query.
    #[serde(flatten)]
    pub stage: QueryStage,
}

/// Stage of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "UPPERCASE")]
pub enum QueryStage {
    /// Planned. No such record is written.
    Queued,
    /// The start is intended: Athena may or may not have heard of the token.
    Starting {
        /// Idempotency token of the start.
        token: String,
    },
    /// Athena has started it.
    Running {
        /// Athena's id.
        query_execution_id: String,
    },
    /// Athena has ended it well.
    Ended {
        /// Athena's id.
        query_execution_id: String,
        /// URI of the result object.
        output_location: String,
    },
    /// Its CSV is there.
    Written {
        /// Athena's id.
        query_execution_id: String,
        /// The CSV.
        csv: CsvFile,
        /// The same as an archive of one entry, if the run has several queries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<MemberFile>,
    },
    /// It failed for good.
    Failed {
        /// Athena's id, if it was started.
        query_execution_id: Option<String>,
        /// Reason of the failure.
        failure: Failure,
    },
    /// It was cancelled.
    Cancelled {
        /// Athena's id, if it was started.
        query_execution_id: Option<String>,
        /// Reason of the cancellation.
        failure: Failure,
    },
}

/// A step of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryEvent {
    /// The first start is intended.
    Intended {
        /// Idempotency token of the start.
        token: String,
    },
    /// Athena answered the start.
    Started {
        /// Athena's id.
        query_execution_id: String,
        /// Now.
        at: Timestamp,
    },
    /// Athena ended the query well.
    Ended {
        /// URI of the result object.
        output_location: String,
        /// Counts of Athena.
        statistics: Statistics,
    },
    /// Athena failed the query for now: another start is intended.
    Retried {
        /// Idempotency token of the next start.
        token: String,
    },
    /// The CSV is written.
    Written {
        /// The CSV.
        csv: Box<CsvFile>,
        /// The same as an archive of one entry.
        member: Option<Box<MemberFile>>,
    },
    /// The query failed for good.
    Failed {
        /// Athena's id, if the start was answered and the record does not have it yet.
        query_execution_id: Option<String>,
        /// Reason of the failure.
        failure: Failure,
        /// Counts of Athena, if it ended the query.
        statistics: Option<Statistics>,
    },
    /// The query was cancelled.
    Cancelled {
        /// Athena's id, if the start was answered and the record does not have it yet.
        query_execution_id: Option<String>,
        /// Reason of the cancellation.
        failure: Failure,
        /// Counts of Athena, if it ended the query.
        statistics: Option<Statistics>,
    },
}

impl QueryRecord {
    /// Returns the record of a query that has not begun.
    pub fn queued(query: &PlannedQuery, execution: &ExecutionId) -> Self {
        Self {
            name: query.name.clone(),
            file_name: query.file_name.clone(),
            execution: execution.clone(),
            attempt: 0,
            started_at: None,
            statistics: Statistics::default(),
            stage: QueryStage::Queued,
        }
    }

    /// Returns the record after `event`; nothing if the event does not follow from its stage.
    pub fn next(&self, event: QueryEvent) -> Option<Self> {
        let id = self.query_execution_id().map(str::to_owned);
        let mut next = self.clone();
        next.stage = match (&self.stage, event) {
            (QueryStage::Queued, QueryEvent::Intended { token }) => {
                next.attempt = 1;
                QueryStage::Starting { token }
            }
            (QueryStage::Starting { .. }, QueryEvent::Started { query_execution_id, at }) => {
                next.started_at.get_or_insert(at);
                QueryStage::Running { query_execution_id }
            }
            (
                QueryStage::Running { query_execution_id },
                QueryEvent::Ended { output_location, statistics },
            ) => {
                next.statistics = statistics;
                let query_execution_id = query_execution_id.clone();
                QueryStage::Ended { query_execution_id, output_location }
            }
            (QueryStage::Running { .. }, QueryEvent::Retried { token }) => {
                next.attempt += 1;
                QueryStage::Starting { token }
            }
            (QueryStage::Ended { query_execution_id, .. }, QueryEvent::Written { csv, member }) => {
                let query_execution_id = query_execution_id.clone();
                let member = member.map(|member| *member);
                QueryStage::Written { query_execution_id, csv: *csv, member }
            }
            (
                QueryStage::Queued
                | QueryStage::Starting { .. }
                | QueryStage::Running { .. }
                | QueryStage::Ended { .. },
                QueryEvent::Failed { query_execution_id, failure, statistics },
            ) => {
                next.statistics = statistics.unwrap_or_else(|| self.statistics.clone());
                QueryStage::Failed { query_execution_id: query_execution_id.or(id), failure }
            }
            (
                QueryStage::Queued
                | QueryStage::Starting { .. }
                | QueryStage::Running { .. }
                | QueryStage::Ended { .. },
                QueryEvent::Cancelled { query_execution_id, failure, statistics },
            ) => {
                next.statistics = statistics.unwrap_or_else(|| self.statistics.clone());
                QueryStage::Cancelled { query_execution_id: query_execution_id.or(id), failure }
            }
            _ => return None,
        };
        Some(next)
    }

    /// Athena's id of the query, once it is known.
    pub fn query_execution_id(&self) -> Option<&str> {
        match &self.stage {
            QueryStage::Queued | QueryStage::Starting { .. } => None,
            QueryStage::Running { query_execution_id }
            | QueryStage::Ended { query_execution_id, .. }
            | QueryStage::Written { query_execution_id, .. } => Some(query_execution_id),
            QueryStage::Failed { query_execution_id, .. }
            | QueryStage::Cancelled { query_execution_id, .. } => query_execution_id.as_deref(),
        }
    }

    /// Returns whether nothing follows any more.
    pub fn is_final(&self) -> bool {
        match self.stage {
            QueryStage::Queued
            | QueryStage::Starting { .. }
            | QueryStage::Running { .. }
            | QueryStage::Ended { .. } => false,
            QueryStage::Written { .. }
            | QueryStage::Failed { .. }
            | QueryStage::Cancelled { .. } => true,
        }
    }
}

impl From<QueryRecord> for QuerySummary {
    fn from(record: QueryRecord) -> Self {
        let query_execution_id = record.query_execution_id().map(str::to_owned);
        let (state, csv, member, failure) = match record.stage {
            QueryStage::Queued | QueryStage::Starting { .. } => {
                (QueryState::Queued, None, None, None)
            }
            QueryStage::Running { .. } | QueryStage::Ended { .. } => {
                (QueryState::Running, None, None, None)
            }
            QueryStage::Written { csv, member, .. } => {
                (QueryState::Succeeded, Some(csv), member, None)
            }
            QueryStage::Failed { failure, .. } => (QueryState::Failed, None, None, Some(failure)),
            QueryStage::Cancelled { failure, .. } => {
                (QueryState::Cancelled, None, None, Some(failure))
            }
        };
        Self {
            name: record.name,
            state,
            query_execution_id,
            attempts: record.attempt,
            file_name: record.file_name,
            csv,
            member,
            statistics: record.statistics,
            failure,
        }
    }
}

/// A CSV that a run wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvFile {
    /// Where it is.
    pub location: S3Location,
    /// Its version.
    #[serde(flatten)]
    pub version: ObjectVersion,
    /// How many records it has, the header not counted.
    pub rows: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// A CSV as an archive of one entry, which `zip-s3-folder` copies into the run's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFile {
    /// Where it is.
    pub location: S3Location,
    /// Its version.
    #[serde(flatten)]
    pub version: ObjectVersion,
    /// Its size, its own directory included.
    pub size_bytes: u64,
    /// The CRC-32 of the CSV.
    pub crc32: u32,
    /// What the CSV was deflated to.
    pub compressed_bytes: u64,
}

/// What Athena counted for one query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Bytes read from S3; Athena bills at least 10 MB of them.
    pub data_scanned_bytes: u64,
    /// Time in the queue, in milliseconds.
    pub queue_milliseconds: u64,
    /// Time in the engine, in milliseconds.
    pub engine_milliseconds: u64,
    /// Time from submission to the end, in milliseconds.
    pub total_milliseconds: u64,
}

/// The state of a failure that no state tells: an execution that was stopped or timed out.
pub const EXECUTION: &str = "Execution";

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The state, or the query, that failed.
    pub state: String,
    /// The error's name.
    pub error: String,
    /// The error's text.
    pub cause: String,
}

impl Failure {
    /// The failure of `state` as Step Functions tells it.
    ///
    /// The cause of a function's error is the JSON `{"errorType", "errorMessage"}`: the message is
    /// taken out of it. Names that begin with `States.` are AWS's own, and a state machine may not
    /// raise them: they become `Run.*`, with the original in the cause.
    pub fn of_state(state: impl Into<String>, error: impl Into<String>, cause: &str) -> Self {
        #[derive(Deserialize)]
        struct FunctionError {
            #[serde(rename = "errorMessage")]
            message: String,
        }
        let cause = serde_json::from_str(cause)
            .map_or_else(|_| cause.to_owned(), |error: FunctionError| error.message);
        let error = error.into();
        let (error, cause) = match (error.as_str(), error.strip_prefix("States.")) {
            ("States.Timeout" | "States.HeartbeatTimeout", _) => {
                (ErrorName::RunTimedOut.to_string(), with_original(&error, &cause))
            }
            ("Lambda.TooManyRequestsException", _) => {
                (ErrorName::QueryThrottled.to_string(), cause)
            }
            (_, Some(rest)) => (format!("Run.{rest}"), with_original(&error, &cause)),
            (_, None) => (error, cause),
        };
        Self { state: state.into(), error, cause }
    }
}

/// The cause of an error that was renamed, with the name that it had.
fn with_original(error: &str, cause: &str) -> String {
    if cause.is_empty() { error.to_owned() } else { format!("{error}: {cause}") }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// The file is there, and delivered if the job says to whom.
    Succeeded,
    /// It is not.
    Failed,
}

/// The receipt of a run: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The run's id.
    pub run_id: RunId,
    /// The execution that owns the run.
    pub execution: ExecutionId,
    /// How it ended.
    pub status: RunStatus,
    /// When it started.
    pub started_at: Timestamp,
    /// When the manifest was written.
    pub finished_at: Timestamp,
    /// How many queries succeeded.
    #[serde(default)]
    pub succeeded: usize,
    /// How many did not.
    #[serde(default)]
    pub failed: usize,
    /// Every query of the plan, in its order.
    pub queries: Vec<QuerySummary>,
    /// The file that was made.
    pub file: Option<Deliverable>,
    /// What the transporter says of the delivery: remote path, host key, SHA-256.
    pub delivery: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Bytes read from S3 by all queries.
    pub data_scanned_bytes: u64,
}

impl Manifest {
    /// Returns the manifest of a run that has neither a file nor a failure yet, with the counts of
    /// its queries; `times` are its start and its end.
    pub fn new(
        run_id: RunId,
        execution: ExecutionId,
        status: RunStatus,
        (started_at, finished_at): (Timestamp, Timestamp),
        queries: Vec<QuerySummary>,
    ) -> Self {
        let succeeded = queries.iter().filter(|query| query.csv.is_some()).count();
        Self {
            run_id,
            execution,
            status,
            started_at,
            finished_at,
            succeeded,
            failed: queries.len() - succeeded,
            data_scanned_bytes: queries
                .iter()
                .map(|query| query.statistics.data_scanned_bytes)
                .sum(),
            queries,
            file: None,
            delivery: None,
            failure: None,
        }
    }
}
