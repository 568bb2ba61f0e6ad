//! Observations of the recipient's files.

/// The observation of a stage's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// The request succeeded.
    Done,
    /// There is something at the path.
    Found {
        /// Its kind.
        kind: EntryKind,
        /// Its size, if the server tells.
        size_bytes: Option<u64>,
        /// The file that it is, by its mark.
        identity: Identity,
    },
    /// There is nothing at the path.
    Absent,
    /// The server refused the request.
    Refused(Refusal),
    /// The content is the same, or is not.
    Same(bool),
    /// There is no time for another try.
    NoTime,
}

/// The file that an entry is, where an earlier or this attempt knows its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Our file.
    Ours,
    /// The file that had the final path before.
    Old,
    /// Neither: it came afterwards, or is ours in another form.
    Another,
    /// The server tells no marks, or equal ones of both files.
    Unknown,
}

/// The kind of a directory's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file, or an entry whose kind the server does not tell.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
}

/// A refusal of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status.
    pub(crate) code: Code,
    /// Its text, sanitized.
    pub(crate) message: String,
}

/// A status, as far as it makes a difference. "Exists already", "is a directory" and "disk full" are
/// all failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// There is no such file.
    NoSuchFile,
    /// Permission denied.
    Denied,
    /// The server does not support the request.
    Unsupported,
    /// Any other.
    Failure,
}
