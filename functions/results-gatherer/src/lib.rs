//! Monitors the queries of runs, collects their results, and writes down how runs end.
//!
//! Some tasks come from the state machine, some from events: the end of a query completes the
//! callback that waits for it, the end of an execution that did not succeed starts the clean-up.
//! Every task may be repeated, and run beside the others: records only go forward, snapshot and
//! manifest are written once. An execution that does not own the run touches nothing of it.

mod cancel;
mod deliveries;
mod end;
mod event;
mod gather;

use aws_io::{
    Failure, Storage, StorageError,
    athena::{Athena, AthenaError},
    run_files::RunFileError,
    step_functions::{StepFunctions, StepFunctionsError},
    waits::Waits,
};
use jiff::Timestamp;
use job::{
    BucketName, ErrorName,
    record::Failure as RecordedFailure,
    states::{GatherTask, Gathered},
};
use serde::{Deserialize, Serialize};

/// Settings of the function, from its environment.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// `STATE_BUCKET`: the bucket of the callbacks that wait for queries. It has no default.
    pub state_bucket: BucketName,
}

/// The services that the function uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    /// Athena.
    pub athena: Athena,
    /// S3.
    pub storage: Storage,
    /// Step Functions.
    pub step_functions: StepFunctions,
    /// The callbacks that wait for queries.
    pub waits: Waits,
}

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
    /// The snapshot is missing that the manifest is made of.
    #[error("the results of the run have not been gathered")]
    NotGathered,
    /// The journal of the delivery has no receipt.
    #[error("the journal of the delivery has no receipt")]
    NotDelivered,
    /// Athena would not cancel a query.
    #[error("ending a query of the run")]
    Athena(#[from] AthenaError),
    /// The execution goes on, as far as Step Functions tells.
    #[error("the execution `{arn}` has not ended")]
    NotEnded {
        /// ARN of the execution.
        arn: String,
    },
    /// Step Functions failed.
    #[error("following the run")]
    StepFunctions(#[from] StepFunctionsError),
    /// The records of the run cannot be used.
    #[error("following the run")]
    Records(#[from] RunFileError),
    /// S3 failed.
    #[error("following the run")]
    Storage(#[from] StorageError),
}

impl Failure for GatherError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Failed { .. } => ErrorName::QueryFailed,
            Self::NotGathered | Self::NotDelivered => ErrorName::RunRecordInvalid,
            Self::NotEnded { .. } => ErrorName::RunUnavailable,
            Self::Athena(error) => error.name(),
            Self::StepFunctions(error) => error.name(),
            Self::Records(error) => error.name(),
            Self::Storage(error) => error.name(),
        }
    }
}

/// Answer of the function.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `gather`.
    Gathered(Gathered),
    /// To `finish`, `fail` and `clean_up`: the manifest, if it could be written anywhere.
    Recorded {
        /// Its URI.
        manifest: Option<String>,
    },
    /// To `fail_query` and `query_ended`.
    Done {},
    /// To `stop`.
    Stopped {
        /// How many queries were cancelled.
        cancelled: usize,
        /// Why the first of the failed queries failed, in the order of the job.
        failure: Option<RecordedFailure>,
    },
}

/// Does the task; `now` is the time for the manifest.
///
/// # Errors
///
/// See [`GatherError`].
pub async fn act(
    services: &Services,
    now: Timestamp,
    task: GatherTask,
) -> Result<Answer, GatherError> {
    match task {
        GatherTask::Gather { run } => gather::gather(services, &run).await.map(Answer::Gathered),
        GatherTask::Finish { run, file, delivery } => {
            let is_delivered = delivery.is_some();
            let manifest = gather::finish(services, now, &run, file, is_delivered).await?;
            Ok(Answer::Recorded { manifest: Some(manifest.to_string()) })
        }
        GatherTask::FailQuery { run, query, failure } => {
            cancel::fail_query(services, &run, &query, failure).await?;
            Ok(Answer::Done {})
        }
        GatherTask::QueryEnded { query_execution_id, state } => {
            event::query_ended(services, &query_execution_id, state).await?;
            Ok(Answer::Done {})
        }
        GatherTask::Stop { run } => {
            let (cancelled, failure) = cancel::stop(services, &run).await?;
            Ok(Answer::Stopped { cancelled, failure })
        }
        GatherTask::Fail {
            run,
            run_id,
            execution,
            output_bucket,
            output_prefix,
            file,
            failure,
        } => {
            let failure = RecordedFailure::of_state(failure.state, failure.error, &failure.cause);
            let layout = run.as_ref().map(job::states::Run::layout);
            let layout =
                layout.or_else(|| end::layout(output_bucket?, output_prefix?, run_id.clone()));
            let ended = end::Ended { run_id, execution, failure, file };
            end::record(services, now, layout, ended).await
        }
        GatherTask::CleanUp { execution, started_at } => {
            end::clean_up(services, now, execution, started_at).await
        }
    }
}
