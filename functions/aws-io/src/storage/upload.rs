//! An object that is written as a stream.

use bytes::BytesMut;
use job::S3Location;

use super::{
    ObjectInfo, Storage, StorageError,
    multipart::{MultipartUpload, PARTS_MAX, PartNumber},
};

/// The size of the parts that a writer sends, all but the last.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes a writer writes: 10,000 parts, 78 GiB.
pub const OBJECT_BYTES_MAX: u64 = PARTS_MAX as u64 * PART_BYTES as u64;

/// An object that is being written: a single `PutObject` if it is small, a multipart upload if not.
///
/// It appears when [`finish`](Self::finish) returns, whole or not at all. An error ends the
/// writing: what was sent is removed before the error is returned. A writer that is dropped removes
/// it in the background, which a Lambda that has answered may never come to.
///
/// Memory: one part, and [`PARTS_IN_FLIGHT`](crate::PARTS_IN_FLIGHT) for all writers together.
#[derive(Debug)]
pub struct ObjectWriter {
    storage: Storage,
    location: S3Location,
    content_type: &'static str,
    buffer: BytesMut,
    size_bytes: u64,
    upload: Option<MultipartUpload>,
    /// Bytes were lost before there was an upload that would know of it.
    broken: bool,
}

impl ObjectWriter {
    pub(super) fn new(storage: Storage, location: S3Location, content_type: &'static str) -> Self {
        let buffer = storage.buffers.take();
        Self { storage, location, content_type, buffer, size_bytes: 0, upload: None, broken: false }
    }

    /// Appends bytes; waits while [`PARTS_IN_FLIGHT`](crate::PARTS_IN_FLIGHT) parts of all writers
    /// are on their way.
    ///
    /// # Errors
    ///
    /// Also when a part failed that an earlier call sent, and [`StorageError::TooLarge`] when more
    /// than [`OBJECT_BYTES_MAX`] would be written.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        self.count(bytes.len()).await?;
        while self.buffer.len() + bytes.len() >= PART_BYTES {
            let (now, later) = bytes.split_at(PART_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            bytes = later;
            let buffers = self.storage.buffers.clone();
            let part = std::mem::take(&mut self.buffer);
            self.upload().await?.put_buffer(part, &buffers).await?;
            // Only now: the wait for a slot has freed the buffer of another part.
            self.buffer = buffers.take();
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what is left and makes the object visible.
    pub async fn finish(mut self) -> Result<ObjectInfo, StorageError> {
        self.check()?;
        let rest = self.buffer.split().freeze();
        let Some(mut upload) = self.upload else {
            return self.storage.put_bytes(&self.location, self.content_type, rest).await;
        };
        if !rest.is_empty() {
            upload.put_part(rest).await?;
        }
        upload.finish().await
    }

    /// Gives the object up and removes what was sent of it.
    pub async fn abort(self) {
        if let Some(upload) = self.upload {
            upload.abort().await;
        }
    }

    async fn count(&mut self, more_bytes: usize) -> Result<(), StorageError> {
        self.size_bytes += more_bytes as u64;
        if self.size_bytes <= OBJECT_BYTES_MAX {
            return Ok(());
        }
        self.broken = true;
        if let Some(upload) = &mut self.upload {
            upload.end().await;
        }
        Err(StorageError::TooLarge {
            action: "writing",
            location: self.location.clone(),
            size_bytes: self.size_bytes,
            limit_bytes: OBJECT_BYTES_MAX,
        })
    }

    async fn upload(&mut self) -> Result<&mut MultipartUpload, StorageError> {
        self.check()?;
        if self.upload.is_none() {
            self.broken = true;
            let location = self.location.clone();
            self.upload = Some(self.storage.multipart_upload(location, self.content_type).await?);
            self.broken = false;
        }
        Ok(self.upload.as_mut().expect("the upload was begun above"))
    }

    /// Fails after a failure: what is left of the object must not be taken for all of it.
    fn check(&self) -> Result<(), StorageError> {
        if !self.broken {
            return Ok(());
        }
        Err(StorageError::Unavailable {
            action: "writing",
            location: self.location.clone(),
            source: "an earlier part of it failed".into(),
        })
    }
}

/// The longest head of a [`HeadlessWriter`]: ZIP's local header with a file's name and ZIP64 fields has
/// some 300 bytes.
pub const HEAD_BYTES_MAX: usize = 1024;

/// An object that is being written and whose first bytes come last, as the local header of a ZIP
/// member does, which tells the checksum and the size of what follows it.
///
/// It is otherwise an [`ObjectWriter`]. Memory: one part more, the first, which waits for its head.
#[derive(Debug)]
pub struct HeadlessWriter {
    /// Room for the head, and then the first bytes.
    first: BytesMut,
    first_number: Option<PartNumber>,
    rest: ObjectWriter,
}

impl HeadlessWriter {
    pub(super) fn new(rest: ObjectWriter) -> Self {
        let mut first = BytesMut::with_capacity(HEAD_BYTES_MAX + PART_BYTES);
        first.resize(HEAD_BYTES_MAX, 0);
        Self { first, first_number: None, rest }
    }

    /// Appends bytes, the first of which will follow the head. As [`ObjectWriter::write`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let room = HEAD_BYTES_MAX + PART_BYTES - self.first.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.first.extend_from_slice(first);
        if rest.is_empty() {
            return Ok(());
        }
        if self.first_number.is_none() {
            self.rest.count(self.first.len() - HEAD_BYTES_MAX).await?;
            self.first_number = Some(self.rest.upload().await?.reserve().await?);
        }
        self.rest.write(rest).await
    }

    /// Puts `head` before all that was written, and makes the object visible.
    ///
    /// # Panics
    ///
    /// The head is longer than [`HEAD_BYTES_MAX`].
    pub async fn finish_with_head(mut self, head: &[u8]) -> Result<ObjectInfo, StorageError> {
        self.rest.check()?;
        let begin = HEAD_BYTES_MAX - head.len();
        self.first[begin..HEAD_BYTES_MAX].copy_from_slice(head);
        let first = self.first.freeze().slice(begin..);
        let Some(number) = self.first_number else {
            let ObjectWriter { storage, location, content_type, .. } = self.rest;
            return storage.put_bytes(&location, content_type, first).await;
        };
        self.rest.upload().await?.put_reserved(number, first, None).await?;
        self.rest.finish().await
    }

    /// Gives the object up and removes what was sent of it.
    pub async fn abort(self) {
        self.rest.abort().await;
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, SdkConfig};

    use super::*;

    #[track_caller]
    fn check(written: Result<(), StorageError>) {
        match written {
            Err(StorageError::TooLarge { size_bytes, limit_bytes, .. }) => {
                assert_eq!((size_bytes, limit_bytes), (OBJECT_BYTES_MAX + 1, 83_886_080_000));
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_object_that_would_need_too_many_parts_is_refused() {
        let version = BehaviorVersion::v2026_01_12();
        let storage = Storage::new(&SdkConfig::builder().behavior_version(version).build());
        let mut writer = storage.writer(S3Location::new("bucket", "key"), "text/csv");
        writer.size_bytes = OBJECT_BYTES_MAX - 1;
        writer.write(b"a").await.expect("there is room for one");
        check(writer.write(b"b").await);
        writer.finish().await.expect_err("a byte of it is missing");
    }
}
