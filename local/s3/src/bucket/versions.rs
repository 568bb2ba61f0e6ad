//! Reading, deleting and listing versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Bound;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::history::{self, Marker, Past};
use super::{Bucket, Index, Versioning};
use crate::StoreError;
use crate::condition::WriteCondition;
use crate::entry::Entry;
use crate::listing::{Query, fold};
use crate::version::VersionId;

/// The outcome of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// The version that was deleted, or the marker that was written. `None` where there are no
    /// versions.
    pub(crate) version: Option<VersionId>,
    /// Whether that version is a delete marker.
    pub(crate) is_marker: bool,
}

/// A version in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedVersion {
    pub(crate) version: Past,
    pub(crate) is_latest: bool,
}

/// The versions to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct VersionQuery {
    /// Prefix, delimiter and limit, and the key or common prefix to start behind.
    pub(crate) keys: Query,
    /// With a key to start behind: only behind this version of that key.
    pub(crate) after_version: Option<VersionId>,
}

/// One page of versions: by key, of one key the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VersionPage {
    pub(crate) versions: Vec<ListedVersion>,
    pub(crate) prefixes: Vec<String>,
    /// The key or common prefix, and the version, that the next page starts behind.
    pub(crate) next: Option<(String, Option<VersionId>)>,
}

impl Bucket {
    /// Opens a version that is not the current object.
    pub(super) fn open_past(
        &self,
        index: &Index,
        key: &str,
        version: &VersionId,
    ) -> Result<(File, Arc<Entry>), StoreError> {
        match find(index, key, version)? {
            Past::Object(entry) => Ok((history::open(&self.layout, entry)?, Arc::clone(entry))),
            Past::Marker(marker) => Err(is_marker(marker)),
        }
    }

    /// Deletes an object, or one version of it. One that is not there is deleted already. Where
    /// versions are made, an object is deleted by a marker and its versions stay.
    pub(crate) fn delete(
        &self,
        key: &str,
        version: Option<&VersionId>,
        condition: &WriteCondition,
    ) -> Result<Deleted, StoreError> {
        let mut index = self.lock()?;
        let current = index.objects.get(key).cloned();
        if let Some(entry) = &current {
            condition.check(&self.name, key, Some(entry))?;
        }
        match version {
            Some(version) => self.delete_version(&mut index, key, version),
            None if index.settings.versioning == Versioning::Off => {
                if let Some(entry) = current {
                    self.remove_body(&entry)?;
                    self.forget(&mut index, key)?;
                    index.disturb_uploads(key);
                }
                Ok(Deleted { version: None, is_marker: false })
            }
            None => self.delete_by_marker(&mut index, key),
        }
    }

    /// Notices that someone else removed the file of the current object. Older versions stay
    /// behind a marker: they are not what that person wants to see next.
    pub(super) fn notice_removal(
        &self,
        index: &mut Index,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        if index.history.contains_key(&entry.key) {
            self.delete_by_marker(index, &entry.key).map(drop)
        } else {
            self.forget(index, &entry.key)
        }
    }

    fn delete_by_marker(&self, index: &mut Index, key: &str) -> Result<Deleted, StoreError> {
        index.ordinal += 1;
        let version = index.settings.versioning.next_version();
        let marker = Marker {
            key: key.to_owned(),
            version: version.clone(),
            ordinal: index.ordinal,
            modified: UNIX_EPOCH,
        };
        // From here on the object is deleted: what follows is made up for after a stop.
        let marker = self.layout.write_marker(marker)?;
        let before = find(index, key, &version).ok().cloned();
        match before {
            Some(Past::Object(_)) => self.remove_past(index, key, &version)?,
            // The new marker has the file of the old one.
            Some(Past::Marker(_)) => {
                index
                    .history
                    .entry(key.to_owned())
                    .or_default()
                    .retain(|p| *p.version() != version);
            }
            None => {}
        }
        if let Some(entry) = index.objects.get(key).cloned() {
            if entry.version == version {
                self.remove_body(&entry)?;
                self.forget(index, key)?;
            } else {
                self.layout.retire_record(&entry)?;
                index.objects.remove(key);
                if self.layout.retire_body(&entry)? {
                    self.layout.prune(&self.layout.body(key, entry.place));
                    let history = index.history.entry(key.to_owned()).or_default();
                    history.push(Past::Object(entry));
                }
            }
        }
        let history = index.history.entry(key.to_owned()).or_default();
        history.push(Past::Marker(Arc::new(marker)));
        index.disturb_uploads(key);
        Ok(Deleted { version: Some(version), is_marker: true })
    }

