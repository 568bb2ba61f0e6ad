//! Ends queries before Athena does, and writes down why.

use aws_io::{
    StorageError,
    athena::AthenaError,
    run_files::{self, QueryFile, RunFile, RunFileError},
};
use futures_util::{StreamExt, stream};
use job::{
    ErrorName,
    error::Chain,
    record::{Failure, QueryEvent, QueryStage, Statistics},
    run_record::{RunEvent, RunStage},
    states::{PlannedQuery, Run},
};
use tracing::{info, warn};

use crate::{GatherError, Services};

/// Number of queries that are cancelled at once.
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
    let cancelled = cancel_all(services, run, begun.map(|(query, _)| query)).await?;
    info!(run.id = %run.run_id, cancelled, "ended the run");
    Ok((cancelled, failure))
}

/// Cancels these queries; gives the number of those that were under way.
pub(crate) async fn cancel_all<'a>(
    services: &Services,
    run: &Run,
    queries: impl Iterator<Item = &'a PlannedQuery>,
) -> Result<usize, GatherError> {
    // One that cannot be cancelled does not keep the others running.
    let tried: Vec<Result<bool, GatherError>> = stream::iter(queries)
        .map(|query| cancel(services, run, query, None))
        .buffer_unordered(CALLS_IN_FLIGHT)
        .collect()
        .await;
    let cancelled: Vec<bool> = tried.into_iter().collect::<Result<_, _>>()?;
    Ok(cancelled.into_iter().filter(|cancelled| *cancelled).count())
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
    // Its own function may have recorded another reason, or a result.
    let file = QueryFile::open(storage, run, query).await?;
    if let QueryStage::Failed { failure, .. } | QueryStage::Cancelled { failure, .. } =
        &file.record().stage
    {
        storage.put_json(&layout.error(&query.name.file_stem()), failure).await?;
    }
    Ok(())
}

/// Ends a query, as failed with `failure` or else as cancelled; gives whether it was under way.
async fn cancel(
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
            QueryStage::Starting { token } => started(services, run, query, token).await?,
            QueryStage::Running { query_execution_id } => Some(query_execution_id.clone()),
            // Athena has not begun it, or has ended it.
            QueryStage::Queued | QueryStage::Ended { .. } => None,
        };
        let was_queued = file.record().stage == QueryStage::Queued;
        let mut statistics = None;
        if let Some(id) = &query_execution_id {
            services.athena.stop(id).await?;
            // Athena bills what it has scanned. If it does not tell, that is no reason to fail.
            statistics = services.athena.look(id).await.ok().map(|status| status.statistics);
        }
        file.advance(event(query, query_execution_id, failure, statistics)).await?;
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
    statistics: Option<Statistics>,
) -> QueryEvent {
    if let Some(failure) = failure.cloned() {
        return QueryEvent::Failed { query_execution_id, failure, statistics };
    }
    let failure = Failure {
        state: query.name.to_string(),
        error: ErrorName::QueryCancelled.to_string(),
        cause: "the run has ended".to_owned(),
    };
    QueryEvent::Cancelled { query_execution_id, failure, statistics }
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
        // Athena refuses the statement, or does not permit it, and so did it to the call that meant
        // to start it.
        Err(error @ (AthenaError::Refused { .. } | AthenaError::Denied { .. })) => {
            warn!(
                run.id = %run.run_id, query.name = %query.name, error.message = %Chain(&error),
                "a start that may be under way cannot be repeated"
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
