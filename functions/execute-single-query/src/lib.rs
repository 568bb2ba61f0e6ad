//! One query of a run: starts it, waits for it, and writes its result as CSV.
//!
//! A call may be repeated at any point. The query is started with a token made of run, query and
//! attempt, so a repeated call finds the running query instead of paying for another; a finished
//! query is answered from its record.

mod athena;
mod csv;
mod record;
mod result;

use std::time::Duration;

use aws_io::{Failure, Storage, StorageError};
use backon::{BackoffBuilder, ExponentialBuilder};
use job::{
    ErrorName, QueryName,
    record::QueryState,
    states::{PlannedQuery, QueryOutcome, QueryProgress, QueryTask, Run},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use tracing::info;

pub use crate::{
    athena::Athena,
    csv::{CsvError, Transform},
};
use crate::{athena::Seen, record::Recorder};

/// The longest SQL that [Athena takes](https://docs.aws.amazon.com/athena/latest/ug/service-limits.html).
const SQL_BYTES_MAX: u64 = 262_144;

/// How often a query is run when Athena says that its failure is transient.
const ATTEMPTS_MAX: u32 = 4;

/// The longest wait that is asked of the state machine.
const WAIT_SECONDS_MAX: u32 = 60;

/// The settings of the function.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// `QUERY_WAIT_SECONDS`: how long one call waits for the query, in seconds; 6 by default.
    ///
    /// Waiting in the call is cheaper than two transitions of the state machine up to some 7
    /// seconds at 512 MB.
    #[serde(default = "default_query_wait_seconds")]
    pub query_wait_seconds: u64,
}

fn default_query_wait_seconds() -> u64 {
    6
}

/// Why a query gave no CSV.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The SQL is not the one that the run was planned with.
    #[error("the SQL of query `{query}` changed after the run was planned; start the run again")]
    Changed {
        /// The query.
        query: QueryName,
        /// What S3 said.
        source: StorageError,
    },
    /// The SQL is not text.
    #[error("the SQL of query `{query}` is not UTF-8")]
    NotText {
        /// The query.
        query: QueryName,
    },
    /// Athena is busy.
    #[error("{action} query `{query}`: Athena asks to wait")]
    Throttled {
        /// What was being done.
        action: &'static str,
        /// To which query.
        query: QueryName,
        /// What Athena said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Athena was not reached, or failed.
    #[error("{action} query `{query}`: Athena could not be reached or failed")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// To which query.
        query: QueryName,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The role may not do it.
    #[error("{action} query `{query}`: access denied: {message}")]
    Denied {
        /// What was being done.
        action: &'static str,
        /// To which query.
        query: QueryName,
        /// Athena's text.
        message: String,
    },
    /// Athena failed the query for good.
    #[error("query `{query}` failed in Athena: {reason}")]
    Failed {
        /// The query.
        query: QueryName,
        /// Athena's own text.
        reason: String,
    },
    /// Somebody cancelled the query.
    #[error("query `{query}` was cancelled in Athena: {reason}")]
    Cancelled {
        /// The query.
        query: QueryName,
        /// Athena's own text.
        reason: String,
    },
    /// The statement has no rows to deliver.
    #[error(
        "query `{query}` has no result set: Athena wrote `{output_location}`; only statements that return rows can be delivered"
    )]
    NoResultSet {
        /// The query.
        query: QueryName,
        /// What Athena wrote.
        output_location: String,
    },
    /// The result object is not what Athena writes.
    #[error("reading the result of query `{query}`")]
    Result {
        /// The query.
        query: QueryName,
        /// What is wrong with it.
        source: CsvError,
    },
    /// S3 failed.
    #[error("query `{query}`")]
    Storage {
        /// The query.
        query: QueryName,
        /// What happened.
        source: StorageError,
    },
}

impl Failure for ExecuteError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Changed { .. } => ErrorName::QueryChanged,
            Self::NotText { .. } | Self::NoResultSet { .. } => ErrorName::QueryInvalid,
            Self::Throttled { .. } => ErrorName::QueryThrottled,
            Self::Unavailable { .. } => ErrorName::QueryUnavailable,
            Self::Denied { .. } => ErrorName::QueryDenied,
            Self::Failed { .. } => ErrorName::QueryFailed,
            Self::Cancelled { .. } => ErrorName::QueryCancelled,
            Self::Result { .. } => ErrorName::ResultInvalid,
            Self::Storage { source, .. } => source.name(),
        }
    }
}

/// Runs one query as far as it gets within the wait that the settings allow.
///
/// # Errors
///
/// See [`ExecuteError`]. An error that is final is written to the query's record first.
pub async fn execute(
    athena: &Athena,
    storage: &Storage,
    settings: &Settings,
    task: QueryTask,
) -> Result<QueryOutcome, ExecuteError> {
    let QueryTask { run, query, progress } = task;
    let mut recorder = Recorder::open(storage, &run, &query).await?;
    if recorder.record.state == QueryState::Succeeded {
        return Ok(QueryOutcome::Succeeded {});
    }
    let attempt = Attempt { athena, storage, run: &run, query: &query };
    let outcome =
        attempt.go(&mut recorder, progress, Duration::from_secs(settings.query_wait_seconds)).await;
    if let Err(error) = &outcome
        && !error.name().is_retryable()
    {
        recorder.failed(error).await?;
    }
    outcome
}

