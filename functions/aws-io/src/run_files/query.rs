//! The record of one query.

use job::{
    S3Location,
    record::{QueryEvent, QueryRecord},
    states::{PlannedQuery, Run},
};

use super::{RECORD_BYTES_MAX, RunFileError, expect_owner, read_if_there};
use crate::{Precondition, Storage, StorageError};

/// The record of a query, as it was read or written last.
#[derive(Debug)]
pub struct QueryFile<'a> {
    storage: &'a Storage,
    location: S3Location,
    run: &'a Run,
    query: &'a PlannedQuery,
    record: QueryRecord,
    /// ETag of the record; nothing of one that has not begun.
    etag: Option<String>,
}

impl<'a> QueryFile<'a> {
    /// Reads the record of a query; one that has not begun is `QUEUED`.
    ///
    /// # Errors
    ///
    /// [`RunFileError::Conflict`] when it is another execution's.
    pub async fn open(
        storage: &'a Storage,
        run: &'a Run,
        query: &'a PlannedQuery,
    ) -> Result<Self, RunFileError> {
        let location = run.layout().record(&query.name);
        let record = QueryRecord::queued(query, &run.execution);
        let mut file = Self { storage, location, run, query, record, etag: None };
        file.read().await?;
        Ok(file)
    }

    /// The record.
    pub fn record(&self) -> &QueryRecord {
        &self.record
    }

    /// Writes the record after `event`, or reads the record of a call that was faster: the caller
    /// looks at its stage anew.
    ///
    /// # Panics
    ///
    /// The event does not follow from the stage of the record.
    pub async fn advance(&mut self, event: QueryEvent) -> Result<(), RunFileError> {
        let next = self.record.next(event).expect("the caller has looked at the stage");
        let precondition = match &self.etag {
            Some(etag) => Precondition::Unchanged { etag: etag.clone() },
            None => Precondition::Absent,
        };
        match self.storage.put_json_if(&self.location, &next, precondition).await {
            Ok(info) => {
                self.record = next;
                self.etag = Some(info.version.etag);
                Ok(())
            }
            // Another call was faster, or this one was and its answer was lost.
            Err(StorageError::Changed { .. } | StorageError::NotFound { .. }) => self.read().await,
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&mut self) -> Result<(), RunFileError> {
        let read = read_if_there(self.storage, &self.location, RECORD_BYTES_MAX).await?;
        let (record, etag) = match read {
            Some((record, info)) => (record, Some(info.version.etag)),
            None => (QueryRecord::queued(self.query, &self.run.execution), None),
        };
        expect_owner(&self.run.run_id, &record.execution, &self.run.execution)?;
        (self.record, self.etag) = (record, etag);
        Ok(())
    }
}
