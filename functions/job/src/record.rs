//! What a run leaves behind for people to read: a record per query, and the manifest.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    name::{FileName, QueryName, RunId},
    s3::S3Location,
    states::{Deliverable, PlannedQuery},
};

/// Where a query stands, in Athena's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum QueryState {
    /// Planned, or waiting in Athena.
    Queued,
    /// Running in Athena.
    Running,
    /// Its CSV is there.
    Succeeded,
    /// It failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// One query of a run: `results/{query}.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryRecord {
    /// The query's name.
    pub name: QueryName,
    /// Where it stands.
    pub state: QueryState,
    /// Athena's id of it.
    pub query_execution_id: Option<String>,
    /// How often it was started.
    pub attempts: u32,
    /// What its CSV is called.
    pub file_name: FileName,
    /// Its CSV, once it is there.
    pub csv: Option<CsvFile>,
    /// The same as an archive of one entry, if the run has several queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberFile>,
    /// What Athena counted.
    #[serde(default)]
    pub statistics: Statistics,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl QueryRecord {
    /// The record of a query that has not begun.
    pub fn queued(query: &PlannedQuery) -> Self {
        Self {
            name: query.name.clone(),
            state: QueryState::Queued,
            query_execution_id: None,
            attempts: 0,
            file_name: query.file_name.clone(),
            csv: None,
            member: None,
            statistics: Statistics::default(),
            failure: None,
        }
    }
}

/// A CSV that a run wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvFile {
    /// Where it is.
    pub location: S3Location,
    /// Its ETag.
    pub etag: String,
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
    /// Its ETag.
    pub etag: String,
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
    /// taken out of it.
    pub fn of_state(state: impl Into<String>, error: impl Into<String>, cause: &str) -> Self {
        #[derive(Deserialize)]
        struct FunctionError {
            #[serde(rename = "errorMessage")]
            message: String,
        }
        let cause = serde_json::from_str(cause)
            .map_or_else(|_| cause.to_owned(), |error: FunctionError| error.message);
        Self { state: state.into(), error: error.into(), cause }
    }
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
    pub queries: Vec<QueryRecord>,
    /// The file that was made.
    pub file: Option<Deliverable>,
    /// What the transporter says of the delivery: remote path, host key, SHA-256.
    pub delivery: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Bytes read from S3 by all queries.
    pub data_scanned_bytes: u64,
}
