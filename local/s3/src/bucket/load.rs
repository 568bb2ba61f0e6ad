//! Opening a bucket that is already there: what was left half done is finished or removed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::history::{self, History, Past};
use super::{Bucket, Index, Settings, Upload};
use crate::StoreError;
use crate::entry::{Entry, Place};
use crate::error::Doing as _;
use crate::layout::{BucketLayout, files, read_record};

impl Bucket {
    /// Opens a bucket that is there.
    pub(crate) fn load(name: &str, layout: BucketLayout) -> Result<Self, StoreError> {
        let marker = layout.marker();
        let created = fs::metadata(&marker).and_then(|m| m.modified()).doing("reading", &marker)?;
        let settings = Settings::load(&layout)?;
        let (entries, history) = load_versions(&layout)?;
        let (objects, removed) = load_objects(&layout, entries)?;
        remove_strays(&layout, &objects)?;
        let uploads = load_uploads(&layout)?;
        let past = history.values().flatten().map(Past::ordinal);
        let ordinal = objects.values().map(|entry| entry.ordinal).chain(past).max().unwrap_or(0);
        let index = Index { deleted: false, settings, ordinal, objects, history, uploads };
        let bucket = Self { name: name.to_owned(), created, layout, index: Mutex::new(index) };
        for entry in removed {
            bucket.notice_removal(&mut *bucket.lock()?, &entry)?;
        }
        Ok(bucket)
    }
}

type Versions = (BTreeMap<String, Entry>, BTreeMap<String, History>);

/// Reads all records, and settles the keys that have older versions.
fn load_versions(layout: &BucketLayout) -> Result<Versions, StoreError> {
    let mut entries = BTreeMap::new();
    for record in files(&layout.records())? {
        let entry: Entry = read_record(&record)?;
        entries.insert(entry.key.clone(), entry);
    }
    let mut histories = BTreeMap::new();
    for folder in files(&layout.versions())? {
        let mut history = history::load(&folder)?;
        let Some(key) = history.first().map(|past| past.key().to_owned()) else {
            continue;
        };
        let current = entries.remove(&key);
        if let Some(entry) = history::settle(layout, current, &mut history)? {
            entries.insert(key.clone(), entry);
        }
        if !history.is_empty() {
            histories.insert(key, history);
        }
    }
    Ok((entries, histories))
}

type Objects = (BTreeMap<String, Arc<Entry>>, Vec<Entry>);

/// Finds the bodies of the current objects. Those whose body is gone come second.
fn load_objects(
    layout: &BucketLayout,
    entries: BTreeMap<String, Entry>,
) -> Result<Objects, StoreError> {
    let (mut objects, mut removed) = (BTreeMap::new(), Vec::new());
    for (key, entry) in entries {
        finish_move(layout, &entry)?;
        let body = layout.body(&key, entry.place);
        match fs::symlink_metadata(&body) {
            Ok(metadata) if metadata.is_file() => {
                let changed = entry.after_change(&metadata).doing("reading", &body)?;
                if let Some(changed) = &changed {
                    layout.write_record(&layout.record(&key), changed)?;
                }
                objects.insert(key, Arc::new(changed.unwrap_or(entry)));
            }
            // The body was being deleted, or someone else took it away.
            _ => {
                removed.push(entry.clone());
                objects.insert(key, Arc::new(entry));
            }
        }
    }
    Ok((objects, removed))
}

/// Moves a body whose record was written just before the store was stopped.
fn finish_move(layout: &BucketLayout, entry: &Entry) -> Result<(), StoreError> {
    let staged = layout.staging.join(&entry.staged);
    if entry.staged.is_empty() || !staged.is_file() {
        return Ok(());
    }
    let body = layout.body(&entry.key, entry.place);
    if let Some(folder) = body.parent() {
        fs::create_dir_all(folder).doing("creating", folder)?;
    }
    fs::rename(&staged, &body).doing("writing", &body)
}

/// Removes hidden bodies that no record names.
fn remove_strays(
    layout: &BucketLayout,
    objects: &BTreeMap<String, Arc<Entry>>,
) -> Result<(), StoreError> {
    let hidden = objects.values().filter(|entry| entry.place == Place::Hidden);
    let named: HashSet<PathBuf> = hidden.map(|e| layout.body(&e.key, e.place)).collect();
    for body in files(&layout.bodies())? {
        if !named.contains(&body) {
            fs::remove_file(&body).doing("deleting", &body)?;
        }
    }
    Ok(())
}

fn load_uploads(layout: &BucketLayout) -> Result<BTreeMap<String, Upload>, StoreError> {
    let mut uploads = BTreeMap::new();
    for folder in files(&layout.uploads())? {
        match Upload::load(&folder)? {
            Some((upload_id, upload)) => {
                uploads.insert(upload_id, upload);
            }
            None => fs::remove_dir_all(&folder).doing("deleting", &folder)?,
        }
    }
    Ok(uploads)
}
