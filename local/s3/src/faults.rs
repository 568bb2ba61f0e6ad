//! Faults on demand: what S3 and the way to it do on a bad day, for tests of those who call it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use s3s::{S3Error, S3ErrorCode};

use crate::traffic::Operation;

/// The faults that the endpoints over a store show. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    busy_every: u64,
    requests: u64,
    cuts: u64,
    cut_after_bytes: u64,
    failures: BTreeMap<Operation, u64>,
    ranges_ignored: bool,
    delay: Duration,
}

impl Faults {
    /// Answers every `n`-th request from now on with `SlowDown`, HTTP 503; 1 answers all so, 0
    /// none.
    pub fn slow_down_every(&self, n: u64) {
        let mut plan = self.plan();
        plan.busy_every = n;
        plan.requests = 0;
    }

    /// Answers the next `count` requests for an operation with `InternalError`, HTTP 500.
    pub fn fail_next(&self, operation: Operation, count: u64) {
        self.plan().failures.insert(operation, count);
    }

    /// Drops the connections of the next `count` reads of an object after this many bytes of their
    /// bodies. A body that is not longer comes whole, and counts.
    pub fn cut_next_reads(&self, count: u64, after_bytes: u64) {
        let mut plan = self.plan();
        plan.cuts = count;
        plan.cut_after_bytes = after_bytes;
    }

    /// Answers reads of a range with the whole object, as RFC 9110 lets a server do.
    pub fn ignore_ranges(&self, ignored: bool) {
        self.plan().ranges_ignored = ignored;
    }

    /// Makes every answer begin this much later.
    pub fn delay(&self, delay: Duration) {
        self.plan().delay = delay;
    }

    /// Back to no faults.
    pub fn clear(&self) {
        *self.plan() = Plan::default();
    }

    /// Counts a request; fails if it is its turn.
    pub(crate) async fn meet(&self, operation: Operation) -> Result<(), S3Error> {
        let (delay, fault) = {
            let mut plan = self.plan();
            plan.requests += 1;
            let busy = plan.busy_every > 0 && plan.requests.is_multiple_of(plan.busy_every);
            let failures = plan.failures.get_mut(&operation).filter(|count| **count > 0);
            let fault = if busy {
                Some(S3ErrorCode::SlowDown)
            } else if let Some(failures) = failures {
                *failures -= 1;
                Some(S3ErrorCode::InternalError)
            } else {
                None
            };
            (plan.delay, fault)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        fault.map_or(Ok(()), |code| Err(S3Error::with_message(code, "a fault on demand")))
    }

    /// How many bytes the next body may have, if its connection is to be dropped.
    pub(crate) fn next_cut(&self) -> Option<u64> {
        let mut plan = self.plan();
        plan.cuts = plan.cuts.checked_sub(1)?;
        Some(plan.cut_after_bytes)
    }

    pub(crate) fn are_ranges_ignored(&self) -> bool {
        self.plan().ranges_ignored
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
