//! Writing a file with many requests in flight, and reading it back.

use std::io::SeekFrom;

use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesUnordered},
};
use job::transport::SftpConfig;
use openssh_sftp_client::file::File;
use sha2::{Digest, Sha256};
use tokio::io::AsyncSeekExt;

use super::{
    names::hexadecimal,
    remote::{Fault, Remote},
};
use crate::{error::Error, source::Content};

const WRITING: &str = "writing the file";
const READING: &str = "reading the file back";

/// Requests in flight while a file is read back.
const READS_IN_FLIGHT: usize = 32;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) size_bytes: u64,
    pub(super) sha256: String,
}

/// Writes all of `content` to `file`.
///
/// The memory in use is one chunk of the source and `sftp_max_in_flight` writes. The library takes
/// the bytes as they are, without a copy, only by this call for each piece. The time limit is for
/// progress, not for a write: on a slow line the last of many writes waits for all others.
pub(super) async fn write(
    remote: &Remote,
    file: &File,
    mut content: Content,
    config: &SftpConfig,
    path: &str,
) -> Result<Written, Error> {
    let failed = |fault: Fault| fault.into_error(format!("writing `{path}`"));
    let mut hash = Sha256::new();
    let mut offset = 0;
    let mut in_flight = FuturesUnordered::new();
    let mut rest = Bytes::new();
    loop {
        while !rest.is_empty() && in_flight.len() < config.sftp_max_in_flight.count() {
            let piece = rest.split_to(rest.len().min(config.sftp_write_size.count()));
            hash.update(&piece);
            let start = offset;
            offset += piece.len() as u64;
            in_flight.push(write_piece(remote, file.clone(), start, piece));
        }
        if rest.is_empty() {
            // The writes go on while the source is waited for.
            tokio::select! {
                chunk = content.chunks.try_next() => match chunk? {
                    Some(chunk) => rest = chunk,
                    None => break,
                },
                Some(done) = in_flight.next() => done.map_err(failed)?,
            }
        } else {
            remote.in_time(WRITING, in_flight.try_next()).await.map_err(failed)?;
        }
    }
    while remote.in_time(WRITING, in_flight.try_next()).await.map_err(failed)?.is_some() {}
    Ok(Written { size_bytes: offset, sha256: hexadecimal(&hash.finalize()) })
}

async fn write_piece(
    remote: &Remote,
    mut file: File,
    offset: u64,
    piece: Bytes,
) -> Result<(), Fault> {
    let request = async move {
        file.seek(SeekFrom::Start(offset)).await?;
        file.write_all_zero_copy(&mut [piece]).await
    };
    remote.outcome(WRITING, request).await
}

/// The SHA-256 of a source, in hexadecimal.
pub(super) async fn hash(mut content: Content) -> Result<String, Error> {
    let mut hash = Sha256::new();
    while let Some(chunk) = content.chunks.try_next().await? {
        hash.update(&chunk);
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Reads a file of `size_bytes` back: its SHA-256 in hexadecimal, also if it is shorter.
pub(super) async fn read_back(
    remote: &Remote,
    path: &str,
    size_bytes: u64,
    config: &SftpConfig,
) -> Result<String, Fault> {
    let file = remote.open_for_reading(path).await?;
    let piece = config.sftp_write_size.get();
    let pieces = (0..size_bytes).step_by(config.sftp_write_size.count());
    let reads = pieces.map(|offset| {
        let length = u32::try_from(size_bytes - offset).map_or(piece, |rest| rest.min(piece));
        read_piece(remote, file.clone(), offset, length)
    });
    let mut hash = Sha256::new();
    let mut reads = stream::iter(reads).buffered(READS_IN_FLIGHT);
    while let Some(data) = remote.in_time(READING, reads.try_next()).await? {
        hash.update(&data);
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// The bytes from `offset`, `length` of them or up to the end: servers may answer with less.
async fn read_piece(
    remote: &Remote,
    mut file: File,
    offset: u64,
    length: u32,
) -> Result<BytesMut, Fault> {
    let mut data = BytesMut::new();
    let missing =
        |data: &BytesMut| length - u32::try_from(data.len()).unwrap_or(length).min(length);
    while missing(&data) > 0 {
        let place = offset + data.len() as u64;
        let more = remote.read(&mut file, place, missing(&data)).await?;
        if more.is_empty() {
            break;
        }
        data.unsplit(more);
    }
    Ok(data)
}
