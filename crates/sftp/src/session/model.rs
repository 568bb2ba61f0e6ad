//! A server for tests that keeps one file, and has the flaws that it is given.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncWriteExt, duplex},
    sync::{Notify, mpsc},
};

use super::{
    Handle, Session,
    script::{
        ATTRS, CLOSE, DATA, EXTENDED, EXTENDED_REPLY, FSTAT, HANDLE, LIMIT, OPEN, READ, Received,
        Script, WRITE, packet, status, string, version,
    },
};
use crate::upload::Lane;

const OK: u32 = 0;
const EOF: u32 = 1;
const FAILURE: u32 = 4;

/// Flaws of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// It takes only the byte behind the last one.
    OnlyNextByte,
    /// Every handle has a file of its own, until it is closed.
    OwnFiles,
    /// It puts every write behind the last byte.
    Appends,
    /// It loses what the second handle writes, but not its size.
    SecondIsLost,
    /// It loses all that the second handle writes.
    SecondIsIgnored,
    RefusesFstat,
    TellsNoSize,
    RefusesRead,
    RefusesSecondWrite,
    /// It refuses the write at this offset or behind it.
    RefusesFrom(u64),
    /// It never answers FSTAT.
    IgnoresFstat,
}

/// A server with one file.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) flaw: Flaw,
    /// Limit of a write; none is announced if there is none.
    pub(crate) write_bytes_max: Option<usize>,
    /// Limit of a read.
    pub(crate) read_bytes_max: Option<usize>,
    /// A read is answered with half of what it asks for.
    pub(crate) reads_are_short: bool,
    /// Number of writes that are answered; all if there is none.
    pub(crate) answers_max: Option<usize>,
    /// Chooses the order of the answers; in the order of the requests if it is 0.
    pub(crate) order: u64,
    /// Bytes of a stream between client and server.
    pub(crate) stream_bytes: usize,
    pub(crate) state: Mutex<State>,
    pub(crate) answered_all: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) file: Vec<u8>,
    pub(crate) own_files: BTreeMap<usize, Vec<u8>>,
    /// Lane, offset and length of all writes, in the order of their coming.
    pub(crate) writes: Vec<(usize, u64, usize)>,
    /// Offset and end of the writes that were answered.
    pub(crate) answered: Vec<(u64, u64)>,
    pub(crate) reads_in_flight_max: usize,
    pub(crate) answers: usize,
}

impl State {
    /// End of the answered writes without a gap.
    pub(crate) fn answered_to(&self, from: u64) -> u64 {
        let mut answered = self.answered.clone();
        answered.sort_unstable();
        answered
            .into_iter()
            .fold(from, |end, (offset, next)| if offset == end { next } else { end })
    }
}

impl Model {
    /// Starts as many lanes as asked for, with this limit for requests.
    pub(crate) async fn lanes(
        self: &Arc<Self>,
        count: usize,
        limit: std::time::Duration,
    ) -> Vec<Lane> {
        let mut lanes = Vec::new();
        for lane in 0..count {
            let (client, server) = duplex(self.stream_bytes.max(1));
            tokio::spawn(Arc::clone(self).serve(lane, Script(server)));
            let session = Session::start(client, limit).await.unwrap();
            let handle = session.open_for_writing("file").await.unwrap();
            lanes.push(Lane { session, handle });
        }
        lanes
    }

    pub(crate) async fn lane(self: &Arc<Self>) -> (Session, Handle) {
        let Lane { session, handle } = self.lanes(1, LIMIT).await.remove(0);
        (session, handle)
    }

