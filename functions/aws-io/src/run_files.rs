//! The documents of a run that more than one function reads.

use futures_util::{StreamExt, TryStreamExt, stream};
use job::{
    RunLayout,
    record::{QueryRecord, QueryState, Statistics},
    states::PlannedQuery,
};

use crate::{Storage, StorageError};

/// The largest plan: 10,000 queries of some 1,000 bytes.
const PLAN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest record: one query with Athena's error text.
pub const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// How many records are read at once.
const READS_IN_FLIGHT: usize = 16;

/// The records of all planned queries, in the plan's order; one that never began is `QUEUED`.
///
/// Memory: all of them, some 1 KiB a query.
pub async fn records(
    storage: &Storage,
    layout: &RunLayout,
) -> Result<Vec<QueryRecord>, StorageError> {
    let planned: Vec<PlannedQuery> = storage.get_json(&layout.plan(), PLAN_BYTES_MAX).await?;
    stream::iter(planned)
        .map(|query| async move {
            match storage.get_json(&layout.record(&query.name), RECORD_BYTES_MAX).await {
                Err(StorageError::NotFound { .. }) => Ok(not_begun(query)),
                record => record,
            }
        })
        .buffered(READS_IN_FLIGHT)
        .try_collect()
        .await
}

fn not_begun(query: PlannedQuery) -> QueryRecord {
    QueryRecord {
        name: query.name,
        state: QueryState::Queued,
        query_execution_id: None,
        attempts: 0,
        file_name: query.file_name,
        csv: None,
        statistics: Statistics::default(),
        failure: None,
    }
}
