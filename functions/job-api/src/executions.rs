//! The port to the executions of the state machine.

use std::error::Error;

use jiff::Timestamp;
use job::{RunId, run_record::ExecutionId, view::RunState};
use secrecy::SecretString;

/// The executions of one state machine; each is a run, under the run's id.
pub trait Executions: Sync {
    /// Starts the run `run_id` with `input`, a JSON text.
    ///
    /// The same call for a run that still goes on finds that run: [`Start::Started`].
    fn start(
        &self,
        run_id: &RunId,
        input: &str,
    ) -> impl Future<Output = Result<Start, ExecutionsError>> + Send;

    /// Looks at a run; nothing if there is none.
    fn look(
        &self,
        run_id: &RunId,
    ) -> impl Future<Output = Result<Option<Execution>, ExecutionsError>> + Send;

    /// The top-level state that a run entered last; nothing before the first.
    fn stage(
        &self,
        run_id: &RunId,
    ) -> impl Future<Output = Result<Option<String>, ExecutionsError>> + Send;
}

/// What became of starting a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It goes on.
    Started,
    /// There is a run of that id, ended or with another input.
    NameTaken,
}

/// A run, as Step Functions knows it.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its ARN and its start.
    pub id: ExecutionId,
    /// Where it stands.
    pub status: RunState,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The JSON text that it was started with.
    pub input: SecretString,
    /// The name of the error that it failed with.
    pub error: Option<String>,
    /// The text of that error.
    pub cause: Option<String>,
}

/// Why something could not be done with a run.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionsError {
    /// Step Functions was not reached, was busy, or failed.
    #[error("{action} the run `{run_id}`: Step Functions could not be reached or is busy")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// To which run.
        run_id: RunId,
        /// What happened.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Step Functions refused the call, and would refuse it again.
    #[error("{action} the run `{run_id}`: {code}: {message}")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// To which run.
        run_id: RunId,
        /// The error's code.
        code: String,
        /// The error's text.
        message: String,
    },
    /// Step Functions' answer can not be read.
    #[error("{action} the run `{run_id}`: the answer's {part} can not be read")]
    Answer {
        /// What was being done.
        action: &'static str,
        /// To which run.
        run_id: RunId,
        /// What of the answer.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}
