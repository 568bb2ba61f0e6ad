//! An object that is put together from parts.

use std::{ops::Range, sync::Arc, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{self, StalledStreamProtectionConfig},
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use job::{ObjectVersion, S3Location, error::Chain};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet};

use super::{ObjectInfo, Pin, Storage, StorageError, buffers::PartBuffers, range_text, version};

/// The most [parts](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html) of an object.
pub(super) const PARTS_MAX: usize = 10_000;

/// How long S3 may stay silent while it copies or completes. It answers at once with the status
/// and then sends a space from time to time, which the SDK would take for a stalled connection.
const SILENCE_MAX: Duration = Duration::from_mins(5);

/// How long an upload that is given up waits for its parts that are on their way.
const ABORT_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a copy's source, which travels in a header, keeps as it is.
const UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// An object that is put together from parts, of bytes or of ranges of other objects, in the order
/// in which they are added.
///
/// All parts but the last must have 5 MiB to 5 GiB, and there may be 10,000 of them. They are sent
/// and copied at the same time, within the bounds that all uploads of a [`Storage`] share. The
/// object appears when [`finish`](Self::finish) returns, whole or not at all.
///
/// An error ends the upload: it is aborted before the error is returned. An upload that is dropped
/// is aborted in the background, which a Lambda that has answered may never come to.
#[derive(Debug)]
pub struct MultipartUpload {
    client: Client,
    sending: Arc<Semaphore>,
    copying: Arc<Semaphore>,
    location: S3Location,
    id: String,
    numbers: usize,
    size_bytes: u64,
    running: JoinSet<Result<CompletedPart, StorageError>>,
    done: Vec<CompletedPart>,
    ended: bool,
}

/// The place of a part in its object.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartNumber(i32);

impl MultipartUpload {
    pub(super) async fn begin(
        storage: &Storage,
        location: S3Location,
        content_type: &'static str,
    ) -> Result<Self, StorageError> {
        abort_leftovers(storage, &location).await;
        let request = storage.client.create_multipart_upload().bucket(&location.bucket);
        let sent = request.key(&location.key).content_type(content_type).send().await;
        let created = sent.map_err(|error| StorageError::new("writing", &location, error))?;
        Ok(Self {
            client: storage.client.clone(),
            sending: Arc::clone(&storage.sending),
            copying: Arc::clone(&storage.copying),
            location,
            id: created.upload_id.unwrap_or_default(),
            numbers: 0,
            size_bytes: 0,
            running: JoinSet::new(),
            done: Vec::new(),
            ended: false,
        })
    }

    /// Adds a part of bytes; waits while the [`Storage`] has
    /// [`PARTS_IN_FLIGHT`](crate::PARTS_IN_FLIGHT) others on their way.
    pub async fn put_part(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let number = self.reserve().await?;
        self.put_reserved(number, bytes, None).await
    }

    /// Adds a part whose memory goes back to where it came from once it is sent.
    pub(super) async fn put_buffer(
        &mut self,
        part: BytesMut,
        buffers: &PartBuffers,
    ) -> Result<(), StorageError> {
        let number = self.reserve().await?;
        self.put_reserved(number, part.freeze(), Some(buffers.clone())).await
    }

