//! A journal in S3.

use async_trait::async_trait;
use aws_io::{DatedJson, Precondition, Storage, StorageError};
use job::{S3Location, delivery::Journal};

use crate::lease::{Journals, StoredJournal};

/// The largest journal: 50 attempts whose errors are as long as they may be.
const JOURNAL_BYTES_MAX: u64 = 1024 * 1024;

/// The journal of a delivery in S3.
#[derive(Clone, Debug)]
pub struct S3Journal {
    storage: Storage,
    location: S3Location,
}

impl S3Journal {
    /// The journal at `location`.
    pub fn new(storage: Storage, location: S3Location) -> Self {
        Self { storage, location }
    }

    /// Its location.
    pub fn location(&self) -> &S3Location {
        &self.location
    }

    async fn put(
        &self,
        journal: &Journal,
        precondition: Precondition,
    ) -> Result<Option<String>, StorageError> {
        match self.storage.put_json_if(&self.location, journal, precondition).await {
            Ok(info) => Ok(Some(info.version.etag)),
            Err(StorageError::Changed { .. } | StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Journals for S3Journal {
    async fn create(&self, journal: &Journal) -> Result<Option<String>, StorageError> {
        self.put(journal, Precondition::Absent).await
    }

    async fn read(&self) -> Result<Option<StoredJournal>, StorageError> {
        match self.storage.get_json_dated(&self.location, JOURNAL_BYTES_MAX).await {
            Ok(DatedJson { document, info, age }) => {
                Ok(Some(StoredJournal { journal: document, etag: info.version.etag, age }))
            }
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn replace(&self, journal: &Journal, etag: &str) -> Result<Option<String>, StorageError> {
        self.put(journal, Precondition::Unchanged { etag: etag.to_owned() }).await
    }
}
