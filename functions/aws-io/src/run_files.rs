//! The documents of a run: its claim, its plan, the records of its queries, its snapshot.
//!
//! Records only go forward. Every write of one is conditional on the version that was read; a call
//! that comes second reads the record again and follows it.

mod claim;
mod query;

use futures_util::{StreamExt, TryStreamExt, stream};
use job::{
    ErrorName, RunId, RunLayout, S3Location,
    record::{Failure as RecordedFailure, Manifest, QueryRecord, QueryStage},
    run_record::{ExecutionId, RunRecord},
    snapshot::Snapshot,
    states::{PlannedQuery, SQL_BYTES_MAX},
};
use serde::de::DeserializeOwned;

pub use self::{
    claim::{RunFile, expect_live},
    query::QueryFile,
};
use crate::{Failure, ObjectInfo, Precondition, Storage, StorageError};

/// The largest plan: 10,000 queries whose names, keys and file names are as long as they may be, each
/// character of them escaped.
pub const PLAN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The largest record: one query with Athena's error text, or a run with its options.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// How many records are read at once.
const READS_IN_FLIGHT: usize = 16;

/// An error of a run's own documents.
#[derive(Debug, thiserror::Error)]
pub enum RunFileError {
    /// Another execution has the run's name.
    #[error(
        "the run `{run_id}` belongs to another execution, {owner}; start the job under another name"
    )]
    Conflict {
        /// The run.
        run_id: RunId,
        /// Its owner.
        owner: ExecutionId,
    },
    /// A document lies under the prefix of the run that is older than its claim.
    #[error(
        "`{location}` was there before the run; start the job under another name, or remove what lies there"
    )]
    Leftover {
        /// The document.
        location: S3Location,
    },
    /// The run has ended.
    #[error("the run `{run_id}` has ended; start the job again as a new run")]
    Ended {
        /// The run.
        run_id: RunId,
    },
    /// A document cannot be read.
    #[error("the records of the run cannot be read")]
    Unreadable(#[source] StorageError),
    /// S3 failed.
    #[error("the records of the run")]
    Storage(#[source] StorageError),
}

impl From<StorageError> for RunFileError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Document { .. } | StorageError::TooLarge { .. } => {
                Self::Unreadable(error)
            }
            error => Self::Storage(error),
        }
    }
}

impl Failure for RunFileError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Conflict { .. } | Self::Leftover { .. } => ErrorName::RunConflict,
            Self::Ended { .. } => ErrorName::RunEnded,
            Self::Unreadable(_) => ErrorName::RunRecordInvalid,
            Self::Storage(error) => error.name(),
        }
    }
}

/// Reads the claim of the run, whoever has it.
pub async fn read_claim(storage: &Storage, layout: &RunLayout) -> Result<RunRecord, StorageError> {
    storage.get_json(&layout.run(), RECORD_BYTES_MAX).await
}

/// The queries of the run, in the order of the job.
pub async fn plan(
    storage: &Storage,
    layout: &RunLayout,
) -> Result<Vec<PlannedQuery>, StorageError> {
    storage.get_json(&layout.plan(), PLAN_BYTES_MAX).await
}

/// The statement of a query as it was planned: the SQL without what follows it; nothing if it is not
/// the text that was planned.
///
/// # Errors
///
/// [`StorageError::Changed`] and [`StorageError::NotFound`] when the version of the plan is gone.
pub async fn statement(
    storage: &Storage,
    query: &PlannedQuery,
) -> Result<Option<String>, StorageError> {
    let PlannedQuery { sql, sql_version, sql_bytes, .. } = query;
    let (bytes, _) = storage.get_bytes(sql, Some(sql_version), SQL_BYTES_MAX).await?;
    let statement = usize::try_from(*sql_bytes).ok().and_then(|end| bytes.get(..end));
    Ok(statement.and_then(|statement| std::str::from_utf8(statement).ok()).map(str::to_owned))
}

