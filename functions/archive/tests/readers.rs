//! Other readers find in an archive what was put into it.

use std::{
    fs,
    io::{self, Cursor, Read, Seek, SeekFrom},
    process::Command,
};

use archive::{Deflater, Directory, Entry, MemberName, Method};
use proptest::prelude::*;
use zip::{CompressionMethod, ZipArchive};

const GIB: u64 = 1 << 30;

/// The time at which every member was changed.
const MODIFIED_AT: &str = "2026-01-31T12:30:45Z";

#[tokio::main(flavor = "current_thread")]
async fn entry(name: &str, level: u8, content: &[u8]) -> (Entry, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut deflater = Deflater::new(level, 2.try_into().unwrap());
    deflater.push(content, &mut bytes).await;
    let sums = deflater.finish(&mut bytes).await;
    let name = MemberName::safe(name).unwrap();
    let entry = Entry::new(name, MODIFIED_AT.parse().unwrap(), level, sums);
    (entry, bytes)
}

fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut directory = Directory::default();
    let mut archive = Vec::new();
    for (entry, bytes) in entries {
        directory.push(entry);
        archive.extend(entry.local_header());
        archive.extend(bytes);
        assert_eq!(entry.entry_bytes(), (entry.local_header().len() + bytes.len()) as u64);
    }
    archive.extend(directory.finish());
    archive
}

proptest! {
    #[test]
    fn the_zip_crate_finds_every_member(
        members in prop::collection::vec((r"\PC{0,12}", 0_u8..=9, r"(\PC|[\x00-\x20]){0,300}"), 0..6),
    ) {
        let entries: Vec<_> = members
            .iter()
            .enumerate()
            .map(|(i, (name, level, text))| entry(&format!("{i}/{name}"), *level, text.as_bytes()))
            .collect();
        let mut reader = ZipArchive::new(Cursor::new(archive(&entries))).unwrap();
        reader.validate_header_consistency().unwrap();
        prop_assert_eq!(reader.len(), members.len());
        for (i, (_, level, text)) in members.iter().enumerate() {
            let mut member = reader.by_index(i).unwrap();
            let name = entries[i].0.name.as_str();
            prop_assert_eq!(member.name().unwrap(), name);
            prop_assert_eq!(member.unix_mode(), Some(0o100_644));
            prop_assert_eq!(member.last_modified().unwrap().to_string(), "2026-01-31 12:30:44");
            let method = if *level == 0 { CompressionMethod::Stored } else { CompressionMethod::Deflated };
            prop_assert_eq!(member.compression(), method);
            let mut read = String::new();
            member.read_to_string(&mut read).unwrap();
            prop_assert_eq!(&read, text);
        }
    }
}

#[test]
fn unzip_7_zip_and_python_find_no_fault() {
    let lines: Vec<String> =
        (0..60_000).map(|i| format!("{i},{},naïve\n", i * 7919 % 10_007)).collect();
    let lines = lines.concat();
    let mut entries = vec![
        entry("daily/Größe 表.csv", 6, lines.as_bytes()),
        entry("stored.csv", 0, lines.as_bytes()),
        entry("empty.csv", 6, b""),
    ];
    check_other_programs(&archive(&entries));
    let (empty, _) = entry("empty.csv", 0, b"");
    entries.extend((0..65_535).map(|i| {
        let name = MemberName::safe(&format!("many/{i}")).unwrap();
        (Entry { name, ..empty.clone() }, Vec::new())
    }));
    check_other_programs(&archive(&entries));
}

#[track_caller]
fn check_other_programs(archive: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive.zip");
    fs::write(&path, archive).unwrap();
    let path = path.to_str().unwrap();
    let python =
        "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); sys.exit(z.testzip() is not None)";
    for command in
        [vec!["unzip", "-tq", path], vec!["7z", "t", path], vec!["python3", "-c", python, path]]
    {
        match Command::new(command[0]).args(&command[1..]).output() {
            Ok(output) => assert!(
                output.status.success(),
                "{command:?}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => {
                assert!(!programs_are_required(), "`{}` can not run: {error}", command[0]);
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the continuous integration says it by this variable"
)]
fn programs_are_required() -> bool {
    let required = std::env::var("ATHENA_WORKFLOW_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    if !required {
        eprintln!(
            "a program to read the archive is missing; ATHENA_WORKFLOW_REQUIRE_SERVERS=1 makes that a failure"
        );
    }
    required
}

/// A file that is zeros but for some places, and so takes no memory for its size.
struct Sparse {
    written: Vec<(u64, Vec<u8>)>,
    len: u64,
    position: u64,
}

impl Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.position)).unwrap();
        // The last place that begins at or before the position, and how far it is the same to its
        // end or to the next place.
        let next = self.written.partition_point(|(from, _)| *from <= self.position);
        let until_next = self
            .written
            .get(next)
            .map_or(left, |(from, _)| usize::try_from(from - self.position).unwrap());
        let len = out.len().min(left).min(until_next);
        let out = &mut out[..len];
        out.fill(0);
        if let Some((from, bytes)) = next.checked_sub(1).map(|last| &self.written[last]) {
            let inside = usize::try_from(self.position - from).unwrap().min(bytes.len());
            let bytes = &bytes[inside..];
            let len = out.len().min(bytes.len());
            out[..len].copy_from_slice(&bytes[..len]);
        }
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// An archive whose members have these sizes and no content.
fn sparse(sizes: &[(u64, u64)]) -> (Vec<Entry>, Sparse) {
    let mut directory = Directory::default();
    let mut sparse = Sparse { written: Vec::new(), len: 0, position: 0 };
    let mut entries = Vec::new();
    for (i, (compressed_bytes, uncompressed_bytes)) in sizes.iter().copied().enumerate() {
        let entry = Entry {
            name: MemberName::safe(&format!("{i}.csv")).unwrap(),
            modified_at: MODIFIED_AT.parse().unwrap(),
            method: if compressed_bytes == uncompressed_bytes {
                Method::Stored
            } else {
                Method::Deflated
            },
            crc32: u32::try_from(i).unwrap() * 7919,
            compressed_bytes,
            uncompressed_bytes,
        };
        directory.push(&entry);
        sparse.written.push((sparse.len, entry.local_header()));
        sparse.len += entry.entry_bytes();
        entries.push(entry);
    }
    let end = directory.finish();
    sparse.written.push((sparse.len, end.clone()));
    sparse.len += end.len() as u64;
    (entries, sparse)
}

