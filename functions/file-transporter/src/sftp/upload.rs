//! Writing a file with many requests in flight, on one connection or on several.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use job::transport::SftpConfig;
use openssh_sftp_client::file::File;
use tokio::time::{Instant, sleep_until};

use super::{
    point::{BLOCK_BYTES, Point},
    remote::{Fault, Remote},
};
use crate::error::Error;

/// What one connection has in flight at most, whatever the number of writes. OpenSSH's server lets
/// a connection send 2 MiB ahead of what it has taken in, and most servers less.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// A connection that writes, and its own handle of the file.
pub(super) struct Lane<'a> {
    pub(super) remote: &'a Remote,
    pub(super) file: &'a File,
}

/// How writing ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it is written and acknowledged.
    Complete,
    /// The time was up.
    TimeUp,
}

/// Writes what comes of a source to a file.
///
/// One reader hands the pieces to the connections: each goes to the one that has the fewest in
/// flight. The memory in use is a chunk of the source and [`WINDOW_BYTES`] or `sftp_max_in_flight`
/// writes for each connection, whichever is less.
pub(super) struct Upload<'a> {
    lanes: Vec<Traffic<'a>>,
    in_flight: FuturesUnordered<BoxFuture<'a, Answer>>,
    /// The places where the unacknowledged pieces begin.
    unacknowledged: BTreeMap<u64, Point>,
    /// Where the next piece begins.
    next: Point,
    write_bytes: usize,
    writes_max: usize,
    path: &'a str,
}

/// A connection that writes, and what it has to do.
struct Traffic<'a> {
    lane: Lane<'a>,
    in_flight: usize,
    /// When it last got on; of interest while something is in flight.
    moved: Instant,
}

/// What became of a piece.
struct Answer {
    lane: usize,
    offset: u64,
    write_bytes_max: Result<Option<usize>, Fault>,
}

/// How many bytes one connection has in flight at most.
pub(super) fn window_bytes(config: &SftpConfig) -> u64 {
    let wanted = u64::from(config.sftp_max_in_flight.get()) * whole_blocks(config) as u64;
    wanted.min(WINDOW_BYTES as u64)
}

/// The size of a write: whole blocks of the hash, so that its state between two writes is small.
fn whole_blocks(config: &SftpConfig) -> usize {
    config.sftp_write_size.count() / BLOCK_BYTES * BLOCK_BYTES
}

impl<'a> Upload<'a> {
    /// Writes to `path` by `lanes` from the place `from` on.
    pub(super) fn new(
        lanes: Vec<Lane<'a>>,
        from: Point,
        config: &SftpConfig,
        path: &'a str,
    ) -> Self {
        let moved = Instant::now();
        Self {
            lanes: lanes.into_iter().map(|lane| Traffic { lane, in_flight: 0, moved }).collect(),
            in_flight: FuturesUnordered::new(),
            unacknowledged: BTreeMap::new(),
            next: from,
            write_bytes: whole_blocks(config),
            writes_max: config.sftp_max_in_flight.count(),
            path,
        }
    }

    /// Writes all that comes of `chunks`, or as much as can be until `stop_at`, and waits for the
    /// answers. `acknowledged` is kept up to date also when this fails or is dropped.
    ///
    /// The time limit is for progress, not for a write: on a slow line the last of many writes
    /// waits for all others.
    pub(super) async fn run(
        &mut self,
        chunks: BoxStream<'static, Result<Bytes, aws_io::StorageError>>,
        stop_at: Instant,
        acknowledged: &mut Point,
    ) -> Result<Ending, Error> {
        let mut source = Pieces { chunks, ready: VecDeque::new(), ready_bytes: 0 };
        let mut ending = None;
        loop {
            let lane = self.free_lane().filter(|_| ending.is_none());
            let (slowest, given_up_at) = self.slowest_lane();
            tokio::select! {
                piece = source.next(self.write_bytes), if lane.is_some() => {
                    let piece = piece?;
                    match lane {
                        Some(lane) if !piece.is_empty() => self.send(lane, piece),
                        _ => ending = Some(Ending::Complete),
                    }
                }
                Some(answer) = self.in_flight.next() => self.receive(answer, acknowledged)?,
                () = sleep_until(stop_at), if ending.is_none() => ending = Some(Ending::TimeUp),
                () = sleep_until(given_up_at), if !self.in_flight.is_empty() => {
                    return Err(self.lanes[slowest].lane.remote.too_late("writing the file"));
                }
                else => break,
            }
        }
        Ok(ending.unwrap_or(Ending::Complete))
    }

