//! The processes of one function.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::config::Function;
use crate::sandbox::Sandbox;
use crate::transcript::Sink;
use crate::usage::Usage;

/// A function, its warm processes and what it has used.
pub(crate) struct Pool {
    pub(crate) function: Function,
    pub(crate) region: String,
    pub(crate) arn: String,
    pub(crate) sink: Arc<Sink>,
    /// One permit per process that may be busy. A process idles only while its permit is free, so there are
    /// never more processes than permits.
    pub(crate) processes: Semaphore,
    processes_max: usize,
    /// One permit per event that may be under way.
    pub(crate) events: Semaphore,
    idle: Mutex<Vec<Sandbox>>,
    in_flight: AtomicUsize,
    /// Set while the function refuses all invocations, as if its concurrency were used up.
    throttled: AtomicBool,
    usage: Mutex<Usage>,
}

impl Pool {
    pub(crate) fn new(
        function: Function,
        region: String,
        arn: String,
        sink: Sink,
        processes_max: usize,
        concurrent_events_max: usize,
    ) -> Self {
        let usage = Usage { memory_mb: function.memory_mb, ..Usage::default() };
        Self {
            function,
            region,
            arn,
            sink: Arc::new(sink),
            processes: Semaphore::new(processes_max),
            processes_max,
            events: Semaphore::new(concurrent_events_max),
            idle: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            throttled: AtomicBool::new(false),
            usage: Mutex::new(usage),
        }
    }

    /// Counts one more invocation under way, unless the function's concurrency is used up.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Admission> {
        let admission = Admission(Arc::clone(self));
        let has_room =
            self.in_flight.fetch_add(1, Ordering::SeqCst) < self.function.concurrency_max;
        if has_room && !self.throttled.load(Ordering::SeqCst) {
            return Some(admission);
        }
        self.count(|usage| usage.throttles += 1);
        None
    }

    pub(crate) fn throttle(&self, throttled: bool) {
        self.throttled.store(throttled, Ordering::SeqCst);
    }

    /// The most recently used idle process.
    pub(crate) fn take_idle(&self) -> Option<Sandbox> {
        let mut idle = locked(&self.idle);
        while let Some(mut sandbox) = idle.pop() {
            if sandbox.is_alive() {
                return Some(sandbox);
            }
        }
        None
    }

    /// Keeps a process warm for the next invocation.
    pub(crate) fn give_back(&self, sandbox: Sandbox) {
        locked(&self.idle).push(sandbox);
    }

    pub(crate) fn stop_idle(&self) {
        locked(&self.idle).clear();
    }

    /// Waits until no process is busy and stops the idle ones.
    pub(crate) async fn stop(&self) {
        let permits = u32::try_from(self.processes_max).unwrap_or(u32::MAX);
        let all = self.processes.acquire_many(permits).await;
        self.stop_idle();
        drop(all);
    }

    pub(crate) fn usage(&self) -> Usage {
        *locked(&self.usage)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Usage)) {
        change(&mut locked(&self.usage));
    }
}

/// One invocation under way.
pub(crate) struct Admission(Arc<Pool>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
