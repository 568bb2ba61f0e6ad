//! The directory of an archive: its last bytes, and where a reader begins.

use crate::{
    entry::{Entry, MADE_BY},
    record::{Record, field_16, field_32, needs_zip64},
};

const END: u32 = 0x0605_4b50;
const ZIP64_END: u32 = 0x0606_4b50;
const ZIP64_END_LOCATOR: u32 = 0x0706_4b50;

/// The size of a ZIP64 end record without its signature and this size (4.3.14.1).
const ZIP64_END_BYTES: u64 = 44;

/// The directory of an archive whose entries stand one after the other from its first byte.
///
/// It takes some 50 bytes of memory an entry and the length of its name.
#[derive(Debug, Default)]
pub struct Directory {
    headers: Vec<u8>,
    entries: u64,
    entries_bytes: u64,
}

impl Directory {
    /// Adds the entry that begins where the last one ended.
    pub fn push(&mut self, entry: &Entry) {
        self.headers.extend(entry.central_header(self.entries_bytes));
        self.entries += 1;
        self.entries_bytes += entry.entry_bytes();
    }

    /// The bytes that end the archive: the entries' headers, then the end record (4.3.16), and
    /// before that its ZIP64 form and locator (4.3.14, 4.3.15) if a number needs them.
    pub fn finish(self) -> Vec<u8> {
        let Self { mut headers, entries, entries_bytes } = self;
        let headers_bytes = headers.len() as u64;
        let many = field_16(entries) == u16::MAX;
        if many || needs_zip64(headers_bytes) || needs_zip64(entries_bytes) {
            let zip64_end = Record::new(ZIP64_END)
                .u64(ZIP64_END_BYTES)
                .u16(MADE_BY)
                .u16(MADE_BY & 0xFF) // version needed
                .u32(0) // this disk
                .u32(0) // disk with the directory
                .u64(entries) // on this disk
                .u64(entries)
                .u64(headers_bytes)
                .u64(entries_bytes);
            let locator = Record::new(ZIP64_END_LOCATOR)
                .u32(0) // disk with the ZIP64 end record
                .u64(entries_bytes + headers_bytes)
                .u32(1); // disks
            headers.extend(zip64_end.finish());
            headers.extend(locator.finish());
        }
        let end = Record::new(END)
            .u16(0) // this disk
            .u16(0) // disk with the directory
            .u16(field_16(entries)) // on this disk
            .u16(field_16(entries))
            .u32(field_32(headers_bytes))
            .u32(field_32(entries_bytes))
            .u16(0); // length of the comment
        headers.extend(end.finish());
        headers
    }
}
