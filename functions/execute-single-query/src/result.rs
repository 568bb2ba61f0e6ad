//! From Athena's result object to the run's CSV, and to the same as a member of its archive.

use std::{num::NonZeroUsize, path::Path, thread};

use archive::{Deflater, Directory, Entry, MemberName};
use aws_io::{HeadlessWriter, ObjectStream, ObjectWriter, Storage, StorageError};
use job::{
    S3Location,
    record::{CsvFile, MemberFile},
    states::{PlannedQuery, Run},
};
use sha2::{Digest, Sha256};

use crate::{
    ExecuteError,
    csv::{CsvError, Transform},
    error::in_storage,
};

/// What a query gave.
pub(crate) struct Written {
    pub(crate) csv: CsvFile,
    pub(crate) member: Option<MemberFile>,
}

/// Streams the result through the transform, in one pass: a chunk of S3, the parts of the two
/// writers, and the blocks that are being deflated are in memory.
pub(crate) async fn write(
    storage: &Storage,
    run: &Run,
    query: &PlannedQuery,
    output_location: &str,
) -> Result<Written, ExecuteError> {
    let name = &query.name;
    let no_result_set = || ExecuteError::NoResultSet {
        query: name.clone(),
        output_location: output_location.to_owned(),
    };
    let result: S3Location = output_location.parse().map_err(|_| no_result_set())?;
    // Athena writes `.csv` for a result set and `.txt` for the output of DDL and utility statements.
    if Path::new(&result.key).extension().is_none_or(|extension| extension != "csv") {
        return Err(no_result_set());
    }
    let mut source = storage.get_stream(&result, None).await.map_err(in_storage(name))?;

    let layout = run.layout();
    let location = layout.csv(name);
    let mut csv = storage.writer(location.clone(), "text/csv; charset=utf-8");
    // The one result of a run is delivered as it is.
    let mut member =
        (run.query_count > 1).then(|| Member::new(storage, layout.member(name), run.zip_level));
    let transform = Transform::new(run.csv.clone());
    let (rows, sha256) = match rewrite(&mut source, transform, &mut csv, member.as_mut()).await {
        Ok(written) => written,
        Err(fault) => {
            csv.abort().await;
            if let Some(member) = member {
                member.writer.abort().await;
            }
            return Err(match fault {
                Fault::Storage(source) => in_storage(name)(source),
                Fault::Csv(source) => ExecuteError::Result { query: name.clone(), source },
            });
        }
    };
    let member = match member {
        Some(member) => match member.finish(run, query).await {
            Ok(member) => Some(member),
            Err(error) => {
                csv.abort().await;
                return Err(in_storage(name)(error));
            }
        },
        None => None,
    };
    let info = csv.finish().await.map_err(in_storage(name))?;
    let csv =
        CsvFile { location, version: info.version, rows, size_bytes: info.size_bytes, sha256 };
    Ok(Written { csv, member })
}

enum Fault {
    Storage(StorageError),
    Csv(CsvError),
}

/// Sends the whole result through the transform; gives the number of rows and the SHA-256.
async fn rewrite(
    source: &mut ObjectStream,
    mut transform: Transform,
    csv: &mut ObjectWriter,
    mut member: Option<&mut Member>,
) -> Result<(u64, String), Fault> {
    let mut digest = Sha256::new();
    let mut text = Vec::new();
    while let Some(chunk) = source.next_chunk().await.map_err(Fault::Storage)? {
        transform.push(&chunk, &mut text).map_err(Fault::Csv)?;
        digest.update(&text);
        csv.write(&text).await.map_err(Fault::Storage)?;
        if let Some(member) = &mut member {
            member.write(&text).await.map_err(Fault::Storage)?;
        }
        text.clear();
    }
    let rows = transform.finish().map_err(Fault::Csv)?;
    Ok((rows, format!("{:x}", digest.finalize())))
}

/// The CSV as an archive of one entry. Its local header holds CRC-32 and sizes, so it is written
/// last.
struct Member {
    location: S3Location,
    writer: HeadlessWriter,
    deflater: Deflater,
    packed: Vec<u8>,
}

impl Member {
    fn new(storage: &Storage, location: S3Location, zip_level: u8) -> Self {
        let parallelism = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            writer: storage.headless_writer(location.clone(), "application/zip"),
            location,
            deflater: Deflater::new(zip_level, parallelism),
            packed: Vec::new(),
        }
    }

    async fn write(&mut self, text: &[u8]) -> Result<(), StorageError> {
        self.deflater.push(text, &mut self.packed).await;
        self.writer.write(&self.packed).await?;
        self.packed.clear();
        Ok(())
    }

    async fn finish(mut self, run: &Run, query: &PlannedQuery) -> Result<MemberFile, StorageError> {
        let deflated = self.deflater.finish(&mut self.packed).await;
        let name = MemberName::safe(query.file_name.as_str());
        let name = name.expect("a file name is short enough for an archive");
        let entry = Entry::new(name, run.started_at, run.zip_level, deflated);
        let mut directory = Directory::default();
        directory.push(&entry);
        self.packed.extend_from_slice(&directory.finish());
        if let Err(error) = self.writer.write(&self.packed).await {
            self.writer.abort().await;
            return Err(error);
        }
        let info = self.writer.finish_with_head(&entry.local_header()).await?;
        Ok(MemberFile {
            location: self.location,
            version: info.version,
            size_bytes: info.size_bytes,
            crc32: entry.crc32,
            compressed_bytes: entry.compressed_bytes,
        })
    }
}
