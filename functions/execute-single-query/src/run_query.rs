//! `RunQuery`: from the plan to the end of the query in Athena.

use std::time::Duration;

use aws_io::{
    StorageError,
    athena::{AthenaError, QueryStatus},
    run_files::{self, QueryFile, RunFileError},
};
use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::SignedDuration;
use job::{
    record::{QueryEvent, QueryStage, QueryState},
    states::{Callback, PlannedQuery},
};
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tracing::info;

use crate::{Call, ExecuteError};

/// Number of times that a query is started when Athena says that its failure is transient.
const ATTEMPTS_MAX: u32 = 4;

/// The pauses between the looks at a query that has just been started: 750 ms in all. A query that
/// ends within them needs no event.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_factor(2.0)
    .with_max_times(4);

impl Call<'_> {
    /// Takes the query as far as it gets without waiting. The callback is answered here if the
    /// query has ended, and by its event if not.
    pub(crate) async fn run_query(
        &self,
        file: &mut QueryFile<'_>,
        callback: &Callback,
    ) -> Result<(), ExecuteError> {
        let Self { services, query, run, .. } = self;
        // A redriven execution enters the state anew: a run ends once.
        if callback.redrive_count > 0 {
            return Err(self.records_failed(RunFileError::Ended { run_id: run.run_id.clone() }));
        }
        // Asked before the start, which costs.
        let waits = services.waits.as_ref().ok_or(ExecuteError::NoStateBucket)?;
        let mut sql = None;
        let mut has_started = false;
        loop {
            let record = file.record();
            match &record.stage {
                QueryStage::Queued => {
                    self.expect_live().await?;
                    sql = Some(self.statement().await?);
                    let event = QueryEvent::Intended { token: self.token(1) };
                    self.advance(file, event).await?;
                }
                QueryStage::Starting { token } => {
                    // Only now, after the intent: who ends the run marks its end and then reads the
                    // records. So either this call sees the end, or the other one sees the intent.
                    self.expect_live().await?;
                    let sql = match sql.take() {
                        Some(sql) => sql,
                        None => self.statement().await?,
                    };
                    let (token, attempt) = (token.clone(), record.attempt);
                    let event = self.start(&sql, &token, attempt).await?;
                    self.advance(file, event).await?;
                    has_started = true;
                }
                QueryStage::Running { query_execution_id } => {
                    let (id, attempt) = (query_execution_id.clone(), record.attempt);
                    let started_at = record.started_at.unwrap_or(self.now);
                    // The look comes after the callback is kept: an event that came too early for
                    // the callback is made good by it.
                    let kept = waits.keep(&id, run, query, callback).await;
                    kept.map_err(|source| self.storage_failed(source))?;
                    let status = self.look(&id, has_started).await?;
                    let is_late = self.now.duration_since(started_at) >= self.timeout();
                    if is_late && status.state == QueryState::Cancelled {
                        // By an earlier call, whose record was lost.
                        self.advance(file, self.timed_out(&status)).await?;
                        continue;
                    }
                    let Some(event) = self.ended(&status) else {
                        if !is_late {
                            return Ok(());
                        }
                        let stopped = services.athena.stop(&id).await;
                        stopped.map_err(|source| self.athena_failed(source))?;
                        self.advance(file, self.timed_out(&status)).await?;
                        continue;
                    };
                    if status.retryable
                        && !is_late
                        && matches!(event, QueryEvent::Failed { .. })
                        && attempt < ATTEMPTS_MAX
                    {
                        info!(
                            run.id = %run.run_id, query.name = %query.name,
                            reason = status.reason, "Athena failed the query for now, it is retried"
                        );
                        let token = self.token(attempt + 1);
                        self.advance(file, QueryEvent::Retried { token }).await?;
                        // Retry once immediately, then back off.
                        if attempt > 1 {
                            let (query, reason) = (query.name.clone(), status.reason);
                            return Err(ExecuteError::FailedForNow { query, reason });
                        }
                        continue;
                    }
                    self.advance(file, event).await?;
                }
                QueryStage::Ended { .. } | QueryStage::Written { .. } => {
                    let answered = services.step_functions.succeed(&callback.token).await;
                    answered.map_err(|source| {
                        let query = query.name.clone();
                        ExecuteError::Callback { query, source }
                    })?;
                    return Ok(());
                }
                QueryStage::Failed { failure, .. } | QueryStage::Cancelled { failure, .. } => {
                    return Err(ExecuteError::Recorded { failure: failure.clone() });
                }
            }
        }
    }

    /// Starts the query, or finds the one that was started with the same token.
    async fn start(
        &self,
        sql: &str,
        token: &str,
        attempt: u32,
    ) -> Result<QueryEvent, ExecuteError> {
        let query = &self.query.name;
        match self.services.athena.start(self.run, self.query, sql, token).await {
            Ok(query_execution_id) => {
                info!(
                    run.id = %self.run.run_id, query.name = %query,
                    query.execution_id = query_execution_id, attempt, "started the query"
                );
                Ok(QueryEvent::Started { query_execution_id, at: self.now })
            }
            // Athena refuses some faults of the SQL at once, others once the query runs.
            Err(AthenaError::Refused { message, .. }) => {
                Ok(self.failed(&ExecuteError::failed(self.query, message), None))
            }
            // What the role may not start does not run: there is nothing to cancel.
            Err(source @ AthenaError::Denied { .. }) => {
                Ok(self.failed(&self.athena_failed(source), None))
            }
            Err(source) => Err(self.athena_failed(source)),
        }
    }

    /// Looks at the query; for a moment, if this call has just started it.
    async fn look(&self, id: &str, has_started: bool) -> Result<QueryStatus, ExecuteError> {
        let mut pauses = PAUSES.build().take(if has_started { usize::MAX } else { 0 });
        loop {
            let status = self.services.athena.look(id).await;
            let status = status.map_err(|source| self.athena_failed(source))?;
            if !matches!(status.state, QueryState::Queued | QueryState::Running) {
                return Ok(status);
            }
            let Some(pause) = pauses.next() else { return Ok(status) };
            sleep(pause).await;
        }
    }

    /// The SQL as it was planned.
    async fn statement(&self) -> Result<String, ExecuteError> {
        let name = &self.query.name;
        let read = run_files::statement(&self.services.storage, self.query).await;
        let statement = read.map_err(|source| match source {
            StorageError::Changed { .. } | StorageError::NotFound { .. } => {
                ExecuteError::Changed { query: name.clone(), source }
            }
            source => self.storage_failed(source),
        })?;
        statement.ok_or_else(|| ExecuteError::NotText { query: name.clone() })
    }

    /// Returns an error when the run has ended or is another execution's.
    pub(crate) async fn expect_live(&self) -> Result<(), ExecuteError> {
        let live = run_files::expect_live(&self.services.storage, self.run).await;
        live.map_err(|source| self.records_failed(source))
    }

    pub(crate) async fn advance(
        &self,
        file: &mut QueryFile<'_>,
        event: QueryEvent,
    ) -> Result<(), ExecuteError> {
        file.advance(event).await.map_err(|source| self.records_failed(source))
    }

    fn timed_out(&self, status: &QueryStatus) -> QueryEvent {
        let query = self.query.name.clone();
        let minutes = self.run.query_timeout_minutes;
        self.failed(&ExecuteError::TimedOut { query, minutes }, Some(status))
    }

    fn timeout(&self) -> SignedDuration {
        SignedDuration::from_mins(self.run.query_timeout_minutes.into())
    }

    fn token(&self, attempt: u32) -> String {
        let Self { run, query, .. } = self;
        let PlannedQuery { name, .. } = query;
        client_request_token(
            &[
                &run.execution.arn,
                &run.execution.started_at.as_millisecond().to_string(),
                &run.layout().athena_output(),
                name.as_str(),
            ],
            attempt,
        )
    }
}

/// Makes a token of 64 characters; Athena takes 32 to 128. Another execution has another one, though
/// it has the same name.
fn client_request_token(identity: &[&str], attempt: u32) -> String {
    let digest = Sha256::new().chain_update(format!("{}\n{attempt}", identity.join("\n")));
    format!("{:x}", digest.finalize())
}
