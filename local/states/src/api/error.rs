//! The errors of the API, with AWS's names and words.

use axum::http::StatusCode;

use crate::arn::is_kind;
use crate::engine::{DefinitionError, StartError, TokenError};

/// What a refused request is answered with.
#[derive(Debug, PartialEq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind, message: message.into() }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(super) fn unknown_operation(operation: &str) -> Self {
        let message = format!("the operation `{operation}` is not supported");
        Self::new("UnknownOperationException", message)
    }

    pub(super) fn no_state_machine(arn: &str) -> Self {
        let message = format!("State Machine Does Not Exist: '{arn}'");
        Self::new("StateMachineDoesNotExist", message)
    }

    pub(super) fn no_execution(arn: &str) -> Self {
        let message = format!("Execution Does Not Exist: '{arn}'");
        Self::new("ExecutionDoesNotExist", message)
    }

    pub(super) fn no_resource(arn: &str) -> Self {
        Self::new("ResourceNotFound", format!("Resource not found: '{arn}'"))
    }

    /// A field that is too long is refused before anything is looked up.
    pub(super) fn check_length(field: &str, length: usize, most: usize) -> Result<(), Self> {
        if length <= most {
            return Ok(());
        }
        Err(Self::too_long(field, length, most))
    }

    fn too_long(field: &str, length: usize, most: usize) -> Self {
        Self::validation(format!(
            "1 validation error detected: Value at '{field}' failed to satisfy constraint: Member \
             must have length less than or equal to {most}, but it has {length}"
        ))
    }

    /// An ARN of another kind is refused before anything is looked up.
    pub(super) fn check_arn(arn: &str, kind: &str) -> Result<(), Self> {
        if is_kind(arn, kind) {
            return Ok(());
        }
        let message = format!("Invalid Arn: 'Resource type not valid in this context: {arn}'");
        Err(Self::new("InvalidArn", message))
    }
}

impl From<DefinitionError> for ApiError {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Name(name) => {
                Self::new("InvalidName", format!("Invalid Name: '{name}'"))
            }
            DefinitionError::Exists(arn) => {
                let message = format!("State Machine Already Exists: '{arn}'");
                Self::new("StateMachineAlreadyExists", message)
            }
            error @ DefinitionError::Faults(_) => {
                let message = format!("Invalid State Machine Definition: '{error}'");
                Self::new("InvalidDefinition", message)
            }
        }
    }
}

/// AWS's answers word for word. A late or second settlement of a task and one of an execution that
/// is over get the same.
impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Malformed => Self::new("InvalidToken", "Invalid Token: 'Invalid token'"),
            TokenError::Closed => {
                let message = "Task Timed Out: 'Provided task does not exist anymore'";
                Self::new("TaskTimedOut", message)
            }
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::MachineMissing(arn) => Self::no_state_machine(&arn),
            StartError::Name(name) => Self::new("InvalidName", format!("Invalid Name: '{name}'")),
            StartError::Input(fault) => {
                let message = format!("Invalid State Machine Execution Input: '{fault}'");
                Self::new("InvalidExecutionInput", message)
            }
            StartError::InputTooLarge(size_bytes) => {
                Self::too_long("input", size_bytes, crate::payload::PAYLOAD_BYTES_MAX)
            }
            StartError::Exists(arn) => {
                let message = format!("Execution Already Exists: '{arn}'");
                Self::new("ExecutionAlreadyExists", message)
            }
            StartError::ShutDown => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                kind: "ServiceUnavailable",
                message: "the engine is shutting down".to_string(),
            },
        }
    }
}
