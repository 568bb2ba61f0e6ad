//! An archive whose members are deflated on their way through the function.
//!
//! Memory: one chunk of S3, what it deflates to, and the writer's parts; nothing grows with the
//! size of the members but the central directory, some 100 bytes each.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use archive::dos_date_and_time;
use aws_io::{ObjectInfo, ObjectWriter, Storage};
use jiff::Timestamp;
use job::{ObjectVersion, S3Location};
use sha2::{Digest, Sha256};
use zip::{
    CompressionMethod, DateTime, ZipWriter, result::ZipError, write::SimpleFileOptions,
    write::StreamWriter,
};

use crate::ZipS3FolderError;

/// Above this size a member has ZIP64 fields; deflating may make incompressible data a little larger.
const ZIP64_FROM_BYTES: u64 = u32::MAX as u64 - 16 * 1024 * 1024;

/// An object that becomes a member.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) location: S3Location,
    pub(crate) version: ObjectVersion,
    pub(crate) size_bytes: u64,
}

/// How members are written.
///
/// Their CRC-32 and sizes follow the data. The directory has them as well; a reader that streams
/// without it takes deflated members, but may refuse those of level 0.
pub(crate) fn options(modified_at: Timestamp, zip_level: u8) -> SimpleFileOptions {
    let (method, level) = match zip_level {
        0 => (CompressionMethod::Stored, None),
        level => (CompressionMethod::Deflated, Some(i64::from(level))),
    };
    let (date, time) = dos_date_and_time(modified_at);
    let time = DateTime::try_from_msdos(date, time);
    SimpleFileOptions::default()
        .compression_method(method)
        .compression_level(level)
        .last_modified_time(time.unwrap_or(DateTime::DEFAULT))
        .unix_permissions(0o644)
}

/// Makes the archive; gives its SHA-256, too.
pub(crate) async fn zip(
    storage: &Storage,
    location: &S3Location,
    sources: impl IntoIterator<Item = Source>,
    options: SimpleFileOptions,
) -> Result<(ObjectInfo, Option<String>), ZipS3FolderError> {
    let mut upload = storage.writer(location.clone(), "application/zip");
    match fill(storage, location, sources, options, &mut upload).await {
        Ok(sha256) => Ok((upload.finish().await?, Some(sha256))),
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

async fn fill(
    storage: &Storage,
    location: &S3Location,
    sources: impl IntoIterator<Item = Source>,
    options: SimpleFileOptions,
    upload: &mut ObjectWriter,
) -> Result<String, ZipS3FolderError> {
    let failed = |source| ZipS3FolderError::Zip { archive: location.clone(), source };
    let mut archive = Archive::new(options);
    let mut digest = Sha256::new();
    for Source { name, location, version, size_bytes } in sources {
        archive.begin(&name, size_bytes).map_err(failed)?;
        let mut object = storage.get_stream(&location, Some(&version)).await?;
        while let Some(chunk) = object.next_chunk().await? {
            let bytes = archive.write(&chunk).map_err(failed)?;
            digest.update(&bytes);
            upload.write(&bytes).await?;
        }
    }
    let bytes = archive.finish().map_err(failed)?;
    digest.update(&bytes);
    upload.write(&bytes).await?;
    Ok(format!("{:x}", digest.finalize()))
}

/// The bytes of an archive, taken out as they come.
struct Archive {
    writer: ZipWriter<StreamWriter<Outbox>>,
    outbox: Outbox,
    options: SimpleFileOptions,
}

impl Archive {
    fn new(options: SimpleFileOptions) -> Self {
        let outbox = Outbox::default();
        Self { writer: ZipWriter::new_stream(outbox.clone()), outbox, options }
    }

    fn begin(&mut self, name: &str, size_bytes: u64) -> Result<(), ZipError> {
        self.writer.start_file(name, self.options.large_file(size_bytes >= ZIP64_FROM_BYTES))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Vec<u8>, ZipError> {
        self.writer.write_all(bytes)?;
        Ok(self.outbox.take())
    }

    fn finish(self) -> Result<Vec<u8>, ZipError> {
        self.writer.finish()?;
        Ok(self.outbox.take())
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

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use proptest::prelude::*;
    use zip::ZipArchive;

    use super::*;

    fn archive(zip_level: u8, members: &[(String, Vec<u8>)]) -> Vec<u8> {
        let started_at = "2026-01-31T12:30:45Z".parse().unwrap();
        let mut archive = Archive::new(options(started_at, zip_level));
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
}
