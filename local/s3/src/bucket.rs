//! A bucket: an index in memory, records and bodies on disk, one lock for all changes.
//!
//! Every function here blocks. A change is made in this order, so that the store may be stopped
//! at any point: the body is complete in a temporary file; the record, which names that file, is
//! moved into place (from here on the change has happened); the body is moved into place. A
//! store that is opened finds the moves that were not made and makes them.

mod load;
#[cfg(test)]
mod tests;
mod uploads;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub(crate) use uploads::{CompletedPart, Completion, NewUpload, Part, Upload};

use crate::StoreError;
use crate::condition::WriteCondition;
use crate::digest::Checksum;
use crate::entry::{Entry, Headers, PartSummary};
use crate::error::Doing as _;
use crate::layout::BucketLayout;
use crate::listing::{Page, Query, page};
use crate::staged::Staged;

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
    objects: BTreeMap<String, Arc<Entry>>,
    uploads: BTreeMap<String, Upload>,
}

/// An object that is about to be.
pub(crate) struct NewObject {
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) tags: BTreeMap<String, String>,
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
        if !index.objects.is_empty() {
            let objects = index.objects.len();
            return Err(StoreError::BucketNotEmpty { bucket: self.name.clone(), objects });
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
        let etag = new.etag.or_else(|| seal.digest.as_ref()?.etag());
        let checksum = new.checksum.or_else(|| seal.digest?.checksum);
        let entry = Entry {
            place: self.layout.place_for(&new.key, current.as_deref()),
            key: new.key,
            size_bytes: seal.size_bytes,
            etag: etag.unwrap_or_default(),
            modified: seal.modified,
            staged: seal.id,
            checksum,
            parts: new.parts,
            headers: new.headers,
            tags: new.tags,
        };
        self.write(&entry)?;
        let path = self.layout.body(&entry.key, entry.place);
        if let Err(error) = staged.move_to(&path).doing("writing", &path) {
            self.undo(&entry.key, current.as_deref());
            return Err(error);
        }
        if let Some(before) = current.filter(|before| before.place != entry.place) {
            self.remove_body(&before)?;
        }
        let entry = Arc::new(entry);
        index.objects.insert(entry.key.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    /// Opens an object for reading. What was opened can be read to its end, whatever happens to
    /// the object meanwhile.
    pub(crate) fn open(&self, key: &str) -> Result<(File, Arc<Entry>), StoreError> {
        let mut index = self.lock()?;
        let entry = index.objects.get(key).cloned().ok_or_else(|| self.no_such_key(key))?;
        let path = self.layout.body(key, entry.place);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(&mut index, key)?;
                return Err(self.no_such_key(key));
            }
            Err(source) => {
                return Err(StoreError::Io { doing: "opening", path, source });
            }
        };
        let metadata = file.metadata().doing("reading", &path)?;
        let Some(changed) = entry.after_change(&metadata).doing("reading", &path)? else {
            return Ok((file, entry));
        };
        self.write(&changed)?;
        let changed = Arc::new(changed);
        index.objects.insert(key.to_owned(), Arc::clone(&changed));
        Ok((file, changed))
    }

    /// Reads an object into memory.
    pub(crate) fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let (mut file, entry) = self.open(key)?;
        let mut bytes = Vec::new();
        let path = self.layout.body(key, entry.place);
        file.read_to_end(&mut bytes).doing("reading", &path)?;
        Ok(bytes)
    }

    /// Deletes an object. One that is not there is deleted already.
    pub(crate) fn delete(&self, key: &str, condition: &WriteCondition) -> Result<(), StoreError> {
        let mut index = self.lock()?;
        let Some(entry) = index.objects.get(key).cloned() else {
            return Ok(());
        };
        condition.check(&self.name, key, Some(&entry))?;
        self.remove_body(&entry)?;
        self.forget(&mut index, key)
    }

    /// Replaces an object's tags.
    pub(crate) fn set_tags(
        &self,
        key: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let mut index = self.lock()?;
        let entry = index.objects.get(key).ok_or_else(|| self.no_such_key(key))?;
        let tagged = Entry { tags, ..Entry::clone(entry) };
        self.write(&tagged)?;
        index.objects.insert(key.to_owned(), Arc::new(tagged));
        Ok(())
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

    fn undo(&self, key: &str, before: Option<&Entry>) {
        let undone = if let Some(before) = before {
            self.write(before)
        } else {
            let record = self.layout.record(key);
            fs::remove_file(&record).doing("deleting", &record)
        };
        if let Err(error) = undone {
            tracing::error!(%error, object.key = key, "a failed write could not be undone");
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

    fn no_such_key(&self, key: &str) -> StoreError {
        StoreError::NoSuchKey { bucket: self.name.clone(), key: key.to_owned() }
    }
}
