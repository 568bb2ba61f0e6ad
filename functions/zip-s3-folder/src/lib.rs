//! Several results to one archive, as a stream.
//!
//! Memory: one chunk of S3, what it deflates to, and the writer's parts; nothing grows with the
//! size of the results but the central directory, some 100 bytes a member.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use aws_io::{Failure, ObjectWriter, Storage, StorageError, run_files};
use jiff::{Timestamp, tz::TimeZone};
use job::{
    ErrorName,
    record::CsvFile,
    states::{Deliverable, Run, ZipTask, Zipped},
};
use sha2::{Digest, Sha256};
use tracing::info;
use zip::{
    CompressionMethod, DateTime, ZipWriter, result::ZipError, write::SimpleFileOptions,
    write::StreamWriter,
};

/// Above this size a member has ZIP64 fields; deflating may make incompressible data a little larger.
const ZIP64_FROM_BYTES: u64 = u32::MAX as u64 - 16 * 1024 * 1024;

/// Why the archive could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ZipS3FolderError {
    /// The archive's format does not allow it.
    #[error("making the archive of run `{run_id}`")]
    Archive {
        /// The run.
        run_id: String,
        /// What is wrong.
        source: ZipError,
    },
    /// S3 failed.
    #[error("making the archive")]
    Storage(#[from] StorageError),
}

impl Failure for ZipS3FolderError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Archive { .. } => ErrorName::ArchiveInvalid,
            Self::Storage(error) => error.name(),
        }
    }
}

/// Zips the CSVs of a run in the order of its plan.
///
/// The same run gives the same bytes: every member has the time at which the run started (UTC, in
/// steps of two seconds, as [APPNOTE 4.4.6](https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT)
/// has it).
///
/// # Errors
///
/// See [`ZipS3FolderError`]. Nothing of a failed archive is left in S3.
pub async fn zip(storage: &Storage, task: ZipTask) -> Result<Zipped, ZipS3FolderError> {
    let run = task.run;
    let location = run.layout().archive();
    let mut upload = storage.writer(location.clone(), "application/zip");
    let filled = fill(storage, &run, &mut upload).await;
    let (members, sha256) = match filled {
        Ok(filled) => filled,
        Err(error) => {
            upload.abort().await;
            return Err(error);
        }
    };
    let object = upload.finish().await?;
    info!(run.id = %run.run_id, members, size_bytes = object.size_bytes, "made the archive");
    Ok(Zipped {
        file: Deliverable {
            uri: location.to_string(),
            etag: object.etag,
            size_bytes: object.size_bytes,
            sha256,
            file_name: run.file_name,
        },
        members,
    })
}

/// Writes the whole archive; gives the number of its members and its SHA-256.
async fn fill(
    storage: &Storage,
    run: &Run,
    upload: &mut ObjectWriter,
) -> Result<(usize, String), ZipS3FolderError> {
    let layout = run.layout();
    let mut archive = Archive::new(run);
    let mut digest = Sha256::new();
    let mut members = 0;
    for record in run_files::records(storage, &layout).await? {
        let Some(CsvFile { location, etag, size_bytes, .. }) = record.csv else { continue };
        archive.begin(record.file_name.as_str(), size_bytes)?;
        let mut csv = storage.get_stream(&location, Some(&etag)).await?;
        while let Some(chunk) = csv.next_chunk().await? {
            let bytes = archive.write(&chunk)?;
            digest.update(&bytes);
            upload.write(&bytes).await?;
        }
        members += 1;
    }
    let bytes = archive.finish()?;
    digest.update(&bytes);
    upload.write(&bytes).await?;
    Ok((members, format!("{:x}", digest.finalize())))
}

/// The bytes of an archive, taken out as they come.
struct Archive {
    run_id: String,
    writer: ZipWriter<StreamWriter<Outbox>>,
    outbox: Outbox,
    options: SimpleFileOptions,
}

impl Archive {
    fn new(run: &Run) -> Self {
        let (method, level) = match run.zip_level {
            0 => (CompressionMethod::Stored, None),
            level => (CompressionMethod::Deflated, Some(i64::from(level))),
        };
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .compression_level(level)
            .last_modified_time(dos_time(run.started_at))
            .unix_permissions(0o644);
        let outbox = Outbox::default();
        let writer = ZipWriter::new_stream(outbox.clone());
        Self { run_id: run.run_id.to_string(), writer, outbox, options }
    }

