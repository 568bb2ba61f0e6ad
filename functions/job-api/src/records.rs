//! The port to what a run leaves in its output bucket.

use aws_io::{Storage, StorageError, run_files};
use job::{
    RunLayout,
    record::{Manifest, QuerySummary},
    run_record::ExecutionId,
    view::VIEW_QUERIES_MAX,
};

/// The largest manifest that is read: 10,000 queries of some 1,000 bytes, twice over.
const MANIFEST_BYTES_MAX: u64 = 20 * 1024 * 1024;

/// The queries of a run that goes on.
#[derive(Clone, Debug)]
pub struct Queries {
    /// How many there are.
    pub count: usize,
    /// Their summaries; none if there are more than [`VIEW_QUERIES_MAX`].
    pub summaries: Vec<QuerySummary>,
}

/// The documents that runs write.
///
/// Only the documents of the execution itself are read: a run whose name came back owns nothing
/// under its prefix.
pub trait Records: Sync {
    /// The queries of the run's plan; nothing until the run is planned.
    fn queries(
        &self,
        layout: &RunLayout,
        execution: &ExecutionId,
    ) -> impl Future<Output = Result<Option<Queries>, StorageError>> + Send;

    /// The run's manifest; nothing until it is written.
    fn manifest(
        &self,
        layout: &RunLayout,
        execution: &ExecutionId,
    ) -> impl Future<Output = Result<Option<Manifest>, StorageError>> + Send;
}

impl Records for Storage {
    async fn queries(
        &self,
        layout: &RunLayout,
        execution: &ExecutionId,
    ) -> Result<Option<Queries>, StorageError> {
        let claim = match run_files::read_claim(self, layout).await {
            // Nobody can tell whose the records are: Step Functions alone tells of the run.
            Err(StorageError::Document { .. }) => None,
            claim => if_there(claim)?,
        };
        if !claim.is_some_and(|claim| claim.execution.is(execution)) {
            return Ok(None);
        }
        let Some(plan) = if_there(run_files::plan(self, layout).await)? else { return Ok(None) };
        let count = plan.len();
        let listed = if count > VIEW_QUERIES_MAX { Vec::new() } else { plan };
        let records = if_there(run_files::records_of(self, layout, execution, listed).await)?;
        Ok(records.map(|records| {
            let summaries = records.into_iter().map(QuerySummary::from).collect();
            Queries { count, summaries }
        }))
    }

    async fn manifest(
        &self,
        layout: &RunLayout,
        execution: &ExecutionId,
    ) -> Result<Option<Manifest>, StorageError> {
        let manifest: Option<Manifest> =
            if_there(self.get_json(&layout.manifest(), MANIFEST_BYTES_MAX).await)?;
        Ok(manifest.filter(|manifest| manifest.execution.is(execution)))
    }
}

/// What was read, or nothing if there is nothing to read.
fn if_there<T>(read: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StorageError::NotFound { .. }) => Ok(None),
        // A job may name a bucket that is not ours: its run fails, and that can still be told.
        Err(error @ StorageError::Denied { .. }) => {
            tracing::warn!(error.message = %error, "what a run wrote can not be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use job::S3Location;

    use super::*;

    #[test]
    fn what_is_missing_or_not_ours_is_nothing_and_what_is_broken_is_an_error() {
        let (action, location) = ("reading", S3Location::new("acme-results", "out/r1/plan.json"));
        let code = "NoSuchKey".to_owned();
        let missing = StorageError::NotFound { action, location: location.clone(), code };
        let message = String::new();
        let denied = StorageError::Denied { action, location: location.clone(), message };
        assert_eq!(if_there(Ok(1)).unwrap(), Some(1));
        assert_eq!(if_there::<u8>(Err(missing)).unwrap(), None);
        assert_eq!(if_there::<u8>(Err(denied)).unwrap(), None);
        if_there::<u8>(Err(StorageError::Changed { action, location })).unwrap_err();
    }
}
