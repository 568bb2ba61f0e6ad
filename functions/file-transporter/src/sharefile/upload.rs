//! Sending the bytes, and knowing that they arrived.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_io::Failure as _;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::Method;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    address::Address,
    answer::{Kind, Uploaded},
    chunks::{Chunk, Chunks},
    folder::Folder,
    http::Content as Sending,
    session::{self, Session},
    specification::{self, Specification},
    sums::Sums,
    trouble::Trouble,
};
use crate::{
    delivery::Verified,
    error::Error,
    source::{Content, Source},
};

/// One upload.
pub(super) struct Upload<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) folder: &'a Folder,
    pub(super) name: &'a str,
    pub(super) specification: &'a Specification,
    /// Whether what an earlier upload left is of use.
    pub(super) goes_on: bool,
    /// When no further chunk is begun, so that those in flight can be finished in time.
    pub(super) stop: Instant,
    /// When the end of the upload is left to the next invocation, if this one got further.
    pub(super) finish_before: Instant,
}

/// How far an upload got.
pub(super) enum Sent {
    /// The file is there.
    Whole(Box<Whole>),
    /// The time was up; so many bytes from the beginning have arrived.
    Part(u64),
    /// Everything was sent, and whether the upload was ended is not known.
    InDoubt(Box<Trouble>),
}

impl Sent {
    fn whole(whole: Whole) -> Self {
        Self::Whole(Box::new(whole))
    }
}

/// A file that was uploaded, or was there.
pub(super) struct Whole {
    pub(super) sums: Sums,
    pub(super) item_id: Option<String>,
    pub(super) verified: Verified,
}

