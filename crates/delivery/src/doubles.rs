//! Doubles that behave, for the tests of transports.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_io::StorageError;
use job::delivery::Journal;
use tokio::time::Instant;

use crate::lease::{Journals, StoredJournal};

/// A journal in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<Option<Entry>>>);

#[derive(Debug)]
struct Entry {
    journal: Journal,
    version: u64,
    written_at: Instant,
    /// Added to its age.
    aged: Duration,
}

impl MemoryJournal {
    /// The journal as it is, if there is one.
    pub fn get(&self) -> Option<Journal> {
        self.lock().as_ref().map(|entry| entry.journal.clone())
    }

    /// Lets time pass since the last write.
    pub fn age(&self, by: Duration) {
        if let Some(entry) = self.lock().as_mut() {
            entry.aged += by;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(journal: &Journal, version: u64) -> Entry {
    Entry { journal: journal.clone(), version, written_at: Instant::now(), aged: Duration::ZERO }
}

#[async_trait]
impl Journals for MemoryJournal {
    async fn create(&self, journal: &Journal) -> Result<Option<String>, StorageError> {
        let mut kept = self.lock();
        if kept.is_some() {
            return Ok(None);
        }
        *kept = Some(entry(journal, 1));
        Ok(Some("1".to_owned()))
    }

    async fn read(&self) -> Result<Option<StoredJournal>, StorageError> {
        Ok(self.lock().as_ref().map(|entry| StoredJournal {
            journal: entry.journal.clone(),
            etag: entry.version.to_string(),
            age: entry.written_at.elapsed() + entry.aged,
        }))
    }

    async fn replace(&self, journal: &Journal, etag: &str) -> Result<Option<String>, StorageError> {
        let mut kept = self.lock();
        let Some(current) = kept.as_ref().filter(|current| current.version.to_string() == etag)
        else {
            return Ok(None);
        };
        let version = current.version + 1;
        *kept = Some(entry(journal, version));
        Ok(Some(version.to_string()))
    }
}
