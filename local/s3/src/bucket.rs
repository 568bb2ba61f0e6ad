//! A bucket: an index in memory, records and bodies on disk, one lock for all changes.
//!
//! Every function here blocks. A change is made in this order, so that the store may be stopped
//! at any point: the body is complete in a temporary file; the record, which names that file, is
//! moved into place (from here on the change has happened); the body is moved into place. A
//! store that is opened finds the moves that were not made and makes them. Versions that are
//! replaced are [`history`].

mod history;
mod load;
mod settings;
#[cfg(test)]
mod tests;
mod uploads;
mod versions;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub(crate) use history::{History, Past};
pub(crate) use settings::{Settings, Versioning};
pub(crate) use uploads::{CompletedPart, Completion, NewUpload, Part, Upload};
pub(crate) use versions::{Deleted, ListedVersion, VersionQuery};

use crate::StoreError;
use crate::condition::WriteCondition;
use crate::digest::{Checksum, random_etag};
use crate::entry::{Entry, Headers, PartSummary};
use crate::error::Doing as _;
use crate::layout::BucketLayout;
use crate::listing::{Page, Query, page};
use crate::staged::Staged;
use crate::version::VersionId;

/// A bucket.
pub(crate) struct Bucket {
    name: String,
    created: SystemTime,
    layout: BucketLayout,
    index: Mutex<Index>,
}

/// What there is in a bucket.
#[derive(Default)]
struct Index {
    deleted: bool,
    settings: Settings,
    /// The ordinal of the version that was written last.
    ordinal: u64,
    /// The current objects.
    objects: BTreeMap<String, Arc<Entry>>,
    /// Older versions and delete markers. Never an empty one.
    history: BTreeMap<String, History>,
    uploads: BTreeMap<String, Upload>,
}

/// The fate of the object that a write replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    /// There was none, or it was overwritten.
    Gone,
    /// It is an older version now.
    Kept,
}

/// An object that is about to be.
pub(crate) struct NewObject {
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) tags: BTreeMap<String, String>,
    /// Whether it is written under SSE-KMS, whose entity tags are no digests.
    pub(crate) kms: bool,
    /// The MD5 of the body unless it is given.
    pub(crate) etag: Option<String>,
    /// The body's own unless it is given.
    pub(crate) checksum: Option<Checksum>,
    pub(crate) parts: Vec<PartSummary>,
}

impl NewObject {
    /// An object that is written in one piece.
    pub(crate) fn new(key: impl Into<String>, headers: Headers) -> Self {
        Self {
            key: key.into(),
            headers,
            tags: BTreeMap::new(),
            kms: false,
            etag: None,
            checksum: None,
            parts: Vec::new(),
        }
    }
}

impl Bucket {
    /// Makes a bucket that is not there yet.
    pub(crate) fn create(name: &str, layout: BucketLayout) -> Result<Self, StoreError> {
        for folder in [&layout.plain, &layout.records(), &layout.bodies(), &layout.uploads()] {
            fs::create_dir_all(folder).doing("creating", folder)?;
        }
        let marker = layout.marker();
        fs::write(&marker, b"").doing("creating", &marker)?;
        Self::load(name, layout)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn created(&self) -> SystemTime {
        self.created
    }

    /// Where new bodies are written.
    pub(crate) fn staging(&self) -> &std::path::Path {
        &self.layout.staging
    }

    /// Removes the bucket if it holds no object. Files that are not the store's stay.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        let mut index = self.lock()?;
        let versions = index.objects.len() + index.history.values().map(Vec::len).sum::<usize>();
        if versions > 0 {
            return Err(StoreError::BucketNotEmpty { bucket: self.name.clone(), versions });
        }
        let marker = self.layout.marker();
        fs::remove_file(&marker).doing("deleting", &marker)?;
        index.deleted = true;
        index.uploads.clear();
        fs::remove_dir_all(&self.layout.state).doing("deleting", &self.layout.state)?;
        let _ = fs::remove_dir(&self.layout.plain);
        Ok(())
    }

    /// Makes a written body an object, if the condition holds now.
    pub(crate) fn commit(
        &self,
        new: NewObject,
        staged: Staged,
        condition: &WriteCondition,
    ) -> Result<Arc<Entry>, StoreError> {
        let mut index = self.lock()?;
        self.commit_locked(&mut index, new, staged, condition)
    }

    fn commit_locked(
        &self,
        index: &mut Index,
        new: NewObject,
        mut staged: Staged,
        condition: &WriteCondition,
    ) -> Result<Arc<Entry>, StoreError> {
        let current = index.objects.get(&new.key).cloned();
        condition.check(&self.name, &new.key, current.as_deref())?;
        let seal = staged.seal().doing("writing", staged.path())?;
        let etag = if new.kms && new.parts.is_empty() {
            Some(random_etag())
        } else {
            new.etag.or_else(|| seal.digest.as_ref()?.etag())
        };
        let checksum = new.checksum.or_else(|| seal.digest?.checksum);
        index.ordinal += 1;
        let entry = Entry {
            place: self.layout.place_for(&new.key, current.as_deref()),
            key: new.key,
            size_bytes: seal.size_bytes,
            etag: etag.unwrap_or_default(),
            version: index.settings.versioning.next_version(),
            ordinal: index.ordinal,
            kms: new.kms,
            modified: seal.modified,
            staged: seal.id,
            checksum,
            parts: new.parts,
            headers: new.headers,
            tags: new.tags,
        };
        let replaced = match self.replace(&entry, staged, current.as_deref()) {
            Ok(replaced) => replaced,
            Err(error) => {
                self.undo(&entry, current.as_deref());
                return Err(error);
            }
        };
        index.disturb_uploads(&entry.key);
        let entry = Arc::new(entry);
        index.objects.insert(entry.key.clone(), Arc::clone(&entry));
        if entry.version.is_null() {
            self.remove_past(index, &entry.key, &VersionId::Null)?;
        }
        if let Some(older) = current.filter(|_| replaced == Replaced::Kept) {
            index.history.entry(older.key.clone()).or_default().push(Past::Object(older));
        }
        Ok(entry)
    }

