//! What tests see of a server, and how they release what it holds.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// The latest requests that are kept.
const REQUESTS_KEPT: usize = 1000;

/// The part of a server that all connections share and that tests look at.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    held: AtomicUsize,
    released: CancellationToken,
    requests: Mutex<VecDeque<String>>,
    /// When files were closed, for servers that scan them.
    closed: Mutex<HashMap<String, Instant>>,
}

impl Observed {
    /// Holds the caller until [`Observed::release`].
    pub(crate) async fn hold(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
        self.released.cancelled().await;
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.released.cancel();
    }

    pub(crate) fn note(&self, request: String) {
        let mut requests = lock(&self.requests);
        requests.push_back(request);
        let surplus = requests.len().saturating_sub(REQUESTS_KEPT);
        requests.drain(..surplus);
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        lock(&self.requests).iter().cloned().collect()
    }

    pub(crate) fn close(&self, path: &str) {
        lock(&self.closed).insert(path.to_owned(), Instant::now());
    }

    /// Returns whether the file was closed less than so long ago.
    pub(crate) fn was_closed_within(&self, path: &str, time: Duration) -> bool {
        lock(&self.closed).get(path).is_some_and(|closed| closed.elapsed() < time)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
