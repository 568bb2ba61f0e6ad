//! One query of a run: starts it, waits for it, and writes its result as CSV.
//!
//! A call may be repeated at any point. The query is started with a token made of run, query and
//! attempt, so a repeated call finds the running query instead of paying for another; a finished
//! query is answered from its record.

mod csv;
mod error;
mod record;
mod result;

use std::time::Duration;

use aws_io::{
    Failure, Storage, StorageError,
    athena::{Athena, AthenaError, QueryStatus},
};
use backon::{BackoffBuilder, ExponentialBuilder};
use job::{
    QueryName,
    record::QueryState,
    states::{PlannedQuery, QueryOutcome, QueryProgress, QueryTask, Run, SQL_BYTES_MAX},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use tracing::info;

pub use crate::{
    csv::{CsvError, Transform},
    error::{ExecuteError, Place, Position},
};
use crate::{error::in_storage, record::Recorder};

/// How often a query is run when Athena says that its failure is transient.
const ATTEMPTS_MAX: u32 = 4;

/// How often a query is handed back before its waits grow past a minute: some half an hour.
const SHORT_WAITS: u32 = 34;

/// The longest wait that is asked of the state machine.
const WAIT_SECONDS_MAX: u32 = 960;

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
    if recorder.record.csv.is_some() {
        return Ok(QueryOutcome::Succeeded {});
    }
    let call = Call { athena, storage, run: &run, query: &query };
    let progress = progress.unwrap_or_else(|| recorder.progress());
    let outcome =
        call.go(&mut recorder, progress, Duration::from_secs(settings.query_wait_seconds)).await;
    if let Err(error) = &outcome
        && !error.name().is_retryable()
    {
        recorder.failed(error).await?;
    }
    outcome
}

/// One call of the function.
struct Call<'a> {
    athena: &'a Athena,
    storage: &'a Storage,
    run: &'a Run,
    query: &'a PlannedQuery,
}

impl Call<'_> {
    async fn go(
        &self,
        recorder: &mut Recorder<'_>,
        mut progress: QueryProgress,
        wait: Duration,
    ) -> Result<QueryOutcome, ExecuteError> {
        let deadline = Instant::now() + wait;
        loop {
            let id = match &progress.query_execution_id {
                Some(id) => id.clone(),
                None => match self.start(recorder, progress.attempt).await? {
                    Some(id) => {
                        progress.waits = 0;
                        progress.query_execution_id.insert(id).clone()
                    }
                    None => return Ok(hand_back(progress)),
                },
            };
            let Some(ended) = self.wait_for_end(&id, deadline).await? else {
                return Ok(hand_back(progress));
            };
            recorder.ended(&ended);
            let query = &self.query.name;
            match ended.state {
                QueryState::Succeeded => {
                    let output = &ended.output_location;
                    let written = result::write(self.storage, self.run, self.query, output).await?;
                    info!(
                        run.id = %self.run.run_id, query.name = %query, rows = written.csv.rows,
                        size_bytes = written.csv.size_bytes, "wrote the CSV of the query"
                    );
                    recorder.succeeded(written).await?;
                    return Ok(QueryOutcome::Succeeded {});
                }
                QueryState::Failed if ended.retryable && progress.attempt < ATTEMPTS_MAX => {
                    info!(
                        run.id = %self.run.run_id, query.name = %query, reason = ended.reason,
                        "Athena failed the query for now, it is run again"
                    );
                    progress.attempt += 1;
                    progress.query_execution_id = None;
                    // Once at once; what is wrong for longer is waited out.
                    if progress.attempt > 2 {
                        return Ok(hand_back(progress));
                    }
                }
                QueryState::Cancelled => {
                    return Err(ExecuteError::Cancelled {
                        query: query.clone(),
                        reason: ended.reason,
                    });
                }
                QueryState::Failed | QueryState::Queued | QueryState::Running => {
                    return Err(ExecuteError::failed(self.query, ended.reason));
                }
            }
        }
    }

    /// Starts the query; nothing if Athena is too busy for it.
    async fn start(
        &self,
        recorder: &mut Recorder<'_>,
        attempt: u32,
    ) -> Result<Option<String>, ExecuteError> {
        let query = &self.query.name;
        let sql = self.read_sql().await?;
        let token = client_request_token(self.run, query, attempt);
        let id = match self.athena.start(self.run, self.query, &sql, &token).await {
            Ok(id) => id,
            Err(AthenaError::Throttled { .. }) => {
                info!(run.id = %self.run.run_id, query.name = %query, "Athena is too busy to start the query");
                return Ok(None);
            }
            // Athena refuses some faults of the SQL at once, others once the query runs.
            Err(AthenaError::Refused { message, .. }) => {
                return Err(ExecuteError::failed(self.query, message));
            }
            Err(source) => return Err(self.athena_failed(source)),
        };
        info!(
            run.id = %self.run.run_id, query.name = %query, query.execution_id = id, attempt,
            "started the query"
        );
        recorder.started(&id, attempt).await?;
        self.expect_not_stopped(&id).await?;
        Ok(Some(id))
    }

    /// The SQL as it was planned: the statement without what follows it.
    async fn read_sql(&self) -> Result<String, ExecuteError> {
        let PlannedQuery { name, sql, sql_etag, sql_bytes, .. } = self.query;
        let read = self.storage.get_bytes(sql, Some(sql_etag), SQL_BYTES_MAX).await;
        let (bytes, _) = read.map_err(|source| match source {
            StorageError::Changed { .. } | StorageError::NotFound { .. } => {
                ExecuteError::Changed { query: name.clone(), source }
            }
            source => in_storage(name)(source),
        })?;
        let statement = usize::try_from(*sql_bytes).ok().and_then(|end| bytes.get(..end));
        let text = statement.and_then(|statement| std::str::from_utf8(statement).ok());
        text.map(str::to_owned).ok_or_else(|| ExecuteError::NotText { query: name.clone() })
    }

    /// A run that fails is stopped while other calls are under way. Who stops it writes the marker
    /// and then reads the records; this call has written its record and now reads the marker. So
    /// one of the two cancels the query, whoever came first.
    async fn expect_not_stopped(&self, id: &str) -> Result<(), ExecuteError> {
        let query = &self.query.name;
        let marker = self.storage.head(&self.run.layout().stopped()).await;
        if marker.map_err(in_storage(query))?.is_none() {
            return Ok(());
        }
        self.athena.stop(id).await.map_err(|source| self.athena_failed(source))?;
        let reason = "the run has been stopped".to_owned();
        Err(ExecuteError::Cancelled { query: query.clone(), reason })
    }

    fn athena_failed(&self, source: AthenaError) -> ExecuteError {
        ExecuteError::Athena { query: self.query.name.clone(), source }
    }

    /// Polls with growing pauses until the query ends; nothing if it still runs at the deadline.
    async fn wait_for_end(
        &self,
        id: &str,
        deadline: Instant,
    ) -> Result<Option<QueryStatus>, ExecuteError> {
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_factor(1.5)
            .without_max_times()
            .build();
        loop {
            match self.athena.look(id).await {
                Ok(status) => match status.state {
                    // RUNNING may go back to QUEUED: neither is an end.
                    QueryState::Queued | QueryState::Running => {}
                    QueryState::Succeeded | QueryState::Failed | QueryState::Cancelled => {
                        return Ok(Some(status));
                    }
                },
                // The query does not wait for those who look at it.
                Err(AthenaError::Throttled { .. }) => {}
                Err(source) => return Err(self.athena_failed(source)),
            }
            let pause = pauses.next().unwrap_or(Duration::from_secs(2));
            if Instant::now() + pause > deadline {
                return Ok(None);
            }
            sleep(pause).await;
        }
    }
}

