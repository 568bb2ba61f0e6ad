//! An object that is written as a stream.

use aws_sdk_s3::{
    Client,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use job::S3Location;
use tokio::{runtime::Handle, task::JoinSet};

use super::{ObjectInfo, StorageError};

/// The size of the first parts of an upload; it doubles every 1,000 parts, so that the 10,000 parts
/// that [S3 allows](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html) reach 5 TiB.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

/// How many parts are sent at once. Memory: one part more than this.
pub const PARTS_IN_FLIGHT: usize = 4;

/// An object that is being written: a single `PutObject` if it is small, a multipart upload if not.
///
/// It appears when [`finish`](Self::finish) returns, whole or not at all. A writer that is dropped
/// before that aborts its upload.
#[derive(Debug)]
pub struct ObjectWriter {
    client: Client,
    location: S3Location,
    content_type: &'static str,
    buffer: BytesMut,
    size_bytes: u64,
    upload: Option<Upload>,
}

#[derive(Debug)]
struct Upload {
    id: String,
    parts_begun: i32,
    running: JoinSet<Result<CompletedPart, StorageError>>,
    done: Vec<CompletedPart>,
}

impl ObjectWriter {
    pub(super) fn new(client: Client, location: S3Location, content_type: &'static str) -> Self {
        Self {
            client,
            location,
            content_type,
            buffer: BytesMut::new(),
            size_bytes: 0,
            upload: None,
        }
    }

    /// Appends bytes; waits while [`PARTS_IN_FLIGHT`] parts are on their way.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        self.size_bytes += bytes.len() as u64;
        loop {
            let part_bytes = self.part_bytes();
            let room = part_bytes - self.buffer.len();
            if bytes.len() < room {
                self.buffer.extend_from_slice(bytes);
                return Ok(());
            }
            self.buffer.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            let part = self.buffer.split().freeze();
            self.send(part).await?;
        }
    }

    /// Sends what is left and makes the object visible.
    pub async fn finish(mut self) -> Result<ObjectInfo, StorageError> {
        let rest = self.buffer.split().freeze();
        let size_bytes = self.size_bytes;
        let etag = if self.upload.is_none() {
            self.put(rest).await?
        } else {
            if !rest.is_empty() {
                self.send(rest).await?;
            }
            self.complete().await?
        };
        Ok(ObjectInfo { etag, size_bytes })
    }

    /// Gives the object up and removes what was sent of it.
    ///
    /// Dropping the writer does the same in the background, which a Lambda that has answered may
    /// never come to.
    pub async fn abort(mut self) {
        if let Some(upload) = self.upload.take() {
            self.abort_request(upload).await;
        }
    }

    fn abort_request(&self, mut upload: Upload) -> impl Future<Output = ()> + Send + use<> {
        let request = self.client.abort_multipart_upload().bucket(&self.location.bucket);
        let request = request.key(&self.location.key).upload_id(&upload.id);
        async move {
            // Parts that are still on their way would outlive the abort.
            upload.running.shutdown().await;
            if let Err(error) = request.send().await {
                tracing::warn!(upload.id, %error, "an abandoned upload could not be aborted");
            }
        }
    }

    fn part_bytes(&self) -> usize {
        let begun = self.upload.as_ref().map_or(0, |upload| upload.parts_begun);
        PART_BYTES << (begun / 1000)
    }

    async fn put(&self, bytes: Bytes) -> Result<String, StorageError> {
        let request =
            self.client.put_object().bucket(&self.location.bucket).key(&self.location.key);
        let body = ByteStream::new(SdkBody::from(bytes));
        let put = request.content_type(self.content_type).body(body).send().await;
        Ok(put.map_err(|error| self.failed(error))?.e_tag.unwrap_or_default())
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        if self.upload.is_none() {
            let request = self
                .client
                .create_multipart_upload()
                .bucket(&self.location.bucket)
                .key(&self.location.key);
            let created = request
                .content_type(self.content_type)
                .send()
                .await
                .map_err(|error| self.failed(error))?;
            self.upload = Some(Upload {
                id: created.upload_id.unwrap_or_default(),
                parts_begun: 0,
                running: JoinSet::new(),
                done: Vec::new(),
            });
        }
        let upload = self.upload.as_mut().expect("the upload was begun above");
        if upload.running.len() >= PARTS_IN_FLIGHT {
            upload.wait_for_one().await?;
        }
        upload.parts_begun += 1;
        let number = upload.parts_begun;
        let request =
            self.client.upload_part().bucket(&self.location.bucket).key(&self.location.key);
        let request = request
            .upload_id(&upload.id)
            .part_number(number)
            .body(ByteStream::new(SdkBody::from(bytes)));
        let location = self.location.clone();
        upload.running.spawn(async move {
            let sent = request
                .send()
                .await
                .map_err(|error| StorageError::new("writing", &location, error))?;
            Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
        });
        Ok(())
    }

    async fn complete(&mut self) -> Result<String, StorageError> {
        let upload = self.upload.as_mut().expect("only a begun upload is completed");
        while !upload.running.is_empty() {
            upload.wait_for_one().await?;
        }
        let mut parts = std::mem::take(&mut upload.done);
        parts.sort_by_key(CompletedPart::part_number);
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.location.bucket)
            .key(&self.location.key);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let sent = request.upload_id(&upload.id).multipart_upload(parts).send().await;
        let completed = sent.map_err(|error| self.failed(error))?;
        self.upload = None;
        Ok(completed.e_tag.unwrap_or_default())
    }

    fn failed<E>(&self, error: aws_sdk_s3::error::SdkError<E>) -> StorageError
    where
        E: std::error::Error + aws_sdk_s3::error::ProvideErrorMetadata + Send + Sync + 'static,
    {
        StorageError::new("writing", &self.location, error)
    }
}

impl Upload {
    async fn wait_for_one(&mut self) -> Result<(), StorageError> {
        if let Some(joined) = self.running.join_next().await {
            self.done.push(joined.expect("an upload task neither panics nor is cancelled")?);
        }
        Ok(())
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            runtime.spawn(self.abort_request(upload));
        }
    }
}
