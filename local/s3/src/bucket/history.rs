//! Older versions of objects, and delete markers.
//!
//! The current version of an object is kept as in a bucket without versions. When it is replaced,
//! its record and its body move into the key's folder below `versions`. Each change of a version
//! is a few renames in an order that [`settle`] knows, so that the store may be stopped between
//! any two of them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::entry::Entry;
use crate::error::Doing as _;
use crate::layout::{BucketLayout, files, read_record};
use crate::version::VersionId;

/// A delete marker: the version of a key that says that there is no object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) key: String,
    pub(crate) version: VersionId,
    pub(crate) ordinal: u64,
    /// The modification time of its record.
    #[serde(skip, default = "unix_epoch")]
    pub(crate) modified: SystemTime,
}

fn unix_epoch() -> SystemTime {
    UNIX_EPOCH
}

/// A version of a key that is not its current object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Past {
    Object(Arc<Entry>),
    Marker(Arc<Marker>),
}

impl Past {
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Object(entry) => &entry.key,
            Self::Marker(marker) => &marker.key,
        }
    }

    pub(crate) fn version(&self) -> &VersionId {
        match self {
            Self::Object(entry) => &entry.version,
            Self::Marker(marker) => &marker.version,
        }
    }

    pub(crate) fn ordinal(&self) -> u64 {
        match self {
            Self::Object(entry) => entry.ordinal,
            Self::Marker(marker) => marker.ordinal,
        }
    }

    fn object(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Object(entry) => Some(entry),
            Self::Marker(_) => None,
        }
    }
}

/// The versions of a key that are not its current object, from the oldest on. Where there is no
/// current object and a version is left, the last one is a marker.
pub(crate) type History = Vec<Past>;

/// Where the parts of an older version are.
struct VersionPaths {
    folder: PathBuf,
    record: PathBuf,
    body: PathBuf,
    marker: PathBuf,
}

impl BucketLayout {
    fn version(&self, key: &str, version: &VersionId) -> VersionPaths {
        let folder = self.versions_of(key);
        VersionPaths {
            record: folder.join(version.to_string()),
            body: folder.join(format!("{version}.body")),
            marker: folder.join(format!("{version}.marker")),
            folder,
        }
    }

    /// Where the body of an older version is.
    pub(crate) fn version_body(&self, entry: &Entry) -> PathBuf {
        self.version(&entry.key, &entry.version).body
    }

    /// Moves the record of the current object among the older versions. The body follows by
    /// [`Self::retire_body`], or the change is taken back by [`Self::restore`].
    pub(crate) fn retire_record(&self, entry: &Entry) -> Result<(), StoreError> {
        let paths = self.version(&entry.key, &entry.version);
        fs::create_dir_all(&paths.folder).doing("creating", &paths.folder)?;
        fs::rename(self.record(&entry.key), &paths.record).doing("writing", &paths.record)
    }

    /// Moves the body of a retired record after it. Returns `false`, and removes the record, if
    /// someone else took the body away.
    pub(crate) fn retire_body(&self, entry: &Entry) -> Result<bool, StoreError> {
        let paths = self.version(&entry.key, &entry.version);
        let current = self.body(&entry.key, entry.place);
        match fs::rename(&current, &paths.body) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                remove(&paths.record)?;
                Ok(false)
            }
            Err(source) => Err(StoreError::Io { doing: "moving", path: current, source }),
        }
    }

    /// Makes a version that was just retired the current one again, with or without its body
    /// having been moved.
    pub(crate) fn restore(&self, entry: &Entry) -> Result<(), StoreError> {
        let paths = self.version(&entry.key, &entry.version);
        move_if_there(&paths.body, &self.body(&entry.key, entry.place))?;
        move_if_there(&paths.record, &self.record(&entry.key))
    }

    /// Writes a delete marker, with the time of its record.
    pub(crate) fn write_marker(&self, mut marker: Marker) -> Result<Marker, StoreError> {
        let paths = self.version(&marker.key, &marker.version);
        fs::create_dir_all(&paths.folder).doing("creating", &paths.folder)?;
        self.write_record(&paths.marker, &marker)?;
        marker.modified = modified(&paths.marker)?;
        Ok(marker)
    }

    /// Writes the record of an older version again.
    pub(crate) fn rewrite(&self, entry: &Entry) -> Result<(), StoreError> {
        self.write_record(&self.version(&entry.key, &entry.version).record, entry)
    }

    /// Removes an older version, or a marker. Its record goes first: a body without a record is
    /// removed when the store is opened.
    pub(crate) fn remove_version(&self, past: &Past) -> Result<(), StoreError> {
        let paths = self.version(past.key(), past.version());
        match past {
            Past::Object(_) => {
                remove(&paths.record)?;
                remove(&paths.body)?;
            }
            Past::Marker(_) => remove(&paths.marker)?,
        }
        // It stays as long as it holds anything.
        let _ = fs::remove_dir(&paths.folder);
        Ok(())
    }

    /// Makes an older version the current object of a key that has none. Returns `None`, and
    /// removes the version, if its body is gone.
    pub(crate) fn promote(&self, entry: &Entry) -> Result<Option<Entry>, StoreError> {
        let paths = self.version(&entry.key, &entry.version);
        if !paths.body.is_file() {
            self.remove_version(&Past::Object(Arc::new(entry.clone())))?;
            return Ok(None);
        }
        let place = self.place_for(&entry.key, None);
        let promoted = Entry { place, staged: String::new(), ..entry.clone() };
        // With two records of one version the move is made up for when the store is opened.
        self.write_record(&self.record(&entry.key), &promoted)?;
        move_if_there(&paths.body, &self.body(&promoted.key, promoted.place))?;
        remove(&paths.record)?;
        let _ = fs::remove_dir(&paths.folder);
        Ok(Some(promoted))
    }
}

