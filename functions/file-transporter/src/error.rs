//! Reasons why a file was not delivered.

use std::fmt;

use aws_io::{Failure, run_files::RunFileError, secrets::SecretError};
use delivery::{LeaseError, TransportError};
use job::{ErrorName, SecretReferenceError, transport::TransportProblem};

/// Reason why a file was not delivered. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run has ended, or is another execution's.
    #[error(transparent)]
    Run(#[from] RunFileError),
    /// The journal says that this call may not act.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The transporter's configuration contradicts itself or misses something.
    #[error("the transporter's configuration is not valid: {}", list(problems))]
    Configuration {
        /// All problems.
        problems: Vec<TransportProblem>,
    },
    /// The name of a secret cannot be read.
    #[error("reading `{field}`")]
    SecretReference {
        /// The field of the transporter's configuration.
        field: &'static str,
        /// The fault.
        source: SecretReferenceError,
    },
    /// The secret cannot be read, or does not hold what it must.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The delivery by SFTP failed.
    #[error(transparent)]
    Sftp(#[from] sftp::Error),
    /// The delivery into ShareFile failed.
    #[error(transparent)]
    ShareFile(#[from] sharefile::Error),
}

impl Failure for Error {
    fn name(&self) -> ErrorName {
        match self {
            Self::Run(error) => error.name(),
            Self::Lease(error) => error.name(),
            Self::Configuration { .. } | Self::SecretReference { .. } => ErrorName::TransportConfig,
            Self::Secret(error) => error.name(),
            Self::Sftp(error) => error.name(),
            Self::ShareFile(error) => error.name(),
        }
    }
}

impl Error {
    /// Returns whether another call has taken the delivery over.
    pub(crate) fn is_of_lost_lease(&self) -> bool {
        matches!(
            self,
            Self::Lease(LeaseError::Lost)
                | Self::Sftp(sftp::Error::Lease(LeaseError::Lost))
                | Self::ShareFile(sharefile::Error::Lease(LeaseError::Lost))
        )
    }

    /// Returns whether other credentials may end better.
    pub(crate) fn is_of_credentials(&self) -> bool {
        match self {
            Self::Secret(error) => error.name() == ErrorName::SecretInvalid,
            Self::Sftp(error) => error.is_of_credentials(),
            Self::ShareFile(error) => error.is_of_credentials(),
            Self::Run(_)
            | Self::Lease(_)
            | Self::Configuration { .. }
            | Self::SecretReference { .. } => false,
        }
    }
}

fn list(problems: &[TransportProblem]) -> impl fmt::Display {
    let texts = problems.iter().map(|problem| format!("`{}` {}", problem.path, problem.message));
    texts.collect::<Vec<_>>().join("; ")
}
