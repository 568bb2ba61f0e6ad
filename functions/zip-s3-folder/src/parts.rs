//! The parts of a multipart upload that joins ranges of objects.
//!
//! S3 copies a part of at least 5 MiB from another object without moving it ([`Part::Copy`]).
//! What is smaller is carried: read, joined with its neighbours and uploaded ([`Part::Carried`]).
//! The plan keeps three limits of S3 ([multipart upload limits],
//! [`UploadPartCopy`]): a part has 5 MiB to 5 GiB, but the last may be smaller; there are at most
//! 10,000 parts; a range may be copied only from an object of more than 5 MiB.
//!
//! Unless there would be too many parts, only segments of less than 10 MiB are carried whole. A
//! larger one gives at most 5 MiB to small neighbours on either side, so that they are a part.
//!
//! [multipart upload limits]: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
//! [`UploadPartCopy`]: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html

use std::{mem, ops::Range};

const MIB: u64 = 1024 * 1024;

/// The smallest part but for the last, and the largest object from which no range can be copied.
const PART_BYTES_MIN: u64 = 5 * MIB;

/// The largest part.
const PART_BYTES_MAX: u64 = 5 * 1024 * MIB;

/// The most parts.
const PARTS_MAX: usize = 10_000;

/// The smallest parts that a plan makes: S3's own minimum, and larger ones if parts of that size
/// would be too many. With the largest, 10,000 parts hold 156 GiB of small segments.
const TARGETS_BYTES: [u64; 3] = [PART_BYTES_MIN, 8 * MIB, 16 * MIB];

/// The first bytes of an object, as a segment of what is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Which object: the caller's number for it.
    pub(crate) source: usize,
    /// How many of its first bytes.
    pub(crate) bytes: u64,
    /// The size of the whole object.
    pub(crate) object_bytes: u64,
}

/// A range of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Which object: the caller's number for it.
    pub(crate) source: usize,
    /// Which of its bytes.
    pub(crate) range: Range<u64>,
}

/// A part of the upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// S3 copies it.
    Copy(Piece),
    /// These pieces, one after the other; at most 32 MiB, and 10 MiB in a plan that does not need
    /// larger ones for the number of its parts.
    Carried(Vec<Piece>),
}

/// There are more parts than S3 takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("joining the members takes {parts} parts, and S3 takes at most {PARTS_MAX}")]
pub struct TooManyParts {
    parts: usize,
}

/// Plans the upload of the segments, one after the other, and then of some bytes of the caller's.
///
/// The last part is always [`Part::Carried`], maybe of no pieces: the caller puts its own bytes,
/// at least one, after them. A plan of one part need not be a multipart upload.
///
/// # Errors
///
/// There are too many parts, though parts were made as large as memory allows.
pub(crate) fn plan(segments: &[Segment]) -> Result<Vec<Part>, TooManyParts> {
    let mut parts = Vec::new();
    for target_bytes in TARGETS_BYTES {
        parts = Plan::new(target_bytes).of(segments);
        if parts.len() <= PARTS_MAX {
            return Ok(parts);
        }
    }
    Err(TooManyParts { parts: parts.len() })
}

/// A plan in the making. No part but the last is smaller than the target.
struct Plan {
    target_bytes: u64,
    parts: Vec<Part>,
    /// What is carried since the last copied part.
    gap: Vec<Piece>,
    gap_bytes: u64,
}

impl Plan {
    fn new(target_bytes: u64) -> Self {
        Self { target_bytes, parts: Vec::new(), gap: Vec::new(), gap_bytes: 0 }
    }

    fn of(mut self, segments: &[Segment]) -> Vec<Part> {
        for segment in segments {
            let piece = |range| Piece { source: segment.source, range };
            if let Some(from) = self.copied_from(segment) {
                self.fill_gap_from_the_left(from);
                self.carry(piece(0..from));
                self.close_gap();
                self.copy(piece(from..segment.bytes));
            } else {
                self.carry(piece(0..segment.bytes));
            }
        }
        let part_bytes_max = self.part_bytes_max();
        let mut last = split(self.gap, part_bytes_max);
        if last.is_empty() {
            last.push(Vec::new());
        }
        self.parts.extend(last.into_iter().map(Part::Carried));
        self.parts
    }

