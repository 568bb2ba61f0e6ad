//! The errors of Athena's API, as against those of a query.

use axum::http::StatusCode;
use serde::Serialize;

use crate::faults::Refusal;

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{message}")]
    Invalid { code: &'static str, message: String },
    #[error("{0}")]
    Metadata(String),
    #[error(
        "You have exceeded the limit for the number of queries you can run concurrently. Please reduce the number of concurrent queries submitted by this account. Contact customer support to request a concurrent query limit increase."
    )]
    TooManyRequests,
    #[error("Rate exceeded")]
    Throttling,
    #[error("internal server error: {0}")]
    Internal(String),
    #[error("{0}")]
    Serialization(String),
    #[error("operation `{0}` is not supported by the local endpoint")]
    UnknownOperation(String),
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    #[serde(rename = "Message")]
    message: &'a str,
    #[serde(rename = "message")]
    same_message: &'a str,
    #[serde(rename = "AthenaErrorCode", skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl ApiError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { code: "INVALID_INPUT", message: message.into() }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::Invalid { code: "MALFORMED_QUERY", message: message.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Invalid { .. }
            | Self::Metadata(_)
            | Self::TooManyRequests
            | Self::Throttling
            | Self::Serialization(_)
            | Self::UnknownOperation(_) => StatusCode::BAD_REQUEST,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "InvalidRequestException",
            Self::Metadata(_) => "MetadataException",
            Self::TooManyRequests => "TooManyRequestsException",
            Self::Throttling => "ThrottlingException",
            Self::Internal(_) => "InternalServerException",
            Self::Serialization(_) => "SerializationException",
            Self::UnknownOperation(_) => "UnknownOperationException",
        }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let message = self.to_string();
        let body = Body {
            kind: self.name(),
            message: &message,
            same_message: &message,
            code: match self {
                Self::Invalid { code, .. } => Some(code),
                _ => None,
            },
            reason: match self {
                Self::TooManyRequests => Some("CONCURRENT_QUERY_LIMIT_EXCEEDED"),
                _ => None,
            },
        };
        // Strings always have a JSON form.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooManyRequests => Self::TooManyRequests,
            Refusal::Throttling => Self::Throttling,
            Refusal::InternalServer => Self::Internal("asked for".to_owned()),
        }
    }
}
