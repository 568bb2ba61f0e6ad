//! The claim of a run.

use job::{
    RunId, RunLayout,
    run_record::{ExecutionId, RunEvent, RunRecord, RunStage},
    states::Run,
};

use super::{RECORD_BYTES_MAX, RunFileError, expect_owner, read_if_there};
use crate::{Precondition, Storage, StorageError};

/// The claim of a run, as it was read last.
#[derive(Debug)]
pub struct RunFile<'a> {
    storage: &'a Storage,
    layout: RunLayout,
    record: RunRecord,
    etag: String,
    /// Whether this call has made the claim.
    is_new: bool,
}

impl<'a> RunFile<'a> {
    /// Takes the run's name for the execution of `claim`, or finds that it has it.
    ///
    /// # Errors
    ///
    /// [`RunFileError::Conflict`] when another execution has it.
    pub async fn claim(
        storage: &'a Storage,
        layout: RunLayout,
        claim: RunRecord,
    ) -> Result<Self, RunFileError> {
        let RunRecord { run_id, execution, .. } = &claim;
        let (run_id, execution) = (run_id.clone(), execution.clone());
        let put = storage.put_json_if(&layout.run(), &claim, Precondition::Absent).await;
        match put {
            Ok(info) => {
                let etag = info.version.etag;
                Ok(Self { storage, layout, record: claim, etag, is_new: true })
            }
            // It is there: our own whose answer was lost, or another execution's.
            Err(error @ StorageError::Changed { .. }) => {
                let found = Self::find(storage, layout, &run_id, &execution).await?;
                found.ok_or(RunFileError::Storage(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the claim of the execution; nothing if nobody has the run's name.
    ///
    /// # Errors
    ///
    /// [`RunFileError::Conflict`] when another execution has it.
    pub async fn find(
        storage: &'a Storage,
        layout: RunLayout,
        run_id: &RunId,
        execution: &ExecutionId,
    ) -> Result<Option<Self>, RunFileError> {
        let read = read_if_there(storage, &layout.run(), RECORD_BYTES_MAX).await?;
        let Some((record, info)) = read else { return Ok(None) };
        let record: RunRecord = record;
        expect_owner(run_id, &record.execution, execution)?;
        Ok(Some(Self { storage, layout, record, etag: info.version.etag, is_new: false }))
    }

    /// Returns whether this call has made the claim: then nothing of the run was there before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The claim.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Takes the run one step further, unless it is that far already.
    pub async fn advance(&mut self, event: RunEvent) -> Result<(), RunFileError> {
        while let Some(next) = self.record.next(&event) {
            let unchanged = Precondition::Unchanged { etag: self.etag.clone() };
            match self.storage.put_json_if(&self.layout.run(), &next, unchanged).await {
                Ok(info) => {
                    self.record = next;
                    self.etag = info.version.etag;
                }
                Err(error @ (StorageError::Changed { .. } | StorageError::NotFound { .. })) => {
                    let RunRecord { run_id, execution, .. } = &self.record;
                    let found =
                        Self::find(self.storage, self.layout.clone(), run_id, execution).await?;
                    let Some(found) = found else { return Err(error.into()) };
                    *self = Self { is_new: self.is_new, ..found };
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns an error when the run has ended.
    ///
    /// # Errors
    ///
    /// [`RunFileError::Ended`].
    pub fn expect_live(&self) -> Result<(), RunFileError> {
        match self.record.stage {
            RunStage::Claimed | RunStage::Planned => Ok(()),
            RunStage::Ended => Err(RunFileError::Ended { run_id: self.record.run_id.clone() }),
        }
    }
}

/// Returns an error when the run has ended or is another execution's.
///
/// # Errors
///
/// [`RunFileError::Ended`], also of a run without a claim: it was never begun, or its records have
/// expired. [`RunFileError::Conflict`].
pub async fn expect_live(storage: &Storage, run: &Run) -> Result<(), RunFileError> {
    match RunFile::find(storage, run.layout(), &run.run_id, &run.execution).await? {
        Some(claim) => claim.expect_live(),
        None => Err(RunFileError::Ended { run_id: run.run_id.clone() }),
    }
}
