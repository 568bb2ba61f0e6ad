//! Multipart uploads. Parts are files of their own until the upload is completed; they survive
//! a restart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Bucket, Index, NewObject};
use crate::StoreError;
use crate::condition::WriteCondition;
use crate::digest::{Algorithm, Checksum, Coverage, etag_of_parts, random_etag};
use crate::entry::{Entry, Headers, PartSummary};
use crate::error::Doing as _;
use crate::layout::{BucketLayout, files, read_record};
use crate::staged::Staged;

/// The least size of a part that is not the last.
pub(crate) const PART_BYTES_MIN: u64 = 5 << 20;

/// Name of an upload's own record, beside those of its parts.
const UPLOAD_RECORD: &str = "upload";

/// What a multipart upload is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewUpload {
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) tags: BTreeMap<String, String>,
    /// The checksum the object is to have.
    pub(crate) checksum: Option<(Algorithm, Coverage)>,
    /// Whether the object is written under SSE-KMS.
    #[serde(default)]
    pub(crate) kms: bool,
}

/// A multipart upload in progress.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) new: NewUpload,
    pub(crate) initiated: SystemTime,
    pub(crate) parts: BTreeMap<u32, Part>,
    completing: bool,
    /// Whether the object was written or deleted since the upload began. It is not kept over a
    /// restart.
    disturbed: bool,
}

/// A part that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) size_bytes: u64,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
    pub(crate) checksum: Option<Checksum>,
    /// Name of its file, beside the record.
    file: String,
}

/// A part as the client lists it when it completes the upload.
#[derive(Debug, Clone)]
pub(crate) struct CompletedPart {
    pub(crate) number: u32,
    pub(crate) etag: Option<String>,
    pub(crate) checksum: Option<(Algorithm, String)>,
}

/// What the client says the completed object is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Completion {
    pub(crate) parts: Vec<CompletedPart>,
    pub(crate) checksum: Option<(Algorithm, String)>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) condition: WriteCondition,
}

impl Upload {
    fn new(new: NewUpload, initiated: SystemTime, parts: BTreeMap<u32, Part>) -> Self {
        Self { new, initiated, parts, completing: false, disturbed: false }
    }

    /// Reads an upload's folder, and removes the files of parts whose record was not written.
    /// `None` if the folder has no upload.
    pub(super) fn load(folder: &Path) -> Result<Option<(String, Self)>, StoreError> {
        let record = folder.join(UPLOAD_RECORD);
        let Some(upload_id) = folder.file_name().and_then(|name| name.to_str()) else {
            return Ok(None);
        };
        let Ok(initiated) = fs::metadata(&record).and_then(|m| m.modified()) else {
            return Ok(None);
        };
        let mut parts = BTreeMap::new();
        let all = files(folder)?;
        let is_record = |path: &&PathBuf| path.extension().is_none() && **path != record;
        for path in all.iter().filter(is_record) {
            let part: Part = read_record(path)?;
            parts.insert(part.number, part);
        }
        let named: Vec<PathBuf> = parts.values().map(|part| folder.join(&part.file)).collect();
        for stray in all.iter().filter(|path| path.extension().is_some() && !named.contains(path)) {
            fs::remove_file(stray).doing("deleting", stray)?;
        }
        let new = read_record(&record)?;
        Ok(Some((upload_id.to_owned(), Self::new(new, initiated, parts))))
    }

    /// The checksum a part is to be given, where the client offers `offered`.
    fn part_algorithm(&self, offered: Option<Algorithm>) -> Result<Option<Algorithm>, StoreError> {
        match (self.new.checksum, offered) {
            (Some((upload, _)), Some(part)) if upload != part => {
                Err(StoreError::ChecksumMismatch { upload, part })
            }
            (Some((upload, _)), _) => Ok(Some(upload)),
            (None, offered) => Ok(offered),
        }
    }

    /// The uploaded parts that the client lists.
    fn chosen(&self, upload_id: &str, listed: &[CompletedPart]) -> Result<Vec<Part>, StoreError> {
        let invalid = |number, problem| StoreError::InvalidPart {
            upload_id: upload_id.to_owned(),
            number,
            problem,
        };
        let mut chosen: Vec<Part> = Vec::with_capacity(listed.len());
        for wanted in listed {
            let number = wanted.number;
            if chosen.last().is_some_and(|before| before.number >= number) {
                return Err(StoreError::InvalidPartOrder {
                    upload_id: upload_id.to_owned(),
                    number,
                });
            }
            let part =
                self.parts.get(&number).ok_or_else(|| invalid(number, "was not uploaded"))?;
            if wanted.etag.as_ref().is_some_and(|etag| *etag != part.etag) {
                return Err(invalid(number, "has another entity tag"));
            }
            let same = |(algorithm, value): &(Algorithm, String)| {
                part.checksum
                    .as_ref()
                    .is_none_or(|c| c.algorithm != *algorithm || c.value == *value)
            };
            if !wanted.checksum.as_ref().is_none_or(same) {
                return Err(invalid(number, "has another checksum"));
            }
            chosen.push(part.clone());
        }
        match chosen.split_last() {
            Some((_, others)) => others.iter().try_for_each(check_size)?,
            None => {
                return Err(StoreError::InvalidRequest {
                    problem: "an upload is completed with at least one part".to_owned(),
                });
            }
        }
        Ok(chosen)
    }
}

