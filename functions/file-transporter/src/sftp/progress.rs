//! What the attempts so far have left on the server, and the time for further ones.

use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

use super::{attempt::Delivered, names::Names, point::Point};
use crate::delivery::{Checkpoint, Parcel, Sent};

/// Invocations that one file may take: of a quarter of an hour each, they end while the execution,
/// which may take a day, can still say what is wrong.
const INVOCATIONS_MAX: u32 = 90;
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
    /// `sent` was left by an earlier invocation, to be found out by this one. As long as the state
    /// machine holds it, a temporary file that is gone means that it was renamed: so this invocation
    /// neither removes nor writes it.
    pub(super) inherited: bool,
    /// The file has its final name; the second one may be missing.
    pub(super) delivered: Option<Delivered>,
}

impl Progress {
    /// What earlier invocations got done; `names` are those of their version of the file.
    pub(super) fn resumed(names: Names, acknowledged: Point, sent: Option<Sent>) -> Self {
        let inherited = sent.is_some();
        Self { names: Some(names), acknowledged, sent, inherited, delivered: None }
    }

    /// Begins with an empty file.
    pub(super) fn begin(&mut self, names: Names) {
        *self = Self { names: Some(names), ..Self::default() };
    }

    /// Where the next invocation goes on; nothing if there is none any more, or if this one got no
    /// further than the one before it, also if it had to begin anew.
    pub(super) fn checkpoint(&self, parcel: &Parcel<'_>) -> Option<Checkpoint> {
        let names = self.names.as_ref()?;
        let before = self.before(parcel);
        let got_on = self.acknowledged.offset() > before.map_or(0, |it| it.acknowledged_bytes)
            || self.sent.as_ref() != before.and_then(|it| it.sent.as_ref());
        let goes_on = got_on && self.delivered.is_none() && !is_last_invocation(parcel);
        goes_on.then(|| Checkpoint {
            version: names.version.clone(),
            acknowledged_bytes: self.acknowledged.offset(),
            invocations: invocation(parcel),
            sha256_state: Some(self.acknowledged.state()),
            sent: self.sent.clone(),
        })
    }

    /// Whether it is settled that the file which an earlier invocation sent was not renamed. The
    /// next invocation must be told that before anything becomes of the temporary file.
    pub(super) fn is_disproved(&self) -> bool {
        self.inherited && self.sent.is_none() && self.delivered.is_none()
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

/// The number of this invocation, from 1.
fn invocation(parcel: &Parcel<'_>) -> u32 {
    parcel.checkpoint.map_or(0, |before| before.invocations) + 1
}

/// Whether no other invocation may follow.
pub(super) fn is_last_invocation(parcel: &Parcel<'_>) -> bool {
    invocation(parcel) >= INVOCATIONS_MAX
}

/// The time of an invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) started: Instant,
    /// No write and no attempt begins later.
    pub(super) stop_at: Instant,
    /// Nothing is waited for longer, but for goodbyes.
    pub(super) end_at: Instant,
    /// Clearing away is given up, too.
    pub(super) answer_at: Instant,
}

impl Clock {
    /// The time until `deadline`, of which a tenth, or 20 seconds, is left for the end.
    pub(super) fn until(deadline: StdInstant) -> Self {
        let (started, deadline) = (Instant::now(), Instant::from_std(deadline));
        let margin = (deadline.saturating_duration_since(started) / 10).min(MARGIN_MAX);
        Self {
            started,
            stop_at: deadline - margin,
            end_at: deadline - margin / 2,
            answer_at: deadline - margin / 10,
        }
    }

    /// Whether there is time for another attempt after a wait.
    pub(super) fn has(&self, wait: Duration) -> bool {
        wait < self.stop_at.saturating_duration_since(Instant::now())
    }
}