    /// The byte from which on the segment is copied; none if all of it is carried.
    ///
    /// Its first bytes are carried if the gap before it is too small for a part, and the copied
    /// part before that can not give it enough.
    fn copied_from(&self, segment: &Segment) -> Option<u64> {
        let from = self.lacking_bytes().saturating_sub(self.spare_bytes());
        let copied =
            segment.object_bytes > PART_BYTES_MIN && segment.bytes >= from + self.target_bytes;
        copied.then_some(from)
    }

    /// What the gap lacks to be a part.
    fn lacking_bytes(&self) -> u64 {
        if self.gap_bytes == 0 { 0 } else { self.target_bytes.saturating_sub(self.gap_bytes) }
    }

    /// What the copied part before the gap can give to it.
    fn spare_bytes(&self) -> u64 {
        match self.parts.last() {
            Some(Part::Copy(left)) => left.bytes() - self.target_bytes,
            _ => 0,
        }
    }

    /// Moves what the gap lacks, but for `from_right`, to it from the copied part before it.
    fn fill_gap_from_the_left(&mut self, from_right: u64) {
        let moved = self.lacking_bytes() - from_right;
        if moved > 0
            && let Some(Part::Copy(left)) = self.parts.last_mut()
        {
            let cut = left.range.end - moved;
            self.gap.insert(0, Piece { source: left.source, range: cut..left.range.end });
            self.gap_bytes += moved;
            left.range.end = cut;
        }
    }

    fn carry(&mut self, piece: Piece) {
        if piece.bytes() > 0 {
            self.gap_bytes += piece.bytes();
            self.gap.push(piece);
        }
    }

    /// Carries the gap, if there is one, in as few parts as may be, of about the same size.
    fn close_gap(&mut self) {
        let gap_bytes = mem::take(&mut self.gap_bytes);
        let parts = split(mem::take(&mut self.gap), even(gap_bytes, self.part_bytes_max()));
        self.parts.extend(parts.into_iter().map(Part::Carried));
    }

    /// Copies the piece in as few parts as may be, of about the same size.
    fn copy(&mut self, piece: Piece) {
        let part_bytes = even(piece.bytes(), PART_BYTES_MAX);
        let parts = split(vec![piece], part_bytes);
        self.parts.extend(parts.into_iter().flatten().map(Part::Copy));
    }

    /// The largest carried part: what is larger is two parts, neither smaller than the target.
    fn part_bytes_max(&self) -> u64 {
        2 * self.target_bytes
    }
}

