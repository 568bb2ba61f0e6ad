//! What the attempts so far have left on the server, and the time for further ones.

use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

use super::{attempt::Delivered, names::Names, point::Point};
use crate::delivery::{Checkpoint, Parcel, Verified};

/// Invocations that one file may take. At 25 GB in each, which is what a connection sends at a
/// distance of 50 ms, the largest object of S3 takes as many.
const INVOCATIONS_MAX: u32 = 200;
/// What writing leaves of the invocation's time, at most, for the answers to come and for goodbyes.
const MARGIN_MAX: Duration = Duration::from_secs(20);

/// What the attempts so far, of this invocation and of earlier ones, have left on the server.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The names under which something may be.
    pub(super) names: Option<Names>,
    /// How much of the file is under the temporary name for certain.
    pub(super) acknowledged: Point,
    /// The whole file, checked, was under the temporary name, and is to get its final name.
    pub(super) sent: Option<Sent>,
    /// The file has its final name; the second one may be missing.
    pub(super) delivered: Option<Delivered>,
}

/// A file that was sent and checked.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) size_bytes: u64,
    pub(super) sha256: String,
    pub(super) verified: Verified,
}

impl Progress {
    /// What earlier invocations got done; `names` are those of their version of the file.
    pub(super) fn resumed(names: Names, acknowledged: Point) -> Self {
        Self { names: Some(names), acknowledged, ..Self::default() }
    }

    /// Begins with an empty file.
    pub(super) fn begin(&mut self, names: Names) {
        *self = Self { names: Some(names), ..Self::default() };
    }

    /// Where the next invocation goes on; nothing if this one got no further than the one before
    /// it, also if it had to begin anew, or if all that is left is the rename.
    pub(super) fn checkpoint(&self, parcel: &Parcel<'_>) -> Option<Checkpoint> {
        let names = self.names.as_ref().filter(|_| self.sent.is_none())?;
        let invocations = parcel.checkpoint.map_or(0, |before| before.invocations) + 1;
        let before = self.before(parcel).map_or(0, |before| before.acknowledged_bytes);
        let got_on = self.acknowledged.offset() > before && invocations < INVOCATIONS_MAX;
        got_on.then(|| Checkpoint {
            version: names.version.clone(),
            acknowledged_bytes: self.acknowledged.offset(),
            invocations,
            sha256_state: Some(self.acknowledged.state()),
        })
    }

    /// Whether the file is still there up to the checkpoint that this invocation was given.
    pub(super) fn has_what_was_given(&self, parcel: &Parcel<'_>) -> bool {
        let given = self.before(parcel).map_or(0, |before| before.acknowledged_bytes);
        self.delivered.is_none() && given > 0 && self.acknowledged.offset() >= given
    }

    /// The checkpoint that this invocation was given, if it is of the same version of the file.
    fn before<'a>(&self, parcel: &Parcel<'a>) -> Option<&'a Checkpoint> {
        let names = self.names.as_ref()?;
        parcel.checkpoint.filter(|before| before.version == names.version)
    }
}

/// The time of an invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) started: Instant,
    /// No write and no attempt begins later.
    pub(super) stop_at: Instant,
    /// Nothing is waited for longer, but for goodbyes.
    pub(super) end_at: Instant,
}

impl Clock {
    /// The time until `deadline`, of which a tenth, or 20 seconds, is left for the end.
    pub(super) fn until(deadline: StdInstant) -> Self {
        let (started, deadline) = (Instant::now(), Instant::from_std(deadline));
        let margin = (deadline.saturating_duration_since(started) / 10).min(MARGIN_MAX);
        Self { started, stop_at: deadline - margin, end_at: deadline - margin / 2 }
    }

    pub(super) fn is_up(&self) -> bool {
        Instant::now() >= self.stop_at
    }
}
