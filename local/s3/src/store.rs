//! The store: buckets below a directory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::body::{BodyWriter, blocking};
use crate::bucket::{Bucket, NewObject, Settings, Versioning};
use crate::condition::WriteCondition;
use crate::digest::Algorithm;
use crate::entry::{Headers, ObjectInfo};
use crate::error::Doing as _;
use crate::key::{check_bucket_name, check_key};
use crate::layout::Layout;
use crate::listing::Query;
use crate::version::VersionId;
use crate::{Faults, StoreError, Traffic, layout};

/// The settings of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// Whether each write makes a version. `false` for a bucket that has versions suspends that:
    /// the versions stay.
    pub versioned: bool,
    /// Whether objects are written under SSE-KMS: their entity tags are no digests of their bytes,
    /// and each write has another one. Nothing is encrypted.
    pub kms: bool,
}

/// Buckets and objects below a directory. Clones share one store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    faults: Faults,
    traffic: Traffic,
    /// Held for as long as the store is open.
    _lock: File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.inner.layout.root()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory, which is created if it is not there. Whatever a store
    /// that was killed left half done is finished or removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] if a store has the directory open, here or in another process.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let layout = Layout::new(root.into());
        let inner = blocking(move || Inner::open(layout)).await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The faults that the endpoints over this store show on demand, none at first. What is done
    /// through the store itself has none.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// What was asked of the endpoints over this store.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    /// Creates a bucket without versions and without SSE-KMS. A bucket that is there keeps its
    /// settings.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        check_bucket_name(bucket)?;
        let (inner, name) = (Arc::clone(&self.inner), bucket.to_owned());
        blocking(move || inner.create_bucket(name).map(drop)).await
    }

    /// Creates a bucket with these settings. A bucket that is there is given them.
    pub async fn create_bucket_with(
        &self,
        bucket: &str,
        settings: BucketSettings,
    ) -> Result<(), StoreError> {
        check_bucket_name(bucket)?;
        let (inner, name) = (Arc::clone(&self.inner), bucket.to_owned());
        let BucketSettings { versioned, kms } = settings;
        let change = move |before: Settings| Settings {
            versioning: before.versioning.turned(versioned),
            kms,
        };
        blocking(move || inner.create_bucket(name)?.configure(change)).await
    }

    /// Returns the settings of a bucket.
    pub fn bucket_settings(&self, bucket: &str) -> Result<BucketSettings, StoreError> {
        let Settings { versioning, kms } = self.bucket(bucket)?.settings()?;
        Ok(BucketSettings { versioned: versioning == Versioning::Enabled, kms })
    }

    /// Writes an object, over the one that was there, which is an older version from then on where
    /// the bucket makes versions.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        content_type: Option<&str>,
        bytes: Bytes,
    ) -> Result<ObjectInfo, StoreError> {
        let mut writer = self.writer(bucket, key, content_type).await?;
        writer.write(&bytes).await?;
        writer.finish().await
    }

    /// Starts to write an object. Memory holds one buffer, whatever the size.
    pub async fn writer(
        &self,
        bucket: &str,
        key: &str,
        content_type: Option<&str>,
    ) -> Result<ObjectWriter, StoreError> {
        check_key(key)?;
        let bucket = self.bucket(bucket)?;
        let content_type = content_type.map(str::to_owned);
        let headers = Headers { content_type, ..Headers::default() };
        let body = BodyWriter::open(&bucket, Some(Algorithm::Crc64Nvme)).await?;
        let new = NewObject { kms: bucket.settings()?.kms, ..NewObject::new(key, headers) };
        Ok(ObjectWriter { bucket, new, body })
    }

    /// Reads a whole object into memory.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, StoreError> {
        let (bucket, key) = (self.bucket(bucket)?, key.to_owned());
        blocking(move || Ok(Bytes::from(bucket.read(&key, None)?))).await
    }

    /// Reads a whole version of an object into memory.
    pub async fn get_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Bytes, StoreError> {
        let (bucket, key) = (self.bucket(bucket)?, key.to_owned());
        let version = VersionId::parse(version_id)?;
        blocking(move || Ok(Bytes::from(bucket.read(&key, Some(&version))?))).await
    }

    /// Reads up to `length` bytes from `offset` on; fewer mean that the object ends there.
    pub async fn read_at(
        &self,
        bucket: &str,
        key: &str,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StoreError> {
        let (bucket, key) = (self.bucket(bucket)?, key.to_owned());
        blocking(move || {
            let (mut body, entry) = bucket.open(&key, None)?;
            let left = entry.info().size_bytes.saturating_sub(offset);
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
            let mut bytes = vec![0; length];
            let path = std::path::Path::new(&key);
            body.seek(SeekFrom::Start(offset)).doing("reading", path)?;
            body.read_exact(&mut bytes).doing("reading", path)?;
            Ok(Bytes::from(bytes))
        })
        .await
    }

    /// What there is to know of an object without reading it.
    pub async fn head(&self, bucket: &str, key: &str) -> Result<ObjectInfo, StoreError> {
        let (bucket, key) = (self.bucket(bucket)?, key.to_owned());
        blocking(move || Ok(bucket.open(&key, None)?.1.info())).await
    }

    /// All current objects whose key starts with `prefix`, in the order of their keys' UTF-8 bytes.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let query = Query { prefix: prefix.to_owned(), limit: usize::MAX, ..Query::default() };
        let bucket = self.bucket(bucket)?;
        let page = blocking(move || bucket.list(&query)).await?;
        Ok(page.items.iter().map(|entry| entry.info()).collect())
    }

    /// Deletes an object. One that is not there is deleted already. Where the bucket makes
    /// versions, a delete marker is written and the versions stay.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        let (bucket, key) = (self.bucket(bucket)?, key.to_owned());
        blocking(move || bucket.delete(&key, None, &WriteCondition::Always).map(drop)).await
    }

    /// Deletes a bucket that holds no object.
    pub(crate) async fn delete_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), bucket.to_owned());
        blocking(move || inner.delete_bucket(&name)).await
    }

    /// All buckets, by name.
    pub(crate) fn buckets(&self) -> Vec<Arc<Bucket>> {
        let buckets = self.inner.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.values().cloned().collect()
    }

    /// The bucket of this name.
    pub(crate) fn bucket(&self, bucket: &str) -> Result<Arc<Bucket>, StoreError> {
        let buckets = self.inner.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(bucket).cloned().ok_or_else(|| no_such_bucket(bucket))
    }
}

