//! The transform 64 bytes at a time: whole fields that are quoted, empty, and as many as expected.
//!
//! A block becomes masks with a bit for each byte. A byte is inside a value when the quotes before
//! it are odd in number; separators outside end fields. Whatever else stands outside is left to
//! [`Machine`], which knows what it means, and so is every field that is not where it should be.
//!
//! `fearless_simd` compiles all of it once for each kind of processor, and takes the right one at run
//! time: that is why everything but the rare way is inlined.

#![expect(clippy::inline_always, reason = "these run for every field or block")]

use std::ops::Range;

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x64};
use job::{CsvQuote, LineEnding};

use super::machine::Machine;

const BLOCK: usize = 64;

/// A field up to this long is copied as if it were this long, which takes no loop.
const SHORT: usize = 32;

/// How many blocks are looked at before their fields are copied. Two short loops, each with few
/// branches that can not be foreseen, are faster than one that does both.
const BATCH: usize = 8;

/// What follows a field.
#[derive(Clone, Copy)]
struct Separator {
    bytes: [u8; 2],
    len: usize,
}

/// Writes the whole fields at the beginning of `bytes` and says how many bytes they took.
///
/// It stops at a field that is not whole, or that is for [`Machine`]; no field is begun.
pub(super) fn copy_fields(machine: &mut Machine, bytes: &[u8], out: &mut Vec<u8>) -> usize {
    if !machine.is_at_plain_field() || bytes.len() < BLOCK {
        return 0;
    }
    let mut copier = Copier::new(machine, bytes, out);
    dispatch!(Level::new(), simd => copier.copy(simd));
    let Copier { at, fields, records, .. } = copier;
    out.truncate(at.written);
    machine.fields_in_record = fields;
    machine.records = records;
    machine.offset += at.start as u64;
    at.start
}

#[derive(Clone, Copy)]
struct Position {
    /// Where the field begins.
    start: usize,
    /// The end of what is written; the rest is room.
    written: usize,
}

/// The fields of one slice on their way out.
struct Copier<'a> {
    bytes: &'a [u8],
    out: &'a mut Vec<u8>,
    at: Position,
    fields: u64,
    fields_max: u64,
    records: u64,
    delimiter: u8,
    between: Separator,
    at_end: Separator,
    null: &'a [u8],
    /// Values below this length are copied as short ones: none where NULL has a text.
    short_below: usize,
    always_quoted: bool,
}

impl<'a> Copier<'a> {
    fn new(machine: &'a Machine, bytes: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        let written = out.len();
        out.resize(written + bytes.len() + BLOCK, 0);
        Self {
            bytes,
            out,
            at: Position { start: 0, written },
            fields: machine.fields_in_record,
            fields_max: machine.fields_in_header,
            records: machine.records,
            delimiter: machine.delimiter,
            between: Separator { bytes: [machine.delimiter, 0], len: 1 },
            at_end: match machine.options.line_ending {
                LineEnding::Crlf => Separator { bytes: *b"\r\n", len: 2 },
                LineEnding::Lf => Separator { bytes: *b"\n\0", len: 1 },
            },
            null: machine.options.null.as_bytes(),
            short_below: if machine.options.null.is_empty() { SHORT + 1 } else { 0 },
            always_quoted: machine.options.quote == CsvQuote::Always,
        }
    }

    #[inline(always)]
    fn copy<S: Simd>(&mut self, simd: S) {
        let mut scanner = Scanner::new(simd, self.delimiter, self.always_quoted);
        let mut ends = Ends::default();
        let (blocks, _) = self.bytes.as_chunks::<BLOCK>();
        for (index, batch) in blocks.chunks(BATCH).enumerate() {
            let all = scanner.scan_batch(batch, &mut ends);
            if !self.copy_batch(index * BATCH * BLOCK, &ends) || !all {
                return;
            }
        }
    }

    /// Writes the fields that end in the batch that begins at `begin`, or those before the first one
    /// that is not followed by what it should be: then it says `false`.
    #[inline(always)]
    fn copy_batch(&mut self, begin: usize, ends: &Ends) -> bool {
        let mut places = ends.found();
        while !places.is_empty() {
            let missing = self.fields_max.saturating_sub(self.fields);
            let last = usize::try_from(missing).unwrap_or(usize::MAX).wrapping_sub(1);
            let (inner, rest) = places.split_at(places.len().min(last));
            let mut at = self.at;
            let mut copied = 0;
            for &place in inner {
                let end = begin + place;
                if self.bytes[end] != b',' {
                    break;
                }
                at = self.copy_field(at, end, ends.needs_quotes(place), self.between);
                copied += 1;
            }
            self.at = at;
            self.fields += copied as u64;
            if copied < inner.len() {
                return false;
            }
            let Some((&place, rest)) = rest.split_first() else { return true };
            let end = begin + place;
            if self.bytes[end] != b'\n' {
                return false;
            }
            self.at = self.copy_field(self.at, end, ends.needs_quotes(place), self.at_end);
            self.fields = 0;
            self.records += 1;
            places = rest;
        }
        true
    }

    /// Writes the field that ends before `end`, and what follows it.
    #[inline(always)]
    fn copy_field(&mut self, at: Position, end: usize, quoted: bool, then: Separator) -> Position {
        let quote = usize::from(!quoted) & usize::from(end > at.start);
        let from = at.start + quote;
        let len = end - quote - from;
        let written = if let Some(value) = self.bytes[from..].first_chunk::<SHORT>()
            && let Some(room) = self.out[at.written..].first_chunk_mut::<BLOCK>()
            && len < self.short_below.min(SHORT + 1)
        {
            room[..SHORT].copy_from_slice(value);
            room[len..len + 2].copy_from_slice(&then.bytes);
            at.written + len
        } else {
            self.put(at.written, from..from + len, quote == 1, then)
        };
        Position { start: end + 1, written: written + then.len }
    }

