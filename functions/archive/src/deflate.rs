//! Deflating one content on several cores.
//!
//! The content is cut into blocks of 1 MiB. Each is compressed on its own, with the 32 KiB before it
//! as its dictionary, so that little is lost at the cuts: some 0.01 % of the result, where blocks of
//! 256 KiB lose 0.05 %. All but the last end with a sync flush, which ends on a byte; so the blocks,
//! one after the other, are one raw deflate stream
//! ([RFC 1951](https://www.rfc-editor.org/rfc/rfc1951)), as any program inflates it.

use std::{collections::VecDeque, mem, num::NonZeroUsize};

use crc32fast::Hasher;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use crate::entry::Method;

const BLOCK_BYTES: usize = 1024 * 1024;

/// How far back deflate can refer, as a power of two.
const WINDOW_BITS: i32 = 15;
const WINDOW_BYTES: usize = 1 << WINDOW_BITS;

/// How much the compressor remembers before it gives a part of the result its own codes: the most
/// there is. It makes the result some 0.1 % smaller than zlib's default does, and is not slower.
const MEM_LEVEL: i32 = 9;

/// How a content is kept that is deflated at this level.
pub(crate) fn method(level: u8) -> Method {
    if level == 0 { Method::Stored } else { Method::Deflated }
}

/// What has become of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflated {
    /// The CRC-32 of the content before compression.
    pub crc32: u32,
    /// The size of the content after compression.
    pub compressed_bytes: u64,
    /// The size of the content before compression.
    pub uncompressed_bytes: u64,
}

/// Deflates one content, piece by piece, on the blocking threads of the Tokio runtime.
///
/// The same content gives the same bytes, however it is cut into pieces and however many cores
/// work on it.
///
/// Memory: `parallelism` blocks that are being compressed, one more that is ready when a core is, and
/// the one that is filled, each of less than 3 MiB (its content, room for a result that is larger, and
/// some 500 KiB of the compressor). What is done goes to the caller's buffer.
///
/// A `push` or `finish` that is dropped before its end leaves the content incomplete.
pub struct Deflater {
    level: u8,
    /// One more than there are cores, so that none waits while the caller makes the next block; a
    /// single core is busy with the caller then.
    running_max: usize,
    filling: Block,
    running: VecDeque<JoinHandle<DeflatedBlock>>,
    done: Done,
}

impl Deflater {
    /// A deflater that keeps `parallelism` cores busy.
    ///
    /// Level 1 is the fastest and 9, which stands for all above it too, gives the smallest result.
    /// Level 0 leaves the content as it is: [`Method::Stored`].
    pub fn new(level: u8, parallelism: NonZeroUsize) -> Self {
        Self {
            level,
            running_max: if parallelism.get() == 1 { 1 } else { parallelism.get() + 1 },
            filling: Block::after(&[]),
            running: VecDeque::new(),
            done: Done::default(),
        }
    }

    /// Takes the next piece of the content and appends to `out` what is compressed by now.
    ///
    /// It waits while as many blocks as may be are being compressed.
    pub async fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if self.level == 0 {
            self.done.stored(bytes, out);
            return;
        }
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(self.filling.room_bytes()));
            self.filling.bytes.extend_from_slice(head);
            bytes = rest;
            if self.filling.room_bytes() == 0 {
                self.collect(out).await;
                self.compress(DeflateFlush::SyncFlush);
            }
        }
    }

    /// Compresses what is left, and appends to `out` all that is not there yet.
    pub async fn finish(mut self, out: &mut Vec<u8>) -> Deflated {
        if self.level > 0 {
            self.compress(DeflateFlush::Finish);
        }
        for block in self.running {
            self.done.deflated(&joined(block.await), out);
        }
        Deflated {
            crc32: self.done.crc32.finalize(),
            compressed_bytes: self.done.compressed_bytes,
            uncompressed_bytes: self.done.uncompressed_bytes,
        }
    }

    /// Appends to `out` the blocks that are ready, and waits for the oldest if no other may start.
    async fn collect(&mut self, out: &mut Vec<u8>) {
        let mut full = self.running.len() == self.running_max;
        while let Some(oldest) = self.running.pop_front_if(|oldest| full || oldest.is_finished()) {
            full = false;
            self.done.deflated(&joined(oldest.await), out);
        }
    }

    /// Hands the block over to a thread and begins the next.
    fn compress(&mut self, flush: DeflateFlush) {
        let next = Block::after(&self.filling.bytes);
        let block = mem::replace(&mut self.filling, next);
        let level = self.level.min(9).into();
        self.running.push_back(spawn_blocking(move || block.deflate(level, flush)));
    }
}

/// What the finished blocks come to.
#[derive(Default)]
struct Done {
    crc32: Hasher,
    compressed_bytes: u64,
    uncompressed_bytes: u64,
}

impl Done {
    fn stored(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.crc32.update(bytes);
        self.compressed_bytes += bytes.len() as u64;
        self.uncompressed_bytes += bytes.len() as u64;
        out.extend_from_slice(bytes);
    }

