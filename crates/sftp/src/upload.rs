//! Writing a file with many requests in flight, in one session or in several.

mod pieces;
mod probe;
mod seams;

use std::collections::BTreeMap;

use aws_io::StorageError;
use bytes::Bytes;
use delivery::HashedOffset;
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use job::transport::SftpConfig;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use self::pieces::Pieces;
pub(crate) use self::seams::{Seam, check_seams};
use crate::session::{Handle, Limits, RequestError, Session};

/// Bytes that one lane has in flight at most, whatever the number of writes. OpenSSH's server lets
/// a connection send 2 MiB ahead of what it has taken in, and most servers less.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// A write that every server takes, by the draft.
const WRITE_BYTES_DEFAULT: usize = 32 * 1024;

/// A session that writes, and its own handle of the file.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) session: Session,
    pub(crate) handle: Handle,
}

/// Size and number of the writes of each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    write_bytes: usize,
    in_flight_max: usize,
}

/// The good end of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of it is written and acknowledged.
    Complete,
    /// The time was up. What was sent is acknowledged.
    TimeUp,
}

/// The failure of writing.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The source could not be read.
    Source(StorageError),
    /// A request of the lane with this number failed.
    Request { lane: usize, error: RequestError },
}

/// Writes what comes of a source to a file.
///
/// One reader hands the pieces to the lanes: each piece goes to the lane that has the fewest in
/// flight. A lane sends its pieces in ascending order, so that a single lane leaves no gap on the
/// way. The memory in use is a chunk of the source and a [window](Pace::window_bytes) for each lane.
pub(crate) struct Upload {
    lanes: Vec<Traffic>,
    pieces: Pieces,
    in_flight: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Beginnings of the unacknowledged pieces.
    unacknowledged: BTreeMap<u64, HashedOffset>,
    /// Beginning of the next piece.
    next: HashedOffset,
    /// The last beginning of a piece between two blocks.
    last_between_blocks: HashedOffset,
    pace: Pace,
    /// The first piece after the file was reopened.
    reopened: Option<Seam>,
    is_resumed: bool,
}

/// A lane, and what it has to do.
struct Traffic {
    lane: Lane,
    in_flight: usize,
    /// Time of the last acknowledgement; of interest while something is in flight.
    moved: Instant,
    /// The last piece, except of the first lane.
    last: Option<Seam>,
}

/// The answer to the write of a piece.
struct Answer {
    lane: usize,
    offset: u64,
    written: Result<(), RequestError>,
}

impl Pace {
    /// Returns the pace that a configuration and the limits of every lane's server allow.
    ///
    /// Writes are whole blocks of the hash, whose state between two writes can be kept then.
    pub(crate) fn new<'a>(
        limits: impl IntoIterator<Item = &'a Limits>,
        config: &SftpConfig,
    ) -> Self {
        let announced = limits.into_iter().map(Limits::write_bytes_max);
        let taken = announced.map(|max| max.unwrap_or(WRITE_BYTES_DEFAULT)).min();
        let write_bytes = taken.unwrap_or(WRITE_BYTES_DEFAULT).min(config.sftp_write_size.count());
        Self::with(write_bytes, config.sftp_max_in_flight.count())
    }

    fn with(write_bytes: usize, in_flight_max: usize) -> Self {
        let whole_blocks = write_bytes / HashedOffset::BLOCK_BYTES * HashedOffset::BLOCK_BYTES;
        // A server may take less than a block, of which a power of two is a whole part.
        let part = 1 << write_bytes.max(1).ilog2();
        let write_bytes = if whole_blocks > 0 { whole_blocks } else { part };
        let in_flight_max = in_flight_max.min(WINDOW_BYTES / write_bytes).max(1);
        Self { write_bytes, in_flight_max }
    }

    /// Returns the bytes that one lane has in flight at most. A file that is not larger is not
    /// written faster by a second lane.
    pub(crate) fn window_bytes(&self) -> usize {
        self.write_bytes * self.in_flight_max
    }
}

impl Upload {
    /// Prepares to write `chunks` behind `from`. Every lane has the same file open; the first one's
    /// handle must be able to read if there are several.
    ///
    /// # Panics
    ///
    /// Without a lane.
    pub(crate) fn new(
        lanes: Vec<Lane>,
        from: HashedOffset,
        config: &SftpConfig,
        chunks: BoxStream<'static, Result<Bytes, StorageError>>,
    ) -> Self {
        let pace = Pace::new(lanes.iter().map(|lane| &lane.session.features().limits), config);
        Self::with_pace(lanes, from, pace, chunks)
    }

    fn with_pace(
        lanes: Vec<Lane>,
        from: HashedOffset,
        pace: Pace,
        chunks: BoxStream<'static, Result<Bytes, StorageError>>,
    ) -> Self {
        assert!(!lanes.is_empty(), "an upload needs a lane");
        let moved = Instant::now();
        let traffic = |lane| Traffic { lane, in_flight: 0, moved, last: None };
        Self {
            lanes: lanes.into_iter().map(traffic).collect(),
            pieces: Pieces::new(chunks),
            in_flight: FuturesUnordered::new(),
            unacknowledged: BTreeMap::new(),
            is_resumed: from.offset() > 0,
            last_between_blocks: from.clone(),
            next: from,
            pace,
            reopened: None,
        }
    }