    /// Writes any value, and what follows it, and says where the value ends.
    #[cold]
    #[inline(never)]
    fn put(&mut self, begin: usize, value: Range<usize>, is_bare: bool, then: Separator) -> usize {
        let bytes = self.bytes;
        let mut text = &bytes[value.clone()];
        if text.is_empty() {
            text = self.null;
        } else if is_bare && text == self.null {
            text = &bytes[value.start - 1..=value.end];
        }
        let end = begin + text.len();
        if end + BLOCK > self.out.len() {
            self.out.resize(end + BLOCK + bytes.len(), 0);
        }
        self.out[begin..end].copy_from_slice(text);
        self.out[end..end + 2].copy_from_slice(&then.bytes);
        end
    }
}

/// Where the fields of a batch end.
struct Ends {
    /// The separators' places in the batch, with room to write more of them than there are.
    places: [usize; BATCH * BLOCK + Self::AT_ONCE],
    count: usize,
    /// For each block a bit for each separator: whether the value before it needs its quotes.
    special: [u64; BATCH],
}

impl Default for Ends {
    fn default() -> Self {
        Self { places: [0; _], count: 0, special: [0; BATCH] }
    }
}

impl Ends {
    /// As many as most blocks have at the most.
    const AT_ONCE: usize = 6;

    fn found(&self) -> &[usize] {
        &self.places[..self.count]
    }

    #[inline(always)]
    fn needs_quotes(&self, end: usize) -> bool {
        let (block, bit) = (end / BLOCK, end % BLOCK);
        self.special[block % BATCH] >> bit & 1 == 1
    }

    #[inline(always)]
    fn push(&mut self, block: usize, mut ends: u64, special: u64) {
        self.special[block] = special;
        let begin = block * BLOCK;
        let count = self.count + ends.count_ones() as usize;
        while self.count < count {
            let places = &mut self.places[self.count..self.count + Self::AT_ONCE];
            for place in places {
                *place = begin + ends.trailing_zeros() as usize;
                ends &= ends.wrapping_sub(1);
            }
            self.count += Self::AT_ONCE;
        }
        self.count = count;
    }
}

/// Tells what bytes are, block after block from the beginning of a field on.
///
/// Bytes are bits of a mask, the first the lowest.
struct Scanner<S> {
    simd: S,
    delimiter: u8,
    /// All ones where every value is to be quoted, else 0.
    always: u64,
    /// All ones inside of quotes, else 0.
    inside: u64,
    /// 1 after a quote, else 0.
    after_quote: u64,
    /// 1 in a value that needs its quotes, else 0.
    in_special: u64,
}

impl<S: Simd> Scanner<S> {
    #[inline(always)]
    fn new(simd: S, delimiter: u8, always_quoted: bool) -> Self {
        let always = if always_quoted { u64::MAX } else { 0 };
        Self { simd, delimiter, always, inside: 0, after_quote: 0, in_special: 0 }
    }

    /// Finds the fields that end in the batch, or those before the first byte that is not for here:
    /// then it says `false`.
    #[inline(always)]
    fn scan_batch(&mut self, batch: &[[u8; BLOCK]], ends: &mut Ends) -> bool {
        ends.count = 0;
        for (index, block) in batch.iter().enumerate().take(BATCH) {
            let strays = self.scan(index, block, ends);
            if strays != 0 {
                return false;
            }
        }
        true
    }

    /// Finds the fields that end in the block, up to the first stray byte: neither in quotes nor a
    /// separator. Gives the stray bytes.
    #[inline(always)]
    fn scan(&mut self, index: usize, block: &[u8; BLOCK], found: &mut Ends) -> u64 {
        let block = u8x64::from_slice(self.simd, block);
        let is = |byte: u8| block.simd_eq(u8x64::splat(self.simd, byte)).to_bitmask();
        let (quotes, newlines) = (is(b'"'), is(b'\n'));
        let separators = newlines | is(b',');
        // Where the delimiter stays a comma, it is told apart from a separator by the quotes alone.
        let in_text =
            if self.delimiter == b',' { separators } else { newlines | is(self.delimiter) };
        let special = in_text | is(b'\r');

        // From an opening quote to the byte before the closing one.
        let inside = odd_bits_so_far(quotes) ^ self.inside;
        self.inside = 0_u64.wrapping_sub(inside >> 63);
        let doubled = quotes & (quotes << 1 | self.after_quote);
        self.after_quote = quotes >> 63;
        let strays = !(inside | quotes | separators);
        let ends = separators & !inside & bits_below(strays);

        // A special bit runs up through the ones and falls into the next end's place.
        let special = special & inside | doubled | self.in_special;
        let (special, in_special) = special.overflowing_add(!ends);
        self.in_special = u64::from(in_special);
        found.push(index, ends, special | self.always);
        strays
    }
}

/// Each bit says whether the bits up to it, itself among them, are odd in number.
#[inline(always)]
fn odd_bits_so_far(bits: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(bits, |bits, shift| bits ^ bits << shift)
}

/// The bits below the lowest one of `bits`, all where there is none.
#[inline(always)]
fn bits_below(bits: u64) -> u64 {
    (bits & bits.wrapping_neg()).wrapping_sub(1)
}
