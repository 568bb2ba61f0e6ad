//! Opening a bucket that is already there: what was left half done is finished or removed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{Bucket, Index, Upload};
use crate::StoreError;
use crate::entry::{Entry, Place};
use crate::error::Doing as _;
use crate::layout::{BucketLayout, files, read_record};

impl Bucket {
    /// Opens a bucket that is there.
    pub(crate) fn load(name: &str, layout: BucketLayout) -> Result<Self, StoreError> {
        let marker = layout.marker();
        let created = fs::metadata(&marker).and_then(|m| m.modified()).doing("reading", &marker)?;
        let objects = load_objects(&layout)?;
        remove_strays(&layout, &objects)?;
        let uploads = load_uploads(&layout)?;
        let index = Mutex::new(Index { deleted: false, objects, uploads });
        Ok(Self { name: name.to_owned(), created, layout, index })
    }
}

fn load_objects(layout: &BucketLayout) -> Result<BTreeMap<String, Arc<Entry>>, StoreError> {
    let mut objects = BTreeMap::new();
    for record in files(&layout.records())? {
        let entry: Entry = read_record(&record)?;
        finish_move(layout, &entry)?;
        let body = layout.body(&entry.key, entry.place);
        match fs::symlink_metadata(&body) {
            Ok(metadata) if metadata.is_file() => {
                let changed = entry.after_change(&metadata).doing("reading", &body)?;
                if let Some(changed) = &changed {
                    layout.write_record(&record, changed)?;
                }
                let entry = changed.unwrap_or(entry);
                objects.insert(entry.key.clone(), Arc::new(entry));
            }
            // The body was being deleted, or someone else took it away.
            _ => fs::remove_file(&record).doing("deleting", &record)?,
        }
    }
    Ok(objects)
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
