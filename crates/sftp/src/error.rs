//! Reasons why a file was not delivered, and their names.

mod retry;

use aws_io::{Failure, StorageError};
use delivery::LeaseError;
use job::{ErrorName, name::NameError, transport::RemoteDirectoryError};

use crate::stage::{Code, EntryKind, Refusal};

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
    /// The server sent something that cannot be read.
    #[error("{action}: the server breaks the SFTP protocol: {place}")]
    Protocol {
        /// Action that was under way.
        action: String,
        /// The fault and its place.
        place: String,
    },

    /// The lease of the delivery was lost, or the run has ended.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The source cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The name that the file should get is none.
    #[error("naming the file at the recipient")]
    FileName(#[source] NameError),
    /// The directory is none.
    #[error("reading `sftp_path`")]
    Directory(#[source] RemoteDirectoryError),
    /// The time of the invocation was up.
    #[error(
        "delivering `{path}`: the time of the call was up with {acknowledged} bytes acknowledged"
    )]
    OutOfTime {
        /// The file.
        path: String,
        /// Bytes that the server has acknowledged.
        acknowledged: u64,
    },
    /// The file takes longer than an execution may.
    #[error(
        "an execution ended before the file was delivered: the server was too slow, with \
         {acknowledged} bytes acknowledged"
    )]
    TooSlow {
        /// Bytes that the server has acknowledged.
        acknowledged: u64,
    },

    /// The directory does not exist, and was not made.
    #[error("opening `{path}`: its directory does not exist{hint}")]
    NoDirectory {
        /// The file.
        path: String,
        /// Reason why it was not made.
        hint: String,
    },
    /// The server refused a request.
    #[error("{action}: {}{}", said(*code, message), hint.unwrap_or_default())]
    Refused {
        /// The request.
        action: String,
        /// The status.
        code: Code,
        /// The server's text.
        message: String,
        /// The setting that helps, if one is known.
        hint: Option<&'static str>,
    },
    /// The server refused to rename the complete file.
    #[error(
        "{renaming}: {}; if this server forbids renaming, set `sftp_write_mode` to `direct`",
        said(*code, message)
    )]
    Rename {
        /// Both paths.
        renaming: String,
        /// The status.
        code: Code,
        /// The server's text.
        message: String,
    },
    /// The server refused to rename the complete file, and then to put the old one back.
    #[error("{renaming}: the server failed ({message}), and the old file is kept as `{backup}`")]
    OldFileAside {
        /// Both paths.
        renaming: String,
        /// Path of the old file.
        backup: String,
        /// The server's text.
        message: String,
    },
    /// The complete file disappeared before it could be renamed.
    #[error(
        "`{path}` was complete and is gone: the server takes a file away {}",
        if *was_read {
            "once it was read; set `sftp_verify` to `size`"
        } else {
            "as soon as it is closed; set `sftp_write_mode` to `direct`"
        }
    )]
    Vanished {
        /// The temporary file.
        path: String,
        /// Whether it was read back.
        was_read: bool,
    },
    /// Another file has the final name, and must not be replaced.
    #[error("delivering `{path}`: another file is there, and `sftp_overwrite` is `fail`")]
    Exists {
        /// The file.
        path: String,
    },
    /// Something has the final name that is not a file.
    #[error("delivering `{path}`: {}", in_the_way(*kind))]
    InTheWay {
        /// The path.
        path: String,
        /// Kind of the entry.
        kind: EntryKind,
    },
    /// The server has less or more than was written.
    #[error(
        "checking `{path}`: the server has {found} of {written} bytes{}",
        if *found == 0 { "; if it tells no true sizes, set `sftp_verify` to `none`" } else { "" }
    )]
    SizeMismatch {
        /// The file.
        path: String,
        /// Bytes that were written.
        written: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file at the server is not what was written.
    #[error("checking `{path}`: the server returns other bytes than were written")]
    ContentMismatch {
        /// The file.
        path: String,
    },
    /// The file got its final name, and has another size there.
    #[error(
        "checking `{path}`: the file is delivered, but the server tells {found} bytes instead of \
         {written} under its final name; if it stores files in another form, set `sftp_verify` to \
         `none`"
    )]
    PublishedSize {
        /// The file.
        path: String,
        /// Bytes that were written.
        written: u64,
        /// Size under the final name.
        found: u64,
    },
    /// The file is delivered, and the second file beside it is not.
    #[error("delivering `{path}`: the file is delivered, but its second file could not be written")]
    SecondFile {
        /// The first file.
        path: String,
        /// The error of the second.
        source: Box<Error>,
    },
}

fn said(code: Code, message: &str) -> String {
    match code {
        Code::Denied => format!("permission denied ({message})"),
        Code::Unsupported => format!("the server does not support this ({message})"),
        Code::NoSuchFile | Code::Failure => format!("the server failed ({message})"),
    }
}

fn in_the_way(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => {
            "a directory has this name; remove it, or choose another `sftp_filename`"
        }
        EntryKind::Link => {
            "a symbolic link has this name; to write the file that it leads to, set \
             `sftp_write_mode` to `direct`"
        }
        EntryKind::Other | EntryKind::File => {
            "something that is not a file has this name; choose another `sftp_filename`"
        }
    }
}

impl Failure for Error {
    fn name(&self) -> ErrorName {
        match self {
            Self::PrivateKey { .. }
            | Self::HostKeyPin { .. }
            | Self::NotSsh { .. }
            | Self::NoCommonAlgorithm { .. }
            | Self::NoSftp { .. }
            | Self::FileName(_)
            | Self::Directory(_)
            | Self::NoDirectory { .. }
            // The server tells no sizes, and will not tomorrow.
            | Self::SizeMismatch { found: 0, .. }
            | Self::Vanished { .. } => ErrorName::TransportConfig,
            Self::Lease(error) => error.name(),
            Self::Storage(error) => error.name(),
            Self::Refused { code, .. } | Self::Rename { code, .. } => match code {
                Code::Denied => ErrorName::TransportPermission,
                Code::Unsupported => ErrorName::TransportConfig,
                Code::NoSuchFile | Code::Failure => ErrorName::TransportRemote,
            },
            Self::OutOfTime { .. } | Self::SizeMismatch { .. } | Self::ContentMismatch { .. } => {
                ErrorName::TransportUnavailable
            }
            Self::Protocol { .. }
            | Self::TooSlow { .. }
            | Self::OldFileAside { .. }
            | Self::Exists { .. }
            | Self::InTheWay { .. }
            | Self::PublishedSize { .. }
            | Self::SecondFile { .. } => ErrorName::TransportRemote,
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
    /// The error of a request that the server refused.
    pub(crate) fn refused(action: &str, Refusal { code, message }: Refusal) -> Self {
        Self::Refused { action: action.to_owned(), code, message, hint: None }
    }

    /// Returns whether the temporary file is of use after this error, or out of reach.
    pub(crate) fn keeps_temporary_file(&self) -> bool {
        matches!(
            self,
            Self::ConnectionLost { .. }
                | Self::TimedOut { .. }
                | Self::Protocol { .. }
                | Self::OutOfTime { .. }
                | Self::Storage(_)
                | Self::Lease(_)
                | Self::PublishedSize { .. }
        )
    }
}
