//! The errors of both services, with AWS's names and words. None holds a value.

use axum::http::StatusCode;
use serde_json::{Value, json};

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("Secrets Manager can't find the specified secret.")]
    NoSecret,
    #[error("Secrets Manager can't find the specified secret value for {0}")]
    NoSecretValue(String),
    #[error("{0}")]
    SecretExists(String),
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("{0}")]
    InvalidParameter(String),

    #[error("Parameter {0} not found.")]
    NoParameter(String),
    #[error("Systems Manager could not find version {0}.")]
    NoParameterVersion(String),
    #[error(
        "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
    )]
    ParameterExists,

    #[error("{0}")]
    Validation(String),
    #[error("{0}")]
    Serialization(String),
    #[error("Rate exceeded")]
    Throttling,
    #[error("User is not authorized to perform: {0} because no identity-based policy allows it")]
    AccessDenied(String),
    #[error("An error occurred on the server side.")]
    Internal,
    #[error("operation `{0}` is not supported by the local endpoint")]
    UnknownOperation(String),
}

impl ApiError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NoSecret | Self::NoSecretValue(_) => "ResourceNotFoundException",
            Self::SecretExists(_) => "ResourceExistsException",
            Self::InvalidRequest(_) => "InvalidRequestException",
            Self::InvalidParameter(_) => "InvalidParameterException",
            Self::NoParameter(_) => "ParameterNotFound",
            Self::NoParameterVersion(_) => "ParameterVersionNotFound",
            Self::ParameterExists => "ParameterAlreadyExists",
            Self::Validation(_) => "ValidationException",
            Self::Serialization(_) => "SerializationException",
            Self::Throttling => "ThrottlingException",
            Self::AccessDenied(_) => "AccessDeniedException",
            Self::Internal => "InternalServiceError",
            Self::UnknownOperation(_) => "UnknownOperationException",
        }
    }

    /// One service writes `Message`, the other `message`; both SDKs read either.
    pub(crate) fn body(&self) -> Value {
        let message = self.to_string();
        json!({ "__type": self.name(), "Message": message, "message": message })
    }
}
