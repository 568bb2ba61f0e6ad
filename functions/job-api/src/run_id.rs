//! The id of a run that its caller did not name.

use jiff::{Timestamp, tz::Offset};
use job::RunId;

/// What makes new run ids: a clock and chance.
#[derive(Clone, Copy, Debug)]
pub struct RunIdSource {
    /// The time.
    pub now: fn() -> Timestamp,
    /// 32 random bits.
    pub random: fn() -> u32,
}

impl RunIdSource {
    /// A new run id, `20260131T235959Z-0123abcd`: runs sort by the second of their start.
    pub(crate) fn next(self) -> RunId {
        let start = Offset::UTC.to_datetime((self.now)()).strftime("%Y%m%dT%H%M%SZ");
        let id = format!("{start}-{:08x}", (self.random)());
        id.parse().expect("digits, letters and a hyphen make a run id")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_id_is_the_second_and_eight_random_digits() {
        let source = RunIdSource {
            now: || "2026-01-31T23:59:59.987Z".parse().unwrap(),
            random: || 0x00ab_cdef,
        };
        assert_eq!(source.next().as_str(), "20260131T235959Z-00abcdef");
    }
}