    /// Adds a part that S3 copies: a range of this version of the object. Waits while the
    /// [`Storage`] has [`COPIES_IN_FLIGHT`](crate::COPIES_IN_FLIGHT) others copied.
    ///
    /// S3 copies ranges [only of objects larger than 5
    /// MiB](https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html); others are
    /// read and added as bytes.
    ///
    /// # Errors
    ///
    /// [`StorageError::Changed`], maybe from a later call, when the bucket has no versioning and the
    /// object is another one by now.
    pub async fn copy_part(
        &mut self,
        source: &S3Location,
        pin: &ObjectVersion,
        range: Range<u64>,
    ) -> Result<(), StorageError> {
        let text = match range_text("copying", source, &range) {
            Ok(text) => text,
            Err(error) => return Err(self.ended_by(error).await),
        };
        let PartNumber(number) = self.reserve().await?;
        let key = utf8_percent_encode(&source.key, UNRESERVED);
        let Pin { version_id, if_match } = Pin::of(Some(pin));
        let version = version_id.map(|id| format!("?versionId={id}")).unwrap_or_default();
        let request = self.client.upload_part_copy().bucket(&self.location.bucket);
        let request = request
            .key(&self.location.key)
            .upload_id(&self.id)
            .part_number(number)
            .copy_source(format!("{}/{key}{version}", source.bucket))
            .set_copy_source_if_match(if_match)
            .copy_source_range(format!("bytes={text}"));
        let source = source.clone();
        let copy = async move {
            let sent = request.customize().config_override(patient()).send().await;
            let copied = sent.map_err(|error| StorageError::new("copying", &source, error))?;
            Ok(part(number, copied.copy_part_result.and_then(|result| result.e_tag)))
        };
        let slots = Arc::clone(&self.copying);
        self.run(slots, range.end - range.start, copy).await
    }

    /// Waits for all parts and makes the object visible.
    pub async fn finish(mut self) -> Result<ObjectInfo, StorageError> {
        while let Some(joined) = self.running.join_next().await {
            self.settle(joined.expect("a part's task neither panics nor is cancelled")).await?;
        }
        self.done.sort_by_key(CompletedPart::part_number);
        let parts = std::mem::take(&mut self.done);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.location.bucket);
        let request = request.key(&self.location.key).upload_id(&self.id).multipart_upload(parts);
        match request.customize().config_override(patient()).send().await {
            Ok(completed) => {
                self.ended = true;
                let version = version(completed.version_id, completed.e_tag);
                Ok(ObjectInfo { version, size_bytes: self.size_bytes })
            }
            Err(error) => {
                let error = StorageError::new("writing", &self.location, error);
                Err(self.ended_by(error).await)
            }
        }
    }

    /// Gives the object up and removes what was sent of it.
    pub async fn abort(mut self) {
        self.end().await;
    }

    /// The place behind all parts so far, for a part that is added later.
    pub(super) async fn reserve(&mut self) -> Result<PartNumber, StorageError> {
        self.numbers += 1;
        match i32::try_from(self.numbers) {
            Ok(number) if self.numbers <= PARTS_MAX => Ok(PartNumber(number)),
            _ => {
                let error = StorageError::Refused {
                    action: "writing",
                    location: self.location.clone(),
                    code: "TooManyParts".to_owned(),
                    message: format!("this is part {}, {PARTS_MAX} are the most", self.numbers),
                };
                Err(self.ended_by(error).await)
            }
        }
    }

    pub(super) async fn put_reserved(
        &mut self,
        PartNumber(number): PartNumber,
        bytes: Bytes,
        buffers: Option<PartBuffers>,
    ) -> Result<(), StorageError> {
        let size_bytes = bytes.len() as u64;
        let request = self.client.upload_part().bucket(&self.location.bucket);
        let request = request.key(&self.location.key).upload_id(&self.id).part_number(number);
        let location = self.location.clone();
        let put = async move {
            let sent = request.body(bytes.clone().into()).send().await;
            if let Some(buffers) = buffers {
                buffers.give_back(bytes);
            }
            let put = sent.map_err(|error| StorageError::new("writing", &location, error))?;
            Ok(part(number, put.e_tag))
        };
        let slots = Arc::clone(&self.sending);
        self.run(slots, size_bytes, put).await
    }

    /// Sends a part once there is a slot for it.
    async fn run(
        &mut self,
        slots: Arc<Semaphore>,
        size_bytes: u64,
        part: impl Future<Output = Result<CompletedPart, StorageError>> + Send + 'static,
    ) -> Result<(), StorageError> {
        let slot = slots.acquire_owned().await.expect("the semaphore is never closed");
        while let Some(joined) = self.running.try_join_next() {
            self.settle(joined.expect("a part's task neither panics nor is cancelled")).await?;
        }
        self.size_bytes += size_bytes;
        self.running.spawn(async move {
            let part = part.await;
            drop(slot);
            part
        });
        Ok(())
    }

    async fn settle(
        &mut self,
        part: Result<CompletedPart, StorageError>,
    ) -> Result<(), StorageError> {
        match part {
            Ok(part) => {
                self.done.push(part);
                Ok(())
            }
            Err(error) => Err(self.ended_by(error).await),
        }
    }

    async fn ended_by(&mut self, error: StorageError) -> StorageError {
        self.end().await;
        error
    }

    /// Aborts the upload, once.
    pub(super) async fn end(&mut self) {
        if !self.ended {
            self.aborting().await;
            self.ended = true;
        }
    }

    fn aborting(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let mut running = std::mem::take(&mut self.running);
        let request = self.client.abort_multipart_upload().bucket(&self.location.bucket);
        let request = request.key(&self.location.key).upload_id(&self.id);
        let id = self.id.clone();
        async move {
            // A part that arrives after the abort would outlive it, so those on their way are waited
            // for; only not for ever.
            let arrived = async { while running.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(ABORT_WAIT_MAX, arrived).await;
            running.shutdown().await;
            if let Err(error) = request.send().await {
                tracing::warn!(upload.id = id, %error, "an abandoned upload could not be aborted");
            }
        }
    }
}

