//! Work groups: the settings that queries share.

/// A work group and the settings of it that this endpoint follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkGroup {
    /// Its name.
    pub name: String,
    /// Where results go if the client does not say, or is not asked: `s3://bucket/prefix/`.
    pub output_location: Option<String>,
    /// Whether the work group's output location overrides the client's.
    pub enforce_configuration: bool,
    /// A query that reads more than this many bytes is cancelled.
    pub bytes_scanned_max: Option<u64>,
}

impl WorkGroup {
    /// A work group that enforces nothing.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            output_location: None,
            enforce_configuration: false,
            bytes_scanned_max: None,
        }
    }
}
