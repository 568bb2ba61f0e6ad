//! Where things are below the store's directory.
//!
//! ```text
//! <bucket>/<key>                      bodies, where the key can be a path
//! .s3/lock                            held while a store has the directory open
//! .s3/staging/<id>                    bodies and records that are being written
//! .s3/buckets/<bucket>/bucket         makes the bucket exist; its time is when it was created
//! .s3/buckets/<bucket>/settings       its settings, if they are not the usual ones
//! .s3/buckets/<bucket>/objects/<sha>  records of objects, by the SHA-256 of their key
//! .s3/buckets/<bucket>/bodies/<sha>   bodies that cannot be below the bucket's folder
//! .s3/buckets/<bucket>/versions/<sha>/  older versions: `<id>` with `<id>.body`, `<id>.marker`
//! .s3/buckets/<bucket>/uploads/<id>/  multipart uploads: `upload`, and `<part>` with `<part>.<id>`
//! ```
//!
//! A bucket's name never starts with a full stop, so `.s3` is not a bucket.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::StoreError;
use crate::digest::file_name_for;
use crate::entry::{Entry, Place};
use crate::error::Doing as _;
use crate::key::plain_path;

/// The paths of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(".s3/lock")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join(".s3/staging")
    }

    pub(crate) fn buckets(&self) -> PathBuf {
        self.root.join(".s3/buckets")
    }

    /// The paths of one bucket, whose name was checked.
    pub(crate) fn bucket(&self, bucket: &str) -> BucketLayout {
        BucketLayout {
            plain: self.root.join(bucket),
            state: self.buckets().join(bucket),
            staging: self.staging(),
        }
    }
}

/// The paths of a bucket.
#[derive(Debug, Clone)]
pub(crate) struct BucketLayout {
    /// The folder a user looks into.
    pub(crate) plain: PathBuf,
    /// The folder of the bucket's records.
    pub(crate) state: PathBuf,
    /// Where files are written before they are moved.
    pub(crate) staging: PathBuf,
}

impl BucketLayout {
    pub(crate) fn marker(&self) -> PathBuf {
        self.state.join("bucket")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.state.join("objects")
    }

    pub(crate) fn record(&self, key: &str) -> PathBuf {
        self.records().join(file_name_for(key))
    }

    pub(crate) fn bodies(&self) -> PathBuf {
        self.state.join("bodies")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.state.join("settings")
    }

    pub(crate) fn versions(&self) -> PathBuf {
        self.state.join("versions")
    }

    /// The folder of a key's older versions and delete markers.
    pub(crate) fn versions_of(&self, key: &str) -> PathBuf {
        self.versions().join(file_name_for(key))
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.state.join("uploads")
    }

    pub(crate) fn upload(&self, upload_id: &str) -> PathBuf {
        self.uploads().join(upload_id)
    }

    /// Where an object's body is.
    pub(crate) fn body(&self, key: &str, place: Place) -> PathBuf {
        match (place, plain_path(key)) {
            (Place::Plain, Some(path)) => self.plain.join(path),
            (Place::Plain | Place::Hidden, _) => self.bodies().join(file_name_for(key)),
        }
    }

    /// Finds a place for the body of `key` and makes its folder. A path that leads over a link,
    /// or that anything but this object's own file already has, is not taken: two keys never
    /// share a file, also where the file system ignores case.
    pub(crate) fn place_for(&self, key: &str, current: Option<&Entry>) -> Place {
        let owned = current.is_some_and(|entry| entry.place == Place::Plain);
        let Some(relative) = plain_path(key) else {
            return Place::Hidden;
        };
        let path = self.plain.join(&relative);
        let free = self.make_folders(&relative) && is_free(&path, owned);
        if free {
            Place::Plain
        } else {
            self.prune(&path);
            Place::Hidden
        }
    }

    /// Makes the folders above a relative path. Whatever is in the way is left alone.
    fn make_folders(&self, relative: &Path) -> bool {
        let mut folder = self.plain.clone();
        let parents = relative.parent().map(Path::components);
        let names = parents.into_iter().flatten();
        is_folder(&folder)
            && names.into_iter().all(|name| {
                folder.push(name);
                is_folder(&folder)
            })
    }

    /// Removes the folders above a body's path that became empty.
    pub(crate) fn prune(&self, path: &Path) {
        let above = path.ancestors().skip(1);
        for folder in
            above.take_while(|folder| folder.starts_with(&self.plain) && *folder != self.plain)
        {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// Writes a record so that it is there as a whole or not at all.
    pub(crate) fn write_record<T: Serialize>(
        &self,
        path: &Path,
        record: &T,
    ) -> Result<(), StoreError> {
        let staged = self.staging.join(Uuid::new_v4().simple().to_string());
        let text = serde_json::to_vec(record)
            .map_err(|source| StoreError::Record { path: path.to_owned(), source })?;
        fs::write(&staged, text).doing("writing", &staged)?;
        fs::rename(&staged, path).doing("writing", path)
    }
}

/// Reads a record.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = fs::read(path).doing("reading", path)?;
    serde_json::from_slice(&text)
        .map_err(|source| StoreError::Record { path: path.to_owned(), source })
}

/// What a folder holds, in the order of its names. A folder that is not there holds nothing.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.doing("reading", folder)?,
    };
    let paths = listed.map(|file| file.map(|file| file.path()));
    let mut paths: Vec<_> = paths.collect::<io::Result<_>>().doing("reading", folder)?;
    paths.sort();
    Ok(paths)
}

/// Makes a folder unless it is there. A link to a folder does not count.
fn is_folder(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(_) => fs::create_dir(path).is_ok(),
    }
}

fn is_free(path: &Path, owned: bool) -> bool {
    match fs::symlink_metadata(path) {
        Ok(metadata) => owned && metadata.is_file(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