fn check_size(part: &Part) -> Result<(), StoreError> {
    if part.size_bytes >= PART_BYTES_MIN {
        return Ok(());
    }
    Err(StoreError::PartTooSmall {
        number: part.number,
        size_bytes: part.size_bytes,
        size_bytes_min: PART_BYTES_MIN,
    })
}

impl Index {
    /// Notes that an object was written or deleted, for the uploads that are to replace it.
    pub(super) fn disturb_uploads(&mut self, key: &str) {
        let uploads = self.uploads.values_mut();
        for upload in uploads.filter(|upload| upload.new.key == key) {
            upload.disturbed = true;
        }
    }
}

impl Bucket {
    /// Starts an upload and returns its id.
    pub(crate) fn start_upload(&self, new: NewUpload) -> Result<String, StoreError> {
        let mut index = self.lock()?;
        let upload_id = Uuid::new_v4().simple().to_string();
        let folder = self.layout.upload(&upload_id);
        fs::create_dir_all(&folder).doing("creating", &folder)?;
        let record = folder.join(UPLOAD_RECORD);
        self.layout.write_record(&record, &new)?;
        let initiated =
            fs::metadata(&record).and_then(|m| m.modified()).doing("reading", &record)?;
        let upload = Upload::new(new, initiated, BTreeMap::new());
        index.uploads.insert(upload_id.clone(), upload);
        Ok(upload_id)
    }

    /// An upload as it is now.
    pub(crate) fn upload(&self, key: &str, upload_id: &str) -> Result<Upload, StoreError> {
        find(&mut *self.lock()?, key, upload_id).cloned()
    }

    /// The checksum to compute for a part that comes with `offered`.
    pub(crate) fn part_algorithm(
        &self,
        key: &str,
        upload_id: &str,
        offered: Option<Algorithm>,
    ) -> Result<Option<Algorithm>, StoreError> {
        find(&mut *self.lock()?, key, upload_id)?.part_algorithm(offered)
    }

    /// All uploads in progress, by key and id.
    pub(crate) fn uploads(&self) -> Result<BTreeMap<(String, String), Upload>, StoreError> {
        let index = self.lock()?;
        let uploads = index.uploads.iter();
        Ok(uploads
            .map(|(id, upload)| ((upload.new.key.clone(), id.clone()), upload.clone()))
            .collect())
    }

    /// Makes a written body a part, in place of the one that had its number. `etag` is for a
    /// body that was not read.
    pub(crate) fn put_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        mut staged: Staged,
        etag: Option<String>,
    ) -> Result<Part, StoreError> {
        let mut index = self.lock()?;
        let upload = find_idle(&mut index, key, upload_id)?;
        let seal = staged.seal().doing("writing", staged.path())?;
        let etag = if upload.new.kms {
            Some(random_etag())
        } else {
            etag.or_else(|| seal.digest.as_ref()?.etag())
        };
        let part = Part {
            number,
            size_bytes: seal.size_bytes,
            etag: etag.unwrap_or_default(),
            modified: seal.modified,
            checksum: seal.digest.and_then(|digest| digest.checksum),
            file: format!("{number}.{}", seal.id),
        };
        let folder = self.layout.upload(upload_id);
        let path = folder.join(&part.file);
        staged.move_to(&path).doing("writing", &path)?;
        self.layout.write_record(&folder.join(number.to_string()), &part)?;
        if let Some(before) = upload.parts.insert(number, part.clone()) {
            let path = folder.join(&before.file);
            fs::remove_file(&path).doing("deleting", &path)?;
        }
        Ok(part)
    }

    /// Gives an upload up, with its parts.
    pub(crate) fn abort_upload(&self, key: &str, upload_id: &str) -> Result<(), StoreError> {
        let mut index = self.lock()?;
        find_idle(&mut index, key, upload_id)?;
        self.drop_upload(&mut index, upload_id)
    }

    /// Makes an object of an upload's parts. Its parts are joined without holding up the rest of
    /// the bucket; meanwhile the upload can not be changed.
    pub(crate) fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        completion: &Completion,
    ) -> Result<Arc<Entry>, StoreError> {
        let (upload, parts) = self.begin_completion(key, upload_id, completion)?;
        let folder = self.layout.upload(upload_id);
        let joined = join(&self.layout, &folder, &upload, &parts);
        let mut index = self.lock()?;
        let committed = joined.and_then(|mut staged| {
            let new = completed(upload.new, &parts, &mut staged, completion)?;
            self.check_completion(&index, key, upload_id, &completion.condition)?;
            self.commit_locked(&mut index, new, staged, &completion.condition)
        });
        match committed {
            Ok(entry) => {
                self.drop_upload(&mut index, upload_id)?;
                Ok(entry)
            }
            Err(error) => {
                if let Some(upload) = index.uploads.get_mut(upload_id) {
                    upload.completing = false;
                }
                Err(error)
            }
        }
    }

    fn begin_completion(
        &self,
        key: &str,
        upload_id: &str,
        completion: &Completion,
    ) -> Result<(Upload, Vec<Part>), StoreError> {
        let mut index = self.lock()?;
        let upload = find_idle(&mut index, key, upload_id)?;
        let parts = upload.chosen(upload_id, &completion.parts)?;
        let size_bytes: u64 = parts.iter().map(|part| part.size_bytes).sum();
        if let Some(expected) = completion.size_bytes.filter(|expected| *expected != size_bytes) {
            return Err(StoreError::InvalidRequest {
                problem: format!(
                    "the parts have {size_bytes} bytes, the object is to have {expected}"
                ),
            });
        }
        // Asked again when the object is put in place; here it saves the joining.
        self.check_completion(&index, key, upload_id, &completion.condition)?;
        let upload = find(&mut index, key, upload_id)?;
        upload.completing = true;
        Ok((upload.clone(), parts))
    }

    /// Fails unless the condition of a completion holds. It cannot be decided once the object
    /// changed during the upload, not even if it holds again: AWS was recorded to answer so for an
    /// object that was deleted, and for one that was written again with equal bytes.
    fn check_completion(
        &self,
        index: &Index,
        key: &str,
        upload_id: &str,
        condition: &WriteCondition,
    ) -> Result<(), StoreError> {
        condition.check(self.name(), key, index.objects.get(key).map(Arc::as_ref))?;
        let disturbed = index.uploads.get(upload_id).is_some_and(|upload| upload.disturbed);
        match condition.header() {
            Some(condition) if disturbed => {
                Err(StoreError::ConditionalConflict { key: key.to_owned(), condition })
            }
            _ => Ok(()),
        }
    }

    fn drop_upload(&self, index: &mut Index, upload_id: &str) -> Result<(), StoreError> {
        index.uploads.remove(upload_id);
        let folder = self.layout.upload(upload_id);
        // The record goes first: a folder without it is no upload.
        let record = folder.join(UPLOAD_RECORD);
        fs::remove_file(&record).doing("deleting", &record)?;
        fs::remove_dir_all(&folder).doing("deleting", &folder)
    }
}

