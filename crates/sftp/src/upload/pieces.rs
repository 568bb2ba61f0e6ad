//! The pieces that are written.

use std::collections::VecDeque;

use aws_io::StorageError;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream::BoxStream};

/// The bytes of a source, cut into pieces of another size than it gives them.
pub(super) struct Pieces {
    chunks: BoxStream<'static, Result<Bytes, StorageError>>,
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// A stream must not be asked for more behind its end.
    is_over: bool,
}

impl Pieces {
    pub(super) fn new(chunks: BoxStream<'static, Result<Bytes, StorageError>>) -> Self {
        Self { chunks, ready: VecDeque::new(), ready_bytes: 0, is_over: false }
    }

    /// Returns the next `size_bytes`, in as many parts as the source gave them; fewer at the end,
    /// and none behind it. Nothing is lost if this is dropped while it waits.
    pub(super) async fn next(&mut self, size_bytes: usize) -> Result<Vec<Bytes>, StorageError> {
        while self.ready_bytes < size_bytes && !self.is_over {
            match self.chunks.try_next().await? {
                Some(chunk) => {
                    self.ready_bytes += chunk.len();
                    self.ready.push_back(chunk);
                }
                None => self.is_over = true,
            }
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
    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test]
    async fn pieces_have_one_size_whatever_the_source_gives() {
        let text: Vec<u8> = (0..100).collect();
        for (chunk_bytes, size_bytes) in [(1, 64), (7, 64), (64, 7), (100, 100), (30, 1000)] {
            let chunks = text.chunks(chunk_bytes).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
            // An empty chunk is not the end.
            let chunks: Vec<_> = chunks.flat_map(|chunk| [Ok(Bytes::new()), chunk]).collect();
            let mut source = Pieces::new(stream::iter(chunks).boxed());
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
            assert!(source.next(size_bytes).await.unwrap().is_empty());
        }
    }
}
