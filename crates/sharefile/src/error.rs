//! The reasons why a file was not delivered.

use std::{error::Error as StdError, fmt, time::Duration};

use aws_io::{Failure, StorageError};
use delivery::{LeaseError, Retry, TransportError};
use job::{ErrorName, name::NameError, transport::TransportProblem};

/// The error below. It never holds a secret.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// The reason why a file was not delivered.
///
/// No variant holds a secret, and the server's words are sanitized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file became another one while it was sent.
    #[error("the file changed while it was being read")]
    FileChanged,
    /// The lease of the delivery is lost, or its run has ended.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The configuration misses something or contradicts itself.
    #[error("the transporter's configuration has problems: {}", list(problems))]
    Configuration {
        /// All of them.
        problems: Vec<TransportProblem>,
    },
    /// The certificates that this machine trusts cannot be read.
    #[error("reading the certificates that this machine trusts")]
    Certificates {
        /// The reason.
        source: Cause,
    },
    /// The file would get a name that is none.
    #[error("naming the file at the recipient")]
    FileName(#[source] NameError),

    /// The server was not reached.
    #[error("connecting to `{server}`")]
    Connect {
        /// Host, with the port if it is not the usual one.
        server: String,
        /// The reason.
        source: Cause,
    },
    /// The server's certificate is not one that this machine trusts.
    #[error("connecting to `{server}`: its certificate is not trusted")]
    NotTrusted {
        /// Host, with the port if it is not the usual one.
        server: String,
        /// The reason.
        source: Cause,
    },
    /// The server did not answer in time.
    #[error("{action} on `{server}`: no answer for {seconds} s")]
    TimedOut {
        /// The action under way.
        action: String,
        /// Host, with the port if it is not the usual one.
        server: String,
        /// Length of the wait.
        seconds: u64,
    },
    /// The connection broke.
    #[error("{action} on `{server}`: the connection was lost ({reason})")]
    ConnectionLost {
        /// The action under way.
        action: String,
        /// Host, with the port if it is not the usual one.
        server: String,
        /// The reason, as far as it is known.
        reason: String,
    },

    /// The server rejected the credentials.
    #[error("logging in to `{server}` as `{user}`: {reason}")]
    Login {
        /// Host, with the port if it is not the usual one.
        server: String,
        /// The user.
        user: String,
        /// The server's reason.
        reason: String,
    },
    /// The account wants its users to log in elsewhere.
    #[error(
        "logging in to `{server}` as `{user}`: the account logs in by SSO; use a service account \
         without SSO ({answer})"
    )]
    SingleSignOn {
        /// Host, with the port if it is not the usual one.
        server: String,
        /// The user.
        user: String,
        /// Form of the answer.
        answer: String,
    },
    /// The user may not do this.
    #[error("{action}: permission denied ({message})")]
    Permission {
        /// The action under way.
        action: String,
        /// The server's text.
        message: String,
    },
    /// The folder is not there or cannot be used.
    #[error("{action}: {reason}")]
    Folder {
        /// The action under way.
        action: String,
        /// The reason.
        reason: String,
    },
    /// The server does not speak ShareFile's protocol as we know it.
    #[error("{action}: the server's answer cannot be used ({message})")]
    Protocol {
        /// The action under way.
        action: String,
        /// The fault.
        message: String,
    },
    /// The server does not do it now, but may later.
    #[error("{action}: the server is busy ({message})")]
    Busy {
        /// The action under way.
        action: String,
        /// The server's text.
        message: String,
        /// The wait that the server asks for.
        wait: Option<Duration>,
    },
    /// The server failed, without a reason that could be acted on.
    #[error("{action}: the server failed ({message})")]
    Server {
        /// The action under way.
        action: String,
        /// The server's text.
        message: String,
    },
    /// The server will not do it, however often it is asked.
    #[error("{action}: refused ({message})")]
    Refused {
        /// The action under way.
        action: String,
        /// The server's text.
        message: String,
    },

    /// The server has forgotten the upload.
    #[error("{action}: the server does not know the upload any more ({message})")]
    UploadForgotten {
        /// The action under way.
        action: String,
        /// The server's text.
        message: String,
    },
    /// Another file has the name, and it must not be replaced.
    #[error("delivering `{path}`: another file is there, and `sharefile_overwrite` is false")]
    NameTaken {
        /// Path of the file.
        path: String,
    },
    /// The server's file has another size than the bytes that were sent.
    #[error("checking `{path}`: the server has {found} of {sent} bytes")]
    SizeMismatch {
        /// Path of the file.
        path: String,
        /// Number of bytes that were sent.
        sent: u64,
        /// Number of bytes that the server tells.
        found: u64,
    },
    /// The server's file has another MD5 than the bytes that were sent.
    #[error("checking `{path}`: the server's MD5 is not that of the bytes that were sent")]
    ContentMismatch {
        /// Path of the file.
        path: String,
    },
    /// The answer to the end of an upload was lost, and the folder cannot be read.
    #[error("delivering `{path}`: the upload may have ended, and the folder cannot be read")]
    OutcomeUnknown {
        /// Path of the file.
        path: String,
        /// The reason why the folder cannot be read.
        source: Box<Error>,
    },
    /// The time of the invocation is up.
    #[error("{action}: the time of this invocation is up")]
    TimeUp {
        /// The action under way.
        action: String,
    },
    /// The delivery takes longer than its execution may.
    #[error(
        "the delivery took longer than an execution may: the server has acknowledged \
         {acknowledged_bytes} bytes"
    )]
    TooSlow {
        /// Number of bytes that the server has acknowledged.
        acknowledged_bytes: u64,
    },
}

