//! An archive that S3 puts together from members which lie in it already.
//!
//! A member object begins with its entry: local header and data. The archive is these beginnings,
//! one after the other, and a central directory. S3 copies the large ones from object to object;
//! what is too small for a part of its own is read and carried, some MiB at a time.
//!
//! Memory: four carried parts on their way and one that is being read, of 10 MiB each at the most
//! (32 MiB if there are so many small members that smaller parts would be more than S3 takes); some of
//! its pieces twice; and the central directory, some 100 bytes a member.

use archive::{Deflated, Directory, Entry, MemberName};
use aws_io::{MultipartUpload, ObjectInfo, Storage, StorageError};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use job::{
    S3Location,
    record::{MemberFile, QuerySummary},
    states::Run,
};
use sha2::{Digest, Sha256};

use crate::{
    ZipS3FolderError,
    parts::{self, Part, Piece, Segment},
};

const CONTENT_TYPE: &str = "application/zip";

/// How many small members are read at once.
const READS_IN_FLIGHT: usize = 16;

/// A member, and what its entry says of it.
pub(crate) struct Member {
    file: MemberFile,
    entry: Entry,
}

impl Member {
    /// The member of a query, if there is one.
    pub(crate) fn of(run: &Run, record: &QuerySummary) -> Option<Self> {
        let (csv, file) = (record.csv.as_ref()?, record.member.clone()?);
        let name = MemberName::safe(record.file_name.as_str());
        let name = name.expect("a file name is short enough for an archive");
        let deflated = Deflated {
            crc32: file.crc32,
            compressed_bytes: file.compressed_bytes,
            uncompressed_bytes: csv.size_bytes,
        };
        let entry = Entry::new(name, run.started_at, run.zip_level, deflated);
        Some(Self { file, entry })
    }
}

/// Makes the archive of these members, in their order.
///
/// The SHA-256 is known if every byte was carried.
pub(crate) async fn assemble(
    storage: &Storage,
    archive: &S3Location,
    members: Vec<Member>,
) -> Result<(ObjectInfo, Option<String>), ZipS3FolderError> {
    let mut directory = Directory::default();
    for member in &members {
        directory.push(&member.entry);
    }
    let directory = Bytes::from(directory.finish());
    let segments = members.iter().enumerate().map(|(source, member)| Segment {
        source,
        bytes: member.entry.entry_bytes(),
        object_bytes: member.file.size_bytes,
    });
    let parts = parts::plan(&segments.collect::<Vec<_>>())
        .map_err(|source| ZipS3FolderError::Parts { archive: archive.clone(), source })?;
    let sources = Sources { storage, members: &members, directory };

    if let [Part::Carried(pieces)] = parts.as_slice() {
        let bytes = sources.read(pieces, true).await?;
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        return Ok((storage.put_bytes(archive, CONTENT_TYPE, bytes).await?, Some(sha256)));
    }
    let mut upload = storage.multipart_upload(archive.clone(), CONTENT_TYPE).await?;
    match sources.send(&mut upload, parts).await {
        Ok(sha256) => Ok((upload.finish().await?, sha256)),
        Err(error) => {
            upload.abort().await;
            Err(error.into())
        }
    }
}

/// Where the bytes of the archive come from.
struct Sources<'a> {
    storage: &'a Storage,
    members: &'a [Member],
    directory: Bytes,
}

impl Sources<'_> {
    /// Sends all parts; gives the SHA-256 if every byte passed through here.
    async fn send(
        &self,
        upload: &mut MultipartUpload,
        parts: Vec<Part>,
    ) -> Result<Option<String>, StorageError> {
        let all_carried = parts.iter().all(|part| matches!(part, Part::Carried(_)));
        let mut digest = all_carried.then(Sha256::new);
        let last = parts.len() - 1;
        for (i, part) in parts.into_iter().enumerate() {
            match part {
                Part::Copy(Piece { source, range }) => {
                    let MemberFile { location, version, .. } = &self.members[source].file;
                    upload.copy_part(location, version, range).await?;
                }
                Part::Carried(pieces) => {
                    let bytes = self.read(&pieces, i == last).await?;
                    if let Some(digest) = &mut digest {
                        digest.update(&bytes);
                    }
                    upload.put_part(bytes).await?;
                }
            }
        }
        Ok(digest.map(|digest| format!("{:x}", digest.finalize())))
    }

    /// Reads the pieces of one part, some at once, and joins them in their order; the directory
    /// ends the last part.
    async fn read(&self, pieces: &[Piece], is_last: bool) -> Result<Bytes, StorageError> {
        let mut read =
            stream::iter(pieces).map(|piece| self.read_piece(piece)).buffered(READS_IN_FLIGHT);
        let bytes: u64 = pieces.iter().map(|piece| piece.range.end - piece.range.start).sum();
        let mut part = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or_default());
        while let Some(bytes) = read.try_next().await? {
            part.extend_from_slice(&bytes);
        }
        if is_last {
            part.extend_from_slice(&self.directory);
        }
        Ok(part.freeze())
    }

    async fn read_piece(&self, piece: &Piece) -> Result<Bytes, StorageError> {
        let MemberFile { location, version, .. } = &self.members[piece.source].file;
        let mut stream = self.storage.get_range(location, version, piece.range.clone()).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next_chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}
