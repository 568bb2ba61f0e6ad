//! Ends queries before Athena does, and writes down why.

use aws_io::{
    StorageError,
    athena::AthenaError,
    run_files::{self, QueryFile, RunFile, RunFileError},
};
use futures_util::{StreamExt, stream};
use job::{
    ErrorName,
    record::{Failure, QueryEvent, QueryStage},
    run_record::{RunEvent, RunStage},
    states::{PlannedQuery, Run},
};
use tracing::{info, warn};

use crate::{GatherError, Services};

/// How many queries are cancelled at once.
const CALLS_IN_FLIGHT: usize = 16;

/// Ends the run: lets no query start, and cancels every query that has not ended. Gives their
/// number and the failure of the first query that failed.
///
/// The end is marked before the records are read: see `run_query` of execute-single-query, the
/// other side of this.
pub(crate) async fn stop(
    services: &Services,
    run: &Run,
) -> Result<(usize, Option<Failure>), GatherError> {
    let storage = &services.storage;
    let layout = run.layout();
    let claim = RunFile::find(storage, layout.clone(), &run.run_id, &run.execution).await?;
    let Some(mut claim) = claim else { return Ok((0, None)) };
    claim.advance(RunEvent::Ended).await?;
    let plan = run_files::plan(storage, &layout).await?;
    let records = run_files::records_of(storage, &layout, &run.execution, plan.clone()).await?;
    let failures = || {
        records.iter().filter_map(|record| match &record.stage {
            QueryStage::Failed { failure, .. } | QueryStage::Cancelled { failure, .. } => {
                Some(failure)
            }
            _ => None,
        })
    };
    // A query is cancelled because of another one.
    let cause = failures().find(|failure| failure.error != ErrorName::QueryCancelled.as_str());
    let failure = cause.or_else(|| failures().next()).cloned();
    let begun = plan
        .iter()
        .zip(&records)
        .filter(|(_, record)| !record.is_final() && record.stage != QueryStage::Queued);
    // One that cannot be cancelled does not keep the others running.
    let tried: Vec<Result<bool, GatherError>> = stream::iter(begun)
        .map(|(query, _)| cancel(services, run, query, None))
        .buffer_unordered(CALLS_IN_FLIGHT)
        .collect()
        .await;
    let cancelled: Vec<bool> = tried.into_iter().collect::<Result<_, _>>()?;
    let cancelled = cancelled.into_iter().filter(|cancelled| *cancelled).count();
    info!(run.id = %run.run_id, cancelled, "ended the run");
    Ok((cancelled, failure))
}

/// Writes down why a query failed, unless its own function has, and cancels it if it still runs.
pub(crate) async fn fail_query(
    services: &Services,
    run: &Run,
    query: &PlannedQuery,
    failure: Failure,
) -> Result<(), GatherError> {
    let layout = run.layout();
    let storage = &services.storage;
    let claim = RunFile::find(storage, layout.clone(), &run.run_id, &run.execution).await?;
    // The end of a run cancels its queries itself.
    if claim.is_none_or(|claim| claim.record().stage == RunStage::Ended) {
        return Ok(());
    }
    let failure = Failure::of_state(failure.state, failure.error, &failure.cause);
    cancel(services, run, query, Some(&failure)).await?;
    storage.put_json(&layout.error(&query.name.file_stem()), &failure).await?;
    Ok(())
}

/// Ends a query, as failed with `failure` or else as cancelled; gives whether it was under way.
pub(crate) async fn cancel(
    services: &Services,
    run: &Run,
    query: &PlannedQuery,
    failure: Option<&Failure>,
) -> Result<bool, GatherError> {
    let mut file = match QueryFile::open(&services.storage, run, query).await {
        // There is nothing to go by: the record stays as it is.
        Err(RunFileError::Unreadable(_)) => return Ok(false),
        opened => opened?,
    };
    loop {
        let query_execution_id = match &file.record().stage {
            QueryStage::Written { .. }
            | QueryStage::Failed { .. }
            | QueryStage::Cancelled { .. } => return Ok(false),
            QueryStage::Queued if failure.is_none() => return Ok(false),
            QueryStage::Queued => None,
            QueryStage::Starting { token } => started(services, run, query, token).await?,
            QueryStage::Running { query_execution_id } => Some(query_execution_id.clone()),
            // Athena has ended it already.
            QueryStage::Ended { .. } => None,
        };
        let was_queued = file.record().stage == QueryStage::Queued;
        if let Some(id) = &query_execution_id {
            services.athena.stop(id).await?;
        }
        file.advance(event(query, query_execution_id, failure)).await?;
        // Another call may have been faster: its record is looked at again.
        if file.record().is_final() {
            return Ok(!was_queued);
        }
    }
}

fn event(
    query: &PlannedQuery,
    query_execution_id: Option<String>,
    failure: Option<&Failure>,
) -> QueryEvent {
    let statistics = None;
    match failure.cloned() {
        Some(failure) => QueryEvent::Failed { query_execution_id, failure, statistics },
        None => {
            let failure = Failure {
                state: query.name.to_string(),
                error: ErrorName::QueryCancelled.to_string(),
                cause: "the run has ended".to_owned(),
            };
            QueryEvent::Cancelled { query_execution_id, failure, statistics }
        }
    }
}

/// Finds the query that was, or will be, started with this token: Athena answers a repeated start,
/// byte for byte the same, with the old id. Nothing if there is none.
///
/// If Athena has not heard of the token, this starts the query, in a role without rights on catalog
/// and sources: it fails without a scan, and a start that comes later finds it ended.
async fn started(
    services: &Services,
    run: &Run,
    query: &PlannedQuery,
    token: &str,
) -> Result<Option<String>, GatherError> {
    let sql = match run_files::statement(&services.storage, query).await {
        Ok(Some(sql)) => sql,
        Ok(None) | Err(StorageError::Changed { .. } | StorageError::NotFound { .. }) => {
            warn!(
                run.id = %run.run_id, query.name = %query.name,
                "the SQL of the plan is gone: a start that was under way cannot be found"
            );
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    match services.athena.start(run, query, &sql, token).await {
        Ok(id) => Ok(Some(id)),
        // Athena refuses the statement, and refused it to the call that meant to start it.
        Err(AthenaError::Refused { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
