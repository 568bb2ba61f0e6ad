//! The transform 64 bytes at a time, for fields that are quoted or empty, and as many as expected.
//!
//! Most of what Athena writes stays as it is, but for the quotes that a value does not need. So some
//! blocks are looked at first, until it is known which of their bytes stay, and then written without
//! the others. What is not for the blocks is left to [`Machine`]: the header and the record after it,
//! text outside of quotes, a carriage return there, a record with too few or too many fields, a field
//! longer than a batch, and the last bytes of a chunk.
//!
//! A block becomes masks with a bit for each byte, the first the lowest. A byte is inside of a value
//! when the quotes before it are odd in number; separators outside end fields.
//!
//! `fearless_simd` compiles what uses vectors once for each kind of processor, and takes the right one
//! at run time: that is why all of it is inlined.

#![expect(clippy::inline_always, reason = "these run for every batch or block")]

use std::fmt;

use fearless_simd::{Level, Simd, dispatch, mask8x64, prelude::*, u8x16, u8x64, u64x2};
use job::{CsvQuote, LineEnding};

use super::machine::Machine;

const BLOCK: usize = 64;

/// How many blocks are looked at before they are written: 4 KiB.
const BATCH: usize = 64;

/// A batch of blocks, and what becomes of them. It begins with a field.
pub(super) struct Blocks {
    level: Level,
    /// The bytes that stay.
    keep: [u64; BATCH],
    /// The separators that end fields.
    ends: [u64; BATCH],
    /// Where the bytes that stay are put together.
    text: [u8; BATCH * BLOCK],
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("level", &self.level).finish_non_exhaustive()
    }
}

/// The fields at the beginning of a batch that can be written.
struct Fields {
    /// How many bytes they have, their separators among them.
    bytes: usize,
    /// How many of them follow the last record that ended.
    in_record: u64,
    /// How many records ended.
    records: u64,
    /// Whether the field after them may be one, too.
    go_on: bool,
}

impl Blocks {
    pub(super) fn new(level: Level) -> Self {
        Self { level, keep: [0; _], ends: [0; _], text: [0; _] }
    }

