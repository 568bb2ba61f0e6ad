//! Several objects to one archive.
//!
//! The results of a run are members already: archives of one entry, which execute-single-query
//! wrote beside their CSVs. Their archive is put together by S3 itself, from ranges of them, so that
//! hardly a byte passes through the function (the private module `assembly`). Everything else, such
//! as a folder of plain objects, is deflated on its way through (the private module `stream`).

mod assembly;
mod parts;
mod stream;

use archive::{MemberName, NameTooLong, Names};
use aws_io::{
    Failure, ObjectInfo, Storage, StorageError,
    run_files::{self, RunFileError},
};
use job::{
    ErrorName, OnQueryFailure, S3Location,
    name::NameError,
    snapshot::Snapshot,
    states::{Deliverable, Run, ZipFolder, ZipTask, Zipped},
};
use tracing::info;
use zip::result::ZipError;

pub use crate::parts::TooManyParts;
use crate::{assembly::Member, stream::Source};

/// The most objects that a folder may have.
const FOLDER_OBJECTS_MAX: usize = 100_000;

/// Why the archive could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ZipS3FolderError {
    /// A key is too long for a name in an archive.
    #[error("making the archive `{archive}`")]
    MemberName {
        /// The archive.
        archive: S3Location,
        /// What is wrong.
        source: NameTooLong,
    },
    /// The archive could not be written.
    #[error("making the archive `{archive}`")]
    Zip {
        /// The archive.
        archive: S3Location,
        /// What is wrong.
        source: ZipError,
    },
    /// S3 can not put so many, or so large, members together.
    #[error("making the archive `{archive}`")]
    Parts {
        /// The archive.
        archive: S3Location,
        /// What is wrong.
        source: TooManyParts,
    },
    /// The archive's key does not end in a file's name.
    #[error("naming the archive `{archive}`")]
    Name {
        /// The archive.
        archive: S3Location,
        /// What is wrong.
        source: NameError,
    },
    /// The folder has too many objects.
    #[error("the folder `{folder}` has more than {FOLDER_OBJECTS_MAX} objects")]
    FolderTooLarge {
        /// The folder.
        folder: S3Location,
    },
    /// The snapshot of the results is missing, or is not the run's.
    #[error("making the archive `{archive}`: its members are not the results that were gathered")]
    Snapshot {
        /// The archive.
        archive: S3Location,
    },
    /// The records of the run cannot be used.
    #[error("making the archive")]
    Records(#[from] RunFileError),
    /// S3 failed.
    #[error("making the archive")]
    Storage(#[from] StorageError),
}

impl Failure for ZipS3FolderError {
    fn name(&self) -> ErrorName {
        match self {
            Self::MemberName { .. }
            | Self::Zip { .. }
            | Self::Parts { .. }
            | Self::Snapshot { .. }
            | Self::FolderTooLarge { .. } => ErrorName::ArchiveInvalid,
            Self::Name { .. } => ErrorName::JobInvalid,
            Self::Records(error) => error.name(),
            Self::Storage(error) => error.name(),
        }
    }
}

/// Zips the results of a run as they were gathered, in the order of its plan, or a folder in the order of its keys.
///
/// The same run gives the same bytes: every member has the time at which the run started.
///
/// # Errors
///
/// See [`ZipS3FolderError`]. Nothing of a failed archive is left in S3.
pub async fn zip(storage: &Storage, task: ZipTask) -> Result<Zipped, ZipS3FolderError> {
    match task {
        ZipTask::Run(run) => zip_run(storage, run).await,
        ZipTask::Folder(folder) => zip_folder(storage, folder).await,
    }
}

async fn zip_run(storage: &Storage, run: Run) -> Result<Zipped, ZipS3FolderError> {
    let layout = run.layout();
    let archive = layout.archive();
    run_files::expect_live(storage, &run).await?;
    let snapshot = run_files::snapshot(storage, &layout, &run.execution).await?;
    let members = members(&run, snapshot.as_ref())
        .ok_or_else(|| ZipS3FolderError::Snapshot { archive: archive.clone() })?;
    let count = members.len();
    let (info, sha256) = assembly::assemble(storage, &archive, members).await?;
    info!(run.id = %run.run_id, members = count, size_bytes = info.size_bytes, "made the archive");
    Ok(zipped(&archive, info, sha256, run.file_name, count))
}

/// The members of exactly the snapshot; nothing if it does not fit the run, or a query that
/// succeeded has no member.
fn members(run: &Run, snapshot: Option<&Snapshot>) -> Option<Vec<Member>> {
    let Snapshot { queries, succeeded, failed, .. } = snapshot?;
    let is_allowed = *failed == 0 || run.on_query_failure == OnQueryFailure::Continue;
    if queries.len() != run.query_count || *succeeded == 0 || !is_allowed {
        return None;
    }
    let results = queries.iter().filter(|query| query.csv.is_some());
    let members: Vec<Member> =
        results.map(|query| Member::of(run, query)).collect::<Option<_>>()?;
    (members.len() == *succeeded).then_some(members)
}

async fn zip_folder(storage: &Storage, folder: ZipFolder) -> Result<Zipped, ZipS3FolderError> {
    let ZipFolder { bucket, prefix, archive, modified_at, zip_level } = folder;
    let file_name = archive.file_name().parse();
    let file_name =
        file_name.map_err(|source| ZipS3FolderError::Name { archive: archive.clone(), source })?;
    let objects =
        storage.list_objects(bucket.as_str(), prefix.as_str(), FOLDER_OBJECTS_MAX + 1).await?;
    if objects.len() > FOLDER_OBJECTS_MAX {
        let folder = S3Location::new(bucket.as_str(), prefix.as_str());
        return Err(ZipS3FolderError::FolderTooLarge { folder });
    }
    let mut names = Names::default();
    let mut sources = Vec::with_capacity(objects.len());
    for object in objects {
        let location = S3Location::new(bucket.as_str(), object.key);
        // The console of S3 marks a folder by an empty object whose key ends with a slash.
        if location == archive || location.key.ends_with('/') {
            continue;
        }
        let name = MemberName::safe(&location.key[prefix.as_str().len()..])
            .and_then(|name| names.unique(name))
            .map_err(|source| ZipS3FolderError::MemberName { archive: archive.clone(), source })?;
        let ObjectInfo { version, size_bytes } = object.info;
        sources.push(Source { name: name.as_str().to_owned(), location, version, size_bytes });
    }
    let count = sources.len();
    let options = stream::options(modified_at, zip_level);
    let (info, sha256) = stream::zip(storage, &archive, sources, options).await?;
    info!(archive = %archive, members = count, size_bytes = info.size_bytes, "made the archive");
    Ok(zipped(&archive, info, sha256, file_name, count))
}

fn zipped(
    archive: &S3Location,
    info: ObjectInfo,
    sha256: Option<String>,
    file_name: job::FileName,
    members: usize,
) -> Zipped {
    let ObjectInfo { version, size_bytes } = info;
    let uri = archive.to_string();
    Zipped { file: Deliverable { uri, version, size_bytes, sha256, file_name }, members }
}
