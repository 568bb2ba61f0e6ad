//! Sending the bytes in the way that ShareFile has chosen.
//!
//! An upload returns the published file: its last request is [`Target::publish`].

use std::collections::BTreeMap;

use bytes::Bytes;
use delivery::{Budget, Content, Lease, Published, Source};
use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::Method;
use job::delivery::Checkpoint;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    address::Address,
    chunks::{Chunk, Chunks},
    digests::Digests,
    error::Error,
    http::Payload,
    publish::{self, Ending, Target},
    request_error::RequestError,
    session::UploadCall,
    specification::{self, Specification},
};

/// One upload.
pub(crate) struct Upload<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) specification: &'a Specification,
    /// Whether the part of an earlier upload is of use.
    pub(crate) resumes: bool,
    pub(crate) budget: Budget,
    /// Version of the file.
    pub(crate) version: &'a str,
}

impl Upload<'_> {
    /// Sends `content`, and continues an earlier upload of the same file.
    ///
    /// Returns nothing if the server's part is not the beginning of this file.
    pub(crate) async fn send(
        &self,
        content: Content,
        source: &dyn Source,
    ) -> Result<Option<Published>, RequestError> {
        let Specification { method, resume, .. } = self.specification;
        self.prepare().await?;
        if *method == specification::Method::Standard {
            return self.in_one(content, source).await.map(Some);
        }
        let mut chunks = Chunks::new(content, self.chunk_bytes());
        if let Some(resume) = resume.as_ref().filter(|_| self.resumes) {
            let skip = chunks.skip(resume.offset, resume.index + 1);
            let md5 = timeout_at(self.budget.stop_at, skip).await.map_err(|_| self.time_up())??;
            if chunks.offset() != resume.offset || !md5.eq_ignore_ascii_case(&resume.md5) {
                return Ok(None);
            }
            tracing::info!(
                remote_path = self.target.path(),
                acknowledged_bytes = resume.offset,
                "the upload is resumed"
            );
            self.acknowledge(resume.offset);
        }
        if *method == specification::Method::Streamed {
            return self.in_order(chunks).await.map(Some);
        }
        chunks.end_if_nothing_is_left();
        self.side_by_side(chunks).await.map(Some)
    }

    /// Requests the address that the server wants to see before the first byte.
    async fn prepare(&self) -> Result<(), RequestError> {
        let Some(address) = &self.specification.prepare else { return Ok(()) };
        let action = format!("preparing the upload of `{}`", self.target.path());
        self.request(&action, address, Method::GET, || Payload::Empty).await
    }

    /// Sends the file in one request. The journal needs its digests before that, so a file that does
    /// not fit into the memory of the chunks is read twice.
    async fn in_one(
        &self,
        content: Content,
        source: &dyn Source,
    ) -> Result<Published, RequestError> {
        let size_bytes = content.size_bytes;
        let threads = self.target.session.config.sharefile_threads.count();
        let kept_bytes_max = (self.chunk_bytes() * threads) as u64;
        let reading = publish::read(content, kept_bytes_max);
        let read = timeout_at(self.budget.stop_at, reading).await.map_err(|_| self.time_up())?;
        let (digests, kept) = read.map_err(Error::from)?;
        let version = self.version;
        let ending = kept.map_or(Ending::Reread { source, size_bytes, version }, Ending::File);
        let address = self.specification.chunks.with_default("fmt", "json");
        self.publish(&address, ending, &digests).await
    }

    /// Sends the chunks one after the other. The last one ends the upload.
    async fn in_order(&self, mut chunks: Chunks) -> Result<Published, RequestError> {
        let began_at = chunks.offset();
        let mut acknowledged = began_at;
        while let Ok(chunk) = timeout_at(self.budget.stop_at, chunks.next()).await {
            let Some(chunk) = chunk? else { break };
            let end = chunk.offset + chunk.bytes.len() as u64;
            if chunk.is_last {
                if self.is_too_late_to_finish(began_at, acknowledged) {
                    break;
                }
                let address = self.chunk_address(&chunk).with(&[
                    ("finish", "true"),
                    ("fileSize", &end.to_string()),
                    ("fileHash", &chunks.digests().md5()),
                ]);
                return self.publish(&address, Ending::Bytes(chunk.bytes), chunks.digests()).await;
            }
            self.send_chunk(&chunk).await?;
            acknowledged = end;
            self.acknowledge(acknowledged);
        }
        Err(self.time_up().into())
    }

    /// Sends several chunks at the same time, and then ends the upload.
    ///
    /// A chunk that is being filled counts as one of them, so the memory in use is that of so many
    /// chunks, and one piece of the source.
    async fn side_by_side(&self, mut chunks: Chunks) -> Result<Published, RequestError> {
        let configured = self.target.session.config.sharefile_threads.count();
        let threads = self.specification.threads_max.map_or(configured, |max| max.min(configured));
        let began_at = chunks.offset();
        let mut acknowledged = Acknowledged::new(began_at);
        let mut in_flight = FuturesUnordered::new();
        loop {
            let more = !chunks.is_done() && Instant::now() < self.budget.stop_at;
            if in_flight.is_empty() && !more {
                break;
            }
            tokio::select! {
                Some(sent) = in_flight.next() => {
                    let (begin, end) = sent?;
                    acknowledged.add(begin, end);
                    self.acknowledge(acknowledged.from_beginning);
                }
                chunk = chunks.next(), if more && in_flight.len() < threads => {
                    let Some(chunk) = chunk? else { continue };
                    in_flight.push(async move {
                        let end = chunk.offset + chunk.bytes.len() as u64;
                        self.send_chunk(&chunk).await.map(|()| (chunk.offset, end))
                    });
                }
                () = sleep_until(self.budget.stop_at), if more => {}
            }
        }
        let is_too_late = self.is_too_late_to_finish(began_at, acknowledged.from_beginning);
        if !chunks.is_done() || is_too_late {
            return Err(self.time_up().into());
        }
        let Some(finish) = &self.specification.finish else {
            let message = "the upload specification has no address for the end".to_owned();
            return Err(Error::Protocol { action: self.action(), message }.into());
        };
        let md5 = chunks.digests().md5();
        let address = finish.with_default("respformat", "json").with(&[("filehash", &md5)]);
        self.publish(&address, Ending::Bytes(Bytes::new()), chunks.digests()).await
    }

    async fn publish(
        &self,
        address: &Address,
        ending: Ending<'_>,
        digests: &Digests,
    ) -> Result<Published, RequestError> {
        self.target.publish(address, ending, digests, self.version).await
    }

    /// Returns whether the rest of the time is better left to the next invocation: a server may need
    /// minutes to put a large file together. An invocation that got no further has nothing to leave.
    fn is_too_late_to_finish(&self, began_at: u64, acknowledged: u64) -> bool {
        let is_over = Instant::now() >= self.budget.stop_at;
        is_over || (acknowledged > began_at && self.budget.is_spent(3, 4))
    }

    fn chunk_bytes(&self) -> usize {
        self.target.session.config.sharefile_chunk_size.count()
    }

    fn chunk_address(&self, chunk: &Chunk) -> Address {
        let address = self.specification.chunks.with(&[
            ("index", &chunk.index.to_string()),
            ("byteOffset", &chunk.offset.to_string()),
            ("hash", &chunk.md5),
        ]);
        address.with_default("fmt", "json")
    }

    /// Sends a chunk, and repeats it alone if it fails.
    async fn send_chunk(&self, chunk: &Chunk) -> Result<(), RequestError> {
        let action = format!("uploading bytes from {} of `{}`", chunk.offset, self.target.path());
        let payload = || Payload::Bytes(chunk.bytes.clone());
        self.request(&action, &self.chunk_address(chunk), Method::POST, payload).await
    }

    async fn request(
        &self,
        action: &str,
        address: &Address,
        method: Method,
        payload: impl Fn() -> Payload,
    ) -> Result<(), RequestError> {
        let session = self.target.session;
        let mut retry = session.retry();
        loop {
            let (method, payload) = (method.clone(), payload());
            let call = UploadCall { action, method, address, payload, is_finish: false };
            match session.upload_once(call).await {
                Ok(_) => return Ok(()),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    fn acknowledge(&self, bytes: u64) {
        acknowledge(self.target.lease, self.version, bytes);
    }

    fn action(&self) -> String {
        format!("uploading `{}`", self.target.path())
    }

    fn time_up(&self) -> Error {
        Error::TimeUp { action: self.action() }
    }
}

/// Notes how much of this version ShareFile has acknowledged, at most so far.
///
/// The number measures progress only: ShareFile itself tells at which offset an upload resumes. A
/// server that forgets what it has is sent the same bytes again, and that is no progress.
fn acknowledge(lease: &Lease<'_>, version: &str, bytes: u64) {
    let before = lease.checkpoint().filter(|checkpoint| checkpoint.version == version);
    let before = before.map_or(0, |checkpoint| checkpoint.acknowledged_bytes);
    if bytes > before {
        lease.set_checkpoint(Some(Checkpoint {
            version: version.to_owned(),
            acknowledged_bytes: bytes,
            sha256_state: None,
            sha256: None,
            temporary_path: None,
            reopened: false,
        }));
    }
}

/// The bytes that have arrived.
struct Acknowledged {
    /// Number of bytes without a gap.
    from_beginning: u64,
    /// Ends of the chunks after a gap, by their offsets.
    after_a_gap: BTreeMap<u64, u64>,
}

impl Acknowledged {
    fn new(from_beginning: u64) -> Self {
        Self { from_beginning, after_a_gap: BTreeMap::new() }
    }

    fn add(&mut self, begin: u64, end: u64) {
        self.after_a_gap.insert(begin, end);
        while let Some(end) = self.after_a_gap.remove(&self.from_beginning) {
            if end == self.from_beginning {
                break;
            }
            self.from_beginning = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_without_a_gap_count_as_arrived() {
        let mut acknowledged = Acknowledged::new(10);
        let steps =
            [((20, 30), 10), ((40, 41), 10), ((10, 20), 30), ((30, 40), 41), ((41, 41), 41)];
        for ((begin, end), expected) in steps {
            acknowledged.add(begin, end);
            assert_eq!(acknowledged.from_beginning, expected, "after {begin}..{end}");
        }
    }
}
