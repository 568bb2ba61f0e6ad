//! Reasons why a file was not delivered, and their names.

use aws_io::Failure;
use delivery::Retry;
use job::ErrorName;

/// Reason why a file was not delivered.
///
/// No variant holds a secret: servers, users, paths, fingerprints, and the server's texts after
/// [`delivery::sanitize`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The private key cannot be used.
    #[error("reading `sftp_private_key`: {reason}")]
    PrivateKey {
        /// The fault, without anything of the key.
        reason: String,
    },
    /// An entry of `sftp_host_keys` is no host key.
    #[error("reading `sftp_host_keys[{index}]`: it {reason}")]
    HostKeyPin {
        /// Its place, counted from 0.
        index: usize,
        /// The fault, to be read behind the entry's name.
        reason: String,
    },

    /// The server was not reached, or ended the connection before the login.
    #[error("connecting to `{server}`: {reason}")]
    Connect {
        /// Host and port.
        server: String,
        /// The failure, of each address if there are several.
        reason: String,
    },
    /// The port belongs to something else than an SSH server.
    #[error("connecting to `{server}`: it is not an SSH server: it says `{first_line}`{hint}")]
    NotSsh {
        /// Host and port.
        server: String,
        /// Its first words.
        first_line: String,
        /// The protocol that it speaks, if that is known.
        hint: &'static str,
    },
    /// Client and server have no algorithm in common.
    #[error("connecting to `{server}`: no common {kind} algorithm; the server has {theirs}{hint}")]
    NoCommonAlgorithm {
        /// Host and port.
        server: String,
        /// Purpose of the algorithm.
        kind: String,
        /// Algorithms of the server.
        theirs: String,
        /// Advice.
        hint: &'static str,
    },
    /// The server presented other host keys than the pinned ones.
    #[error(
        "checking the host key of `{server}`: it presented `{presented}`, but expected is {expected}"
    )]
    HostKey {
        /// Host and port.
        server: String,
        /// Type and fingerprint of each key that it presented.
        presented: String,
        /// The pinned keys.
        expected: String,
    },
    /// The server presented a host key that is marked `@revoked`.
    #[error(
        "checking the host key of `{server}`: it presented `{presented}`, which `sftp_host_keys` \
         marks as `@revoked`"
    )]
    RevokedHostKey {
        /// Host and port.
        server: String,
        /// Type and fingerprint of the key.
        presented: String,
    },
    /// The server rejected the credentials, wants others, or fell silent after it got them.
    #[error("logging in to `{server}` as `{user}`: {reason}")]
    Login {
        /// Host and port.
        server: String,
        /// The user.
        user: String,
        /// Methods that were tried, and what the server wants.
        reason: String,
    },
    /// The server refuses SFTP to this user.
    #[error("starting SFTP on `{server}`: {reason}")]
    NoSftp {
        /// Host and port.
        server: String,
        /// Its answer.
        reason: String,
    },
    /// The server has no session to spare, but may have one later.
    #[error("starting SFTP on `{server}`: it opens no session now ({reason})")]
    NoSession {
        /// Host and port.
        server: String,
        /// Its answer.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("{action} on `{server}`: no answer for {seconds} s")]
    TimedOut {
        /// Action that was under way.
        action: String,
        /// Host and port.
        server: String,
        /// Time limit.
        seconds: u64,
    },
    /// The connection broke.
    #[error("{action} on `{server}`: the connection was lost ({reason})")]
    ConnectionLost {
        /// Action that was under way.
        action: String,
        /// Host and port.
        server: String,
        /// The cause, as far as it is known.
        reason: String,
    },
}

impl Failure for Error {
    fn name(&self) -> ErrorName {
        match self {
            Self::PrivateKey { .. }
            | Self::HostKeyPin { .. }
            | Self::NotSsh { .. }
            | Self::NoCommonAlgorithm { .. }
            | Self::NoSftp { .. } => ErrorName::TransportConfig,
            Self::Connect { .. }
            | Self::NoSession { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. } => ErrorName::TransportUnavailable,
            Self::HostKey { .. } | Self::RevokedHostKey { .. } => ErrorName::TransportHostKey,
            Self::Login { .. } => ErrorName::TransportAuth,
        }
    }
}

impl Error {
    /// Returns whether other credentials may end better.
    pub fn is_of_credentials(&self) -> bool {
        match self {
            Self::PrivateKey { .. }
            | Self::HostKeyPin { .. }
            | Self::HostKey { .. }
            | Self::RevokedHostKey { .. }
            | Self::Login { .. } => true,
            Self::Connect { .. }
            | Self::NotSsh { .. }
            | Self::NoCommonAlgorithm { .. }
            | Self::NoSftp { .. }
            | Self::NoSession { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. } => false,
        }
    }

    /// Returns how often the same may be tried again within a call.
    pub fn retry(&self) -> Retry {
        match self {
            Self::PrivateKey { .. }
            | Self::HostKeyPin { .. }
            | Self::NotSsh { .. }
            | Self::NoCommonAlgorithm { .. }
            | Self::HostKey { .. }
            | Self::RevokedHostKey { .. }
            // The same credentials once more could lock the account.
            | Self::Login { .. }
            | Self::NoSftp { .. } => Retry::Never,
            Self::Connect { .. }
            | Self::NoSession { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. } => Retry::Often,
        }
    }
}