/// Reads the older versions of one key, and removes bodies that have no record.
pub(super) fn load(folder: &Path) -> Result<History, StoreError> {
    let mut history = History::new();
    let all = files(folder)?;
    for path in &all {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("body") if !path.with_extension("").is_file() => remove(path)?,
            Some("marker") => {
                let marker = Marker { modified: modified(path)?, ..read_record(path)? };
                history.push(Past::Marker(Arc::new(marker)));
            }
            Some("body") => {}
            // An id may hold full stops, so what follows the last one need not be an extension.
            _ => history.push(Past::Object(Arc::new(read_record(path)?))),
        }
    }
    if history.is_empty() {
        // Nothing refers to a folder that holds nothing.
        let _ = fs::remove_dir(folder);
    }
    history.sort_by_key(Past::ordinal);
    Ok(history)
}

/// Finishes or takes back the change of a key's versions that was going on when the store was
/// stopped. Returns the current object.
pub(super) fn settle(
    layout: &BucketLayout,
    current: Option<Entry>,
    history: &mut History,
) -> Result<Option<Entry>, StoreError> {
    let current = finish_deletion(layout, current, history)?;
    if let Some(entry) = &current {
        finish_promotion(layout, entry, history)?;
    }
    // The body of a replaced version moves after the new record is written, and before the new
    // body takes its place.
    let body_to_come = |entry: &Entry| layout.staging.join(&entry.staged).is_file();
    let replacing = current.as_ref().is_none_or(body_to_come);
    let newest = history.iter().rev().find_map(Past::object).cloned();
    if let Some(entry) = newest.filter(|_| replacing)
        && !layout.version_body(&entry).is_file()
        && layout.body(&entry.key, entry.place).is_file()
    {
        layout.retire_body(&entry)?;
    }
    let mut gone = Vec::new();
    history.retain(|past| {
        let kept = past.object().is_none_or(|entry| layout.version_body(entry).is_file());
        if !kept {
            gone.push(past.clone());
        }
        kept
    });
    gone.iter().try_for_each(|past| layout.remove_version(past))?;
    match current {
        Some(entry) => Ok(Some(entry)),
        None => promote_newest(layout, history),
    }
}

/// Makes the newest version the current object, unless it is a marker.
pub(super) fn promote_newest(
    layout: &BucketLayout,
    history: &mut History,
) -> Result<Option<Entry>, StoreError> {
    while let Some(Past::Object(entry)) = history.last().cloned() {
        let promoted = layout.promote(&entry)?;
        history.pop();
        if promoted.is_some() {
            return Ok(promoted);
        }
    }
    Ok(None)
}

/// A marker that is newer than the current object was written to delete it.
fn finish_deletion(
    layout: &BucketLayout,
    current: Option<Entry>,
    history: &mut History,
) -> Result<Option<Entry>, StoreError> {
    let Some(entry) = current else {
        return Ok(None);
    };
    let Some(marker) = history.last().filter(|past| past.ordinal() > entry.ordinal).cloned() else {
        return Ok(Some(entry));
    };
    if *marker.version() == entry.version {
        remove(&layout.body(&entry.key, entry.place))?;
        remove(&layout.record(&entry.key))?;
    } else {
        layout.retire_record(&entry)?;
        let kept = layout.retire_body(&entry)?;
        layout.prune(&layout.body(&entry.key, entry.place));
        if kept {
            history.insert(history.len() - 1, Past::Object(Arc::new(entry)));
        }
    }
    Ok(None)
}

/// A version that is the current one as well was being promoted. An older one of the same id was
/// replaced: only `null` is.
fn finish_promotion(
    layout: &BucketLayout,
    entry: &Entry,
    history: &mut History,
) -> Result<(), StoreError> {
    let Some(index) = history.iter().position(|past| *past.version() == entry.version) else {
        return Ok(());
    };
    let twin = history.remove(index);
    if twin.ordinal() == entry.ordinal {
        move_if_there(&layout.version_body(entry), &layout.body(&entry.key, entry.place))?;
    }
    layout.remove_version(&twin)
}

/// Opens the body of an older version.
pub(super) fn open(layout: &BucketLayout, entry: &Entry) -> Result<File, StoreError> {
    let body = layout.version_body(entry);
    File::open(&body).doing("opening", &body)
}

fn modified(path: &Path) -> Result<SystemTime, StoreError> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).doing("reading", path)
}

fn move_if_there(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("moving", from),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("deleting", path),
        _ => Ok(()),
    }
}
