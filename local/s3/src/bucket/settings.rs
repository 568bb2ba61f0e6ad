//! A bucket's settings.

use serde::{Deserialize, Serialize};

use super::Bucket;
use crate::StoreError;
use crate::layout::{BucketLayout, read_record};
use crate::version::VersionId;

/// The state of a bucket's versioning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Versioning {
    /// Versioning was never enabled.
    #[default]
    Off,
    /// Each write makes a version.
    Enabled,
    /// Versions are kept, and each write makes or replaces the version `null`.
    Suspended,
}

impl Versioning {
    /// Returns the id of the version that the next write makes.
    pub(super) fn next_version(self) -> VersionId {
        match self {
            Self::Off | Self::Suspended => VersionId::Null,
            Self::Enabled => VersionId::issue(),
        }
    }

    /// Returns the versioning of a bucket that is to make versions or not.
    pub(crate) fn turned(self, enabled: bool) -> Self {
        match (self, enabled) {
            (_, true) => Self::Enabled,
            (Self::Off, false) => Self::Off,
            (Self::Enabled | Self::Suspended, false) => Self::Suspended,
        }
    }
}

/// The settings of a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) versioning: Versioning,
    /// Whether objects are written under SSE-KMS unless the request says otherwise.
    pub(crate) kms: bool,
}

impl Settings {
    /// Reads the settings of a bucket that is there.
    pub(super) fn load(layout: &BucketLayout) -> Result<Self, StoreError> {
        let path = layout.settings();
        if path.is_file() { read_record(&path) } else { Ok(Self::default()) }
    }
}

impl Bucket {
    /// Returns the bucket's settings.
    pub(crate) fn settings(&self) -> Result<Settings, StoreError> {
        Ok(self.lock()?.settings)
    }

    /// Changes the bucket's settings. Objects that are there stay as they are.
    pub(crate) fn configure(
        &self,
        change: impl FnOnce(Settings) -> Settings,
    ) -> Result<(), StoreError> {
        let mut index = self.lock()?;
        let settings = change(index.settings);
        if settings != index.settings {
            self.layout.write_record(&self.layout.settings(), &settings)?;
            index.settings = settings;
        }
        Ok(())
    }
}
