//! What the HTTPS endpoint says of a run, and of a request that it refuses.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    document::Problem,
    name::RunId,
    record::{Failure, QuerySummary},
    states::Deliverable,
};

/// The most queries that a [`RunView`] lists. A longer list would cost a request to S3 for each at
/// every look, and would not fit into an answer: the manifest has it.
pub const VIEW_QUERIES_MAX: usize = 1_000;

/// A run, as `GET /jobs/{run_id}` answers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The run's id.
    pub run_id: RunId,
    /// Where it stands, in Step Functions' words.
    pub status: RunState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The state of the state machine that it is in, or ended in: `RunQueries`, `ZipResults`.
    pub stage: Option<String>,
    /// How many queries it has, once it is planned.
    pub query_count: Option<usize>,
    /// Every query of the plan, in its order; empty until the run is planned, and if there are more
    /// than [`VIEW_QUERIES_MAX`].
    pub queries: Vec<QuerySummary>,
    /// The file that was made, once it is there.
    pub file: Option<Deliverable>,
    /// The transporter's receipt, once the file is delivered.
    pub delivery: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The run's manifest, as an S3 URI, once it is there.
    pub manifest: Option<String>,
    /// Bytes that Athena read from S3 for it so far.
    pub data_scanned_bytes: u64,
}

/// Where a run stands, in Step Functions' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunState {
    /// It goes on.
    Running,
    /// The file is there, and delivered if the job says to whom.
    Succeeded,
    /// It failed. The file is at the recipient all the same if there is a receipt: only what came
    /// after the delivery failed then.
    Failed,
    /// It took longer than the state machine allows.
    TimedOut,
    /// Somebody stopped it.
    Aborted,
}

impl RunState {
    /// Whether nothing will change any more.
    pub const fn is_end(self) -> bool {
        match self {
            Self::Running => false,
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Aborted => true,
        }
    }
}

/// What `POST /jobs` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedRun {
    /// The run's id.
    pub run_id: RunId,
}

/// An error of the endpoint: `application/problem+json`,
/// [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// What kind of error it is, as the error's stable name: `Job.Invalid`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// Every problem with the request, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}
