//! Requests, as they are encoded.

use bytes::{BufMut, Bytes, BytesMut};

use super::VERSION;

const TYPE_INIT: u8 = 1;
const TYPE_OPEN: u8 = 3;
const TYPE_CLOSE: u8 = 4;
const TYPE_READ: u8 = 5;
const TYPE_WRITE: u8 = 6;
const TYPE_LSTAT: u8 = 7;
const TYPE_FSTAT: u8 = 8;
const TYPE_SETSTAT: u8 = 9;
const TYPE_REMOVE: u8 = 13;
const TYPE_MKDIR: u8 = 14;
const TYPE_STAT: u8 = 17;
const TYPE_RENAME: u8 = 18;
const TYPE_EXTENDED: u8 = 200;

/// Flags of OPEN.
pub(crate) mod flags {
    pub(crate) const READ: u32 = 0x01;
    pub(crate) const WRITE: u32 = 0x02;
    pub(crate) const CREATE: u32 = 0x08;
    pub(crate) const TRUNCATE: u32 = 0x10;
    pub(crate) const EXCLUSIVE: u32 = 0x20;
}

const ATTR_NONE: u32 = 0;
const ATTR_PERMISSIONS: u32 = 0x04;

/// A request of a delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Open {
        path: &'a str,
        flags: u32,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    /// The data follows the encoded packet, so that it is not copied.
    Write {
        handle: &'a [u8],
        offset: u64,
        length: usize,
    },
    Fstat {
        handle: &'a [u8],
    },
    Stat {
        path: &'a str,
    },
    Lstat {
        path: &'a str,
    },
    SetPermissions {
        path: &'a str,
        permissions: u32,
    },
    Mkdir {
        path: &'a str,
    },
    Remove {
        path: &'a str,
    },
    /// Fails if the target exists, by the draft.
    Rename {
        from: &'a str,
        to: &'a str,
    },
    /// Replaces the target in one step.
    PosixRename {
        from: &'a str,
        to: &'a str,
    },
    Fsync {
        handle: &'a [u8],
    },
    Limits,
}

impl Request<'_> {
    /// Returns the request's name, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "OPEN",
            Self::Close { .. } => "CLOSE",
            Self::Read { .. } => "READ",
            Self::Write { .. } => "WRITE",
            Self::Fstat { .. } => "FSTAT",
            Self::Stat { .. } => "STAT",
            Self::Lstat { .. } => "LSTAT",
            Self::SetPermissions { .. } => "SETSTAT",
            Self::Mkdir { .. } => "MKDIR",
            Self::Remove { .. } => "REMOVE",
            Self::Rename { .. } => "RENAME",
            Self::PosixRename { .. } => "posix-rename@openssh.com",
            Self::Fsync { .. } => "fsync@openssh.com",
            Self::Limits => "limits@openssh.com",
        }
    }

    /// Encodes the request with its length field. The data of a write has to follow.
    pub(crate) fn encode(&self, id: u32) -> Bytes {
        let mut packet = Encoder::new(self.kind(), id);
        let mut data_bytes = 0;
        match *self {
            Self::Open { path, flags } => {
                packet.string(path.as_bytes());
                packet.0.put_u32(flags);
                packet.0.put_u32(ATTR_NONE);
            }
            Self::Close { handle } | Self::Fstat { handle } => packet.string(handle),
            Self::Read { handle, offset, length } => {
                packet.string(handle);
                packet.0.put_u64(offset);
                packet.0.put_u32(length);
            }
            Self::Write { handle, offset, length } => {
                packet.string(handle);
                packet.0.put_u64(offset);
                packet.0.put_u32(number(length));
                data_bytes = length;
            }
            Self::Stat { path } | Self::Lstat { path } | Self::Remove { path } => {
                packet.string(path.as_bytes());
            }
            Self::SetPermissions { path, permissions } => {
                packet.string(path.as_bytes());
                packet.0.put_u32(ATTR_PERMISSIONS);
                packet.0.put_u32(permissions);
            }
            Self::Mkdir { path } => {
                packet.string(path.as_bytes());
                packet.0.put_u32(ATTR_NONE);
            }
            Self::Rename { from, to } => {
                packet.string(from.as_bytes());
                packet.string(to.as_bytes());
            }
            Self::PosixRename { from, to } => {
                packet.string(self.name().as_bytes());
                packet.string(from.as_bytes());
                packet.string(to.as_bytes());
            }
            Self::Fsync { handle } => {
                packet.string(self.name().as_bytes());
                packet.string(handle);
            }
            Self::Limits => packet.string(self.name().as_bytes()),
        }
        packet.finish(data_bytes)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Open { .. } => TYPE_OPEN,
            Self::Close { .. } => TYPE_CLOSE,
            Self::Read { .. } => TYPE_READ,
            Self::Write { .. } => TYPE_WRITE,
            Self::Fstat { .. } => TYPE_FSTAT,
            Self::Stat { .. } => TYPE_STAT,
            Self::Lstat { .. } => TYPE_LSTAT,
            Self::SetPermissions { .. } => TYPE_SETSTAT,
            Self::Mkdir { .. } => TYPE_MKDIR,
            Self::Remove { .. } => TYPE_REMOVE,
            Self::Rename { .. } => TYPE_RENAME,
            Self::PosixRename { .. } | Self::Fsync { .. } | Self::Limits => TYPE_EXTENDED,
        }
    }
}

/// Encodes INIT, whose id is the version.
pub(crate) fn encode_init() -> Bytes {
    Encoder::new(TYPE_INIT, VERSION).finish(0)
}

/// A packet under construction. The length comes first and is filled in last.
struct Encoder(BytesMut);

impl Encoder {
    fn new(kind: u8, id: u32) -> Self {
        let mut packet = BytesMut::with_capacity(64);
        packet.put_u32(0);
        packet.put_u8(kind);
        packet.put_u32(id);
        Self(packet)
    }

    fn string(&mut self, bytes: &[u8]) {
        self.0.put_u32(number(bytes.len()));
        self.0.put_slice(bytes);
    }

    fn finish(mut self, data_bytes: usize) -> Bytes {
        let length = number(self.0.len() - size_of::<u32>() + data_bytes);
        self.0[..size_of::<u32>()].copy_from_slice(&length.to_be_bytes());
        self.0.freeze()
    }
}

fn number(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("paths, handles and pieces are far shorter than 4 GiB")
}