    /// Writes all that comes of the source, or as much as can be until `stop_at`, and waits for the
    /// answers. It can be called once more after [`Ending::TimeUp`].
    ///
    /// `acknowledged` grows with every answer, also if this fails or is dropped. Everything before
    /// it is acknowledged without a gap, and it lies between two blocks of the hash. So it may stay
    /// behind the end of the file by the last piece.
    ///
    /// The sessions' time limit is for progress, not for a write: on a slow line the last of many
    /// writes waits for all others.
    pub(crate) async fn run(
        &mut self,
        stop_at: Instant,
        acknowledged: &watch::Sender<HashedOffset>,
    ) -> Result<Ending, UploadError> {
        let mut ending = None;
        loop {
            let lane = self.free_lane().filter(|_| ending.is_none());
            let (slowest, given_up_at) = self.slowest_lane();
            tokio::select! {
                piece = self.pieces.next(self.pace.write_bytes), if lane.is_some() => {
                    let piece = piece.map_err(UploadError::Source)?;
                    match lane {
                        Some(lane) if !piece.is_empty() => self.send(lane, piece),
                        _ => ending = Some(Ending::Complete),
                    }
                }
                Some(answer) = self.in_flight.next() => self.receive(answer, acknowledged)?,
                () = sleep_until(stop_at), if ending.is_none() => ending = Some(Ending::TimeUp),
                () = sleep_until(given_up_at), if !self.in_flight.is_empty() => {
                    return Err(self.timed_out(slowest));
                }
                else => break,
            }
        }
        Ok(ending.unwrap_or(Ending::Complete))
    }

    /// Returns the end of what was written. After [`Ending::Complete`] its size and hash are those
    /// of the file.
    pub(crate) fn end(&self) -> &HashedOffset {
        &self.next
    }

    /// Returns the pieces that show whether all handles wrote to one file: the last one of each
    /// further lane, and the first one after the file was reopened. See [`check_seams`].
    pub(crate) fn seams(&self) -> Vec<Seam> {
        let last = self.lanes.iter().filter_map(|traffic| traffic.last.as_ref());
        last.chain(&self.reopened).cloned().collect()
    }

    /// Returns the first lane, whose handle reads.
    pub(crate) fn first_lane(&self) -> &Lane {
        &self.lanes[0].lane
    }

    /// Returns the lane with the fewest writes in flight, unless all have as many as they may.
    fn free_lane(&self) -> Option<usize> {
        let lanes = self.lanes.iter().enumerate();
        let free = lanes.filter(|(_, lane)| lane.in_flight < self.pace.in_flight_max);
        free.min_by_key(|(_, lane)| lane.in_flight).map(|(number, _)| number)
    }

    /// Returns the lane that has waited for an answer the longest, and when it is given up.
    fn slowest_lane(&self) -> (usize, Instant) {
        let busy = self.lanes.iter().enumerate().filter(|(_, lane)| lane.in_flight > 0);
        let given_up = busy.map(|(number, lane)| (number, lane.moved + lane.lane.session.limit()));
        given_up.min_by_key(|(_, at)| *at).unwrap_or_else(|| (0, Instant::now()))
    }

    fn timed_out(&self, lane: usize) -> UploadError {
        UploadError::Request { lane, error: self.lanes[lane].lane.session.timed_out() }
    }

    fn send(&mut self, number: usize, piece: Vec<Bytes>) {
        let offset = self.next.offset();
        self.unacknowledged.insert(offset, self.next.clone());
        if self.next.is_between_blocks() {
            self.last_between_blocks.clone_from(&self.next);
        }
        let seam = Seam { offset, bytes: piece.clone() };
        let traffic = &mut self.lanes[number];
        // The request is in the queue when this returns: pieces go out in the order of the offsets.
        let written = traffic.lane.session.begin_write(&traffic.lane.handle, offset, piece);
        if traffic.in_flight == 0 {
            traffic.moved = Instant::now();
        }
        traffic.in_flight += 1;
        self.in_flight
            .push(Box::pin(async move { Answer { lane: number, offset, written: written.await } }));
        // The hash is computed while the writer is at work.
        seam.bytes.iter().for_each(|bytes| self.next.advance(bytes));
        if number > 0 {
            self.lanes[number].last = Some(seam);
        } else if self.is_resumed && self.reopened.is_none() {
            // The first of all pieces goes to the first lane.
            self.reopened = Some(seam);
        }
    }

    fn receive(
        &mut self,
        Answer { lane, offset, written }: Answer,
        acknowledged: &watch::Sender<HashedOffset>,
    ) -> Result<(), UploadError> {
        written.map_err(|error| UploadError::Request { lane, error })?;
        self.lanes[lane].in_flight -= 1;
        self.lanes[lane].moved = Instant::now();
        self.unacknowledged.remove(&offset);
        let contiguous = self.unacknowledged.values().next().unwrap_or(&self.next);
        // Inside a block, where a file may end, the hash's state cannot be kept. After a resume the
        // last piece is written twice then.
        let kept =
            if contiguous.is_between_blocks() { contiguous } else { &self.last_between_blocks };
        let is_behind = acknowledged.borrow().offset() < kept.offset();
        if is_behind && kept.offset() <= contiguous.offset() {
            acknowledged.send_replace(kept.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