    fn delete_version(
        &self,
        index: &mut Index,
        key: &str,
        version: &VersionId,
    ) -> Result<Deleted, StoreError> {
        let mut deleted = Deleted { version: Some(version.clone()), is_marker: false };
        let current = index.objects.get(key).filter(|entry| entry.version == *version).cloned();
        if let Some(entry) = current {
            if index.history.contains_key(key) {
                // Without its record it is an older version, and with its body gone it is none.
                self.layout.retire_record(&entry)?;
                self.remove_body(&entry)?;
                self.layout.remove_version(&Past::Object(entry))?;
                index.objects.remove(key);
                self.promote(index, key)?;
            } else {
                self.remove_body(&entry)?;
                self.forget(index, key)?;
            }
        } else if let Ok(past) = find(index, key, version) {
            deleted.is_marker = matches!(past, Past::Marker(_));
            self.remove_past(index, key, version)?;
            if !index.objects.contains_key(key) {
                self.promote(index, key)?;
            }
        } else {
            return Ok(deleted);
        }
        index.disturb_uploads(key);
        Ok(deleted)
    }

    /// Makes the newest version of a key without a current object that object.
    fn promote(&self, index: &mut Index, key: &str) -> Result<(), StoreError> {
        let Some(history) = index.history.get_mut(key) else {
            return Ok(());
        };
        let promoted = history::promote_newest(&self.layout, history)?;
        if history.is_empty() {
            index.history.remove(key);
        }
        if let Some(entry) = promoted {
            index.objects.insert(key.to_owned(), Arc::new(entry));
        }
        Ok(())
    }

    /// Removes a version that is not the current object, if it is there.
    pub(super) fn remove_past(
        &self,
        index: &mut Index,
        key: &str,
        version: &VersionId,
    ) -> Result<(), StoreError> {
        let Some(history) = index.history.get_mut(key) else {
            return Ok(());
        };
        if let Some(position) = history.iter().position(|past| past.version() == version) {
            self.layout.remove_version(&history[position])?;
            history.remove(position);
        }
        if history.is_empty() {
            index.history.remove(key);
        }
        Ok(())
    }

    /// Fails unless a key has this version.
    pub(crate) fn check_version(&self, key: &str, version: &VersionId) -> Result<(), StoreError> {
        let index = self.lock()?;
        if index.objects.get(key).is_some_and(|entry| entry.version == *version) {
            return Ok(());
        }
        find(&index, key, version).map(drop)
    }

    /// Replaces the tags of the current object, or of a version. Returns its id.
    pub(crate) fn set_tags(
        &self,
        key: &str,
        version: Option<&VersionId>,
        tags: BTreeMap<String, String>,
    ) -> Result<VersionId, StoreError> {
        let mut index = self.lock()?;
        check_not_marker(&index, key, version)?;
        let current = index.objects.get(key).filter(|e| version.is_none_or(|v| *v == e.version));
        if let Some(entry) = current {
            let tagged = Arc::new(Entry { tags, ..Entry::clone(entry) });
            self.write(&tagged)?;
            index.objects.insert(key.to_owned(), Arc::clone(&tagged));
            return Ok(tagged.version.clone());
        }
        let Some(version) = version else {
            return Err(self.no_such_key(&index, key));
        };
        let Past::Object(entry) = find(&index, key, version)? else {
            return Ok(version.clone());
        };
        let tagged = Entry { tags, ..Entry::clone(entry) };
        self.layout.rewrite(&tagged)?;
        let history = index.history.entry(key.to_owned()).or_default();
        if let Some(past) = history.iter_mut().find(|past| past.version() == version) {
            *past = Past::Object(Arc::new(tagged));
        }
        Ok(version.clone())
    }