impl Piece {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The size of the fewest equal parts, none larger than `part_bytes_max`, that hold `bytes`.
fn even(bytes: u64, part_bytes_max: u64) -> u64 {
    let parts = bytes.div_ceil(part_bytes_max).max(1);
    bytes.div_ceil(parts)
}

/// The pieces in their order, cut into parts of this size; the last may be smaller.
fn split(pieces: Vec<Piece>, part_bytes: u64) -> Vec<Vec<Piece>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut room_bytes = part_bytes;
    for Piece { source, mut range } in pieces {
        while !range.is_empty() {
            let cut = range.end.min(range.start + room_bytes);
            part.push(Piece { source, range: range.start..cut });
            room_bytes -= cut - range.start;
            range.start = cut;
            if room_bytes == 0 {
                parts.push(mem::take(&mut part));
                room_bytes = part_bytes;
            }
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Segments of these sizes, each of an object that is 100 bytes larger: a directory.
    fn segments(sizes: &[u64]) -> Vec<Segment> {
        let segment = |(source, bytes): (usize, &u64)| Segment {
            source,
            bytes: *bytes,
            object_bytes: bytes + 100,
        };
        sizes.iter().enumerate().map(segment).collect()
    }

    fn pieces(part: &Part) -> &[Piece] {
        match part {
            Part::Copy(piece) => std::slice::from_ref(piece),
            Part::Carried(pieces) => pieces,
        }
    }

    fn part_bytes(part: &Part) -> u64 {
        pieces(part).iter().map(Piece::bytes).sum()
    }

    fn carried_bytes(parts: &[Part]) -> u64 {
        parts.iter().filter(|part| matches!(part, Part::Carried(_))).map(part_bytes).sum()
    }

    /// The pieces of all parts, those that meet joined to one.
    fn joined(parts: &[Part]) -> Vec<Piece> {
        let mut joined: Vec<Piece> = Vec::new();
        for piece in parts.iter().flat_map(pieces).cloned() {
            match joined.last_mut() {
                Some(last)
                    if last.source == piece.source && last.range.end == piece.range.start =>
                {
                    last.range.end = piece.range.end;
                }
                _ => joined.push(piece),
            }
        }
        joined
    }

    /// Checks all that S3 demands, and that the parts are the segments.
    #[track_caller]
    fn check_rules(segments: &[Segment], parts: &[Part]) {
        let (last, others) = parts.split_last().expect("there is a last part");
        assert!(parts.len() <= 10_000);
        assert!(matches!(last, Part::Carried(_)), "{last:?}");
        for part in others {
            assert!(part_bytes(part) >= 5 * MIB, "{part:?}");
        }
        for part in parts {
            let bytes = part_bytes(part);
            match part {
                Part::Copy(piece) => {
                    assert!(bytes <= 5 * 1024 * MIB, "{part:?}");
                    assert!(segments[piece.source].object_bytes > 5 * MIB, "{part:?}");
                }
                Part::Carried(_) => assert!(bytes <= 32 * MIB, "{part:?}"),
            }
        }
        let whole: Vec<Piece> = segments
            .iter()
            .filter(|segment| segment.bytes > 0)
            .map(|segment| Piece { source: segment.source, range: 0..segment.bytes })
            .collect();
        assert_eq!(joined(parts), whole);
    }

    /// Each part of the plan as its size, negative if it is carried.
    #[track_caller]
    fn check(sizes: &[u64], expected: &[i64]) {
        let segments = segments(sizes);
        let parts = plan(&segments).unwrap();
        check_rules(&segments, &parts);
        let sizes: Vec<i64> = parts
            .iter()
            .map(|part| {
                let bytes = i64::try_from(part_bytes(part)).unwrap();
                if matches!(part, Part::Copy(_)) { bytes } else { -bytes }
            })
            .collect();
        assert_eq!(sizes, expected);
    }

    #[test]
    fn large_members_are_copied_and_only_the_callers_bytes_are_carried() {
        let mut parts = vec![50_000_000; 20];
        parts.push(0);
        check(&[50_000_000; 20], &parts);
        check(&[5 * MIB, 5 * MIB], &[5 << 20, 5 << 20, 0]);
        check(&[11 << 30], &[3_937_053_355, 3_937_053_355, 3_937_053_354, 0]);
    }

    #[test]
    fn small_members_are_carried_together() {
        check(&[], &[0]);
        check(&[0, 0], &[0]);
        check(&[1000, 2000], &[-3000]);
        check(&[3 * MIB; 4], &[-10 << 20, -2 << 20]);
        check(&[2 * MIB; 5], &[-10 << 20]);
    }

    #[test]
    fn a_small_member_between_large_ones_takes_what_it_lacks_from_them() {
        // From the left, which can give all of it.
        check(&[20 * MIB, MIB, 20 * MIB], &[16 << 20, -5 << 20, 20 << 20, 0]);
        // From both.
        check(&[6 * MIB, MIB, 20 * MIB], &[5 << 20, -5 << 20, 17 << 20, 0]);
        // Neither can give enough, so the right is carried whole, and the left keeps its own.
        check(&[6 * MIB, MIB, 7 * MIB], &[6 << 20, -8 << 20]);
        // From the right, as there is nothing to the left.
        check(&[MIB, 20 * MIB], &[-5 << 20, 16 << 20, 0]);
        // Nothing is lacking at the end.
        check(&[20 * MIB, MIB], &[20 << 20, -1 << 20]);
    }

    #[test]
    fn no_range_is_copied_from_an_object_of_5_mib_or_less() {
        let segment = |object_bytes| Segment { source: 0, bytes: 5 * MIB, object_bytes };
        let piece = Piece { source: 0, range: 0..5 * MIB };
        assert_eq!(plan(&[segment(5 * MIB)]).unwrap(), [Part::Carried(vec![piece.clone()])]);
        assert_eq!(
            plan(&[segment(5 * MIB + 1)]).unwrap(),
            [Part::Copy(piece), Part::Carried(Vec::new())]
        );
    }

    #[test]
    fn parts_grow_when_there_would_be_too_many_and_no_further_than_memory_allows() {
        for sizes in [vec![6 * MIB; 9_999], vec![6 * MIB; 20_000], vec![100_000; 300_000]] {
            let segments = segments(&sizes);
            check_rules(&segments, &plan(&segments).unwrap());
        }
        assert_eq!(
            plan(&segments(&vec![20 * MIB; 10_000])).unwrap_err().to_string(),
            "joining the members takes 10001 parts, and S3 takes at most 10000"
        );
    }

    /// The fewest bytes that can be carried: tries which of the segments are copied.
    ///
    /// A gap between two copied segments takes what it lacks first from what the left has left to
    /// give, which is of no use to a later gap, and then from the right.
    fn fewest_carried_bytes(segments: &[Segment]) -> u64 {
        let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let choices = 0..1_u32 << segments.len();
        choices.filter_map(|copied| carried_bytes_if(segments, copied)).min().unwrap_or(total)
    }

    fn carried_bytes_if(segments: &[Segment], copied: u32) -> Option<u64> {
        let (mut carried, mut gap, mut spare) = (0, 0, 0);
        for (i, segment) in segments.iter().enumerate() {
            if copied & 1 << i == 0 {
                gap += segment.bytes;
                continue;
            }
            let lacking = if gap == 0 { 0 } else { PART_BYTES_MIN.saturating_sub(gap) };
            let from_right = u64::saturating_sub(lacking, spare);
            if segment.object_bytes <= PART_BYTES_MIN {
                return None;
            }
            spare = segment.bytes.checked_sub(PART_BYTES_MIN + from_right)?;
            carried += gap + lacking;
            gap = 0;
        }
        Some(carried + gap)
    }

    /// Sizes of all magnitudes, and those around the limits of S3.
    fn size() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..3 * MIB,
            5 * MIB - 200..5 * MIB + 200,
            4 * MIB..12 * MIB,
            5 * MIB..200 * MIB,
            5 * 1024 * MIB - 200..5 * 1024 * MIB + 6 * MIB,
            0..200 * 1024 * MIB,
        ]
    }

    proptest! {
        #[test]
        fn every_plan_follows_the_rules_of_s3(sizes in prop::collection::vec(size(), 0..40)) {
            let segments = segments(&sizes);
            check_rules(&segments, &plan(&segments).unwrap());
        }

        #[test]
        fn at_most_twice_as_much_is_carried_as_must_be(sizes in prop::collection::vec(size(), 0..10)) {
            let segments = segments(&sizes);
            let (carried, fewest) = (carried_bytes(&plan(&segments).unwrap()), fewest_carried_bytes(&segments));
            prop_assert!(carried >= fewest);
            prop_assert!(carried <= 2 * fewest, "{} carried, {} is possible", carried, fewest);
        }
    }
}
