//! A file cut into chunks.

use aws_io::StorageError;
use bytes::{Bytes, BytesMut};
use delivery::Content;
use futures_util::{StreamExt, stream::BoxStream};

use crate::{
    digests::{Digests, md5_of},
    error::Error,
};

/// A part of a file.
pub(crate) struct Chunk {
    /// Its number.
    pub(crate) index: u64,
    /// Offset of its first byte in the file.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    /// Its MD5, in hexadecimal.
    pub(crate) md5: String,
    /// Whether it ends the file.
    pub(crate) is_last: bool,
}

/// The chunks of a file, in order.
pub(crate) struct Chunks {
    pieces: BoxStream<'static, Result<Bytes, StorageError>>,
    size_bytes: u64,
    chunk_bytes: usize,
    /// Bytes that were read of the source and are in no chunk yet.
    rest: Bytes,
    /// The chunk that is being filled.
    chunk: BytesMut,
    /// The number of that chunk.
    index: u64,
    /// Digests of everything up to the end of that chunk.
    digests: Digests,
    is_done: bool,
}

impl Chunks {
    /// Cuts `content`, which is open at its beginning.
    pub(crate) fn new(content: Content, chunk_bytes: usize) -> Self {
        Self {
            pieces: content.chunks,
            size_bytes: content.size_bytes,
            chunk_bytes,
            rest: Bytes::new(),
            chunk: BytesMut::new(),
            index: 0,
            digests: Digests::default(),
            is_done: false,
        }
    }

    /// Passes over the first `offset` bytes, and returns their MD5 in hexadecimal. The first chunk
    /// then has the number `index`.
    pub(crate) async fn skip(&mut self, offset: u64, index: u64) -> Result<String, Error> {
        while self.digests.size_bytes() < offset && self.fill_rest().await? {
            let left = usize::try_from(offset - self.digests.size_bytes()).unwrap_or(usize::MAX);
            let passed = self.rest.split_to(self.rest.len().min(left));
            self.digests.update(&passed);
        }
        self.index = index;
        Ok(self.digests.md5())
    }

    /// Offset of the next chunk.
    pub(crate) fn offset(&self) -> u64 {
        self.digests.size_bytes() - self.chunk.len() as u64
    }

    /// Ends the chunks if nothing is left: an upload that has its last byte already needs none. An
    /// empty file has one chunk.
    pub(crate) fn end_if_nothing_is_left(&mut self) {
        self.is_done = self.size_bytes > 0 && self.offset() == self.size_bytes;
    }

    /// Returns whether there is no further chunk.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The digests of the whole file, when there is no further chunk.
    pub(crate) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Returns the next chunk. A call that is dropped before it is done loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        if self.is_done {
            return Ok(None);
        }
        while self.chunk.len() < self.chunk_bytes && self.fill_rest().await? {
            let wanted = self.chunk_bytes - self.chunk.len();
            let piece = self.rest.split_to(self.rest.len().min(wanted));
            if self.chunk.is_empty() {
                self.chunk.reserve(self.chunk_bytes);
            }
            self.chunk.extend_from_slice(&piece);
            self.digests.update(&piece);
        }
        let offset = self.offset();
        let bytes = self.chunk.split().freeze();
        self.is_done = self.offset() == self.size_bytes;
        self.index += 1;
        Ok(Some(Chunk {
            index: self.index - 1,
            offset,
            md5: md5_of(&bytes),
            bytes,
            is_last: self.is_done,
        }))
    }

    /// Reads on if there is no rest. Returns false at the end of the file.
    async fn fill_rest(&mut self) -> Result<bool, Error> {
        while self.rest.is_empty() {
            let is_end = self.digests.size_bytes() == self.size_bytes;
            let next = if is_end { None } else { self.pieces.next().await };
            match next.transpose()? {
                Some(piece) => self.rest = piece,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    fn chunks(file: &[u8], piece: usize, chunk: usize) -> Chunks {
        let pieces: Vec<_> = file.chunks(piece).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
        let size_bytes = file.len() as u64;
        let chunks = stream::iter(pieces).boxed();
        Chunks::new(Content { size_bytes, version: "1".to_owned(), chunks }, chunk)
    }

    async fn all(mut chunks: Chunks) -> (Vec<Chunk>, Digests) {
        let mut found = Vec::new();
        while let Some(chunk) = chunks.next().await.unwrap() {
            found.push(chunk);
        }
        (found, chunks.digests().clone())
    }

    proptest! {
        #[test]
        fn chunks_are_the_file_from_the_offset_that_is_resumed(
            file in prop::collection::vec(any::<u8>(), 1..300),
            piece in 1_usize..80,
            chunk in 1_usize..80,
            at in 0.0..1.0_f64,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss,
                clippy::cast_sign_loss, reason = "a fraction of the length is wanted")]
            let skipped = (file.len() as f64 * at) as usize;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (md5, (found, sums)) = runtime.block_on(async {
                let mut chunks = chunks(&file, piece, chunk);
                let md5 = chunks.skip(skipped as u64, 5).await.unwrap();
                (md5, all(chunks).await)
            });
            prop_assert_eq!(md5, md5_of(&file[..skipped]));
            prop_assert_eq!(sums.md5(), md5_of(&file));
            let shape = |c: &Chunk| (c.index, c.offset, c.bytes.to_vec(), c.md5.clone(), c.is_last);
            let found: Vec<_> = found.iter().map(shape).collect();
            let parts = file[skipped..].chunks(chunk).enumerate();
            let expected: Vec<_> = parts.map(|(number, part)| {
                let offset = skipped + number * chunk;
                let is_last = offset + part.len() == file.len();
                (5 + number as u64, offset as u64, part.to_vec(), md5_of(part), is_last)
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn an_empty_file_is_one_empty_chunk() {
        let mut empty = chunks(&[], 1, 10);
        empty.end_if_nothing_is_left();
        let (found, _) = all(empty).await;
        let shapes: Vec<_> = found.iter().map(|c| (c.offset, c.bytes.len(), c.is_last)).collect();
        assert_eq!(shapes, [(0, 0, true)]);
    }

    #[tokio::test]
    async fn a_file_that_is_there_already_has_no_chunk_unless_one_must_end_it() {
        for (must_end, count) in [(false, 0), (true, 1)] {
            let mut chunks = chunks(b"abc", 2, 2);
            chunks.skip(3, 2).await.unwrap();
            if !must_end {
                chunks.end_if_nothing_is_left();
            }
            assert_eq!(all(chunks).await.0.len(), count);
        }
    }

    #[tokio::test]
    async fn reading_that_is_given_up_and_begun_again_loses_nothing() {
        // Every second time there is nothing yet.
        let file: Vec<u8> = (0..100).collect();
        let pieces = file.chunks(7).map(|p| Ok(Bytes::copy_from_slice(p))).collect::<Vec<_>>();
        let mut pieces = pieces.into_iter();
        let mut ready = iter::repeat([false, true]).flatten();
        let pieces = stream::poll_fn(move |context| {
            if ready.next() == Some(true) {
                return std::task::Poll::Ready(pieces.next());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        });
        let content = Content { size_bytes: 100, version: "1".to_owned(), chunks: pieces.boxed() };
        let mut chunks = Chunks::new(content, 30);
        let mut found = Vec::new();
        while !chunks.is_done() {
            tokio::select! {
                biased;
                chunk = chunks.next() => found.extend(chunk.unwrap().unwrap().bytes),
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(found, file);
    }
}