    /// Puts a written body in the place of the current object, which is kept if it is another
    /// version.
    fn replace(
        &self,
        entry: &Entry,
        staged: Staged,
        current: Option<&Entry>,
    ) -> Result<Replaced, StoreError> {
        let path = self.layout.body(&entry.key, entry.place);
        let kept = current.filter(|current| current.version != entry.version);
        let mut replaced = Replaced::Gone;
        if let Some(older) = kept {
            self.layout.retire_record(older)?;
        }
        self.write(entry)?;
        if let Some(older) = kept
            && self.layout.retire_body(older)?
        {
            replaced = Replaced::Kept;
        }
        staged.move_to(&path).doing("writing", &path)?;
        if let Some(before) = current
            && kept.is_none()
            && before.place != entry.place
        {
            self.remove_body(before)?;
        }
        Ok(replaced)
    }

    /// Opens the current object, or a version of it, for reading. What was opened can be read to
    /// its end, whatever happens to the object meanwhile.
    pub(crate) fn open(
        &self,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<(File, Arc<Entry>), StoreError> {
        let mut index = self.lock()?;
        let current = index.objects.get(key).filter(|e| version.is_none_or(|v| *v == e.version));
        if let Some(entry) = current.cloned() {
            return self.open_current(&mut index, &entry);
        }
        match version {
            Some(version) => self.open_past(&index, key, version),
            None => Err(self.no_such_key(&index, key)),
        }
    }

    fn open_current(
        &self,
        index: &mut Index,
        entry: &Arc<Entry>,
    ) -> Result<(File, Arc<Entry>), StoreError> {
        let path = self.layout.body(&entry.key, entry.place);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.notice_removal(index, entry)?;
                return Err(self.no_such_key(index, &entry.key));
            }
            Err(source) => {
                return Err(StoreError::Io { doing: "opening", path, source });
            }
        };
        let metadata = file.metadata().doing("reading", &path)?;
        let Some(changed) = entry.after_change(&metadata).doing("reading", &path)? else {
            return Ok((file, Arc::clone(entry)));
        };
        self.write(&changed)?;
        let changed = Arc::new(changed);
        index.objects.insert(entry.key.clone(), Arc::clone(&changed));
        Ok((file, changed))
    }

    /// Reads the current object into memory, or a version of it.
    pub(crate) fn read(
        &self,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Vec<u8>, StoreError> {
        let (mut file, _) = self.open(key, version)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).doing("reading", std::path::Path::new(key))?;
        Ok(bytes)
    }

    /// A page of the bucket's objects.
    pub(crate) fn list(&self, query: &Query) -> Result<Page<Arc<Entry>>, StoreError> {
        Ok(page(&self.lock()?.objects, query))
    }

    fn lock(&self) -> Result<MutexGuard<'_, Index>, StoreError> {
        // The index is changed last, in one step, so a panic leaves it as it was.
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.deleted {
            return Err(StoreError::NoSuchBucket { bucket: self.name.clone() });
        }
        Ok(index)
    }

    fn write(&self, entry: &Entry) -> Result<(), StoreError> {
        self.layout.write_record(&self.layout.record(&entry.key), entry)
    }

    /// Takes back a change that failed halfway.
    fn undo(&self, entry: &Entry, before: Option<&Entry>) {
        let undone = match before {
            Some(before) if before.version != entry.version => self.layout.restore(before),
            Some(before) => self.write(before),
            None => {
                let record = self.layout.record(&entry.key);
                match fs::remove_file(&record) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(error).doing("deleting", &record)
                    }
                    _ => Ok(()),
                }
            }
        };
        if let Err(error) = undone {
            tracing::error!(%error, object.key = entry.key, "a failed write could not be undone");
        }
    }

    fn remove_body(&self, entry: &Entry) -> Result<(), StoreError> {
        let path = self.layout.body(&entry.key, entry.place);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).doing("deleting", &path)
            }
            _ => {
                self.layout.prune(&path);
                Ok(())
            }
        }
    }

    /// Removes the record of an object whose body is gone.
    fn forget(&self, index: &mut Index, key: &str) -> Result<(), StoreError> {
        index.objects.remove(key);
        let record = self.layout.record(key);
        fs::remove_file(&record).doing("deleting", &record)
    }

    fn no_such_key(&self, index: &Index, key: &str) -> StoreError {
        let newest = index.history.get(key).and_then(|history| history.last());
        StoreError::NoSuchKey {
            bucket: self.name.clone(),
            key: key.to_owned(),
            delete_marker: newest.map(|past| past.version().to_string()),
        }
    }
}