    /// The end of what was written: its size and hash are those of the file.
    pub(super) fn into_end(self) -> Point {
        self.next
    }

    /// The connection with the fewest writes in flight, unless all have as many as they may.
    fn free_lane(&self) -> Option<usize> {
        let max = self.writes_max.min(WINDOW_BYTES / self.write_bytes);
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.in_flight < max);
        lanes.min_by_key(|(_, lane)| lane.in_flight).map(|(number, _)| number)
    }

    /// The connection that has waited for an answer the longest, and when it is given up.
    fn slowest_lane(&self) -> (usize, Instant) {
        let busy = self.lanes.iter().enumerate().filter(|(_, lane)| lane.in_flight > 0);
        let given_up = busy.map(|(number, lane)| (number, lane.moved + lane.lane.remote.limit));
        given_up.min_by_key(|(_, at)| *at).unwrap_or_else(|| (0, Instant::now()))
    }

    fn send(&mut self, lane: usize, piece: Vec<Bytes>) {
        let offset = self.next.offset();
        self.unacknowledged.insert(offset, self.next.clone());
        for bytes in &piece {
            self.next.advance(bytes);
        }
        let traffic = &mut self.lanes[lane];
        if traffic.in_flight == 0 {
            traffic.moved = Instant::now();
        }
        traffic.in_flight += 1;
        let Lane { remote, file } = traffic.lane;
        self.in_flight.push(Box::pin(async move {
            let written = remote.write(file.clone(), offset, piece).await;
            Answer { lane, offset, write_bytes_max: written }
        }));
    }

    fn receive(&mut self, answer: Answer, acknowledged: &mut Point) -> Result<(), Error> {
        let failed = |fault: Fault| fault.into_error(format!("writing `{}`", self.path));
        let write_bytes_max = answer.write_bytes_max.map_err(failed)?;
        self.lanes[answer.lane].in_flight -= 1;
        self.lanes[answer.lane].moved = Instant::now();
        self.unacknowledged.remove(&answer.offset);
        if let Some(max) = write_bytes_max.filter(|max| *max >= BLOCK_BYTES) {
            self.write_bytes = self.write_bytes.min(max / BLOCK_BYTES * BLOCK_BYTES);
        }
        // Behind the last piece the hash may be inside a block; one piece is written twice then.
        match self.unacknowledged.first_key_value() {
            Some((_, first)) => acknowledged.clone_from(first),
            None if self.next.is_between_blocks() => acknowledged.clone_from(&self.next),
            None => {}
        }
        Ok(())
    }
}

/// The bytes of a source, cut into pieces of another size than it gives them.
struct Pieces {
    chunks: BoxStream<'static, Result<Bytes, aws_io::StorageError>>,
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
}

impl Pieces {
    /// The next `size_bytes`, in as many parts as the source gave them; fewer at the end, and none
    /// behind it. Nothing is lost if this is dropped while it waits.
    async fn next(&mut self, size_bytes: usize) -> Result<Vec<Bytes>, Error> {
        while self.ready_bytes < size_bytes {
            let Some(chunk) = self.chunks.try_next().await? else { break };
            self.ready_bytes += chunk.len();
            self.ready.push_back(chunk);
        }
        let mut piece = Vec::new();
        let mut missing = size_bytes;
        while missing > 0
            && let Some(mut chunk) = self.ready.pop_front()
        {
            let part = chunk.split_to(chunk.len().min(missing));
            missing -= part.len();
            self.ready_bytes -= part.len();
            if !chunk.is_empty() {
                self.ready.push_front(chunk);
            }
            piece.extend((!part.is_empty()).then_some(part));
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn pieces_have_one_size_whatever_the_source_gives() {
        let text: Vec<u8> = (0..100).collect();
        for (chunk_bytes, size_bytes) in [(1, 64), (7, 64), (64, 7), (100, 100), (30, 1000)] {
            let chunks = text.chunks(chunk_bytes).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
            // An empty chunk is not the end.
            let chunks = chunks.chain([Ok(Bytes::new())]).collect::<Vec<_>>();
            let mut source = Pieces {
                chunks: stream::iter(chunks).boxed(),
                ready: VecDeque::new(),
                ready_bytes: 0,
            };
            let mut pieces = Vec::new();
            loop {
                let piece = source.next(size_bytes).await.unwrap().concat();
                if piece.is_empty() {
                    break;
                }
                pieces.push(piece);
            }
            let expected: Vec<_> = text.chunks(size_bytes).map(<[u8]>::to_vec).collect();
            assert_eq!(pieces, expected, "chunks of {chunk_bytes}");
        }
    }
}
