//! The packets of SFTP version 3, as far as a delivery needs them.
//!
//! Source: draft-ietf-secsh-filexfer-02, and OpenSSH's `PROTOCOL` for the extensions. Replies are
//! read as leniently as OpenSSH's client reads them. What cannot be read is [`Malformed`].

mod fields;
mod reply;
mod request;

pub(crate) use self::{
    fields::Malformed,
    reply::{Reply, Version, decode, decode_version, head},
    request::{Request, encode_init, flags},
};

/// The version that is spoken.
pub(crate) const VERSION: u32 = 3;

/// Room in a packet for all that is not data: type, id, handle, offset and lengths.
const OVERHEAD_BYTES: usize = 1024;

/// The longest data in a packet that OpenSSH's server and client take.
pub(crate) const DATA_BYTES_MAX: usize = 255 * 1024;

/// The longest packet that is accepted, without its length field.
pub(crate) const PACKET_BYTES_MAX: usize = 256 * 1024 + OVERHEAD_BYTES;

const _: () = assert!(DATA_BYTES_MAX + OVERHEAD_BYTES <= PACKET_BYTES_MAX);

/// The reason that a server gives for a refusal.
///
/// Servers answer `Failure` for "exists already", "is a directory" and "disk full" alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusCode {
    NoSuchFile,
    PermissionDenied,
    Failure,
    BadMessage,
    /// A server must not send it, but some do.
    NoConnection,
    /// A server must not send it, but some do.
    ConnectionLost,
    Unsupported,
    /// A code of a later version, or one that makes no sense as a refusal.
    Other(u32),
}

/// The code of success.
const STATUS_OK: u32 = 0;

impl StatusCode {
    /// The answer to a read behind the last byte.
    pub(crate) const END_OF_FILE: Self = Self::Other(1);
}

impl From<u32> for StatusCode {
    fn from(code: u32) -> Self {
        match code {
            2 => Self::NoSuchFile,
            3 => Self::PermissionDenied,
            4 => Self::Failure,
            5 => Self::BadMessage,
            6 => Self::NoConnection,
            7 => Self::ConnectionLost,
            8 => Self::Unsupported,
            code => Self::Other(code),
        }
    }
}

/// Attributes of a file, as far as the server tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) size_bytes: Option<u64>,
    /// Mode bits, with those of the file's type.
    pub(crate) permissions: Option<u32>,
    /// Time of the last change, in seconds since 1970.
    pub(crate) modified: Option<u32>,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular,
    Directory,
    Symlink,
    /// A device, a pipe or a socket.
    Other,
    /// The server does not tell.
    Unknown,
}

impl Attributes {
    /// Returns the type, which version 3 holds in the mode bits alone.
    pub(crate) fn file_type(&self) -> FileType {
        match self.permissions.map(|permissions| permissions & 0o170_000) {
            None | Some(0) => FileType::Unknown,
            Some(0o100_000) => FileType::Regular,
            Some(0o040_000) => FileType::Directory,
            Some(0o120_000) => FileType::Symlink,
            Some(_) => FileType::Other,
        }
    }
}

#[cfg(test)]
mod tests;
