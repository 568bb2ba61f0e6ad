//! The query's record, kept up to date in S3: it shows the progress, says what is to be cancelled,
//! and answers a repeated call.

use aws_io::{Failure, Storage, StorageError, athena::QueryStatus, run_files::RECORD_BYTES_MAX};
use job::{
    error::Chain,
    record::{Failure as RecordedFailure, QueryRecord, QueryState},
    states::{PlannedQuery, QueryProgress, Run},
};

use crate::{ExecuteError, error::in_storage, result::Written};

pub(crate) struct Recorder<'a> {
    storage: &'a Storage,
    run: &'a Run,
    pub(crate) record: QueryRecord,
    /// Whether a query that was started may still run in Athena.
    runs: bool,
}

impl<'a> Recorder<'a> {
    /// The record as an earlier call left it, or a new one.
    pub(crate) async fn open(
        storage: &'a Storage,
        run: &'a Run,
        query: &PlannedQuery,
    ) -> Result<Self, ExecuteError> {
        let location = run.layout().record(&query.name);
        let record = match storage.get_json(&location, RECORD_BYTES_MAX).await {
            Ok(record) => Some(record),
            // A record that can not be read is one of another version: it is written anew.
            Err(StorageError::NotFound { .. } | StorageError::Document { .. }) => None,
            Err(source) => return Err(in_storage(&query.name)(source)),
        };
        let record = record.unwrap_or_else(|| QueryRecord::queued(query));
        Ok(Self { storage, run, record, runs: true })
    }

    /// How far an earlier call got that did not come to tell: a query that it started is gone on
    /// with, also if its SQL has changed since.
    pub(crate) fn progress(&self) -> QueryProgress {
        let running = self.record.state == QueryState::Running;
        QueryProgress {
            query_execution_id: self.record.query_execution_id.clone().filter(|_| running),
            attempt: self.record.attempts.max(1),
            waits: 0,
        }
    }

    /// Notes that Athena has ended the query.
    pub(crate) fn ended(&mut self, status: &QueryStatus) {
        self.runs = false;
        self.record.statistics = status.statistics.clone();
    }

    pub(crate) async fn started(
        &mut self,
        query_execution_id: &str,
        attempt: u32,
    ) -> Result<(), ExecuteError> {
        self.record.state = QueryState::Running;
        self.record.query_execution_id = Some(query_execution_id.to_owned());
        self.record.attempts = attempt;
        self.runs = true;
        self.write().await
    }

    pub(crate) async fn succeeded(&mut self, written: Written) -> Result<(), ExecuteError> {
        self.record.state = QueryState::Succeeded;
        self.record.csv = Some(written.csv);
        self.record.member = written.member;
        self.record.failure = None;
        self.write().await
    }

    pub(crate) async fn failed(&mut self, error: &ExecuteError) -> Result<(), ExecuteError> {
        self.record.state = match (error, &self.record.query_execution_id) {
            (ExecuteError::Cancelled { .. }, _) => QueryState::Cancelled,
            // Whoever stops the run has to cancel it.
            (_, Some(_)) if self.runs => self.record.state,
            _ => QueryState::Failed,
        };
        self.record.failure = Some(RecordedFailure {
            state: self.record.name.to_string(),
            error: error.name().to_string(),
            cause: Chain(error).to_string(),
        });
        self.write().await
    }

    async fn write(&self) -> Result<(), ExecuteError> {
        let location = self.run.layout().record(&self.record.name);
        let written = self.storage.put_json(&location, &self.record).await;
        written.map_err(in_storage(&self.record.name))?;
        Ok(())
    }
}
