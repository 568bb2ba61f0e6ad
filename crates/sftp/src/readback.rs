//! Reading a written file back.

use bytes::Bytes;
use delivery::HashedOffset;
use futures_util::{
    TryStreamExt,
    stream::{self, StreamExt},
};
use tokio::time::timeout;

use crate::session::{Handle, RequestError, Session};

/// Reads in flight while a file is read back.
const READS_IN_FLIGHT: usize = 32;

/// A read that every server answers in full, by the draft.
const READ_BYTES_DEFAULT: usize = 32 * 1024;

/// Reads a file of `size_bytes` back and returns its SHA-256 in hexadecimal.
///
/// Of a shorter file it is that of the file, and of a longer one that of one byte more. The session's
/// time limit is for progress. The memory in use is 32 reads, 8 MiB at most.
pub(crate) async fn sha256(
    session: &Session,
    handle: &Handle,
    size_bytes: u64,
) -> Result<String, RequestError> {
    let read_bytes = read_bytes_max(session);
    let end = size_bytes.saturating_add(1);
    let reads = (0..end).step_by(read_bytes).map(|offset| async move {
        let rest = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let length = rest.min(read_bytes);
        read_unlimited(session, handle, offset, length).await.map(|parts| (length, parts))
    });
    let mut reads = stream::iter(reads).buffered(READS_IN_FLIGHT);
    let mut hashed = HashedOffset::default();
    loop {
        let read = timeout(session.limit(), reads.try_next()).await;
        let Some((length, parts)) = read.map_err(|_| session.timed_out())?? else { break };
        let mut read_bytes = 0;
        for part in parts {
            read_bytes += part.len();
            hashed.advance(&part);
        }
        if read_bytes < length {
            break;
        }
    }
    Ok(hashed.sha256())
}

/// Reads `length` bytes from `offset` on, or those up to the end of the file. The session's time
/// limit is for each of the reads that are needed.
pub(crate) async fn read_range(
    session: &Session,
    handle: &Handle,
    offset: u64,
    length: usize,
) -> Result<Vec<Bytes>, RequestError> {
    let mut range = Range { offset, missing: length, parts: Vec::new() };
    loop {
        let read = timeout(session.limit(), range.read_more(session, handle)).await;
        if !read.map_err(|_| session.timed_out())?? {
            return Ok(range.parts);
        }
    }
}

async fn read_unlimited(
    session: &Session,
    handle: &Handle,
    offset: u64,
    length: usize,
) -> Result<Vec<Bytes>, RequestError> {
    let mut range = Range { offset, missing: length, parts: Vec::new() };
    while range.read_more(session, handle).await? {}
    Ok(range.parts)
}

fn read_bytes_max(session: &Session) -> usize {
    session.features().limits.read_bytes_max().unwrap_or(READ_BYTES_DEFAULT)
}

/// A range of a file that is read. Servers may answer a read with less.
struct Range {
    offset: u64,
    missing: usize,
    parts: Vec<Bytes>,
}

impl Range {
    /// Reads the next bytes, and returns whether there may be more.
    async fn read_more(
        &mut self,
        session: &Session,
        handle: &Handle,
    ) -> Result<bool, RequestError> {
        let length = self.missing.min(read_bytes_max(session));
        if length == 0 {
            return Ok(false);
        }
        // The session's limit is far below 4 GiB.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let part = session.read(handle, self.offset, length).await?;
        self.offset += part.len() as u64;
        self.missing -= part.len();
        let has_more = !part.is_empty();
        self.parts.extend(has_more.then_some(part));
        Ok(has_more)
    }
}

#[cfg(test)]
mod tests;