    /// Returns the current object, or a version of it, without opening it. S3 answers in one way
    /// whether a marker is meant by its id or as the current version.
    pub(crate) fn tagged(
        &self,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Arc<Entry>, StoreError> {
        check_not_marker(&*self.lock()?, key, version)?;
        Ok(self.open(key, version)?.1)
    }

    /// A page of the bucket's versions and delete markers.
    pub(crate) fn list_versions(&self, query: &VersionQuery) -> Result<VersionPage, StoreError> {
        let index = self.lock()?;
        let mut page = VersionPage::default();
        let Query { prefix, after, limit, .. } = &query.keys;
        if *limit == 0 {
            return Ok(page);
        }
        let start = match after.as_deref() {
            Some(after) if after >= prefix.as_str() => Bound::Included(after),
            _ => Bound::Included(prefix.as_str()),
        };
        let range = (start, Bound::Unbounded);
        let objects = index.objects.range::<str, _>(range).map(|(key, _)| key);
        let pasts = index.history.range::<str, _>(range).map(|(key, _)| key);
        let keys: BTreeSet<&String> = objects
            .take_while(|key| key.starts_with(prefix))
            .chain(pasts.take_while(|key| key.starts_with(prefix)))
            .collect();
        let mut last: Option<(String, Option<VersionId>)> = None;
        for key in keys {
            let is_marked = after.as_deref() == Some(key.as_str());
            if let Some(common) = fold(key, &query.keys) {
                let seen = after.as_deref() == Some(common)
                    || page.prefixes.last().is_some_and(|before| before == common);
                if seen {
                    continue;
                }
                if page.versions.len() + page.prefixes.len() == *limit {
                    page.next = last;
                    return Ok(page);
                }
                page.prefixes.push(common.to_owned());
                last = Some((common.to_owned(), None));
                continue;
            }
            let mut versions = versions_of(&index, key);
            if is_marked {
                let is_last =
                    |v: &ListedVersion| Some(v.version.version()) == query.after_version.as_ref();
                let position = versions.iter().position(is_last);
                versions =
                    position.map_or_else(Vec::new, |position| versions.split_off(position + 1));
            }
            for version in versions {
                if page.versions.len() + page.prefixes.len() == *limit {
                    page.next = last;
                    return Ok(page);
                }
                last = Some((key.clone(), Some(version.version.version().clone())));
                page.versions.push(version);
            }
        }
        Ok(page)
    }
}

/// The versions of a key, the newest first.
fn versions_of(index: &Index, key: &str) -> Vec<ListedVersion> {
    let current = index.objects.get(key).cloned().map(Past::Object);
    let past = index.history.get(key).into_iter().flatten().rev().cloned();
    let all = current.into_iter().chain(past).enumerate();
    all.map(|(place, version)| ListedVersion { version, is_latest: place == 0 }).collect()
}

fn find<'a>(index: &'a Index, key: &str, version: &VersionId) -> Result<&'a Past, StoreError> {
    let found = index.history.get(key).and_then(|h| h.iter().find(|p| p.version() == version));
    found.ok_or_else(|| StoreError::NoSuchVersion {
        key: key.to_owned(),
        version_id: version.to_string(),
    })
}

/// Fails if the version that is meant is a delete marker.
fn check_not_marker(
    index: &Index,
    key: &str,
    version: Option<&VersionId>,
) -> Result<(), StoreError> {
    let newest = index.history.get(key).and_then(|history| history.last());
    match (version, newest) {
        (None, Some(Past::Marker(marker))) if !index.objects.contains_key(key) => {
            Err(is_marker(marker))
        }
        (Some(version), _) => match find(index, key, version) {
            Ok(Past::Marker(marker)) => Err(is_marker(marker)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn is_marker(marker: &Marker) -> StoreError {
    StoreError::IsDeleteMarker { key: marker.key.clone(), version_id: marker.version.to_string() }
}
