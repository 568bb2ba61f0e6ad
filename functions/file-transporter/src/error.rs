//! What can go wrong with a delivery, and what it is called.

use std::{error::Error as StdError, fmt};

use aws_io::{Failure, StorageError, run_files::RunFileError, secrets::SecretError};
use job::{ErrorName, SecretReferenceError, transport::TransportProblem};

use crate::retry::Retry;

/// What happened below, as far as it is worth telling. It never holds a secret.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// Why a file was not delivered.
///
/// No variant holds a secret: servers, users, paths and fingerprints only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),

    /// The run has ended, or is another execution's.
    #[error(transparent)]
    Run(#[from] RunFileError),
    /// The transporter's configuration contradicts itself or misses something.
    #[error("the transporter's configuration has problems: {}", list(problems))]
    Configuration {
        /// All of them.
        problems: Vec<TransportProblem>,
    },
    /// What should name a secret does not.
    #[error("reading `{field}`")]
    SecretReference {
        /// The field of the transporter's configuration.
        field: &'static str,
        /// Why.
        source: SecretReferenceError,
    },
    /// The secret with the credentials can not be read, or not be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The name that the file should get is none.
    #[error("naming the file at the recipient")]
    FileName(#[source] job::name::NameError),
    /// The private key can not be used.
    #[error("reading `sftp_private_key`: {reason}")]
    PrivateKey {
        /// Why.
        reason: String,
    },
    /// One of `sftp_host_keys` is no key.
    #[error("reading `sftp_host_keys[{index}]`: `{pin}` is no host key")]
    HostKeyPin {
        /// Its place, counted from 0.
        index: usize,
        /// The text.
        pin: String,
    },

    /// The server was not reached.
    #[error("connecting to `{server}`")]
    Connect {
        /// Host and port.
        server: String,
        /// Why.
        source: Cause,
    },
    /// What answers is no SSH server.
    #[error("connecting to `{server}`: what answers is not an SSH server")]
    NotSsh {
        /// Host and port.
        server: String,
    },
    /// Client and server have no algorithm in common.
    #[error("connecting to `{server}`: no common {kind} algorithm; the server has {theirs}{hint}")]
    NoCommonAlgorithm {
        /// Host and port.
        server: String,
        /// For what.
        kind: String,
        /// What the server offers.
        theirs: String,
        /// What could help.
        hint: &'static str,
    },
    /// The server presented another host key than the pinned ones.
    #[error(
        "checking the host key of `{server}`: it presented `{presented}`, but expected is {expected}"
    )]
    HostKey {
        /// Host and port.
        server: String,
        /// The key's type and fingerprint.
        presented: String,
        /// The pinned fingerprints.
        expected: String,
    },
    /// The server rejected the credentials, or asks for others.
    #[error("logging in to `{server}` as `{user}`: {reason}")]
    Login {
        /// Host and port.
        server: String,
        /// The user.
        user: String,
        /// What was tried, and what the server would take.
        reason: String,
    },
    /// The server does not offer SFTP.
    #[error("starting SFTP on `{server}`: {reason}")]
    NoSftp {
        /// Host and port.
        server: String,
        /// What it does instead.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("{action} on `{server}`: no answer for {seconds} s")]
    TimedOut {
        /// What was being done.
        action: String,
        /// Host and port.
        server: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The connection broke.
    #[error("{action} on `{server}`: the connection was lost ({reason})")]
    ConnectionLost {
        /// What was being done.
        action: String,
        /// Host and port.
        server: String,
        /// What is known of why.
        reason: String,
    },
    /// The file takes longer than an execution may.
    #[error(
        "delivering `{path}`: an execution lasts a day, and that was not enough: the server took too \
         long for {acknowledged} bytes"
    )]
    TooSlow {
        /// The file.
        path: String,
        /// How much of it the server has acknowledged.
        acknowledged: u64,
    },
    /// The time of the invocation was up before the file was.
    #[error(
        "delivering `{path}`: the time of the call was up with {acknowledged} bytes acknowledged, \
         no more than at its beginning"
    )]
    TimeUp {
        /// The file.
        path: String,
        /// How much of it the server has acknowledged.
        acknowledged: u64,
    },

    /// The directory is not there, and was not made.
    #[error("opening `{path}`: its directory does not exist{hint}")]
    NoDirectory {
        /// The file.
        path: String,
        /// Why it was not made.
        hint: String,
    },
    /// The server forbids it.
    #[error("{action}: permission denied ({message}){hint}")]
    Permission {
        /// What was being done to what.
        action: String,
        /// The server's text.
        message: String,
        /// What could help.
        hint: &'static str,
    },
    /// The server can not do it.
    #[error("{action}: the server does not support this ({message})")]
    Unsupported {
        /// What was being done to what.
        action: String,
        /// The server's text.
        message: String,
    },
    /// The server failed to do it, without a reason that could be acted on.
    #[error("{action}: the server failed ({message})")]
    Remote {
        /// What was being done to what.
        action: String,
        /// The server's text.
        message: String,
    },
    /// There is another file with the final name, and it must not be replaced.
    #[error("delivering `{path}`: another file is there, and `sftp_overwrite` is `fail`")]
    Exists {
        /// The file.
        path: String,
    },
    /// What the server has is not as long as what was written.
    #[error("checking `{path}`: the server has {found} of {written} bytes")]
    SizeMismatch {
        /// The file.
        path: String,
        /// How much was written.
        written: u64,
        /// How much is there.
        found: u64,
    },
    /// The file got its final name, and has another size there.
    #[error(
        "checking `{path}`: the file is delivered, but under its final name the server tells {found} \
         bytes instead of {written}; if it stores files in another form, `sftp_verify` can be `none`"
    )]
    PublishedSize {
        /// The file.
        path: String,
        /// How much was written.
        written: u64,
        /// The size under the final name.
        found: u64,
    },
    /// The file is delivered, and the second file beside it is not.
    #[error("delivering `{path}`: the file is delivered, but its second file could not be written")]
    SecondFile {
        /// The first file.
        path: String,
        /// Why.
        source: Box<Error>,
    },
    /// What the server has is not what was written.
    #[error("checking `{path}`: what the server gives back is not what was written")]
    ContentMismatch {
        /// The file.
        path: String,
    },

    /// The server's certificate is not one that this machine trusts.
    #[error("connecting to `{server}`: its certificate is not trusted")]
    NotTrusted {
        /// Host and port.
        server: String,
        /// Why.
        source: Cause,
    },
    /// The folder is not there, or can not be used.
    #[error("{action}: {reason}")]
    NoFolder {
        /// What was being done to what.
        action: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The recipient does not do it now, but may later.
    #[error("{action}: the recipient is busy ({message})")]
    Busy {
        /// What was being done to what.
        action: String,
        /// The recipient's text.
        message: String,
    },
    /// The recipient will not do it, however often it is asked.
    #[error("{action}: refused ({message})")]
    Refused {
        /// What was being done to what.
        action: String,
        /// The recipient's text.
        message: String,
    },
    /// There is another file with that name in the folder, and it must not be replaced.
    #[error("delivering `{path}`: another file is there, and `sharefile_overwrite` is false")]
    Duplicate {
        /// The file.
        path: String,
    },
    /// The invocation's time is up, and there is nothing that a next one could go on with.
    #[error("{action}: the time of this invocation is up")]
    OutOfTime {
        /// What was being done to what.
        action: String,
    },
}

