//! What the endpoint answers when it does not do what it was asked for.

use aws_io::StorageError;
use job::{Problems, RunId, name::NameError, view::ProblemDetails};

use crate::ExecutionsError;

/// Why a request is not answered as its sender hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("there is nothing at `{path}`; expected `/jobs` or `/jobs/{{run_id}}`")]
    NoRoute { path: String },
    #[error("`{path}` does not take {method}, only {allowed}")]
    Method { path: String, method: String, allowed: &'static str },
    /// The source says what and where, and repeats nothing of the body.
    #[error("the body is not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("the job takes {size_bytes} bytes as JSON, and {limit_bytes} is the most")]
    JobTooLarge { size_bytes: usize, limit_bytes: usize },
    #[error("the job has {} problem(s)", .0.0.len())]
    JobInvalid(Problems),
    #[error("{place} names no run")]
    RunId {
        place: &'static str,
        #[source]
        source: NameError,
    },
    #[error("the header `Idempotency-Key` names no run: it is not ASCII text")]
    KeyNotText,
    #[error("there is a run `{0}` of another job; take another `Idempotency-Key`")]
    Conflict(RunId),
    #[error("there is no run `{0}`; Step Functions forgets a run 90 days after its end")]
    NoRun(RunId),
    #[error("the run `{run_id}` vanished while it was looked at")]
    Vanished { run_id: RunId },
    #[error(
        "the state of the run `{run_id}` takes {size_bytes} bytes, and {limit_bytes} is the most"
    )]
    ViewTooLarge { run_id: RunId, size_bytes: usize, limit_bytes: usize },
    #[error(transparent)]
    Executions(#[from] ExecutionsError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The kind of an error, as the caller sees it.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) status: u16,
}

impl ApiError {
    pub(crate) fn kind(&self) -> Kind {
        let (name, title, status) = match self {
            Self::NoRoute { .. } => ("Route.NotFound", "there is no such route", 404),
            Self::Method { .. } => {
                ("Route.MethodNotAllowed", "the route does not take this method", 405)
            }
            Self::NotJson(_) => ("Job.NotJson", "the body is not JSON", 400),
            Self::JobTooLarge { .. } => ("Job.TooLarge", "the job is too large", 413),
            Self::JobInvalid(_) => ("Job.Invalid", "the job does not say what it must", 400),
            Self::RunId { .. } | Self::KeyNotText => ("Run.InvalidId", "that is no run id", 400),
            Self::Conflict(_) => ("Run.Conflict", "the run id is taken by another job", 409),
            Self::NoRun(_) => ("Run.NotFound", "there is no such run", 404),
            Self::ViewTooLarge { .. } => {
                ("Run.TooLarge", "the run has more to tell than an answer holds", 500)
            }
            Self::Vanished { .. }
            | Self::Executions(ExecutionsError::Unavailable { .. })
            | Self::Storage(StorageError::Unavailable { .. }) => {
                ("Service.Unavailable", "try again later", 503)
            }
            Self::Executions(ExecutionsError::Refused { .. } | ExecutionsError::Answer { .. })
            | Self::Storage(
                StorageError::NotFound { .. }
                | StorageError::Changed { .. }
                | StorageError::Denied { .. }
                | StorageError::TooLarge { .. }
                | StorageError::Document { .. }
                | StorageError::Refused { .. },
            ) => ("Service.Failed", "the endpoint failed", 500),
        };
        Kind { name, title, status }
    }

    /// The error as its caller gets it.
    ///
    /// What failed inside AWS is in the log alone: its texts name roles and accounts.
    pub(crate) fn into_problem(self) -> ProblemDetails {
        let Kind { name, title, status } = self.kind();
        let detail = match &self {
            Self::NotJson(source) => format!("{self}: {source}"),
            Self::RunId { source, .. } => format!("{self}: {source}"),
            Self::Executions(_) | Self::Storage(_) => {
                "the log of the function says what happened".to_owned()
            }
            _ => self.to_string(),
        };
        let problems = match self {
            Self::JobInvalid(Problems(problems)) => problems,
            _ => Vec::new(),
        };
        let (kind, title) = (name.to_owned(), title.to_owned());
        ProblemDetails { kind, title, status, detail, problems }
    }
}