    fn deflated(&mut self, block: &DeflatedBlock, out: &mut Vec<u8>) {
        self.crc32.combine(&block.crc32);
        self.compressed_bytes += block.bytes.len() as u64;
        self.uncompressed_bytes += block.uncompressed_bytes;
        out.extend_from_slice(&block.bytes);
    }
}

/// A block of the content.
struct Block {
    /// The dictionary, and then the content.
    bytes: Vec<u8>,
    dictionary_bytes: usize,
}

/// A compressed block of the content.
struct DeflatedBlock {
    bytes: Vec<u8>,
    crc32: Hasher,
    uncompressed_bytes: u64,
}

impl Block {
    /// The empty block after `content`.
    fn after(content: &[u8]) -> Self {
        let dictionary = &content[content.len().saturating_sub(WINDOW_BYTES)..];
        let mut bytes = Vec::with_capacity(dictionary.len() + BLOCK_BYTES);
        bytes.extend_from_slice(dictionary);
        Self { bytes, dictionary_bytes: dictionary.len() }
    }

    fn room_bytes(&self) -> usize {
        self.dictionary_bytes + BLOCK_BYTES - self.bytes.len()
    }

    /// Compresses the content to its end, which `flush` marks.
    ///
    /// Each block has its own compressor: one that is reset after another block still finds what
    /// that has left in its window, and its result, though right, is not always the same.
    fn deflate(self, level: i32, flush: DeflateFlush) -> DeflatedBlock {
        let (dictionary, content) = self.bytes.split_at(self.dictionary_bytes);
        let mut config = DeflateConfig::new(level);
        // Negative for a raw stream.
        config.window_bits = -WINDOW_BITS;
        config.mem_level = MEM_LEVEL;
        let mut compressor = Deflate::new_with_config(config);
        if !dictionary.is_empty() {
            compressor.set_dictionary(dictionary).expect("a new raw stream takes a dictionary");
        }
        // No byte takes more than nine bits.
        let mut bytes = vec![0; content.len() / 8 * 9 + 1024];
        compressor.compress(content, &mut bytes, flush).expect("a new stream takes content");
        let is_whole = compressor.total_in() == content.len() as u64;
        let made = usize::try_from(compressor.total_out()).expect("a block is in memory");
        assert!(is_whole && made < bytes.len(), "there is room for the result");
        bytes.truncate(made);
        let mut crc32 = Hasher::new();
        crc32.update(content);
        DeflatedBlock { bytes, crc32, uncompressed_bytes: content.len() as u64 }
    }
}

fn joined(block: Result<DeflatedBlock, JoinError>) -> DeflatedBlock {
    block.expect("compressing a block neither panics nor is aborted")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;
    use proptest::prelude::*;

    use super::*;

    /// Deflates the content in pieces of the given sizes, over and over.
    #[tokio::main(flavor = "current_thread")]
    async fn deflate(
        level: u8,
        parallelism: usize,
        content: &[u8],
        pieces_bytes: &[usize],
    ) -> (Deflated, Vec<u8>) {
        let mut deflater = Deflater::new(level, parallelism.try_into().unwrap());
        let mut out = Vec::new();
        let mut pieces_bytes = pieces_bytes.iter().cycle();
        let mut left = content;
        while !left.is_empty() {
            let (piece, rest) = left.split_at(left.len().min(*pieces_bytes.next().unwrap()));
            deflater.push(piece, &mut out).await;
            left = rest;
        }
        (deflater.finish(&mut out).await, out)
    }

    /// Some content that deflates like a table, or not at all.
    fn content(len: usize, alphabet: u8, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..len).map(|_| next() % alphabet).collect()
    }

    #[track_caller]
    fn check(level: u8, content: &[u8], pieces_bytes: &[usize]) {
        let (deflated, bytes) = deflate(level, 1, content, &[content.len().max(1)]);
        for parallelism in [1, 2, 5] {
            let again = deflate(level, parallelism, content, pieces_bytes);
            assert!(again == (deflated, bytes.clone()), "{parallelism} at once: {:?}", again.0);
        }
        let expected = Deflated {
            crc32: crc32fast::hash(content),
            compressed_bytes: bytes.len() as u64,
            uncompressed_bytes: content.len() as u64,
        };
        assert_eq!(deflated, expected);
        let mut read = Vec::new();
        match method(level) {
            Method::Stored => read = bytes,
            Method::Deflated => {
                DeflateDecoder::new(&bytes[..]).read_to_end(&mut read).unwrap();
            }
        }
        assert!(read == content, "the content is not what was deflated");
    }

    #[test]
    fn content_around_the_ends_of_blocks_is_deflated_whole() {
        for len in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES] {
            for level in [0, 1, 6] {
                check(level, &content(len, 12, 7), &[100_000]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_same_content_gives_the_same_bytes_however_it_is_cut(
            level in 0_u8..=10,
            len in 0..5 * BLOCK_BYTES,
            alphabet in prop::sample::select(vec![1_u8, 12, 255]),
            seed in any::<u64>(),
            pieces_bytes in prop::collection::vec(1_usize..400_000, 1..5),
        ) {
            check(level, &content(len, alphabet, seed), &pieces_bytes);
        }
    }
}
