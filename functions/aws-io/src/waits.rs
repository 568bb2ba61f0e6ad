//! The callbacks that wait for a query, by Athena's id of it: an event of Athena has nothing else.

use job::{
    BucketName, QueryName, RunId, S3Location,
    states::{Callback, PlannedQuery, Run},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Precondition, Storage, StorageError};

/// A token has at most 2,048 characters.
const WAIT_BYTES_MAX: u64 = 16 * 1024;

/// The callbacks in the stack's bucket of state: `waits/{query_execution_id}`.
#[derive(Clone, Debug)]
pub struct Waits {
    storage: Storage,
    bucket: BucketName,
}

/// A callback that waits for a query.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wait {
    /// Task token.
    #[serde(serialize_with = "expose")]
    pub token: SecretString,
    /// Number of retries of the state before this one.
    pub retry_count: u32,
    /// The run.
    pub run_id: RunId,
    /// The query.
    pub query: QueryName,
}

/// A token is a secret, and this object is where it is kept.
fn expose<S: Serializer>(token: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose_secret())
}

impl Waits {
    /// The callbacks in this bucket.
    pub fn new(storage: Storage, bucket: BucketName) -> Self {
        Self { storage, bucket }
    }

    /// Keeps the callback of a query, unless a later retry of its state has kept one.
    ///
    /// A call that answers late must not put its own token, which is closed, in the place of the
    /// one that waits.
    pub async fn keep(
        &self,
        query_execution_id: &str,
        run: &Run,
        query: &PlannedQuery,
        callback: &Callback,
    ) -> Result<(), StorageError> {
        let location = self.location(query_execution_id);
        let wait = Wait {
            token: callback.token.clone(),
            retry_count: callback.retry_count,
            run_id: run.run_id.clone(),
            query: query.name.clone(),
        };
        let mut precondition = Precondition::Absent;
        loop {
            match self.storage.put_json_if(&location, &wait, precondition).await {
                Ok(_) => return Ok(()),
                Err(StorageError::Changed { .. } | StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            precondition = match self.read(&location).await? {
                Some((kept, _)) if kept.retry_count > wait.retry_count => return Ok(()),
                Some((_, etag)) => Precondition::Unchanged { etag },
                None => Precondition::Absent,
            };
        }
    }

    /// The callback that waits for a query, if there is one.
    pub async fn find(&self, query_execution_id: &str) -> Result<Option<Wait>, StorageError> {
        let read = self.read(&self.location(query_execution_id)).await?;
        Ok(read.map(|(wait, _)| wait))
    }

    async fn read(&self, location: &S3Location) -> Result<Option<(Wait, String)>, StorageError> {
        match self.storage.get_json_with_info(location, WAIT_BYTES_MAX).await {
            Ok((wait, info)) => Ok(Some((wait, info.version.etag))),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn location(&self, query_execution_id: &str) -> S3Location {
        S3Location::new(self.bucket.as_str(), format!("waits/{query_execution_id}"))
    }
}
