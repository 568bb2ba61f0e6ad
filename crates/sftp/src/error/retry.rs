//! The use of another attempt after an error.

use aws_io::Failure;
use delivery::{Retry, TransportError};
use job::ErrorName;

use super::Error;
use crate::stage::Code;

impl TransportError for Error {
    fn is_of_credentials(&self) -> bool {
        self.name() == ErrorName::TransportAuth
            || self.name() == ErrorName::TransportHostKey
            || matches!(self, Self::PrivateKey { .. } | Self::HostKeyPin { .. })
    }

    fn retry(&self) -> Retry {
        match self {
            Self::PrivateKey { .. }
            | Self::HostKeyPin { .. }
            | Self::NotSsh { .. }
            | Self::NoCommonAlgorithm { .. }
            | Self::HostKey { .. }
            | Self::RevokedHostKey { .. }
            // The same credentials once more could lock the account.
            | Self::Login { .. }
            | Self::NoSftp { .. }
            | Self::Protocol { .. }
            // The state machine waits longer than is sensible here.
            | Self::Lease(_)
            | Self::Storage(_)
            | Self::OutOfTime { .. }
            | Self::TooSlow { .. }
            | Self::FileName(_)
            | Self::Directory(_)
            | Self::NoDirectory { .. }
            | Self::Rename { .. }
            | Self::OldFileAside { .. }
            | Self::Vanished { .. }
            | Self::Exists { .. }
            | Self::InTheWay { .. }
            // The setting that helps is known.
            | Self::Refused { hint: Some(_), .. }
            | Self::SizeMismatch { found: 0, .. }
            | Self::PublishedSize { .. } => Retry::Never,
            Self::Refused { code, hint: None, .. } => match code {
                Code::Denied | Code::Unsupported => Retry::Never,
                // Some servers fail once for reasons of their own.
                Code::NoSuchFile | Code::Failure => Retry::Once,
            },
            Self::SecondFile { source, .. } => source.retry(),
            Self::Connect { .. }
            | Self::NoSession { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. }
            | Self::SizeMismatch { .. }
            | Self::ContentMismatch { .. } => Retry::Often,
        }
    }

    fn forbids_login(&self) -> bool {
        self.name() == ErrorName::TransportAuth
    }

    fn too_slow(acknowledged: u64) -> Self {
        Self::TooSlow { acknowledged }
    }
}