#[track_caller]
fn check_sizes(sizes: &[(u64, u64)]) {
    let (entries, sparse) = sparse(sizes);
    let mut reader = ZipArchive::new(sparse).unwrap();
    reader.validate_header_consistency().unwrap();
    assert_eq!(reader.len(), sizes.len());
    let mut offset = 0;
    for (i, entry) in entries.iter().enumerate() {
        let member = reader.by_index_raw(i).unwrap();
        let found = (
            member.name().unwrap().into_owned(),
            member.crc32(),
            member.compressed_size(),
            member.size(),
            member.header_start(),
            member.data_start(),
        );
        let expected = (
            entry.name.to_string(),
            entry.crc32,
            entry.compressed_bytes,
            entry.uncompressed_bytes,
            offset,
            Some(offset + entry.local_header().len() as u64),
        );
        assert_eq!(found, expected);
        offset += entry.entry_bytes();
    }
}

#[test]
fn sizes_and_offsets_beyond_32_bits_are_kept() {
    check_sizes(&[(3 * GIB, 3 * GIB); 3]);
    check_sizes(&[(5 * GIB, 5 * GIB), (7, 9), (GIB, 20 * GIB), (4 * GIB + 2, 4 * GIB + 1)]);
    check_sizes(&[(2000 * GIB, 9000 * GIB), (1, 1)]);
}

#[test]
fn more_than_65_534_members_are_kept() {
    for count in [65_534, 65_535] {
        check_sizes(&vec![(0, 0); count]);
    }
}

#[test]
fn zip64_is_used_only_where_a_number_needs_it() {
    const LAST: u64 = u32::MAX as u64 - 1;
    let local =
        |(compressed, uncompressed)| sparse(&[(compressed, uncompressed)]).0[0].local_header();
    let plain = local((1, 1)).len();
    assert_eq!(local((LAST, LAST)).len(), plain);
    assert_eq!(local((LAST, LAST))[4..6], [20, 0], "version 2.0 is needed");
    for sizes in [(LAST + 1, 1), (1, LAST + 1), (LAST + 1, LAST + 1)] {
        assert_eq!(local(sizes).len(), plain + 20, "both sizes, and four bytes before them");
        assert_eq!(local(sizes)[4..6], [45, 0], "version 4.5 is needed");
    }

    let directory = |sizes: &[(u64, u64)]| sparse(sizes).1.written.pop().unwrap().1;
    let central = 46 + "0.csv".len();
    let (end, zip64_end) = (22, 56 + 20);
    assert_eq!(directory(&[]).len(), end);
    // The directory begins after the local header, which is at the last offset of 32 bits.
    let longest = LAST - plain as u64;
    assert_eq!(directory(&[(longest, longest)]).len(), central + end);
    assert_eq!(directory(&[(longest + 1, 1)]).len(), central + zip64_end + end);
    assert_eq!(directory(&[(LAST + 1, 1)]).len(), central + 4 + 8 + zip64_end + end);
    assert_eq!(directory(&[(LAST + 1, LAST + 1)]).len(), central + 4 + 16 + zip64_end + end);
    let two = directory(&[(LAST, LAST), (1, 1)]);
    assert_eq!(two.len(), 2 * central + 4 + 8 + zip64_end + end, "an offset of 64 bits");
}

proptest! {
    #[test]
    fn any_sizes_are_kept(
        sizes in prop::collection::vec((size(), size()), 0..8),
    ) {
        check_sizes(&sizes);
    }
}

/// Sizes of all magnitudes, and those around the end of 32 bits.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![0..1000_u64, u64::from(u32::MAX) - 200..u64::from(u32::MAX) + 200, 0..20_000 * GIB,]
}