    /// Writes the whole fields at the beginning of `bytes` and says how many bytes they took.
    ///
    /// It stops at a field that is not whole, or that is for [`Machine`]; no field is begun.
    pub(super) fn copy_fields(
        &mut self,
        machine: &mut Machine,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> usize {
        if !machine.is_at_plain_field() {
            return 0;
        }
        dispatch!(self.level, simd => self.copy(simd, machine, bytes, out))
    }

    #[inline(always)]
    fn copy<S: Simd>(
        &mut self,
        simd: S,
        machine: &mut Machine,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> usize {
        let mut rest = bytes;
        loop {
            let (blocks, _) = rest.as_chunks();
            let blocks = &blocks[..blocks.len().min(BATCH)];
            let fields = self.scan(simd, blocks, machine);
            self.write(simd, blocks, fields.bytes, machine, out);
            machine.offset += fields.bytes as u64;
            machine.fields_in_record = fields.in_record;
            machine.records += fields.records;
            rest = &rest[fields.bytes..];
            if !fields.go_on {
                return bytes.len() - rest.len();
            }
        }
    }

    /// Finds the fields up to the first one that is not for here.
    #[inline(always)]
    fn scan<S: Simd>(&mut self, simd: S, blocks: &[[u8; BLOCK]], machine: &Machine) -> Fields {
        let always = if machine.options.quote == CsvQuote::Always { u64::MAX } else { 0 };
        let null = machine.options.null.as_bytes();
        let mut records = Records::new(machine);
        let mut are_sound = true;
        let mut fields_bytes = 0;
        let mut strays = 0;
        // All ones inside of quotes, else 0.
        let mut inside_before = 0;
        // 1 after a quote, else 0.
        let mut after_quote = 0;
        // 1 in a value that needs its quotes, else 0.
        let mut in_special = 0;
        for (index, block) in blocks.iter().enumerate() {
            let begin = index * BLOCK;
            let block = u8x64::from_slice(simd, block);
            let is = |byte: u8| block.simd_eq(u8x64::splat(simd, byte)).to_bitmask();
            let (quotes, newlines, commas) = (is(b'"'), is(b'\n'), is(b','));
            let delimiters = if machine.delimiter == b',' { commas } else { is(machine.delimiter) };

            // From an opening quote to the byte before the closing one.
            let inside = odd_bits_so_far(quotes) ^ inside_before;
            inside_before = 0_u64.wrapping_sub(inside >> 63);
            let doubled = quotes & (quotes << 1 | after_quote);
            after_quote = quotes >> 63;
            strays = !(inside | quotes | newlines | commas);
            let ends = (newlines | commas) & !inside & bits_below(strays);

            // All bits are set but those of the ends, so that the addition carries each special one
            // to the end of its field.
            let special = (newlines | delimiters | is(b'\r')) & inside | doubled | in_special;
            let (special, carry) = special.overflowing_add(!ends);
            in_special = u64::from(carry);

            self.keep[index] = !quotes | always;
            self.ends[index] = ends;
            let in_question = if null.is_empty() { special & ends } else { ends };
            if in_question != 0 {
                self.keep_quotes(blocks, index, in_question, special, fields_bytes, null);
            }
            if ends != 0 {
                fields_bytes = begin + bits_to_last(ends);
            }
            are_sound = records.count(begin, ends, newlines);
            if strays != 0 || !are_sound {
                break;
            }
        }
        if are_sound {
            let go_on = strays == 0 && fields_bytes > 0;
            Fields { bytes: fields_bytes, in_record: records.fields, records: records.count, go_on }
        } else {
            // What is wrong with a record is said at its end, so all of it is for the machine.
            let in_record = if records.count == 0 { machine.fields_in_record } else { 0 };
            Fields { bytes: records.bytes, in_record, records: records.count, go_on: false }
        }
    }

    /// Keeps the quotes of the values that need them, out of the fields of a block that end
    /// `in_question`; the first one begins at `from`.
    #[inline(never)]
    fn keep_quotes(
        &mut self,
        blocks: &[[u8; BLOCK]],
        index: usize,
        mut in_question: u64,
        special: u64,
        from: usize,
        null: &[u8],
    ) {
        let begin = index * BLOCK;
        while in_question != 0 {
            let end = lowest(in_question);
            in_question ^= end;
            let before = self.ends[index] & bits_below(end);
            let from = if before == 0 { from } else { begin + bits_to_last(before) };
            let to = begin + end.trailing_zeros() as usize;
            if special & end != 0 || is_in_quotes(null, &blocks.as_flattened()[from..to]) {
                self.keep_all(from, to);
            }
        }
    }

    /// Keeps the bytes from one place up to another.
    fn keep_all(&mut self, from: usize, to: usize) {
        let mut bits = u64::MAX << (from % BLOCK);
        for keep in &mut self.keep[from / BLOCK..to / BLOCK] {
            *keep |= bits;
            bits = u64::MAX;
        }
        self.keep[to / BLOCK] |= bits & bits_below(1 << (to % BLOCK));
    }

    /// Writes those of the first `bytes` that stay, and what the options put between them.
    #[inline(always)]
    fn write<S: Simd>(
        &mut self,
        simd: S,
        blocks: &[[u8; BLOCK]],
        bytes: usize,
        machine: &Machine,
        out: &mut Vec<u8>,
    ) {
        let null = machine.options.null.as_bytes();
        let is_crlf = machine.options.line_ending == LineEnding::Crlf;
        let is_plain = null.is_empty() && !is_crlf && machine.delimiter == b',';
        // 1 after a separator, else 0.
        let mut after_end = 1;
        let mut text_bytes = 0;
        for (index, block) in blocks[..bytes.div_ceil(BLOCK)].iter().enumerate() {
            let left = bytes - index * BLOCK;
            let ours = if left < BLOCK { bits_below(1 << left) } else { u64::MAX };
            let mut keep = self.keep[index] & ours;
            if is_plain {
                text_bytes = self.put(simd, block, keep, text_bytes);
                continue;
            }
            let mut block = u8x64::from_slice(simd, block);
            let ends = self.ends[index] & ours;
            let ends_by = |byte: u8| block.simd_eq(u8x64::splat(simd, byte)).to_bitmask() & ends;
            let newlines = if is_crlf { ends_by(b'\n') } else { 0 };
            let nulls = if null.is_empty() { 0 } else { ends & (ends << 1 | after_end) };
            after_end = ends >> 63;
            if machine.delimiter != b',' {
                let commas = mask8x64::from_bitmask(simd, ends_by(b','));
                block = commas.select(u8x64::splat(simd, machine.delimiter), block);
            }
            let mut inserts = newlines | nulls;
            while inserts != 0 {
                let place = lowest(inserts);
                inserts ^= place;
                let before = keep & bits_below(place);
                keep ^= before;
                text_bytes = self.put(simd, &block, before, text_bytes);
                out.extend_from_slice(&self.text[..text_bytes]);
                text_bytes = 0;
                if nulls & place != 0 {
                    out.extend_from_slice(null);
                }
                if newlines & place != 0 {
                    out.push(b'\r');
                }
            }
            text_bytes = self.put(simd, &block, keep, text_bytes);
        }
        out.extend_from_slice(&self.text[..text_bytes]);
    }

    /// Adds the bytes of a block that stay to the text, and says how long it is then.
    #[inline(always)]
    fn put<S: Simd>(
        &mut self,
        simd: S,
        block: &[u8; BLOCK],
        keep: u64,
        text_bytes: usize,
    ) -> usize {
        let mut end = text_bytes;
        for (bytes, keep) in block.as_chunks::<16>().0.iter().zip(keep.to_le_bytes().as_chunks().0)
        {
            let [low, high] = keep.map(|mask| u64::from_ne_bytes(STAYING[usize::from(mask)]));
            let places = u64x2::simd_from(simd, [low, high | u64::from_ne_bytes([8; 8])]);
            let bytes = u8x16::from_slice(simd, bytes)
                .swizzle_dyn_within_blocks(places.bitcast::<u8x16<S>>());
            // What is in each half after the bytes that stay is written over, or not used.
            for (half, keep) in bytes.as_chunks::<8>().0.iter().zip(keep) {
                self.text[end..end + 8].copy_from_slice(half);
                end += keep.count_ones() as usize;
            }
        }
        end
    }
}

/// Counts records and their fields.
struct Records {
    /// Fields after the last record that ended.
    fields: u64,
    fields_expected: u64,
    /// Records that ended.
    count: u64,
    /// How many bytes they have.
    bytes: usize,
}

impl Records {
    fn new(machine: &Machine) -> Self {
        Self {
            fields: machine.fields_in_record,
            fields_expected: machine.fields_in_header,
            count: 0,
            bytes: 0,
        }
    }

    /// Counts what ends in the block at `begin`, up to a record with too few or too many fields: then
    /// it says `false`.
    #[inline(always)]
    fn count(&mut self, begin: usize, ends: u64, newlines: u64) -> bool {
        let mut fields = ends;
        let mut record_ends = ends & newlines;
        while record_ends != 0 {
            let end = lowest(record_ends);
            record_ends ^= end;
            let record = fields & (end | bits_below(end));
            fields ^= record;
            if self.fields + u64::from(record.count_ones()) != self.fields_expected {
                return false;
            }
            self.fields = 0;
            self.count += 1;
            self.bytes = begin + bits_to_last(end);
        }
        self.fields += u64::from(fields.count_ones());
        self.fields < self.fields_expected
    }
}

/// Which of eight bytes come first, second and so on when those of a mask stay.
static STAYING: [[u8; 8]; 256] = {
    let mut all = [[0; 8]; 256];
    let mut mask = 0;
    while mask < all.len() {
        let (mut byte, mut place) = (0, 0);
        while byte < 8 {
            if mask >> byte & 1 == 1 {
                all[mask][place] = byte;
                place += 1;
            }
            byte += 1;
        }
        mask += 1;
    }
    all
};

fn is_in_quotes(value: &[u8], field: &[u8]) -> bool {
    field.len() == value.len() + 2 && &field[1..=value.len()] == value
}

/// Each bit says whether the bits up to it, itself among them, are odd in number.
#[inline(always)]
fn odd_bits_so_far(bits: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(bits, |bits, shift| bits ^ bits << shift)
}

/// The lowest one of `bits`.
#[inline(always)]
fn lowest(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

/// The bits below the lowest one of `bits`, all where there is none.
#[inline(always)]
fn bits_below(bits: u64) -> u64 {
    lowest(bits).wrapping_sub(1)
}

/// How many bits there are up to the highest one of `bits`, itself among them.
#[inline(always)]
fn bits_to_last(bits: u64) -> usize {
    (u64::BITS - bits.leading_zeros()) as usize
}
