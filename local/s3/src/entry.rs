//! What the store remembers of an object besides its bytes.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::{Checksum, etag_of_origin};
use crate::version::VersionId;

/// What a client is told of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key.
    pub key: String,
    /// Size of the body.
    pub size_bytes: u64,
    /// The entity tag, unquoted.
    pub etag: String,
    /// The id of this version. `None` if it was written while its bucket was not versioned.
    pub version_id: Option<String>,
    /// When it was written.
    pub last_modified: SystemTime,
}

/// The record of a version of an object, kept in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) size_bytes: u64,
    pub(crate) etag: String,
    #[serde(default, skip_serializing_if = "VersionId::is_null")]
    pub(crate) version: VersionId,
    /// The bucket's count of versions when this one was written: of two, the later one has more.
    #[serde(default)]
    pub(crate) ordinal: u64,
    /// Whether the object was written under SSE-KMS.
    #[serde(default)]
    pub(crate) kms: bool,
    /// Modification time of the body's file. A file that has another one was changed by someone
    /// else.
    pub(crate) modified: SystemTime,
    pub(crate) place: Place,
    /// The temporary file the body was written to. If it is still there, the store was stopped
    /// between the record and the move, and the move is made up for.
    pub(crate) staged: String,
    pub(crate) checksum: Option<Checksum>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<PartSummary>,
    #[serde(default)]
    pub(crate) headers: Headers,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
}

/// Where the body of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the bucket's folder, under its key.
    Plain,
    /// Under a name made from the key, because the key can not be a path or its path was taken.
    Hidden,
}

/// A part of an object that was uploaded in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartSummary {
    pub(crate) number: u32,
    pub(crate) size_bytes: u64,
    pub(crate) checksum: Option<Checksum>,
}

/// The headers that are kept with an object and given back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    /// An HTTP date.
    pub(crate) expires: Option<String>,
    pub(crate) website_redirect_location: Option<String>,
    /// `x-amz-meta-*`.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            key: String::new(),
            size_bytes: 0,
            etag: String::new(),
            version: VersionId::Null,
            ordinal: 0,
            kms: false,
            modified: UNIX_EPOCH,
            place: Place::Hidden,
            staged: String::new(),
            checksum: None,
            parts: Vec::new(),
            headers: Headers::default(),
            tags: BTreeMap::new(),
        }
    }
}

impl Entry {
    /// What a client is told.
    pub(crate) fn info(&self) -> ObjectInfo {
        ObjectInfo {
            key: self.key.clone(),
            size_bytes: self.size_bytes,
            etag: self.etag.clone(),
            version_id: self.version.issued().map(str::to_owned),
            last_modified: self.modified,
        }
    }

    /// Returns whether the tag is the MD5 of the body.
    pub(crate) fn etag_is_md5(&self) -> bool {
        !self.kms && !self.etag.contains('-')
    }

    /// The record of the same object after its file was changed behind the store's back, or
    /// `None` if it was not. The new tag is made without reading the file and looks like a
    /// multipart one, so that no client takes it for the MD5 of the body. A version that has an
    /// id gets another one: its bytes are gone, and whoever pinned them must learn of it.
    pub(crate) fn after_change(&self, file: &Metadata) -> io::Result<Option<Self>> {
        let (size_bytes, modified) = (file.len(), file.modified()?);
        if size_bytes == self.size_bytes && modified == self.modified {
            return Ok(None);
        }
        let version = match self.version {
            VersionId::Null => VersionId::Null,
            VersionId::Issued(_) => VersionId::issue(),
        };
        let origin = format!("{size_bytes} {:?}", modified.duration_since(UNIX_EPOCH));
        Ok(Some(Self {
            size_bytes,
            modified,
            version,
            etag: format!("{}-1", etag_of_origin(&origin)),
            checksum: None,
            parts: Vec::new(),
            ..self.clone()
        }))
    }
}
