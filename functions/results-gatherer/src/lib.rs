//! Collects the results of a run, cancels what a failed run leaves behind, and writes the manifest.
//!
//! Every action may be repeated: it reads what is there and writes the same again.

mod cancel;

use aws_io::{
    Failure, Storage, StorageError,
    athena::{Athena, AthenaError},
    run_files,
};
use jiff::Timestamp;
use job::{
    BucketName, ErrorName, OnQueryFailure, Prefix, RunId, RunLayout, S3Location,
    record::{CsvFile, Failure as RecordedFailure, Manifest, QueryState, RunStatus},
    states::{Deliverable, GatherTask, Gathered, Run},
};
use serde::Serialize;
use tracing::info;

/// Why results could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// No query succeeded, or the job does not allow one to fail.
    #[error("{failed} of {planned} queries did not succeed, first `{first}`: {cause}")]
    Failed {
        /// How many did not.
        failed: usize,
        /// How many there are.
        planned: usize,
        /// The first of them in the order of the job.
        first: String,
        /// Why it did not.
        cause: String,
    },
    /// Athena would not cancel a query.
    #[error("stopping the run")]
    Athena(#[from] AthenaError),
    /// S3 failed.
    #[error("gathering the results")]
    Storage(#[from] StorageError),
}

impl Failure for GatherError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Failed { .. } => ErrorName::QueryFailed,
            Self::Athena(error) => error.name(),
            Self::Storage(error) => error.name(),
        }
    }
}

/// What the function answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `gather`.
    Gathered(Gathered),
    /// To `finish` and `fail`: the manifest, if it could be written anywhere.
    Recorded {
        /// Its URI.
        manifest: Option<String>,
    },
    /// To `fail_query`.
    QueryFailed {},
    /// To `stop`.
    Stopped {
        /// How many queries were cancelled.
        cancelled: usize,
        /// Why the first of the failed queries failed, in the order of the job.
        failure: Option<RecordedFailure>,
    },
}

/// Does what the state machine asks for; `now` is the time for the manifest.
///
/// # Errors
///
/// See [`GatherError`].
pub async fn act(
    athena: &Athena,
    storage: &Storage,
    now: Timestamp,
    task: GatherTask,
) -> Result<Answer, GatherError> {
    match task {
        GatherTask::Gather { run } => gather(storage, &run).await.map(Answer::Gathered),
        GatherTask::Finish { run, mut file, delivery } => {
            let sent = delivery.as_ref().and_then(|receipt| receipt["sha256"].as_str());
            file.sha256 = file.sha256.or_else(|| sent.map(str::to_owned));
            let manifest = Manifest {
                run_id: run.run_id.clone(),
                status: RunStatus::Succeeded,
                started_at: run.started_at,
                finished_at: now,
                succeeded: 0,
                failed: 0,
                data_scanned_bytes: 0,
                queries: run_files::records(storage, &run.layout()).await?,
                file: Some(file),
                delivery,
                failure: None,
            };
            let location = write_manifest(storage, &run.layout(), manifest).await?;
            Ok(Answer::Recorded { manifest: Some(location.to_string()) })
        }
        GatherTask::FailQuery { run, query, failure } => {
            cancel::fail_query(athena, storage, &run.layout(), &query, failure).await?;
            Ok(Answer::QueryFailed {})
        }
        GatherTask::Stop { run } => {
            let (cancelled, failure) = cancel::stop(athena, storage, &run, now).await?;
            Ok(Answer::Stopped { cancelled, failure })
        }
        GatherTask::Fail {
            run,
            run_id,
            started_at,
            output_bucket,
            output_prefix,
            failure,
            file,
            delivery,
        } => {
            let failure = RecordedFailure::of_state(failure.state, failure.error, &failure.cause);
            let layout = run
                .as_ref()
                .map(Run::layout)
                .or_else(|| layout_of_unplanned(output_bucket?, output_prefix?, run_id.clone()));
            // A job without a place to write to leaves its error in the execution alone.
            let Some(layout) = layout else { return Ok(Answer::Recorded { manifest: None }) };
            storage.put_json(&layout.error(&failure.state), &failure).await?;
            let queries = match &run {
                Some(run) => run_files::records(storage, &run.layout()).await?,
                None => Vec::new(),
            };
            let manifest = Manifest {
                run_id,
                status: RunStatus::Failed,
                started_at,
                finished_at: now,
                succeeded: 0,
                failed: 0,
                data_scanned_bytes: 0,
                queries,
                file,
                delivery,
                failure: Some(failure),
            };
            let location = write_manifest(storage, &layout, manifest).await?;
            Ok(Answer::Recorded { manifest: Some(location.to_string()) })
        }
    }
}

/// Says what there is to deliver.
async fn gather(storage: &Storage, run: &Run) -> Result<Gathered, GatherError> {
    let records = run_files::records(storage, &run.layout()).await?;
    let succeeded = records.iter().filter(|record| record.csv.is_some()).count();
    let failed = records.len() - succeeded;
    info!(run.id = %run.run_id, succeeded, failed, "gathered the results");
    let first_failed = records.iter().find(|record| record.csv.is_none());
    if let Some(first) = first_failed
        && (succeeded == 0 || run.on_query_failure == OnQueryFailure::Fail)
    {
        return Err(GatherError::Failed {
            failed,
            planned: records.len(),
            first: first.name.to_string(),
            cause: first
                .failure
                .as_ref()
                .map_or("it did not end", |failure| &failure.cause)
                .to_owned(),
        });
    }
    let archive = run.query_count > 1;
    let file = records.into_iter().next().and_then(|record| record.csv).filter(|_| !archive);
    Ok(Gathered { succeeded, failed, archive, file: file.map(|csv| deliverable(run, csv)) })
}

fn deliverable(run: &Run, csv: CsvFile) -> Deliverable {
    Deliverable {
        uri: csv.location.to_string(),
        etag: csv.etag,
        size_bytes: csv.size_bytes,
        sha256: Some(csv.sha256),
        file_name: run.file_name.clone(),
    }
}

fn layout_of_unplanned(bucket: String, prefix: String, run_id: RunId) -> Option<RunLayout> {
    let bucket = BucketName::try_from(bucket).ok()?;
    Some(RunLayout::new(bucket, Prefix::from(prefix), Prefix::default(), run_id))
}

async fn write_manifest(
    storage: &Storage,
    layout: &RunLayout,
    mut manifest: Manifest,
) -> Result<S3Location, GatherError> {
    let queries = &manifest.queries;
    manifest.succeeded =
        queries.iter().filter(|query| query.state == QueryState::Succeeded).count();
    manifest.failed = queries.len() - manifest.succeeded;
    manifest.data_scanned_bytes =
        manifest.queries.iter().map(|query| query.statistics.data_scanned_bytes).sum();
    let location = layout.manifest();
    storage.put_json(&location, &manifest).await?;
    Ok(location)
}