impl Failure for Error {
    fn name(&self) -> ErrorName {
        match self {
            Self::Storage(error) => error.name(),
            Self::Lease(error) => error.name(),
            Self::FileChanged => ErrorName::StorageChanged,
            Self::Configuration { .. }
            | Self::Certificates { .. }
            | Self::FileName(_)
            | Self::NotTrusted { .. }
            | Self::Folder { .. }
            | Self::Protocol { .. } => ErrorName::TransportConfig,
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. }
            | Self::Busy { .. }
            | Self::UploadForgotten { .. }
            | Self::SizeMismatch { .. }
            | Self::ContentMismatch { .. }
            | Self::OutcomeUnknown { .. }
            | Self::TimeUp { .. } => ErrorName::TransportUnavailable,
            Self::Login { .. } | Self::SingleSignOn { .. } => ErrorName::TransportAuth,
            Self::Permission { .. } => ErrorName::TransportPermission,
            Self::Server { .. }
            | Self::Refused { .. }
            | Self::NameTaken { .. }
            | Self::TooSlow { .. } => ErrorName::TransportRemote,
        }
    }
}

impl TransportError for Error {
    fn retry(&self) -> Retry {
        match self {
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. }
            | Self::Busy { .. }
            | Self::UploadForgotten { .. }
            | Self::SizeMismatch { .. }
            | Self::ContentMismatch { .. }
            | Self::OutcomeUnknown { .. } => Retry::Often,
            // The state machine retries the first three, with longer waits and more time. The request
            // of a failed server was repeated within the attempt.
            Self::Storage(_)
            | Self::Lease(_)
            | Self::TimeUp { .. }
            | Self::Server { .. }
            | Self::FileChanged
            | Self::Configuration { .. }
            | Self::Certificates { .. }
            | Self::FileName(_)
            | Self::NotTrusted { .. }
            | Self::Login { .. }
            | Self::SingleSignOn { .. }
            | Self::Permission { .. }
            | Self::Folder { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. }
            | Self::NameTaken { .. }
            | Self::TooSlow { .. } => Retry::Never,
        }
    }

    fn wait(&self) -> Option<Duration> {
        match self {
            Self::Busy { wait, .. } => *wait,
            Self::OutcomeUnknown { source, .. } => source.wait(),
            _ => None,
        }
    }

    fn is_of_credentials(&self) -> bool {
        self.name() == ErrorName::TransportAuth
    }

    fn too_slow(acknowledged_bytes: u64) -> Self {
        Self::TooSlow { acknowledged_bytes }
    }
}

fn list(problems: &[TransportProblem]) -> impl fmt::Display {
    let texts = problems.iter().map(|problem| format!("`{}` {}", problem.path, problem.message));
    texts.collect::<Vec<_>>().join("; ")
}
