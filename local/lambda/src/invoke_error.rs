//! Why Lambda did not run a function.

use axum::http::StatusCode;

use crate::{EVENT_BYTES_MAX, REQUEST_BYTES_MAX};

/// A refusal of Lambda itself. An error of the function is no refusal: it comes as an
/// [`Invocation`](crate::Invocation) whose `function_error` is set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// There is no such function, or no such version or alias of it.
    #[error("Function not found: {arn}")]
    NotFound {
        /// The ARN of what was asked for.
        arn: String,
    },
    /// The text names no function in any of the ways that AWS knows.
    #[error("`{name}` is neither the name of a function nor its ARN")]
    InvalidName {
        /// The text.
        name: String,
    },
    /// The payload is not JSON.
    #[error("Could not parse request body into json: {reason}")]
    NotJson {
        /// What the parser said.
        reason: String,
    },
    /// The payload is too large for a synchronous invocation.
    #[error(
        "{size_bytes} byte payload is too large for the RequestResponse invocation type \
         (limit {REQUEST_BYTES_MAX} bytes)"
    )]
    RequestTooLarge {
        /// The payload's size.
        size_bytes: usize,
    },
    /// The payload is too large for an asynchronous invocation.
    #[error(
        "{size_bytes} byte payload is too large for the Event invocation type (limit {EVENT_BYTES_MAX} bytes)"
    )]
    EventTooLarge {
        /// The payload's size.
        size_bytes: usize,
    },
    /// The invocation type is none that AWS knows.
    #[error("`{value}` is no invocation type: `RequestResponse`, `Event` and `DryRun` are")]
    InvalidInvocationType {
        /// What was asked for.
        value: String,
    },
    /// The body of the request broke off.
    #[error("the request's body could not be read: {reason}")]
    Unreadable {
        /// What the connection said.
        reason: String,
    },
    /// The function's `concurrency_max` is used up.
    #[error("Rate Exceeded.")]
    Throttled,
    /// [`Lambda::shutdown`](crate::Lambda::shutdown) was called.
    #[error("the functions are being shut down")]
    ShuttingDown,
}

impl InvokeError {
    /// The name of the error as AWS's API has it, which Step Functions prefixes with `Lambda.`.
    pub fn error_name(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "ResourceNotFoundException",
            Self::InvalidName { .. } => "ValidationException",
            Self::NotJson { .. } | Self::Unreadable { .. } => "InvalidRequestContentException",
            Self::RequestTooLarge { .. } | Self::EventTooLarge { .. } => {
                "RequestEntityTooLargeException"
            }
            Self::InvalidInvocationType { .. } => "InvalidParameterValueException",
            Self::Throttled => "TooManyRequestsException",
            Self::ShuttingDown => "ServiceException",
        }
    }

    /// The HTTP status of the error in the Invoke API.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::InvalidName { .. }
            | Self::NotJson { .. }
            | Self::Unreadable { .. }
            | Self::InvalidInvocationType { .. } => StatusCode::BAD_REQUEST,
            Self::RequestTooLarge { .. } | Self::EventTooLarge { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::ShuttingDown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
