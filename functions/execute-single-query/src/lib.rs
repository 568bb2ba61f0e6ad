//! One query of a run: starts it, sees that the event of its end completes the callback that waits
//! for it, and writes its result as CSV.
//!
//! A call may be repeated at any point, and at the same time. The record of the query is the truth:
//! a call looks at its stage, does the next deed, and writes the next stage only if nobody else has
//! written meanwhile; if somebody has, it follows that record. The intent is written before the
//! start, whose token is made of execution, query and attempt: so a repeated call finds the query
//! that runs instead of paying for another.

mod csv;
mod error;
mod result;
mod run_query;
mod write_result;

use aws_io::{
    Failure, Storage,
    athena::{Athena, QueryStatus},
    run_files::QueryFile,
    step_functions::StepFunctions,
    waits::Waits,
};
use jiff::Timestamp;
use job::{
    BucketName,
    error::Chain,
    record::{Failure as RecordedFailure, QueryEvent, QueryStage, QueryState},
    states::{PlannedQuery, QueryTask, Run},
};
use serde::{Deserialize, Serialize};

pub use crate::{
    csv::{CsvError, Transform},
    error::{ExecuteError, Place, Position},
};

/// Settings of the function, from its environment.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// `STATE_BUCKET`: the bucket of the callbacks that wait for queries. The deployment that writes
    /// results has none.
    pub state_bucket: Option<BucketName>,
}

/// The services that the function uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    /// Athena.
    pub athena: Athena,
    /// S3.
    pub storage: Storage,
    /// Step Functions, to answer the callback of a query that has ended already.
    pub step_functions: StepFunctions,
    /// The callbacks that wait for queries.
    pub waits: Option<Waits>,
}

/// Answer of the function, which is empty: the result is in the record.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Done {}

/// Does the task at the time `now`.
///
/// # Errors
///
/// See [`ExecuteError`]. An error that is final is recorded first.
pub async fn execute(
    services: &Services,
    now: Timestamp,
    task: QueryTask,
) -> Result<Done, ExecuteError> {
    match task {
        QueryTask::RunQuery { run, query, wait } => {
            let call = Call { services, run: &run, query: &query, now };
            let mut file = call.open().await?;
            let outcome = call.run_query(&mut file, &wait).await;
            call.recorded(file, outcome).await
        }
        QueryTask::WriteResult { run, query } => {
            let call = Call { services, run: &run, query: &query, now };
            let mut file = call.open().await?;
            let outcome = call.write_result(&mut file).await;
            call.recorded(file, outcome).await
        }
    }
}

/// One call of the function.
struct Call<'a> {
    services: &'a Services,
    run: &'a Run,
    query: &'a PlannedQuery,
    now: Timestamp,
}

impl<'a> Call<'a> {
    async fn open(&self) -> Result<QueryFile<'a>, ExecuteError> {
        let Self { services, run, query, .. } = self;
        QueryFile::open(&services.storage, run, query).await.map_err(|e| self.records_failed(e))
    }

    /// Records an error that is final. A query that may run in Athena stays as it is: the state
    /// machine then has it cancelled and recorded, while a failed record would hide it from that.
    async fn recorded(
        &self,
        mut file: QueryFile<'a>,
        outcome: Result<(), ExecuteError>,
    ) -> Result<Done, ExecuteError> {
        let Err(error) = outcome else { return Ok(Done {}) };
        let has_ended =
            matches!(file.record().stage, QueryStage::Queued | QueryStage::Ended { .. });
        if error.is_final() && has_ended {
            let event = self.failed(&error, None);
            file.advance(event).await.map_err(|e| self.records_failed(e))?;
        }
        Err(error)
    }

    /// The event of a query that failed for good.
    fn failed(&self, error: &ExecuteError, status: Option<&QueryStatus>) -> QueryEvent {
        let failure = RecordedFailure {
            state: self.query.name.to_string(),
            error: error.name().to_string(),
            cause: Chain(error).to_string(),
        };
        let statistics = status.map(|status| status.statistics.clone());
        let query_execution_id = None;
        match error {
            ExecuteError::Cancelled { .. } => {
                QueryEvent::Cancelled { query_execution_id, failure, statistics }
            }
            _ => QueryEvent::Failed { query_execution_id, failure, statistics },
        }
    }

    /// The event of a query that Athena has ended; nothing of one that has not ended.
    fn ended(&self, status: &QueryStatus) -> Option<QueryEvent> {
        let reason = status.reason.clone();
        match status.state {
            // RUNNING may go back to QUEUED: neither is an end.
            QueryState::Queued | QueryState::Running => None,
            QueryState::Succeeded => Some(QueryEvent::Ended {
                output_location: status.output_location.clone(),
                statistics: status.statistics.clone(),
            }),
            QueryState::Failed => {
                Some(self.failed(&ExecuteError::failed(self.query, reason), Some(status)))
            }
            QueryState::Cancelled => {
                let query = self.query.name.clone();
                Some(self.failed(&ExecuteError::Cancelled { query, reason }, Some(status)))
            }
        }
    }
}
