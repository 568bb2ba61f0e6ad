//! Entries: the headers of a member, before its content and in the directory.

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::{
    deflate::{Deflated, method},
    name::MemberName,
    record::{Record, field_16, field_32, needs_zip64},
};

/// How the content of a member is kept (4.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// As it is.
    Stored,
    /// As a raw deflate stream.
    Deflated,
}

/// All that the headers of a member say; known when its content has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the member is called.
    pub name: MemberName,
    /// When it was last changed. The archive keeps UTC in steps of two seconds, rounded down;
    /// times before 1980 or after 2107 become the first or last that it can keep (4.4.6).
    pub modified_at: Timestamp,
    /// How its content is kept.
    pub method: Method,
    /// The CRC-32 of the content before compression (4.4.7).
    pub crc32: u32,
    /// The size of the content as it stands in the archive.
    pub compressed_bytes: u64,
    /// The size of the content before compression.
    pub uncompressed_bytes: u64,
}

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const ZIP64_EXTRA: u16 = 0x0001;

/// Deflate and directories in names need version 2.0, ZIP64 needs 4.5 (4.4.3.2).
const VERSION: u16 = 20;
const VERSION_ZIP64: u16 = 45;

/// Made on Unix (4.4.2), so that the external attributes are those of Unix.
pub(crate) const MADE_BY: u16 = 3 << 8 | VERSION_ZIP64;

/// A regular file that its owner may write and everybody may read.
const EXTERNAL_ATTRIBUTES: u32 = 0o100_644 << 16;

/// The name is UTF-8 (4.4.4, bit 11).
const UTF_8: u16 = 1 << 11;

impl Entry {
    /// The entry of a content that was deflated at `level`.
    pub fn new(name: MemberName, modified_at: Timestamp, level: u8, content: Deflated) -> Self {
        let Deflated { crc32, compressed_bytes, uncompressed_bytes } = content;
        let method = method(level);
        Self { name, modified_at, method, crc32, compressed_bytes, uncompressed_bytes }
    }

    /// The header that stands before the content (4.3.7), with CRC-32 and sizes in it, so that no
    /// data descriptor follows the content.
    ///
    /// It has ZIP64 fields only if a size needs them, and then both, as 4.5.3 demands.
    pub fn local_header(&self) -> Vec<u8> {
        let (compressed, uncompressed) = (self.compressed_bytes, self.uncompressed_bytes);
        let (fields, extra) = if needs_zip64(compressed) || needs_zip64(uncompressed) {
            ([u32::MAX; 2], zip64_extra(&[uncompressed, compressed]))
        } else {
            ([field_32(compressed), field_32(uncompressed)], Vec::new())
        };
        self.shared_fields(Record::new(LOCAL_HEADER), fields, &extra)
            .bytes(self.name.as_str().as_bytes())
            .bytes(&extra)
            .finish()
    }

    /// How many bytes of an archive the entry takes before the directory: local header and content.
    pub fn entry_bytes(&self) -> u64 {
        self.local_header().len() as u64 + self.compressed_bytes
    }

    /// The header in the directory (4.3.12) of the entry that begins at `offset`.
    pub(crate) fn central_header(&self, offset: u64) -> Vec<u8> {
        let mut long = vec![self.uncompressed_bytes, self.compressed_bytes, offset];
        long.retain(|number| needs_zip64(*number));
        let extra = if long.is_empty() { Vec::new() } else { zip64_extra(&long) };
        let fields = [field_32(self.compressed_bytes), field_32(self.uncompressed_bytes)];
        self.shared_fields(Record::new(CENTRAL_HEADER).u16(MADE_BY), fields, &extra)
            .u16(0) // length of the comment
            .u16(0) // disk on which the entry begins
            .u16(0) // internal attributes
            .u32(EXTERNAL_ATTRIBUTES)
            .u32(field_32(offset))
            .bytes(self.name.as_str().as_bytes())
            .bytes(&extra)
            .finish()
    }

    /// The fields that both headers have, in the same order.
    ///
    /// A name that is ASCII is the same in UTF-8 and in the format's old code page 437, so only
    /// another name needs the flag (4.4.4 and appendix D). So do Info-ZIP 3 and Python's
    /// `zipfile`, and readers that do not know the flag read all other names as before.
    fn shared_fields(
        &self,
        record: Record,
        [compressed, uncompressed]: [u32; 2],
        extra: &[u8],
    ) -> Record {
        let name = self.name.as_str();
        let (date, time) = dos_date_and_time(self.modified_at);
        record
            .u16(if extra.is_empty() { VERSION } else { VERSION_ZIP64 })
            .u16(if name.is_ascii() { 0 } else { UTF_8 })
            .u16(match self.method {
                Method::Stored => 0,
                Method::Deflated => 8,
            })
            .u16(time)
            .u16(date)
            .u32(self.crc32)
            .u32(compressed)
            .u32(uncompressed)
            .u16(field_16(name.len() as u64))
            .u16(field_16(extra.len() as u64))
    }
}

/// The extra field with the numbers that are too large for their own fields (4.5.3).
fn zip64_extra(numbers: &[u64]) -> Vec<u8> {
    let mut extra =
        [ZIP64_EXTRA, field_16(numbers.len() as u64 * 8)].map(u16::to_le_bytes).concat();
    extra.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    extra
}

/// A time as 4.4.6 has it, date before time: seven bits of years since 1980, four of months, five of days; five bits
/// of hours, six of minutes, five of half seconds.
///
/// In UTC; times before 1980 or after 2107 become the first or last that can be kept.
pub fn dos_date_and_time(at: Timestamp) -> (u16, u16) {
    let first = civil::datetime(1980, 1, 1, 0, 0, 0, 0);
    let last = civil::datetime(2107, 12, 31, 23, 59, 58, 0);
    let at = TimeZone::UTC.to_datetime(at).clamp(first, last);
    let bits = |number: i8, shift: u32| u16::from(number.unsigned_abs()) << shift;
    let year = (at.year() - first.year()).unsigned_abs();
    (
        year << 9 | bits(at.month(), 5) | bits(at.day(), 0),
        bits(at.hour(), 11) | bits(at.minute(), 5) | bits(at.second() / 2, 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_time(at: &str, expected: (u16, u16, u16, u16, u16, u16)) {
        let (date, time) = dos_date_and_time(at.parse().unwrap());
        let fields = (
            1980 + (date >> 9),
            date >> 5 & 0xF,
            date & 0x1F,
            time >> 11,
            time >> 5 & 0x3F,
            (time & 0x1F) * 2,
        );
        assert_eq!(fields, expected, "{at}");
    }

    #[test]
    fn a_time_is_kept_in_utc_and_steps_of_two_seconds_between_1980_and_2107() {
        check_time("2026-01-31T12:30:45.999Z", (2026, 1, 31, 12, 30, 44));
        check_time("2026-01-31T12:30:44+02:00", (2026, 1, 31, 10, 30, 44));
        check_time("1980-01-01T00:00:00Z", (1980, 1, 1, 0, 0, 0));
        check_time("1979-12-31T23:59:59Z", (1980, 1, 1, 0, 0, 0));
        check_time("2107-12-31T23:59:59Z", (2107, 12, 31, 23, 59, 58));
        check_time("2108-01-01T00:00:00Z", (2107, 12, 31, 23, 59, 58));
    }
}