    async fn serve(self: Arc<Self>, lane: usize, script: Script) {
        let (mut requests, mut replies) = (Vec::<(Received, Vec<u8>)>::new(), 0u64);
        let (reader, mut writer) = tokio::io::split(script.0);
        let (queue, mut received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut reader = reader;
            while let Some(request) = super::script::read_request(&mut reader).await {
                if queue.send(request).is_err() {
                    return;
                }
            }
        });
        loop {
            tokio::select! {
                biased;
                request = received.recv() => {
                    let Some(request) = request else { return };
                    if let Some(answer) = self.answer(lane, &request) {
                        requests.push((request, answer));
                    }
                    let reads = requests.iter().filter(|(request, _)| request.kind == READ).count();
                    let mut state = self.state.lock().unwrap();
                    state.reads_in_flight_max = state.reads_in_flight_max.max(reads);
                }
                // Answers when nothing more comes, so that there is something to choose from.
                () = settle(), if !requests.is_empty() => {
                    replies += 1;
                    let chosen = self.order.wrapping_mul(replies).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let chosen = usize::try_from(chosen >> 33).unwrap() % requests.len();
                    let (request, answer) = requests.remove(if self.order == 0 { 0 } else { chosen });
                    if self.may_answer(&request) && writer.write_all(&answer).await.is_err() {
                        return;
                    }
                    if self.has_answered_all() {
                        self.answered_all.notify_one();
                    }
                }
            }
        }
    }

    fn has_answered_all(&self) -> bool {
        let answers = self.state.lock().unwrap().answers;
        self.answers_max.is_some_and(|max| answers >= max)
    }

    /// Waits until no more writes are answered, and the client has seen what was.
    pub(crate) async fn falls_silent(&self) {
        if !self.has_answered_all() {
            self.answered_all.notified().await;
        }
        for _ in 0..50 {
            settle().await;
        }
    }

    fn may_answer(&self, request: &Received) -> bool {
        if request.kind != WRITE {
            return true;
        }
        let mut state = self.state.lock().unwrap();
        if self.answers_max.is_some_and(|max| state.answers >= max) {
            return false;
        }
        state.answers += 1;
        let mut request = request.clone();
        request.string();
        let offset = request.body.get_u64();
        state.answered.push((offset, offset + u64::from(request.body.get_u32())));
        true
    }

    /// Carries a request out.
    fn answer(&self, lane: usize, request: &Received) -> Option<Vec<u8>> {
        let mut request = request.clone();
        let id = request.id;
        let number =
            |bytes: Option<usize>| u64::try_from(bytes.unwrap_or(0)).unwrap().to_be_bytes();
        Some(match request.kind {
            super::script::INIT => version(3, &[("limits@openssh.com", "1")]),
            EXTENDED => {
                let numbers = [
                    number(None),
                    number(self.read_bytes_max),
                    number(self.write_bytes_max),
                    number(None),
                ];
                packet(EXTENDED_REPLY, id, &numbers.concat())
            }
            OPEN => packet(HANDLE, id, &string(b"file")),
            CLOSE => status(id, OK),
            FSTAT => match self.flaw {
                Flaw::RefusesFstat => status(id, FAILURE),
                Flaw::TellsNoSize => packet(ATTRS, id, &[0; 4]),
                Flaw::IgnoresFstat => return None,
                _ => {
                    let size_bytes = number(Some(self.with_file(lane, |file| file.len())));
                    packet(ATTRS, id, &[&[0, 0, 0, 1][..], &size_bytes].concat())
                }
            },
            READ => {
                request.string();
                let offset = usize::try_from(request.body.get_u64()).unwrap();
                self.read(lane, id, offset, usize::try_from(request.body.get_u32()).unwrap())
            }
            WRITE => {
                request.string();
                let offset = request.body.get_u64();
                let data = request.string();
                status(id, self.write(lane, offset, &data))
            }
            kind => panic!("a request of type {kind}"),
        })
    }

    fn read(&self, lane: usize, id: u32, offset: usize, length: usize) -> Vec<u8> {
        if self.flaw == Flaw::RefusesRead {
            return status(id, FAILURE);
        }
        assert!(length > 0 && self.read_bytes_max.is_none_or(|max| length <= max));
        let length = if self.reads_are_short { length.div_ceil(2) } else { length };
        self.with_file(lane, |file| match file.get(offset..) {
            None | Some([]) => status(id, EOF),
            Some(rest) => packet(DATA, id, &string(&rest[..rest.len().min(length)])),
        })
    }

    fn write(&self, lane: usize, offset: u64, data: &Bytes) -> u32 {
        self.state.lock().unwrap().writes.push((lane, offset, data.len()));
        let second = lane == 1;
        let refused = match self.flaw {
            Flaw::RefusesSecondWrite => second,
            Flaw::RefusesFrom(from) => offset >= from,
            Flaw::OnlyNextByte => self.with_file(lane, |file| offset != file.len() as u64),
            _ => false,
        };
        if refused || self.write_bytes_max.is_some_and(|max| data.len() > max) {
            return FAILURE;
        }
        self.with_file(lane, |file| {
            let start = match self.flaw {
                Flaw::Appends => file.len(),
                Flaw::SecondIsIgnored if second => return,
                _ => usize::try_from(offset).unwrap(),
            };
            let end = start + data.len();
            file.resize(file.len().max(end), 0);
            if !(second && self.flaw == Flaw::SecondIsLost) {
                file[start..end].copy_from_slice(data);
            }
        });
        OK
    }

    fn with_file<T>(&self, lane: usize, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        if self.flaw == Flaw::OwnFiles {
            work(state.own_files.entry(lane).or_default())
        } else {
            work(&mut state.file)
        }
    }
}

/// Waits until whoever is awake has done something.
async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}