    fn begin(&mut self, name: &str, size_bytes: u64) -> Result<(), ZipS3FolderError> {
        let options = self.options.large_file(size_bytes >= ZIP64_FROM_BYTES);
        self.writer.start_file(name, options).map_err(|source| self.failed(source))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Vec<u8>, ZipS3FolderError> {
        self.writer.write_all(bytes).map_err(|source| self.failed(source.into()))?;
        Ok(self.outbox.take())
    }

    fn finish(self) -> Result<Vec<u8>, ZipS3FolderError> {
        let Self { run_id, writer, outbox, .. } = self;
        writer.finish().map_err(|source| ZipS3FolderError::Archive { run_id, source })?;
        Ok(outbox.take())
    }

    fn failed(&self, source: ZipError) -> ZipS3FolderError {
        ZipS3FolderError::Archive { run_id: self.run_id.clone(), source }
    }
}

/// Where the `zip` crate writes to; what stands in it is taken out after each write.
#[derive(Clone, Default)]
struct Outbox(Arc<Mutex<Vec<u8>>>);

impl Outbox {
    fn take(&self) -> Vec<u8> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Outbox {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A time as ZIP keeps it: 1980 to 2107, in steps of two seconds; the nearest end outside of that.
fn dos_time(at: Timestamp) -> DateTime {
    let at = at.to_zoned(TimeZone::UTC);
    let part = |number: i8| u8::try_from(number).unwrap_or_default();
    u16::try_from(at.year())
        .ok()
        .and_then(|year| {
            let (month, day) = (part(at.month()), part(at.day()));
            DateTime::from_date_and_time(
                year,
                month,
                day,
                part(at.hour()),
                part(at.minute()),
                part(at.second()),
            )
            .ok()
        })
        .unwrap_or(DateTime::DEFAULT)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use job::{CsvOptions, OnQueryFailure, Prefix};
    use proptest::prelude::*;
    use zip::ZipArchive;

    use super::*;

    fn run(zip_level: u8) -> Run {
        Run {
            run_id: "r1".parse().unwrap(),
            started_at: "2026-01-31T12:30:45Z".parse().unwrap(),
            output_bucket: "acme-results".parse().unwrap(),
            output_prefix: Prefix::default(),
            zip_prefix: Prefix::default(),
            query_count: 2,
            max_concurrency: 1,
            on_query_failure: OnQueryFailure::Fail,
            work_group: "primary".to_owned(),
            catalog: "AwsDataCatalog".to_owned(),
            csv: CsvOptions::default(),
            zip_level,
            file_name: "r1.zip".parse().unwrap(),
        }
    }

    fn archive(zip_level: u8, members: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut archive = Archive::new(&run(zip_level));
        let mut bytes = Vec::new();
        for (name, content) in members {
            archive.begin(name, content.len() as u64).unwrap();
            for chunk in content.chunks(7) {
                bytes.extend(archive.write(chunk).unwrap());
            }
        }
        bytes.extend(archive.finish().unwrap());
        bytes
    }

    proptest! {
        /// The second definition of correct is the `zip` crate's reader, which checks the CRC-32.
        #[test]
        fn another_reader_finds_every_member(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
            level in 0_u8..=9,
        ) {
            let members: Vec<_> =
                contents.into_iter().enumerate().map(|(i, content)| (format!("Größe {i}.csv"), content)).collect();
            let bytes = archive(level, &members);
            prop_assert_eq!(&bytes, &archive(level, &members), "the same run gives the same bytes");
            let mut reader = ZipArchive::new(Cursor::new(bytes)).unwrap();
            prop_assert_eq!(reader.len(), members.len());
            for (i, (name, content)) in members.iter().enumerate() {
                let mut member = reader.by_index(i).unwrap();
                prop_assert_eq!(member.name().unwrap(), name.as_str());
                let mut read = Vec::new();
                member.read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, content);
            }
        }
    }

    #[test]
    fn a_member_has_the_time_at_which_the_run_started() {
        let time = dos_time("2026-01-31T12:30:45Z".parse().unwrap());
        assert_eq!(
            (time.year(), time.month(), time.day(), time.hour(), time.minute()),
            (2026, 1, 31, 12, 30)
        );
        assert_eq!(dos_time("1970-01-01T00:00:00Z".parse().unwrap()), DateTime::DEFAULT);
    }
}
