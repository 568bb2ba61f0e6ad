//! Why S3 did not do something, and whether it would another time.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use job::{ErrorName, S3Location};

use crate::Failure;

/// Why something could not be done with an object.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The object, or its bucket, is not there.
    #[error("{action} `{location}`: there is no such object ({code})")]
    NotFound {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// S3's word for it.
        code: String,
    },
    /// The object is not the one that was meant: its ETag differs.
    #[error("{action} `{location}`: the object has changed since it was looked at")]
    Changed {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
    },
    /// The role may not do it.
    #[error("{action} `{location}`: access denied ({message})")]
    Denied {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// S3's text.
        message: String,
    },
    /// The object is larger than this use of it allows.
    #[error("{action} `{location}`: it has {size_bytes} bytes, and {limit_bytes} is the most")]
    TooLarge {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// The object's size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The object is not the JSON that it should be.
    #[error("{action} `{location}`: it is not the document that was expected")]
    Document {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// S3 refused the request, and would refuse it again.
    #[error("{action} `{location}`: {code}: {message}")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// S3's error code.
        code: String,
        /// S3's text.
        message: String,
    },
    /// S3 was not reached, was busy, or the connection broke.
    #[error("{action} `{location}`: S3 could not be reached or broke off")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// To what.
        location: S3Location,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    pub(super) fn new<E>(action: &'static str, location: &S3Location, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let location = location.clone();
        let response = error.raw_response();
        let status = response.map(|response| response.status().as_u16());
        let region = response.and_then(|response| response.headers().get("x-amz-bucket-region"));
        let code = error.code().map_or_else(
            || status.map(|status| status.to_string()).unwrap_or_default(),
            str::to_owned,
        );
        let message = error.message().unwrap_or_default().to_owned();
        match Cause::of(error.code(), status) {
            Cause::Missing => Self::NotFound { action, location, code },
            Cause::Changed => Self::Changed { action, location },
            Cause::Denied => Self::Denied { action, location, message },
            Cause::Request => Self::Refused { action, location, code, message },
            Cause::Region => {
                let region = region.map(|region| format!(" but in `{region}`"));
                let message =
                    format!("the bucket is not in this region{}", region.unwrap_or_default());
                Self::Refused { action, location, code, message }
            }
            Cause::Passing => Self::Unavailable { action, location, source: Box::new(error) },
        }
    }
}

/// What stands behind an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// What was asked for is not there.
    Missing,
    /// A condition does not hold, or a write at the same time was first.
    Changed,
    /// The credentials are not accepted, or do not suffice.
    Denied,
    /// The bucket is in another region.
    Region,
    /// Something else that is wrong with the request.
    Request,
    /// It may well go another time.
    Passing,
}

impl Cause {
    /// An error may come with the status 200, when S3 has kept a connection open while it copied or
    /// completed. The SDK finds those by their body.
    fn of(code: Option<&str>, status: Option<u16>) -> Self {
        code.and_then(Self::of_code).unwrap_or_else(|| Self::of_status(status))
    }

    /// The causes that [S3's error codes](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)
    /// tell better than the statuses they come with.
    fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            "NoSuchKey" | "NoSuchBucket" => Self::Missing,
            "PreconditionFailed" => Self::Changed,
            "AccessDenied"
            | "ExpiredToken"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "SignatureDoesNotMatch"
            | "TokenRefreshRequired" => Self::Denied,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => Self::Region,
            // An upload is gone when the answer to its completion was lost and the SDK asked again.
            // With the next two, the bytes did not arrive as they were sent.
            "NoSuchUpload"
            | "BadDigest"
            // Another write is under way: AWS says that the request may be sent again.
            | "ConditionalRequestConflict"
            | "IncompleteBody"
            | "InternalError"
            | "OperationAborted"
            | "RequestTimeout"
            | "ServiceUnavailable"
            | "SlowDown"
            | "ThrottlingException" => Self::Passing,
            _ => return None,
        })
    }

    fn of_status(status: Option<u16>) -> Self {
        match status {
            Some(301 | 307) => Self::Region,
            Some(401 | 403) => Self::Denied,
            Some(404) => Self::Missing,
            Some(412) => Self::Changed,
            Some(400..=407 | 409..=428 | 430..=499) => Self::Request,
            // With 408, 429 and 5xx S3 asks for another try; without a status there was no answer.
            _ => Self::Passing,
        }
    }
}

impl Failure for StorageError {
    fn name(&self) -> ErrorName {
        match self {
            Self::NotFound { .. } => ErrorName::StorageNotFound,
            Self::Changed { .. } => ErrorName::StorageChanged,
            Self::Denied { .. } => ErrorName::StorageDenied,
            Self::TooLarge { .. } | Self::Refused { .. } => ErrorName::StorageRefused,
            Self::Document { .. } => ErrorName::ResultInvalid,
            Self::Unavailable { .. } => ErrorName::StorageUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, status: u16, cause: Cause) {
        let code = Some(code).filter(|code| !code.is_empty());
        let status = Some(status).filter(|status| *status != 0);
        assert_eq!(Cause::of(code, status), cause, "{code:?} {status:?}");
    }

    #[test]
    fn the_code_of_an_error_says_more_than_its_status() {
        check("NoSuchKey", 404, Cause::Missing);
        check("NoSuchUpload", 404, Cause::Passing);
        check("PreconditionFailed", 412, Cause::Changed);
        check("ConditionalRequestConflict", 409, Cause::Passing);
        check("OperationAborted", 409, Cause::Passing);
        check("BucketNotEmpty", 409, Cause::Request);
        check("AccessDenied", 403, Cause::Denied);
        check("InvalidAccessKeyId", 403, Cause::Denied);
        check("ExpiredToken", 400, Cause::Denied);
        check("RequestTimeout", 400, Cause::Passing);
        check("BadDigest", 400, Cause::Passing);
        check("InvalidRequest", 400, Cause::Request);
        check("PermanentRedirect", 301, Cause::Region);
        check("AuthorizationHeaderMalformed", 400, Cause::Region);
        check("SlowDown", 503, Cause::Passing);
        check("InternalError", 500, Cause::Passing);
        check("InternalError", 200, Cause::Passing);
        check("AccessDenied", 200, Cause::Denied);
    }

    #[test]
    fn an_error_without_a_known_code_is_judged_by_its_status() {
        check("", 301, Cause::Region);
        check("TemporaryRedirect", 307, Cause::Region);
        check("", 400, Cause::Request);
        check("", 403, Cause::Denied);
        check("NotFound", 404, Cause::Missing);
        check("", 404, Cause::Missing);
        check("", 408, Cause::Passing);
        check("", 412, Cause::Changed);
        check("InvalidRange", 416, Cause::Request);
        check("", 429, Cause::Passing);
        check("NotImplemented", 501, Cause::Passing);
        check("", 503, Cause::Passing);
        check("SomethingNew", 200, Cause::Passing);
        check("", 0, Cause::Passing);
    }
}
