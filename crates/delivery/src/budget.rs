//! The time of an invocation.

use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

/// The longest margin before the deadline, for answers under way and for clean-up.
const MARGIN_MAX: Duration = Duration::from_secs(20);

/// The time of an invocation: one budget for all that it does.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Its beginning.
    pub started: Instant,
    /// No attempt, write or chunk begins later.
    pub stop_at: Instant,
    /// Work is given up.
    pub end_at: Instant,
    /// Clean-up is given up, too.
    pub answer_at: Instant,
    /// Lambda ends the invocation.
    pub deadline: Instant,
}

impl Budget {
    /// Returns the budget until `deadline`. A tenth of it, at most 20 seconds, is left for the end.
    pub fn until(deadline: StdInstant) -> Self {
        let (started, deadline) = (Instant::now(), Instant::from_std(deadline));
        let margin = (deadline.saturating_duration_since(started) / 10).min(MARGIN_MAX);
        Self {
            started,
            stop_at: deadline - margin,
            end_at: deadline - margin / 2,
            answer_at: deadline - margin / 10,
            deadline,
        }
    }

    /// Returns whether an attempt can begin after `wait`.
    pub fn has(&self, wait: Duration) -> bool {
        wait < self.stop_at.saturating_duration_since(Instant::now())
    }

    /// Returns whether more than this part of the time is over: `numerator / denominator`.
    pub fn is_spent(&self, numerator: u32, denominator: u32) -> bool {
        let whole = self.deadline.saturating_duration_since(self.started);
        self.started.elapsed() > whole / denominator * numerator
    }
}
