//! The names of errors: the contract between the functions and the state machine.
//!
//! A function ends with one of these names as its `errorType`; `Retry` and `Catch` in the state
//! machine match on it. A test holds the two together.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! error_names {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $retryable:literal;)+) => {
        /// A stable name of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorName {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl ErrorName {
            /// Every name there is.
            pub const ALL: &[ErrorName] = &[$(ErrorName::$variant,)+];

            /// The name as the state machine spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorName::$variant => $name,)+ }
            }

            /// Whether the same call may succeed later without anybody changing anything.
            ///
            /// The state machine retries these and no others.
            pub const fn is_retryable(self) -> bool {
                match self { $(ErrorName::$variant => $retryable,)+ }
            }
        }
    };
}

error_names! {
    /// The job, or what a state was given, does not say what it must; the message lists every problem.
    JobInvalid = "Job.Invalid", false;
    /// A query name, or the bucket that should hold it, is not there.
    QueryNotFound = "Query.NotFound", false;
    /// The SQL file or the index can not be used: not UTF-8, empty, too long, not JSON.
    QueryInvalid = "Query.Invalid", false;
    /// The SQL file is not the one that the run was planned with.
    QueryChanged = "Query.Changed", false;
    /// The query has ended, but not well: `RunQuery` looks at it again and says how.
    QueryEnded = "Query.Ended", true;
    /// Athena ended the query as failed, for good.
    QueryFailed = "Query.Failed", false;
    /// Somebody cancelled the query in Athena.
    QueryCancelled = "Query.Cancelled", false;
    /// The query ran longer than the job allows, and was cancelled.
    QueryTimedOut = "Query.TimedOut", false;
    /// Athena refuses more calls or more queries for now.
    QueryThrottled = "Query.Throttled", true;
    /// Athena could not be reached, or failed without a verdict.
    QueryUnavailable = "Query.Unavailable", true;
    /// The role may not do this in Athena.
    QueryDenied = "Query.Denied", false;
    /// The result object is not what Athena writes: truncated, or not UTF-8.
    ResultInvalid = "Result.Invalid", false;
    /// The run's name belongs to another execution.
    RunConflict = "Run.Conflict", false;
    /// The run has ended: nothing of it starts any more.
    RunEnded = "Run.Ended", false;
    /// The execution failed, and Step Functions does not say why.
    RunFailed = "Run.Failed", false;
    /// Somebody stopped the execution.
    RunAborted = "Run.Aborted", false;
    /// The run, or a call in it, took longer than the state machine allows.
    RunTimedOut = "Run.TimedOut", false;
    /// A record of the run cannot be read.
    RunRecordInvalid = "Run.RecordInvalid", false;
    /// Step Functions refused a call of a function.
    RunDenied = "Run.Denied", false;
    /// Step Functions could not be reached, or answered that it is busy.
    RunUnavailable = "Run.Unavailable", true;
    /// An object or a bucket is not there.
    StorageNotFound = "Storage.NotFound", false;
    /// An object changed while it was in use.
    StorageChanged = "Storage.Changed", false;
    /// The role may not do this in S3.
    StorageDenied = "Storage.Denied", false;
    /// S3 refused the request for good.
    StorageRefused = "Storage.Refused", false;
    /// S3 could not be reached, or answered that it is busy.
    StorageUnavailable = "Storage.Unavailable", true;
    /// The archive can not be made from these results.
    ArchiveInvalid = "Archive.Invalid", false;
    /// The secret that the job names is not there.
    SecretNotFound = "Secret.NotFound", false;
    /// The role may not read the secret, or not decrypt it.
    SecretDenied = "Secret.Denied", false;
    /// The secret does not hold what it must.
    SecretInvalid = "Secret.Invalid", false;
    /// The secret's store could not be reached, or answered that it is busy.
    SecretUnavailable = "Secret.Unavailable", true;
    /// The recipient's server could not be reached, or broke off.
    TransportUnavailable = "Transport.Unavailable", true;
    /// The recipient's server rejected the credentials.
    TransportAuth = "Transport.Auth", false;
    /// The server presented another host key than the pinned ones.
    TransportHostKey = "Transport.HostKey", false;
    /// The transporter's configuration can not work with this server.
    TransportConfig = "Transport.Config", false;
    /// The recipient's server does not permit this.
    TransportPermission = "Transport.Permission", false;
    /// The recipient's server failed in a way that a retry does not mend.
    TransportRemote = "Transport.Remote", false;
}

/// A text that is the name of no error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of an error")]
pub struct UnknownName(String);

impl FromStr for ErrorName {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.iter().find(|name| name.as_str() == text);
        found.copied().ok_or_else(|| UnknownName(text.to_owned()))
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Joins an error with all its causes: `reading the plan: no such key`.
///
/// `Display` of an error never contains its cause, so this is the one place that joins them.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
