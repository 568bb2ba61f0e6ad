//! The end of a run that did not succeed: its error and its manifest, written once.

use aws_io::{
    StorageError,
    run_files::{self, RunFile, RunFileError},
};
use jiff::Timestamp;
use job::{
    BucketName, ErrorName, Prefix, RunId, RunLayout,
    error::Chain,
    record::{EXECUTION, Failure, Manifest, QuerySummary, RunStatus},
    run_record::{ExecutionId, RunEvent, RunRecord},
    states::Deliverable,
    view::RunState,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tracing::{info, warn};

use crate::{Answer, GatherError, Services, cancel, deliveries};

/// An execution that did not succeed.
pub(crate) struct Ended {
    pub(crate) run_id: RunId,
    pub(crate) execution: ExecutionId,
    pub(crate) failure: Failure,
    pub(crate) file: Option<Deliverable>,
}

/// The fields of a job that say where its run writes.
#[derive(Deserialize)]
struct Places {
    output_bucket: String,
    output_prefix: String,
}

/// Places of a run whose job may never have been read; nothing if it names no bucket.
pub(crate) fn layout(bucket: String, prefix: String, run_id: RunId) -> Option<RunLayout> {
    let bucket = BucketName::try_from(bucket).ok()?;
    Some(RunLayout::new(bucket, Prefix::from(prefix), Prefix::default(), run_id))
}

/// Ends the run and writes its error and its manifest, unless the run is another execution's or its
/// manifest is there. A job without a place to write to leaves its error in the execution alone.
pub(crate) async fn record(
    services: &Services,
    now: Timestamp,
    layout: Option<RunLayout>,
    ended: Ended,
) -> Result<Answer, GatherError> {
    let unrecorded = Answer::Recorded { manifest: None };
    let Some(layout) = layout else { return Ok(unrecorded) };
    let Some(claim) = end(services, &layout, &ended.run_id, &ended.execution).await? else {
        return Ok(unrecorded);
    };
    let delivery = deliveries::close_all(services, &layout).await?;
    write(services, now, &layout, &claim, ended, delivery).await
}

/// Cleans up after an execution that was stopped, timed out or failed: cancels its queries and
/// writes what its own states have not written.
pub(crate) async fn clean_up(
    services: &Services,
    now: Timestamp,
    arn: String,
    started_at_milliseconds: i64,
) -> Result<Answer, GatherError> {
    let unrecorded = Answer::Recorded { manifest: None };
    let Some(told) = services.step_functions.describe(&arn).await? else { return Ok(unrecorded) };
    // The name came back: this is not the execution of the event.
    if told.started_at_milliseconds != started_at_milliseconds {
        return Ok(unrecorded);
    }
    let error = match told.status {
        // What Step Functions tells may lag behind its events: this is tried again.
        RunState::Running => return Err(GatherError::NotEnded { arn }),
        RunState::Succeeded => return Ok(unrecorded),
        RunState::TimedOut => ErrorName::RunTimedOut.to_string(),
        RunState::Aborted => told.error.unwrap_or_else(|| ErrorName::RunAborted.to_string()),
        RunState::Failed => told.error.unwrap_or_else(|| ErrorName::RunFailed.to_string()),
    };
    // An execution that somebody started by hand may have a name that is no run's.
    let (Ok(run_id), Ok(started_at)) =
        (told.name.parse::<RunId>(), Timestamp::from_millisecond(started_at_milliseconds))
    else {
        return Ok(unrecorded);
    };
    let Some(layout) = layout_of_input(&told.input, &run_id) else { return Ok(unrecorded) };
    let execution = ExecutionId { arn, started_at };
    let claim = match end(services, &layout, &run_id, &execution).await {
        Ok(Some(claim)) => claim,
        Ok(None) => return Ok(unrecorded),
        // The job named a bucket that is not ours to write to: its run has failed with that.
        Err(GatherError::Records(RunFileError::Storage(
            error @ (StorageError::Denied { .. } | StorageError::NotFound { .. }),
        ))) => {
            warn!(run.id = %run_id, error.message = %Chain(&error), "the run cannot be recorded");
            return Ok(unrecorded);
        }
        Err(error) => return Err(error),
    };
    // Before everything that may take long: a rename may be under way at the partner.
    let delivery = deliveries::close_all(services, &layout).await?;
    // The manifest must not wait for a query that cannot be cancelled now: the event comes again.
    let cancelled = match &claim.run {
        Some(run) => cancel::stop(services, run).await.map(|_| ()),
        None => Ok(()),
    };
    let cause = told.cause.unwrap_or_else(|| "Step Functions gives no cause".to_owned());
    let failure = Failure::of_state(EXECUTION, error, &cause);
    let ended = Ended { run_id, execution, failure, file: None };
    let answer = write(services, now, &layout, &claim, ended, delivery).await?;
    cancelled?;
    Ok(answer)
}

/// Marks the end of the run, which nobody has begun if the execution failed before; nothing if the
/// run is another execution's.
async fn end(
    services: &Services,
    layout: &RunLayout,
    run_id: &RunId,
    execution: &ExecutionId,
) -> Result<Option<RunRecord>, GatherError> {
    let claim = RunRecord::claimed(run_id.clone(), execution.clone(), None);
    let taken = RunFile::claim(&services.storage, layout.clone(), claim.clone()).await;
    let mut claim = match taken {
        // Nobody can tell whose it is. The manifest is written all the same, unless one is there.
        Err(error @ RunFileError::Unreadable(_)) => {
            warn!(run.id = %run_id, error.message = %Chain(&error), "the claim cannot be read");
            return Ok(Some(claim));
        }
        Err(RunFileError::Conflict { owner, .. }) => {
            info!(run.id = %run_id, execution = %execution, %owner, "the run is not this execution's");
            return Ok(None);
        }
        claim => claim?,
    };
    claim.advance(RunEvent::Ended).await?;
    Ok(Some(claim.record().clone()))
}

async fn write(
    services: &Services,
    now: Timestamp,
    layout: &RunLayout,
    claim: &RunRecord,
    ended: Ended,
    delivery: Option<Value>,
) -> Result<Answer, GatherError> {
    let storage = &services.storage;
    let Ended { run_id, execution, failure, file } = ended;
    let recorded = Answer::Recorded { manifest: Some(layout.manifest().to_string()) };
    if run_files::manifest(storage, layout).await?.is_some() {
        return Ok(recorded);
    }
    storage.put_json(&layout.error(&failure.state), &failure).await?;
    let queries = queries(services, layout, &execution).await?;
    let started_at = claim.run.as_ref().map_or(execution.started_at, |run| run.started_at);
    let manifest = Manifest {
        file,
        delivery,
        failure: Some(failure),
        ..Manifest::new(run_id, execution, RunStatus::Failed, (started_at, now), queries)
    };
    run_files::keep_manifest(storage, layout, manifest).await?;
    Ok(recorded)
}

/// Every query of the run, as far as it can be read: the manifest is written whatever is wrong with
/// the plan or a record.
async fn queries(
    services: &Services,
    layout: &RunLayout,
    execution: &ExecutionId,
) -> Result<Vec<QuerySummary>, GatherError> {
    let storage = &services.storage;
    match run_files::snapshot(storage, layout, execution).await {
        Ok(Some(snapshot)) => return Ok(snapshot.queries),
        Ok(None) => {}
        Err(error @ RunFileError::Unreadable(_)) => {
            warn!(error.message = %Chain(&error), "the snapshot cannot be read");
        }
        Err(error) => return Err(error.into()),
    }
    let plan = match run_files::plan(storage, layout).await {
        Ok(plan) => plan,
        Err(StorageError::NotFound { .. }) => return Ok(Vec::new()),
        Err(error @ (StorageError::Document { .. } | StorageError::TooLarge { .. })) => {
            warn!(error.message = %Chain(&error), "the plan cannot be read");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let records = run_files::records_of(storage, layout, execution, plan).await?;
    Ok(records.into_iter().map(QuerySummary::from).collect())
}

fn layout_of_input(input: &SecretString, run_id: &RunId) -> Option<RunLayout> {
    let places: Places = serde_json::from_str(input.expose_secret()).ok()?;
    layout(places.output_bucket, places.output_prefix, run_id.clone())
}
