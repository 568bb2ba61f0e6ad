//! Ways in which a server differs from a good one.

use std::time::Duration;

/// One way to misbehave. Numbers of bytes count what clients of one connection wrote to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Connections are accepted and never answered.
    Silent,
    /// The connection is lost as soon as the client has sent a password.
    DropAtLogin,
    /// Only keyboard-interactive logins are accepted; an empty second round follows the first, as
    /// PAM does it.
    KeyboardInteractiveOnly,
    /// A login needs a key and then the password.
    KeyThenPassword,
    /// There is no `sftp` subsystem.
    NoSftp,
    /// The `sftp` subsystem starts and never says anything.
    SilentSftp,
    /// The `sftp` subsystem prints a text before it speaks SFTP.
    NoisySftp,
    /// The connection is lost instead of the arrival of the SFTP request with this number on a
    /// connection, counted from 1, which is the greeting.
    DropBeforeRequest(u32),
    /// The request with this number is done, but the connection is lost before its answer.
    DropBeforeAnswer(u32),
    /// The request with this number is done, and from its answer on nothing is answered any more.
    SilentFromAnswer(u32),
    /// The request with this number on a connection is held until [`Server::release`], and done
    /// then, whether its connection is still there or not.
    ///
    /// [`Server::release`]: crate::Server::release
    HoldRequest(u32),
    /// The request with this number is done, and its answer is held until [`Server::release`].
    ///
    /// [`Server::release`]: crate::Server::release
    HoldAnswer(u32),
    /// Renames are held until [`Server::release`], and done then.
    ///
    /// [`Server::release`]: crate::Server::release
    HoldRename,
    /// Of connections with this number, counted from 0, and later ones none is accepted.
    RefuseConnectionsFrom(usize),
    /// The connection is lost after so many bytes.
    DropAfterBytes(u64),
    /// Nothing is answered any more after so many bytes.
    SilentAfterBytes(u64),
    /// Writes fail after so many bytes, as on a full disk.
    DiskFullAfterBytes(u64),
    /// None of OpenSSH's extensions is offered.
    NoExtensions,
    /// `posix-rename` is not offered, so that a rename can not replace a file.
    NoPosixRename,
    /// A rename is done, but the connection is lost before its answer.
    LoseRenameAnswer,
    /// Renaming is forbidden.
    RefuseRename,
    /// The rename with this number on a connection, counted from 1, fails.
    FailRename(u32),
    /// Opening files for writing is forbidden.
    RefuseWriting,
    /// Removing files is forbidden.
    RefuseRemove,
    /// Asking for a file's attributes is forbidden.
    RefuseStat,
    /// Making directories is forbidden.
    RefuseMkdir,
    /// A file disappears as soon as it was renamed: somebody waits for it.
    CollectAtOnce,
    /// A file is longer by so many bytes as soon as it was renamed: the server encrypts it.
    GrowWhenRenamed(u64),
    /// Of every file only the part before so many bytes is kept, without an error.
    LoseBytesAfter(u64),
    /// Writes are refused with status 15 after so many bytes, and the channel is closed then.
    QuotaAfterBytes(u64),
    /// A written file disappears as soon as it is closed.
    TakeOnClose,
    /// A file disappears as soon as it was read and closed.
    TakeOnceRead,
    /// Closing a written file takes so long.
    SlowClose(Duration),
    /// A written file has the size 0 for so long after it was closed.
    NoSizeAfterClose(Duration),
    /// A written file cannot be renamed for so long after it was closed: the status is this one.
    LockedAfterClose(Duration, u32),
    /// `posix-rename` is offered, and refused with this status.
    RefusePosixRename(u32),
    /// A rename onto an existing file is refused with this status.
    RefuseRenameOnto(u32),
    /// Existing files can neither be written nor replaced.
    RefuseExisting,
    /// Files whose names begin with a dot are refused with this status.
    RefuseDotNames(u32),
    /// Files without this extension are refused with this status.
    OnlyExtension(&'static str, u32),
    /// A renamed file gets another name than the one that was asked for.
    OtherName,
    /// Every handle is an upload of its own, and the one that is closed last makes the file.
    ObjectStore(ObjectStore),
    /// Each handle takes bytes only in order.
    OnlyInOrder,
    /// Each handle writes what comes behind what it has written, whatever the offset is.
    IgnoreOffsets,
}

/// Habits of a server that stores objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectStore {
    /// Whether an open handle has the size of the object that is there; otherwise it has none.
    pub tells_size: bool,
    /// Whether the uploads of a broken connection become objects, too.
    pub keeps_broken: bool,
}

/// The ways in which a server misbehaves, and for how many connections. None by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    connections: Option<usize>,
}

impl Faults {
    /// These faults, on every connection.
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: faults.into_iter().collect(), connections: None }
    }

    /// The same faults, on the first `count` connections only.
    ///
    /// What a server offers for logging in is the same for all connections.
    #[must_use]
    pub fn on_first_connections(self, count: usize) -> Self {
        Self { connections: Some(count), ..self }
    }

    /// Whether connection `number`, counted from 0, has this fault.
    pub(crate) fn has(&self, number: usize, fault: Fault) -> bool {
        self.at(number).any(|known| known == fault)
    }

    /// Whether connection `number`, counted from 0, is one too many.
    pub(crate) fn refuses_connection(&self, number: usize) -> bool {
        let from = |fault| matches!(fault, Fault::RefuseConnectionsFrom(first) if number >= first);
        self.at(number).any(from)
    }

    /// The faults of connection `number`, counted from 0.
    pub(crate) fn at(&self, number: usize) -> impl Iterator<Item = Fault> {
        let afflicted = self.connections.is_none_or(|count| number < count);
        self.faults.iter().copied().filter(move |_| afflicted)
    }
}