impl Drop for MultipartUpload {
    fn drop(&mut self) {
        if !self.ended
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(self.aborting());
        }
    }
}

/// Aborts the uploads of the same object that were begun earlier: a process that was killed can not.
///
/// If such a process is still at work, it fails; the object is written by whoever began last. What
/// can not be aborted costs its storage until the bucket's lifecycle rule comes by, and is no reason
/// not to write.
async fn abort_leftovers(storage: &Storage, location: &S3Location) {
    let S3Location { bucket, key } = location;
    let listed = storage.client.list_multipart_uploads().bucket(bucket).prefix(key).send().await;
    let uploads = match listed {
        Ok(listed) => listed.uploads.unwrap_or_default(),
        Err(error) => {
            let error = StorageError::new("listing the uploads of", location, error);
            tracing::warn!(error.message = %Chain(&error), "left uploads are not looked for");
            return;
        }
    };
    for upload in uploads.into_iter().filter(|upload| upload.key.as_deref() == Some(key)) {
        let request = storage.client.abort_multipart_upload().bucket(bucket).key(key);
        match request.set_upload_id(upload.upload_id).send().await {
            Ok(_) => tracing::info!(%location, "aborted an upload that an earlier call left"),
            Err(error) => {
                let error = StorageError::new("aborting an upload of", location, error);
                tracing::warn!(error.message = %Chain(&error), "an upload is left");
            }
        }
    }
}

fn part(number: i32, etag: Option<String>) -> CompletedPart {
    CompletedPart::builder().part_number(number).set_e_tag(etag).build()
}

fn patient() -> config::Builder {
    let patience = StalledStreamProtectionConfig::enabled().grace_period(SILENCE_MAX).build();
    config::Builder::new().stalled_stream_protection(patience)
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, SdkConfig};

    use super::*;

    #[tokio::test]
    async fn a_part_more_than_s3_allows_is_refused_before_it_is_sent() {
        let version = BehaviorVersion::v2026_01_12();
        let storage = Storage::new(&SdkConfig::builder().behavior_version(version).build());
        let mut upload = MultipartUpload {
            client: storage.client,
            sending: storage.sending,
            copying: storage.copying,
            location: S3Location::new("bucket", "key"),
            id: "id".to_owned(),
            numbers: PARTS_MAX - 1,
            size_bytes: 0,
            running: JoinSet::new(),
            done: Vec::new(),
            // There is nothing to abort.
            ended: true,
        };
        upload.reserve().await.expect("there is room for one");
        let refused = upload.put_part(Bytes::new()).await.expect_err("there is no room");
        let text =
            "writing `s3://bucket/key`: TooManyParts: this is part 10001, 10000 are the most";
        assert_eq!(refused.to_string(), text);
    }
}
