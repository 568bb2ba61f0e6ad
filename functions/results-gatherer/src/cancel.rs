//! Ends queries before Athena does, and writes down why.

use aws_io::{Precondition, Storage, StorageError, athena::Athena, run_files};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use job::{
    ErrorName, RunLayout, S3Location,
    record::{Failure, QueryRecord, QueryState},
    states::{PlannedQuery, Run},
};
use serde_json::json;
use tracing::info;

use crate::GatherError;

/// How many queries are cancelled at once.
const CALLS_IN_FLIGHT: usize = 16;

/// Cancels every query of the run that has not ended, and lets no other start; gives their number
/// and the failure of the first query that failed.
///
/// The marker is written before the records are read: see `expect_not_stopped` of
/// execute-single-query, the other side of this.
pub(crate) async fn stop(
    athena: &Athena,
    storage: &Storage,
    run: &Run,
    now: Timestamp,
) -> Result<(usize, Option<Failure>), GatherError> {
    let layout = run.layout();
    storage.put_json(&layout.stopped(), &json!({ "stopped_at": now })).await?;
    let records = run_files::records(storage, &layout).await?;
    let failures = || records.iter().filter_map(|record| record.failure.as_ref());
    // What was cancelled was so because of something else.
    let cause = failures().find(|failure| failure.error != ErrorName::QueryCancelled.as_str());
    let failure = cause.or_else(|| failures().next()).cloned();
    let begun = records.into_iter().filter(|record| running(record).is_some());
    // One that can not be cancelled does not keep the others running.
    let tried: Vec<Result<bool, GatherError>> = stream::iter(begun)
        .map(|record| {
            let location = layout.record(&record.name);
            async move { cancel(athena, storage, &location, |_| {}).await }
        })
        .buffer_unordered(CALLS_IN_FLIGHT)
        .collect()
        .await;
    let cancelled: Vec<bool> = tried.into_iter().collect::<Result<_, _>>()?;
    let cancelled = cancelled.into_iter().filter(|cancelled| *cancelled).count();
    info!(run.id = %run.run_id, cancelled, "cancelled the queries that still ran");
    Ok((cancelled, failure))
}

/// Writes down why a query failed, unless its own function has, and cancels it if it still runs.
pub(crate) async fn fail_query(
    athena: &Athena,
    storage: &Storage,
    layout: &RunLayout,
    query: &PlannedQuery,
    failure: Failure,
) -> Result<(), GatherError> {
    let failure = Failure::of_state(failure.state, failure.error, &failure.cause);
    let location = layout.record(&query.name);
    let first = QueryRecord::queued(query);
    // A function that died before its first record has left none.
    match storage.put_json_if(&location, &first, Precondition::Absent).await {
        Ok(_) | Err(StorageError::Changed { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    cancel(athena, storage, &location, |record| {
        if record.failure.is_none() {
            record.state = QueryState::Failed;
            record.failure = Some(failure.clone());
        }
    })
    .await?;
    storage.put_json(&layout.error(&query.name.file_stem()), &failure).await?;
    Ok(())
}

/// Cancels the query of a record and says so in it, unless it has ended; gives whether it did.
async fn cancel(
    athena: &Athena,
    storage: &Storage,
    location: &S3Location,
    also: impl Fn(&mut QueryRecord),
) -> Result<bool, GatherError> {
    loop {
        let (mut record, info) = run_files::record(storage, location).await?;
        if record.csv.is_some() {
            return Ok(false);
        }
        let running = running(&record).map(str::to_owned);
        if let Some(id) = &running {
            athena.stop(id).await?;
            record.state = QueryState::Cancelled;
        }
        also(&mut record);
        let unchanged = Precondition::Unchanged { etag: info.etag };
        match storage.put_json_if(location, &record, unchanged).await {
            Ok(_) => return Ok(running.is_some()),
            // Its function is still at work, which writes a few times at the most: what it wrote is
            // looked at again.
            Err(StorageError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Athena's id of a query that may still run.
fn running(record: &QueryRecord) -> Option<&str> {
    match record.state {
        QueryState::Queued | QueryState::Running => record.query_execution_id.as_deref(),
        QueryState::Succeeded | QueryState::Failed | QueryState::Cancelled => None,
    }
}
