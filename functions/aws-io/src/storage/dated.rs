//! Documents with their age, by S3's clock.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::BoxError,
};
use aws_smithy_types::{DateTime, date_time::Format};
use job::S3Location;
use serde::de::DeserializeOwned;

use super::{ObjectInfo, Storage, StorageError, size, version};

/// A JSON document and its age.
#[derive(Debug)]
pub struct DatedJson<T> {
    /// The document.
    pub document: T,
    /// Its object.
    pub info: ObjectInfo,
    /// Time from its last modification to S3's answer, both as S3 tells them, in whole seconds.
    pub age: Duration,
}

impl Storage {
    /// Reads a JSON document of at most `limit_bytes`, and its age: no clock but S3's counts.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`] when it is not there.
    pub async fn get_json_dated<T: DeserializeOwned>(
        &self,
        location: &S3Location,
        limit_bytes: u64,
    ) -> Result<DatedJson<T>, StorageError> {
        const ACTION: &str = "reading";
        let answered_at = AnswerDate::default();
        let request = self.client.get_object().bucket(&location.bucket).key(&location.key);
        let sent = request.customize().interceptor(answered_at.clone()).send().await;
        let object = sent.map_err(|error| StorageError::new(ACTION, location, error))?;
        let size_bytes = size(object.content_length);
        if size_bytes > limit_bytes {
            return Err(StorageError::TooLarge {
                action: ACTION,
                location: location.clone(),
                size_bytes,
                limit_bytes,
            });
        }
        let info = ObjectInfo { version: version(object.version_id, object.e_tag), size_bytes };
        let age = answered_at.since(object.last_modified);
        let body = object.body.collect().await.map_err(|error| StorageError::Unavailable {
            action: ACTION,
            location: location.clone(),
            source: error.into(),
        })?;
        let document = serde_json::from_slice(&body.into_bytes()).map_err(|source| {
            StorageError::Document { action: ACTION, location: location.clone(), source }
        })?;
        Ok(DatedJson { document, info, age })
    }
}

/// The `Date` of an answer.
#[derive(Clone, Debug, Default)]
struct AnswerDate(Arc<Mutex<Option<DateTime>>>);

impl AnswerDate {
    /// Time since `modified`. Without both dates nothing is old.
    fn since(&self, modified: Option<DateTime>) -> Duration {
        let answered = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = match (answered, modified) {
            (Some(answered), Some(modified)) => answered.secs() - modified.secs(),
            _ => 0,
        };
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }
}

impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "AnswerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
