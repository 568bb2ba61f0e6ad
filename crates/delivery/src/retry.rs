//! Retries within an invocation.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The wait before the second attempt.
const WAIT_MIN: Duration = Duration::from_millis(250);

/// The longest wait, unless the recipient asks for a longer one.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// The number of attempts that an error allows inside one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: it would end in the same way, or lock an account.
    Never,
    /// One: some servers fail once for reasons of their own.
    Once,
    /// As often as the configuration allows.
    Often,
}

impl Retry {
    /// Returns the number of attempts, where the configuration allows `max`.
    pub fn attempts(self, max: u32) -> u32 {
        match self {
            Self::Never => 1,
            Self::Once => max.min(2),
            Self::Often => max,
        }
    }
}

/// The waits between attempts, without an end: each is twice the one before, and has a random part.
#[derive(Debug)]
pub struct Waits(ExponentialBackoff);

impl Default for Waits {
    fn default() -> Self {
        let waits = ExponentialBuilder::new().with_min_delay(WAIT_MIN).with_max_delay(WAIT_MAX);
        Self(waits.without_max_times().with_jitter().build())
    }
}

impl Waits {
    /// Returns the next wait.
    pub fn next_wait(&mut self) -> Duration {
        self.0.next().unwrap_or(WAIT_MAX)
    }
}