struct Attempt<'a> {
    athena: &'a Athena,
    storage: &'a Storage,
    run: &'a Run,
    query: &'a PlannedQuery,
}

impl Attempt<'_> {
    async fn go(
        &self,
        recorder: &mut Recorder<'_>,
        progress: Option<QueryProgress>,
        wait: Duration,
    ) -> Result<QueryOutcome, ExecuteError> {
        let deadline = Instant::now() + wait;
        let mut progress = match progress {
            Some(progress) => progress,
            None => self.start(recorder, 1).await?,
        };
        loop {
            let Some(seen) = self.wait_for_end(&progress.query_execution_id, deadline).await?
            else {
                let wait_seconds = (5 << progress.waits.min(4)).min(WAIT_SECONDS_MAX);
                progress.waits += 1;
                return Ok(QueryOutcome::Running { progress, wait_seconds });
            };
            recorder.record.statistics = seen.statistics.clone();
            let query = self.query.name.clone();
            match seen.state {
                QueryState::Succeeded => {
                    let csv = result::write_csv(
                        self.storage,
                        self.run,
                        self.query,
                        &seen.output_location,
                    )
                    .await?;
                    info!(
                        run.id = %self.run.run_id, query.name = %query, rows = csv.rows, size_bytes = csv.size_bytes,
                        "wrote the CSV of the query"
                    );
                    recorder.succeeded(csv).await?;
                    return Ok(QueryOutcome::Succeeded {});
                }
                QueryState::Failed if seen.retryable && progress.attempt < ATTEMPTS_MAX => {
                    info!(
                        run.id = %self.run.run_id, query.name = %query, reason = seen.reason,
                        "Athena failed the query for now, it is run again"
                    );
                    sleep(pause_before(progress.attempt)).await;
                    progress = self.start(recorder, progress.attempt + 1).await?;
                }
                QueryState::Cancelled => {
                    return Err(ExecuteError::Cancelled { query, reason: seen.reason });
                }
                _ => return Err(ExecuteError::Failed { query, reason: seen.reason }),
            }
        }
    }

    async fn start(
        &self,
        recorder: &mut Recorder<'_>,
        attempt: u32,
    ) -> Result<QueryProgress, ExecuteError> {
        let query = &self.query.name;
        let read = self
            .storage
            .get_bytes(&self.query.sql, Some(&self.query.sql_etag), SQL_BYTES_MAX)
            .await;
        let (sql, _) = read.map_err(|source| match source {
            StorageError::Changed { .. } | StorageError::NotFound { .. } => {
                ExecuteError::Changed { query: query.clone(), source }
            }
            source => ExecuteError::Storage { query: query.clone(), source },
        })?;
        let sql = std::str::from_utf8(&sql)
            .map_err(|_| ExecuteError::NotText { query: query.clone() })?;
        let token = client_request_token(self.run, query, attempt);
        let query_execution_id = self.athena.start(self.run, self.query, sql, &token).await?;
        info!(
            run.id = %self.run.run_id, query.name = %query, query.execution_id = query_execution_id, attempt,
            "started the query"
        );
        recorder.started(&query_execution_id, attempt).await?;
        Ok(QueryProgress { query_execution_id, attempt, waits: 0 })
    }

    /// Polls with growing pauses until the query ends; nothing if it still runs at the deadline.
    async fn wait_for_end(
        &self,
        id: &str,
        deadline: Instant,
    ) -> Result<Option<Seen>, ExecuteError> {
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_factor(1.5)
            .without_max_times()
            .build();
        loop {
            let seen = self.athena.look(self.query, id).await?;
            match seen.state {
                // RUNNING may go back to QUEUED: neither is an end.
                QueryState::Queued | QueryState::Running => {}
                QueryState::Succeeded | QueryState::Failed | QueryState::Cancelled => {
                    return Ok(Some(seen));
                }
            }
            let pause = pauses.next().unwrap_or(Duration::from_secs(2));
            if Instant::now() + pause > deadline {
                return Ok(None);
            }
            sleep(pause).await;
        }
    }
}

/// The pause before another attempt, with full jitter: half a second, doubling, 0 to that.
fn pause_before(attempt: u32) -> Duration {
    Duration::from_millis(500 << attempt.min(6)).mul_f64(rand::random::<f64>())
}

/// 64 characters; Athena takes 32 to 128.
fn client_request_token(run: &Run, query: &QueryName, attempt: u32) -> String {
    let digest =
        Sha256::new().chain_update(format!("{}\n{query}\n{attempt}", run.run_id)).finalize();
    format!("{digest:x}")
}