/// Asks the state machine to wait; with jitter if the query has yet to start, so that those whom
/// Athena refused together do not come back together.
fn hand_back(mut progress: QueryProgress) -> QueryOutcome {
    let longest = wait_seconds(progress.waits);
    let wait_seconds = match &progress.query_execution_id {
        Some(_) => longest,
        None => rand::random_range(longest / 2..=longest),
    };
    progress.waits += 1;
    QueryOutcome::Running { progress, wait_seconds }
}

/// 5, 10, 20, 40 seconds, then a minute for half an hour, then a quarter longer each time.
///
/// Each wait takes 9 events of an execution's history, which ends at
/// [25,000](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
fn wait_seconds(waits: u32) -> u32 {
    let long_waits = waits.saturating_sub(SHORT_WAITS).min(32);
    let growing = (0..long_waits).fold(60, |wait, _| wait * 5 / 4);
    let beginning = if waits < 4 { 5 << waits } else { growing };
    beginning.min(WAIT_SECONDS_MAX)
}

/// 64 characters; Athena takes 32 to 128.
fn client_request_token(run: &Run, query: &QueryName, attempt: u32) -> String {
    let digest =
        Sha256::new().chain_update(format!("{}\n{query}\n{attempt}", run.run_id)).finalize();
    format!("{digest:x}")
}

#[cfg(test)]
mod tests {
    use job::states::INLINE_CONCURRENCY_MAX;

    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_after_half_an_hour_to_sixteen() {
        let waits = [0, 1, 2, 3, 4, 34, 35, 36, 100].map(wait_seconds);
        assert_eq!(waits, [5, 10, 20, 40, 60, 60, 75, 93, 960]);
    }

    /// Queries that wait for a whole day, as long as a run may last, leave room in the history of an
    /// execution whose map runs inline.
    #[test]
    fn a_day_of_waiting_does_not_fill_the_history() {
        const DAY_SECONDS: u32 = 86_400;
        const EVENTS_A_WAIT: u32 = 9;
        const EVENTS_MAX: u32 = 25_000;
        let ends = (0..).map(wait_seconds).scan(0, |waited, wait| {
            *waited += wait;
            Some(*waited)
        });
        let waits = u32::try_from(ends.take_while(|end| *end < DAY_SECONDS).count()).unwrap();
        let events = waits * EVENTS_A_WAIT * INLINE_CONCURRENCY_MAX;
        assert!(events < EVENTS_MAX * 95 / 100, "{waits} waits are {events} events");
    }
}
