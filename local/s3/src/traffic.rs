//! What was asked of the endpoints over a store, counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The name of an operation of S3's interface, such as `GetObject`.
pub type Operation = &'static str;

/// How often an operation was asked for, and what passed through the endpoint for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests, with those that were refused.
    pub requests: u64,
    /// What the requests' bodies have by their headers, without the framing of `aws-chunked`.
    pub received_bytes: u64,
    /// What was sent of objects. Other answers are not counted.
    pub sent_bytes: u64,
    /// The most requests that were being answered at one time.
    pub at_once_max: u64,
}

/// The requests to the endpoints over a store. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    counts: BTreeMap<Operation, Count>,
    running: BTreeMap<Operation, u64>,
}

/// A request that is being answered.
pub(crate) struct Running {
    traffic: Traffic,
    operation: Operation,
}

impl Traffic {
    /// The count of one operation.
    pub fn of(&self, operation: &str) -> Count {
        self.lock().counts.get(operation).copied().unwrap_or_default()
    }

    /// The counts of all operations that were asked for.
    pub fn all(&self) -> BTreeMap<Operation, Count> {
        self.lock().counts.clone()
    }

    /// Back to nothing.
    pub fn clear(&self) {
        self.lock().counts.clear();
    }

    pub(crate) fn begin(&self, operation: Operation, received_bytes: u64) -> Running {
        let mut counts = self.lock();
        let running = counts.running.entry(operation).or_default();
        *running += 1;
        let running = *running;
        let count = counts.counts.entry(operation).or_default();
        count.requests += 1;
        count.received_bytes += received_bytes;
        count.at_once_max = count.at_once_max.max(running);
        Running { traffic: self.clone(), operation }
    }

    pub(crate) fn sent(&self, operation: Operation, sent_bytes: u64) {
        self.lock().counts.entry(operation).or_default().sent_bytes += sent_bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(running) = self.traffic.lock().running.get_mut(self.operation) {
            *running -= 1;
        }
    }
}