impl Upload<'_> {
    fn path(&self) -> String {
        format!("{}/{}", self.folder.path, self.name)
    }

    /// Does what is to be done before the first byte.
    pub(super) async fn prepare(&self) -> Result<(), Trouble> {
        let Some(address) = &self.specification.prepare else { return Ok(()) };
        let action = format!("preparing the upload of `{}`", self.path());
        let request = || (Method::GET, Sending::Nothing);
        self.insist(&action, address, request).await
    }

    /// Sends the file in one request. If that has to be repeated, the file is read again.
    pub(super) async fn in_one(
        &self,
        content: Content,
        source: &dyn Source,
    ) -> Result<Sent, Trouble> {
        let action = format!("uploading `{}`", self.path());
        let address = self.specification.chunks.with_default("fmt", "json");
        let mut patience = self.session.patience();
        let mut opened = Some(content);
        let mut may_be_done = false;
        loop {
            let content = match opened.take() {
                Some(content) => content,
                None => source.open(0).await.map_err(Error::from)?,
            };
            let size_bytes = content.size_bytes;
            let sums = Arc::new(Mutex::new(Sums::default()));
            let summing = sums.clone();
            let pieces = content.chunks.inspect(move |piece| {
                if let Ok(piece) = piece {
                    summing.lock().unwrap_or_else(PoisonError::into_inner).update(piece);
                }
            });
            let content = Sending::Stream(size_bytes, pieces.boxed());
            let result = self.post(&action, &address, content, true).await;
            let sums = sums.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let trouble = match result {
                Ok(uploaded) => return Ok(Sent::whole(self.check(uploaded, sums).await?)),
                Err(trouble) => trouble,
            };
            if sums.size_bytes() == size_bytes {
                if let Some(whole) = self.settle(&trouble, &sums).await {
                    return Ok(Sent::whole(whole));
                }
                may_be_done |= may_have_ended(&trouble);
            }
            match patience.after(trouble).await {
                Ok(()) => {}
                Err(trouble) if may_be_done => return Ok(self.in_doubt(trouble)),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Sends the chunks one after the other; the last one ends the upload.
    pub(super) async fn in_order(&self, mut chunks: Chunks) -> Result<Sent, Trouble> {
        let began_at = chunks.offset();
        let mut acknowledged = began_at;
        while let Ok(chunk) = timeout_at(self.stop, chunks.next()).await {
            let Some(chunk) = chunk? else { break };
            if chunk.is_last && self.is_too_late_to_finish(began_at, acknowledged) {
                break;
            }
            let end = chunk.offset + chunk.bytes.len() as u64;
            let sent = if chunk.is_last {
                let address = self.chunk_address(&chunk).with(&[
                    ("finish", "true"),
                    ("fileSize", &end.to_string()),
                    ("fileHash", &chunks.sums().md5()),
                ]);
                self.finish(&address, &chunk.bytes, chunks.sums()).await.map(Some)
            } else {
                self.send(&chunk).await.map(|()| None)
            };
            match sent {
                Ok(None) => acknowledged = end,
                Ok(Some(ended)) => return Ok(ended),
                Err(trouble) if is_out_of_time(&trouble) => return Ok(Sent::Part(acknowledged)),
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(Sent::Part(acknowledged))
    }

    /// Sends several chunks at the same time, and then ends the upload.
    ///
    /// A chunk that is being filled counts as one of them, so the memory in use is that of so many
    /// chunks, and one piece of the source.
    pub(super) async fn side_by_side(&self, mut chunks: Chunks) -> Result<Sent, Trouble> {
        let configured = self.session.config.sharefile_threads.count();
        let threads = self.specification.threads_max.map_or(configured, |max| max.min(configured));
        let began_at = chunks.offset();
        let mut acknowledged = Acknowledged::new(began_at);
        let mut in_flight = FuturesUnordered::new();
        loop {
            let more = !chunks.is_done() && Instant::now() < self.stop;
            if in_flight.is_empty() && !more {
                break;
            }
            tokio::select! {
                Some(sent) = in_flight.next() => match sent {
                    Ok((begin, end)) => acknowledged.add(begin, end),
                    Err(trouble) if is_out_of_time(&trouble) => {
                        return Ok(Sent::Part(acknowledged.from_beginning));
                    }
                    Err(trouble) => return Err(trouble),
                },
                chunk = chunks.next(), if more && in_flight.len() < threads => {
                    let Some(chunk) = chunk? else { continue };
                    in_flight.push(async move {
                        let end = chunk.offset + chunk.bytes.len() as u64;
                        self.send(&chunk).await.map(|()| (chunk.offset, end))
                    });
                }
                () = sleep_until(self.stop), if more => {}
            }
        }
        let arrived = acknowledged.from_beginning;
        if !chunks.is_done() || self.is_too_late_to_finish(began_at, arrived) {
            return Ok(Sent::Part(arrived));
        }
        let Some(finish) = &self.specification.finish else {
            return Err(self.unfinishable().into());
        };
        let md5 = chunks.sums().md5();
        let address = finish.with_default("respformat", "json").with(&[("filehash", &md5)]);
        match self.finish(&address, &Bytes::new(), chunks.sums()).await {
            Err(trouble) if is_out_of_time(&trouble) => Ok(Sent::Part(arrived)),
            ended => ended,
        }
    }

    /// Whether the time that is left is better not spent on the end of the upload, for which the
    /// server may need long. An invocation that did not get further has nothing to hand over.
    fn is_too_late_to_finish(&self, began_at: u64, acknowledged: u64) -> bool {
        let limit = if acknowledged > began_at { self.finish_before } else { self.stop };
        Instant::now() >= limit
    }

    fn unfinishable(&self) -> Error {
        Error::Unsupported {
            action: format!("finishing the upload of `{}`", self.path()),
            message: "there is no address for it".to_owned(),
        }
    }

    fn chunk_address(&self, chunk: &Chunk) -> Address {
        let address = self.specification.chunks.with(&[
            ("index", &chunk.index.to_string()),
            ("byteOffset", &chunk.offset.to_string()),
            ("hash", &chunk.md5),
        ]);
        address.with_default("fmt", "json")
    }

    /// Sends a chunk, and if need be sends the same one again.
    async fn send(&self, chunk: &Chunk) -> Result<(), Trouble> {
        let action = format!("uploading bytes from {} of `{}`", chunk.offset, self.path());
        let content = || (Method::POST, Sending::Bytes(chunk.bytes.clone()));
        self.insist(&action, &self.chunk_address(chunk), content).await
    }

    /// Asks an upload address until it does it.
    async fn insist(
        &self,
        action: &str,
        address: &Address,
        request: impl Fn() -> (Method, Sending),
    ) -> Result<(), Trouble> {
        let mut patience = self.session.patience();
        loop {
            let (method, content) = request();
            let upload = session::Upload { action, method, address, content, is_finish: false };
            match self.session.upload_once(upload).await {
                Ok(_) => return Ok(()),
                Err(trouble) => patience.after(trouble).await?,
            }
        }
    }

    /// Ends the upload. Before it is tried again the folder is looked at, because the answer may be
    /// all that was lost.
    async fn finish(&self, address: &Address, last: &Bytes, sums: &Sums) -> Result<Sent, Trouble> {
        let action = format!("finishing the upload of `{}`", self.path());
        let mut patience = self.session.patience();
        let mut may_be_done = false;
        loop {
            let content = Sending::Bytes(last.clone());
            let trouble = match self.post(&action, address, content, true).await {
                Ok(uploaded) => return Ok(Sent::whole(self.check(uploaded, sums.clone()).await?)),
                Err(trouble) => trouble,
            };
            if let Some(whole) = self.settle(&trouble, sums).await {
                return Ok(Sent::whole(whole));
            }
            may_be_done |= may_have_ended(&trouble);
            match patience.after(trouble).await {
                Ok(()) => {}
                Err(trouble) if may_be_done => return Ok(self.in_doubt(trouble)),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn in_doubt(&self, trouble: Trouble) -> Sent {
        tracing::warn!(
            remote_path = self.path(),
            error.message = %job::error::Chain(&trouble.error),
            "whether the upload was ended is not known"
        );
        Sent::InDoubt(Box::new(trouble))
    }

    async fn post(
        &self,
        action: &str,
        address: &Address,
        content: Sending,
        is_finish: bool,
    ) -> Result<Uploaded, Trouble> {
        let method = Method::POST;
        let upload = session::Upload { action, method, address, content, is_finish };
        self.session.upload_once(upload).await
    }

    /// Finds out whether an upload that seems to have failed is done: the folder has this very file.
    async fn settle(&self, trouble: &Trouble, sums: &Sums) -> Option<Whole> {
        if !trouble.leaves_doubt() {
            return None;
        }
        // That looking failed too says nothing new.
        let item = self.folder.file(self.session, self.name).await.ok()??;
        if !item.is_the_same(sums.size_bytes(), &sums.md5()) {
            return None;
        }
        tracing::info!(
            remote_path = self.path(),
            error.message = %trouble.error,
            "the end of the upload seemed to fail, but the file is there"
        );
        Some(Whole { sums: sums.clone(), item_id: Some(item.id), verified: Verified::Md5 })
    }

    /// Compares what the server says that it has with what was sent.
    async fn check(&self, uploaded: Uploaded, sums: Sums) -> Result<Whole, Error> {
        let Uploaded { id, size, md5 } = self.complete(uploaded).await;
        let path = self.path();
        let written = sums.size_bytes();
        if let Some(found) = size.filter(|found| *found != written) {
            return Err(Error::SizeMismatch { path, written, found });
        }
        let verified = match &md5 {
            Some(theirs) if theirs.eq_ignore_ascii_case(&sums.md5()) => Verified::Md5,
            Some(_) => return Err(Error::ContentMismatch { path }),
            None if size.is_some() => Verified::Size,
            None => Verified::None,
        };
        Ok(Whole { sums, item_id: id, verified })
    }

    /// Adds what the folder knows of the file to an answer that tells less. That looking failed is
    /// no reason to doubt the upload.
    async fn complete(&self, uploaded: Uploaded) -> Uploaded {
        let not_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
        let Uploaded { id, size, md5 } = uploaded;
        let told = Uploaded { id: not_empty(id), size, md5: not_empty(md5) };
        if told.size.is_some() && told.md5.is_some() {
            return told;
        }
        match self.folder.file(self.session, self.name).await {
            Ok(Some(item)) if told.id.as_ref().is_none_or(|id| *id == item.id) => Uploaded {
                id: Some(item.id),
                size: told.size.or(item.size_bytes),
                md5: told.md5.or(not_empty(item.md5)),
            },
            _ => told,
        }
    }
}

/// Whether the request that ends an upload may have done so: a server that puts a large file
/// together may give up its answer, and not the file. An upload that is gone was ended by an earlier
/// request, or lost.
fn may_have_ended(trouble: &Trouble) -> bool {
    trouble.leaves_doubt()
        && trouble.kind != Some(Kind::UploadGone)
        && trouble.error.name().is_retryable()
}

fn is_out_of_time(trouble: &Trouble) -> bool {
    matches!(trouble.error, Error::OutOfTime { .. })
}

/// The bytes that have arrived.
struct Acknowledged {
    /// How many there are without a gap.
    from_beginning: u64,
    /// Where the chunks after a gap end, by where they begin.
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

/// Sends `content` in the way that the server has chosen, from where an earlier upload of the same
/// file got to.
///
/// Nothing comes back if what the server has is not the beginning of this file.
pub(super) async fn send(
    upload: &Upload<'_>,
    content: Content,
    source: &dyn Source,
) -> Result<Option<Sent>, Trouble> {
    let Specification { method, resume, .. } = upload.specification;
    upload.prepare().await?;
    if *method == specification::Method::Standard {
        return upload.in_one(content, source).await.map(Some);
    }
    let mut chunks = Chunks::new(content, upload.session.config.sharefile_chunk_size.count());
    if let Some(resume) = resume.as_ref().filter(|_| upload.goes_on) {
        let skipped = timeout_at(upload.stop, chunks.skip(resume.offset, resume.index + 1)).await;
        let md5 = skipped.map_err(|_| Error::OutOfTime {
            action: format!("reading the first {} bytes of `{}`", resume.offset, upload.path()),
        })??;
        if chunks.offset() != resume.offset || !md5.eq_ignore_ascii_case(&resume.md5) {
            return Ok(None);
        }
        tracing::info!(
            remote_path = upload.path(),
            acknowledged_bytes = resume.offset,
            "the upload goes on where an earlier one ended"
        );
    }
    if *method == specification::Method::Streamed {
        return upload.in_order(chunks).await.map(Some);
    }
    chunks.end_if_nothing_is_left();
    upload.side_by_side(chunks).await.map(Some)
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
