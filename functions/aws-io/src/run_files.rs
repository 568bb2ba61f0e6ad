//! The documents of a run that more than one function reads.

use futures_util::{StreamExt, TryStreamExt, stream};
use job::{RunLayout, S3Location, record::QueryRecord, states::PlannedQuery};

use crate::{ObjectInfo, Storage, StorageError};

/// The largest plan: 10,000 queries of some 1,000 bytes.
const PLAN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest record: one query with Athena's error text.
pub const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// How many records are read at once.
const READS_IN_FLIGHT: usize = 16;

/// The record of one query, and what is known of the object: to write it again only if it is still
/// the same.
pub async fn record(
    storage: &Storage,
    location: &S3Location,
) -> Result<(QueryRecord, ObjectInfo), StorageError> {
    storage.get_json_with_info(location, RECORD_BYTES_MAX).await
}

/// The queries of the run, in the order of the job.
pub async fn plan(
    storage: &Storage,
    layout: &RunLayout,
) -> Result<Vec<PlannedQuery>, StorageError> {
    storage.get_json(&layout.plan(), PLAN_BYTES_MAX).await
}

/// The records of all planned queries, in the plan's order; one that never began is `QUEUED`.
///
/// Memory: all of them, some 1 KiB a query.
pub async fn records(
    storage: &Storage,
    layout: &RunLayout,
) -> Result<Vec<QueryRecord>, StorageError> {
    records_of(storage, layout, plan(storage, layout).await?).await
}

/// The records of these queries of a run, in their order; one that never began is `QUEUED`.
pub async fn records_of(
    storage: &Storage,
    layout: &RunLayout,
    queries: Vec<PlannedQuery>,
) -> Result<Vec<QueryRecord>, StorageError> {
    stream::iter(queries)
        .map(|query| async move {
            match storage.get_json(&layout.record(&query.name), RECORD_BYTES_MAX).await {
                Err(StorageError::NotFound { .. }) => Ok(QueryRecord::queued(&query)),
                record => record,
            }
        })
        .buffered(READS_IN_FLIGHT)
        .try_collect()
        .await
}