impl Inner {
    fn open(layout: Layout) -> Result<Self, StoreError> {
        for folder in [layout.staging(), layout.buckets()] {
            fs::create_dir_all(&folder).doing("creating", &folder)?;
        }
        let path = layout.lock();
        let lock = File::create(&path).doing("creating", &path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { root: layout.root().to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::Io { doing: "locking", path, source });
            }
        }
        let buckets = load_buckets(&layout)?;
        // What the buckets did not claim was being written when the store was stopped.
        for stray in layout::files(&layout.staging())? {
            fs::remove_file(&stray).doing("deleting", &stray)?;
        }
        Ok(Self {
            layout,
            buckets: RwLock::new(buckets),
            faults: Faults::default(),
            traffic: Traffic::default(),
            _lock: lock,
        })
    }

    /// Returns the bucket of this name, which is created unless it is there.
    fn create_bucket(&self, name: String) -> Result<Arc<Bucket>, StoreError> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        Ok(match buckets.entry(name) {
            Entry::Occupied(there) => Arc::clone(there.get()),
            Entry::Vacant(vacant) => {
                let layout = self.layout.bucket(vacant.key());
                let bucket = Bucket::create(vacant.key(), layout)?;
                Arc::clone(vacant.insert(Arc::new(bucket)))
            }
        })
    }

    fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).ok_or_else(|| no_such_bucket(name))?.remove()?;
        buckets.remove(name);
        Ok(())
    }
}

fn load_buckets(layout: &Layout) -> Result<BTreeMap<String, Arc<Bucket>>, StoreError> {
    let mut buckets = BTreeMap::new();
    for state in layout::files(&layout.buckets())? {
        let Some(name) = state.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let paths = layout.bucket(name);
        if paths.marker().is_file() {
            buckets.insert(name.to_owned(), Arc::new(Bucket::load(name, paths)?));
        } else {
            // The bucket was being created or deleted, and holds no object in either case.
            fs::remove_dir_all(&state).doing("deleting", &state)?;
        }
    }
    Ok(buckets)
}

fn no_such_bucket(bucket: &str) -> StoreError {
    StoreError::NoSuchBucket { bucket: bucket.to_owned() }
}

/// An object that is being written. Nothing of it can be seen before [`ObjectWriter::finish`];
/// dropping it leaves nothing behind.
pub struct ObjectWriter {
    bucket: Arc<Bucket>,
    new: NewObject,
    body: BodyWriter,
}

impl ObjectWriter {
    /// Appends bytes to the body.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.body.write(bytes).await
    }

    /// Makes what was written the object, over the one that was there.
    pub async fn finish(self) -> Result<ObjectInfo, StoreError> {
        let Self { bucket, new, body } = self;
        let staged = body.finish().await?;
        let commit = move || bucket.commit(new, staged, &WriteCondition::Always);
        Ok(blocking(commit).await?.info())
    }
}

impl std::fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWriter")
            .field("bucket", &self.bucket.name())
            .field("key", &self.new.key)
            .finish_non_exhaustive()
    }
}
