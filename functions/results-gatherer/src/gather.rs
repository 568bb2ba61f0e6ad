//! The snapshot of the results, and the manifest of a run that succeeded.

use aws_io::run_files::{self, RunFile, RunFileError};
use jiff::Timestamp;
use job::{
    OnQueryFailure, S3Location,
    record::{CsvFile, Manifest, QueryRecord, QueryStage, QuerySummary, RunStatus},
    run_record::RunEvent,
    snapshot::Snapshot,
    states::{Deliverable, Gathered, Run},
};
use tracing::info;

use crate::{GatherError, Services, cancel, deliveries};

/// Writes the snapshot, unless it is there, and says what there is to deliver.
pub(crate) async fn gather(services: &Services, run: &Run) -> Result<Gathered, GatherError> {
    let storage = &services.storage;
    let layout = run.layout();
    let kept = run_files::snapshot(storage, &layout, &run.execution).await?;
    let snapshot = if let Some(kept) = kept {
        kept
    } else {
        run_files::expect_live(storage, run).await?;
        let summaries = ended_queries(services, run).await?;
        expect_enough(run, &summaries)?;
        let snapshot = Snapshot::new(run.run_id.clone(), run.execution.clone(), summaries);
        run_files::keep_snapshot(storage, &layout, snapshot).await?
    };
    let Snapshot { succeeded, failed, queries, .. } = snapshot;
    info!(run.id = %run.run_id, succeeded, failed, "gathered the results");
    let archive = run.query_count > 1;
    let file = queries.into_iter().next().and_then(|query| query.csv).filter(|_| !archive);
    Ok(Gathered { succeeded, failed, archive, file: file.map(|csv| deliverable(run, csv)) })
}

/// Writes the manifest of a run that succeeded, unless it is there.
pub(crate) async fn finish(
    services: &Services,
    now: Timestamp,
    run: &Run,
    mut file: Deliverable,
    is_delivered: bool,
) -> Result<S3Location, GatherError> {
    let storage = &services.storage;
    let layout = run.layout();
    let claim = RunFile::find(storage, layout.clone(), &run.run_id, &run.execution).await?;
    let ended = || RunFileError::Ended { run_id: run.run_id.clone() };
    let mut claim = claim.ok_or_else(ended)?;
    let first = run_files::manifest(storage, &layout).await?;
    // An earlier call of this state may have died before it ended the run.
    if first.as_ref().is_some_and(|first| first.status == RunStatus::Succeeded) {
        claim.advance(RunEvent::Ended).await?;
        return Ok(layout.manifest());
    }
    claim.expect_live()?;
    let snapshot = run_files::snapshot(storage, &layout, &run.execution).await?;
    let snapshot = snapshot.ok_or(GatherError::NotGathered)?;
    let delivery =
        if is_delivered { Some(deliveries::receipt(services, &layout).await?) } else { None };
    let sent = delivery.as_ref().and_then(|delivery| delivery.receipt.sha256.clone());
    file.sha256 = file.sha256.or(sent);
    let delivery = delivery.as_ref().map(deliveries::to_value);
    let manifest = Manifest {
        file: Some(file),
        delivery,
        ..Manifest::new(
            run.run_id.clone(),
            run.execution.clone(),
            RunStatus::Succeeded,
            (run.started_at, now),
            snapshot.queries,
        )
    };
    let kept = run_files::keep_manifest(storage, &layout, manifest).await?;
    if kept.status != RunStatus::Succeeded {
        return Err(ended().into());
    }
    claim.advance(RunEvent::Ended).await?;
    Ok(layout.manifest())
}

/// All queries of the plan, each of which has ended. One that its own states have left running is
/// cancelled: nothing outlives a run unseen.
async fn ended_queries(services: &Services, run: &Run) -> Result<Vec<QuerySummary>, GatherError> {
    let storage = &services.storage;
    let layout = run.layout();
    let plan = run_files::plan(storage, &layout).await?;
    let records = run_files::records_of(storage, &layout, &run.execution, plan.clone()).await?;
    let is_left = |record: &QueryRecord| !record.is_final() && record.stage != QueryStage::Queued;
    let records = if records.iter().any(is_left) {
        let left = plan.iter().zip(&records).filter(|(_, record)| is_left(record));
        cancel::cancel_all(services, run, left.map(|(query, _)| query)).await?;
        run_files::records_of(storage, &layout, &run.execution, plan).await?
    } else {
        records
    };
    Ok(records.into_iter().map(QuerySummary::from).collect())
}

/// Returns an error when no query succeeded, or one failed and the job does not allow it.
fn expect_enough(run: &Run, queries: &[QuerySummary]) -> Result<(), GatherError> {
    let succeeded = queries.iter().filter(|query| query.csv.is_some()).count();
    match queries.iter().find(|query| query.csv.is_none()) {
        Some(first) if succeeded == 0 || run.on_query_failure == OnQueryFailure::Fail => {
            let failure = first.failure.as_ref();
            Err(GatherError::Failed {
                failed: queries.len() - succeeded,
                planned: queries.len(),
                first: first.name.to_string(),
                cause: failure.map_or("it did not end", |failure| &failure.cause).to_owned(),
            })
        }
        _ => Ok(()),
    }
}

fn deliverable(run: &Run, csv: CsvFile) -> Deliverable {
    Deliverable {
        uri: csv.location.to_string(),
        version: csv.version,
        size_bytes: csv.size_bytes,
        sha256: Some(csv.sha256),
        file_name: run.file_name.clone(),
    }
}
