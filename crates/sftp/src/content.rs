//! The bytes of a file that is carried.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use delivery::{Content, HashedOffset, Source};
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::OnceCell;

use crate::error::Error;

/// The chunks of a file, from an offset to its end.
pub(crate) type Chunks = BoxStream<'static, Result<Bytes, aws_io::StorageError>>;

/// A file that is carried, and what is known of it.
pub(crate) struct FileContent<'a> {
    origin: Origin<'a>,
    /// Offset at which the file is opened when something of it is asked for first.
    begin: u64,
    facts: OnceCell<Facts>,
    /// The chunks that were opened with the facts.
    opened: Mutex<Option<Chunks>>,
}

enum Origin<'a> {
    /// The delivered file.
    Source(&'a dyn Source),
    /// The second file.
    Text(String),
}

struct Facts {
    size_bytes: u64,
    version: String,
}

impl<'a> FileContent<'a> {
    /// The delivered file, of which an attempt will probably need what is behind `begin`.
    pub(crate) fn of_source(source: &'a dyn Source, begin: u64) -> Self {
        Self::new(Origin::Source(source), begin)
    }

    /// A second file.
    pub(crate) fn of_text(text: String) -> Self {
        Self::new(Origin::Text(text), 0)
    }

    fn new(origin: Origin<'a>, begin: u64) -> Self {
        Self { origin, begin, facts: OnceCell::new(), opened: Mutex::default() }
    }

    /// Returns whether the journal is about this file.
    pub(crate) fn is_journaled(&self) -> bool {
        matches!(self.origin, Origin::Source(_))
    }

    /// Size of the file.
    pub(crate) async fn size_bytes(&self) -> Result<u64, Error> {
        Ok(self.facts().await?.size_bytes)
    }

    /// Version of the file.
    pub(crate) async fn version(&self) -> Result<String, Error> {
        Ok(self.facts().await?.version.clone())
    }

    /// The chunks from `offset` on. The file is opened once for one reading.
    pub(crate) async fn chunks(&self, offset: u64) -> Result<Chunks, Error> {
        self.facts().await?;
        if offset == self.begin
            && let Some(chunks) = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return Ok(chunks);
        }
        Ok(self.open(offset).await?.chunks)
    }

    /// SHA-256 of the file, in hexadecimal.
    pub(crate) async fn sha256(&self) -> Result<String, Error> {
        let mut chunks = self.open(0).await?.chunks;
        let mut end = HashedOffset::default();
        while let Some(chunk) = chunks.try_next().await? {
            end.advance(&chunk);
        }
        Ok(end.sha256())
    }

    async fn facts(&self) -> Result<&Facts, Error> {
        let read = async {
            let Content { size_bytes, version, chunks } = self.open(self.begin).await?;
            *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(chunks);
            Ok(Facts { size_bytes, version })
        };
        self.facts.get_or_try_init(|| read).await
    }

    async fn open(&self, offset: u64) -> Result<Content, Error> {
        match &self.origin {
            Origin::Source(source) => Ok(source.open(offset).await?),
            Origin::Text(text) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                let rest = Bytes::copy_from_slice(&text.as_bytes()[begin..]);
                let chunks = stream::iter([Ok(rest)]).boxed();
                Ok(Content { size_bytes: text.len() as u64, version: String::new(), chunks })
            }
        }
    }
}

/// Takes the first `length` bytes of the chunks, or those that there are.
pub(crate) async fn take(chunks: &mut Chunks, length: usize) -> Result<(Vec<u8>, Bytes), Error> {
    let mut taken = Vec::with_capacity(length);
    while taken.len() < length {
        let Some(mut chunk) = chunks.try_next().await? else { break };
        let part = chunk.split_to(chunk.len().min(length - taken.len()));
        taken.extend_from_slice(&part);
        if !chunk.is_empty() {
            return Ok((taken, chunk));
        }
    }
    Ok((taken, Bytes::new()))
}