impl Failure for Error {
    fn name(&self) -> ErrorName {
        match self {
            Self::Storage(error) => error.name(),
            Self::Run(error) => error.name(),
            Self::Secret(error) => error.name(),
            Self::Configuration { .. }
            | Self::SecretReference { .. }
            | Self::FileName(_)
            | Self::PrivateKey { .. }
            | Self::HostKeyPin { .. }
            | Self::NotSsh { .. }
            | Self::NoCommonAlgorithm { .. }
            | Self::NoSftp { .. }
            | Self::NoDirectory { .. }
            | Self::NotTrusted { .. }
            | Self::NoFolder { .. }
            | Self::Unsupported { .. } => ErrorName::TransportConfig,
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. }
            | Self::TimeUp { .. }
            | Self::SizeMismatch { .. }
            | Self::ContentMismatch { .. }
            | Self::Busy { .. }
            | Self::OutOfTime { .. } => ErrorName::TransportUnavailable,
            Self::HostKey { .. } => ErrorName::TransportHostKey,
            Self::Login { .. } => ErrorName::TransportAuth,
            Self::Permission { .. } => ErrorName::TransportPermission,
            Self::Remote { .. }
            | Self::TooSlow { .. }
            | Self::Exists { .. }
            | Self::PublishedSize { .. }
            | Self::SecondFile { .. }
            | Self::Refused { .. }
            | Self::Duplicate { .. } => ErrorName::TransportRemote,
        }
    }
}

impl Error {
    /// Whether other credentials may end better.
    pub(crate) fn is_of_credentials(&self) -> bool {
        let by_name =
            [ErrorName::SecretInvalid, ErrorName::TransportAuth, ErrorName::TransportHostKey];
        matches!(self, Self::PrivateKey { .. } | Self::HostKeyPin { .. })
            || by_name.contains(&self.name())
    }

    /// Whether another attempt is worth it, beyond what the name says to the state machine.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            // The state machine does that, with longer waits than are sensible here, and more time.
            Self::Storage(_)
            | Self::Run(_)
            | Self::Secret(_)
            | Self::TimeUp { .. }
            | Self::OutOfTime { .. } => Retry::Never,
            Self::Remote { .. } => Retry::Once,
            error if error.name().is_retryable() => Retry::Often,
            _ => Retry::Never,
        }
    }
}

fn list(problems: &[TransportProblem]) -> impl fmt::Display {
    let texts = problems.iter().map(|problem| format!("`{}` {}", problem.path, problem.message));
    texts.collect::<Vec<_>>().join("; ")
}