fn find<'a>(
    index: &'a mut Index,
    key: &str,
    upload_id: &str,
) -> Result<&'a mut Upload, StoreError> {
    let upload = index.uploads.get_mut(upload_id).filter(|upload| upload.new.key == key);
    upload.ok_or_else(|| StoreError::NoSuchUpload { upload_id: upload_id.to_owned() })
}

fn find_idle<'a>(
    index: &'a mut Index,
    key: &str,
    upload_id: &str,
) -> Result<&'a mut Upload, StoreError> {
    let upload = find(index, key, upload_id)?;
    if upload.completing {
        return Err(StoreError::UploadBusy { upload_id: upload_id.to_owned() });
    }
    Ok(upload)
}

/// Joins the parts' files. The bytes are read only for a checksum of the whole object.
fn join(
    layout: &BucketLayout,
    folder: &Path,
    upload: &Upload,
    parts: &[Part],
) -> Result<Staged, StoreError> {
    let whole = upload.new.checksum.filter(|(_, coverage)| *coverage == Coverage::FullObject);
    let staged = Staged::copying(&layout.staging, whole.map(|(algorithm, _)| algorithm));
    let mut staged = staged.doing("creating a file in", &layout.staging)?;
    for part in parts {
        let path = folder.join(&part.file);
        let file = File::open(&path).doing("opening", &path)?;
        staged.append(&file, 0..part.size_bytes).doing("copying", &path)?;
    }
    Ok(staged)
}

/// The object that an upload becomes.
fn completed(
    upload: NewUpload,
    parts: &[Part],
    staged: &mut Staged,
    completion: &Completion,
) -> Result<NewObject, StoreError> {
    let checksum = match upload.checksum {
        Some((_, Coverage::FullObject)) => staged.digest().and_then(|d| d.checksum.clone()),
        Some((algorithm, Coverage::Composite)) => {
            let sums = parts.iter().map(|part| part.checksum.as_ref().map_or("", |c| &c.value));
            Some(Checksum::of_parts(algorithm, sums))
        }
        None => None,
    };
    if let (Some((algorithm, expected)), Some(actual)) = (&completion.checksum, &checksum)
        && *algorithm == actual.algorithm
        && *expected != actual.value
    {
        return Err(StoreError::BadDigest {
            name: algorithm.header(),
            expected: expected.clone(),
            actual: actual.value.clone(),
        });
    }
    let summary = |part: &Part| PartSummary {
        number: part.number,
        size_bytes: part.size_bytes,
        checksum: part.checksum.clone(),
    };
    Ok(NewObject {
        etag: Some(etag_of_parts(parts.iter().map(|part| part.etag.as_str()))),
        checksum,
        parts: parts.iter().map(summary).collect(),
        tags: upload.tags,
        kms: upload.kms,
        ..NewObject::new(upload.key, upload.headers)
    })
}
