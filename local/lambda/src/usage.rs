//! What a function has used, counted as AWS bills it.

/// The use of one function since its [`Lambda`](crate::Lambda) was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Invocations that ran, each attempt of an asynchronous one on its own.
    pub invocations: u64,
    /// Invocations that ended with a function error.
    pub errors: u64,
    /// Invocations that were refused for the function's concurrency.
    pub throttles: u64,
    /// Invocations that had to start a process first.
    pub cold_starts: u64,
    /// The billed time in milliseconds: initialisation and run, each invocation rounded up.
    pub billed_milliseconds: u64,
    /// The function's memory, which turns time into GB-seconds.
    pub memory_mb: u32,
    /// The most memory that one of its processes used, in MB; 0 where the system does not tell.
    pub memory_used_mb_max: u64,
}

impl Usage {
    /// The billed time multiplied by the memory, in GB-seconds.
    #[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are 285,000 years")]
    pub fn gb_seconds(&self) -> f64 {
        self.billed_milliseconds as f64 / 1000.0 * f64::from(self.memory_mb) / 1024.0
    }
}