/// The records of these queries of a run, in their order; one that never began is `QUEUED`.
///
/// A record that cannot be read stands as failed: it must not hide the others.
///
/// Memory: all of them, some 1 KiB a query.
pub async fn records_of(
    storage: &Storage,
    layout: &RunLayout,
    execution: &ExecutionId,
    queries: Vec<PlannedQuery>,
) -> Result<Vec<QueryRecord>, StorageError> {
    stream::iter(queries)
        .map(|query| async move {
            let queued = QueryRecord::queued(&query, execution);
            match storage.get_json(&layout.record(&query.name), RECORD_BYTES_MAX).await {
                Err(StorageError::NotFound { .. }) => Ok(queued),
                Err(error @ (StorageError::Document { .. } | StorageError::TooLarge { .. })) => {
                    Ok(unreadable(queued, error))
                }
                Ok(record) => Ok(owned(record, queued)),
                Err(error) => Err(error),
            }
        })
        .buffered(READS_IN_FLIGHT)
        .try_collect()
        .await
}

/// The record, or a failed one in the place of another execution's.
fn owned(record: QueryRecord, queued: QueryRecord) -> QueryRecord {
    if record.execution.is(&queued.execution) {
        return record;
    }
    let failure = RecordedFailure {
        state: queued.name.to_string(),
        error: ErrorName::RunConflict.to_string(),
        cause: format!("the record belongs to another execution, {}", record.execution),
    };
    QueryRecord { stage: QueryStage::Failed { query_execution_id: None, failure }, ..queued }
}

/// A failed record in the place of one that cannot be read.
fn unreadable(queued: QueryRecord, error: StorageError) -> QueryRecord {
    let error = RunFileError::from(error);
    let failure = RecordedFailure {
        state: queued.name.to_string(),
        error: error.name().to_string(),
        cause: job::error::Chain(&error).to_string(),
    };
    QueryRecord { stage: QueryStage::Failed { query_execution_id: None, failure }, ..queued }
}

/// The snapshot of the run, if it is there.
///
/// # Errors
///
/// [`RunFileError::Conflict`] when it is of another execution.
pub async fn snapshot(
    storage: &Storage,
    layout: &RunLayout,
    execution: &ExecutionId,
) -> Result<Option<Snapshot>, RunFileError> {
    let read = read_if_there(storage, &layout.gathered(), PLAN_BYTES_MAX).await?;
    let Some((snapshot, _)) = read else { return Ok(None) };
    let Snapshot { run_id, execution: owner, .. } = &snapshot;
    expect_owner(run_id, owner, execution)?;
    Ok(Some(snapshot))
}

/// Writes the snapshot, unless one is there; gives the one that counts.
pub async fn keep_snapshot(
    storage: &Storage,
    layout: &RunLayout,
    snapshot: Snapshot,
) -> Result<Snapshot, RunFileError> {
    match storage.put_json_if(&layout.gathered(), &snapshot, Precondition::Absent).await {
        Ok(_) => Ok(snapshot),
        Err(error @ StorageError::Changed { .. }) => {
            let first = self::snapshot(storage, layout, &snapshot.execution).await?;
            first.ok_or(RunFileError::Storage(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the manifest, unless one is there: the first one tells how the run ended. Gives the one
/// that counts.
pub async fn keep_manifest(
    storage: &Storage,
    layout: &RunLayout,
    manifest: Manifest,
) -> Result<Manifest, StorageError> {
    match storage.put_json_if(&layout.manifest(), &manifest, Precondition::Absent).await {
        Ok(_) => Ok(manifest),
        Err(error @ StorageError::Changed { .. }) => {
            self::manifest(storage, layout).await?.ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The manifest of the run, if it is there and can be read.
pub async fn manifest(
    storage: &Storage,
    layout: &RunLayout,
) -> Result<Option<Manifest>, StorageError> {
    match read_if_there(storage, &layout.manifest(), PLAN_BYTES_MAX).await {
        Ok(read) => Ok(read.map(|(manifest, _)| manifest)),
        Err(StorageError::Document { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn expect_owner(
    run_id: &RunId,
    owner: &ExecutionId,
    execution: &ExecutionId,
) -> Result<(), RunFileError> {
    if owner.is(execution) {
        return Ok(());
    }
    Err(RunFileError::Conflict { run_id: run_id.clone(), owner: owner.clone() })
}

async fn read_if_there<T: DeserializeOwned>(
    storage: &Storage,
    location: &S3Location,
    limit_bytes: u64,
) -> Result<Option<(T, ObjectInfo)>, StorageError> {
    match storage.get_json_with_info(location, limit_bytes).await {
        Ok(read) => Ok(Some(read)),
        Err(StorageError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
