//! An object as a stream.

use std::{error::Error, ops::Range, time::Duration};

use aws_sdk_s3::{Client, primitives::ByteStream};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use job::{ObjectVersion, S3Location, error::Chain};

use super::{ObjectInfo, Pin, StorageError, range_text, size, version};

/// How often a stream is opened again before it has made [`PROGRESS_BYTES`].
const REOPENINGS_MAX: usize = 5;

/// What a stream must have read for its reopenings to be counted anew. A connection that breaks
/// after every few bytes so ends in an error instead of in a million requests.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// The longest waits before the reopenings; the true ones are random parts of these.
const WAITS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(2))
    .with_max_times(REOPENINGS_MAX);

/// The bytes of an object, or of a range of it, in order. It holds one chunk at a time.
///
/// A connection that breaks or ends early is replaced: what is still to be read is asked for again,
/// of the same version only.
#[derive(Debug)]
pub struct ObjectStream {
    client: Client,
    location: S3Location,
    info: ObjectInfo,
    /// The version that a new connection asks for.
    pin: ObjectVersion,
    unread: Range<u64>,
    body: ByteStream,
    waits: ExponentialBackoff,
    waits_counted_from: u64,
}

impl ObjectStream {
    pub(super) async fn open(
        client: Client,
        location: &S3Location,
        pin: Option<&ObjectVersion>,
    ) -> Result<Self, StorageError> {
        let Pin { version_id, if_match } = Pin::of(pin);
        let request = client.get_object().bucket(&location.bucket).key(&location.key);
        let sent = request.set_version_id(version_id).set_if_match(if_match).send().await;
        let object = sent.map_err(|error| StorageError::new("reading", location, error))?;
        let size_bytes = size(object.content_length);
        let info = ObjectInfo { version: version(object.version_id, object.e_tag), size_bytes };
        // Reading by version id takes a right of its own, which a reader of the newest version may
        // lack: its connections are replaced by ETag.
        let pin = pin
            .cloned()
            .unwrap_or_else(|| ObjectVersion { version_id: None, etag: info.version.etag.clone() });
        Ok(Self::new(client, location, (info, pin), 0..size_bytes, object.body))
    }

    pub(super) async fn open_range(
        client: Client,
        location: &S3Location,
        pin: &ObjectVersion,
        range: Range<u64>,
    ) -> Result<Self, StorageError> {
        let (body, size_bytes) = get(&client, location, pin, &range).await?;
        let info = ObjectInfo { version: pin.clone(), size_bytes };
        Ok(Self::new(client, location, (info, pin.clone()), range, body))
    }

    fn new(
        client: Client,
        location: &S3Location,
        (info, pin): (ObjectInfo, ObjectVersion),
        unread: Range<u64>,
        body: ByteStream,
    ) -> Self {
        let (location, waits_counted_from) = (location.clone(), unread.start);
        let waits = WAITS.build();
        Self { client, location, info, pin, unread, body, waits, waits_counted_from }
    }

    /// What is known of the object, which of a range is the whole that it lies in.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The next bytes, or nothing at the end.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] when the connection broke, or ended before the object did, and
    /// several others in its place too: a short object is never taken for the whole.
    /// [`StorageError::Changed`] when it broke and the object is another one by now.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageError> {
        loop {
            let lost: Box<dyn Error + Send + Sync> = match self.body.next().await {
                Some(Ok(chunk)) => {
                    self.unread.start += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                // Not even a new connection could take bytes back that were handed out: the
                // SDK found at the end that they have another checksum than the object.
                Some(Err(error)) if self.unread.is_empty() => {
                    return Err(self.unavailable(error.into()));
                }
                Some(Err(error)) => error.into(),
                None if self.unread.is_empty() => return Ok(None),
                None => {
                    let Range { start, end } = self.unread;
                    format!("the answer ended at byte {start}, {end} were to come").into()
                }
            };
            self.reopen(self.unavailable(lost)).await?;
        }
    }

    /// Replaces a lost connection; gives its error back once too many were lost.
    async fn reopen(&mut self, mut lost: StorageError) -> Result<(), StorageError> {
        if self.unread.start - self.waits_counted_from >= PROGRESS_BYTES {
            self.waits = WAITS.build();
            self.waits_counted_from = self.unread.start;
        }
        for wait in self.waits.by_ref() {
            tracing::warn!(location = %self.location, error.message = %Chain(&lost), "a read is taken up again");
            tokio::time::sleep(wait.mul_f64(rand::random())).await;
            match get(&self.client, &self.location, &self.pin, &self.unread).await {
                Ok((body, _)) => {
                    self.body = body;
                    return Ok(());
                }
                Err(error @ StorageError::Unavailable { .. }) => lost = error,
                Err(error) => return Err(error),
            }
        }
        Err(lost)
    }

    fn unavailable(&self, source: Box<dyn Error + Send + Sync>) -> StorageError {
        StorageError::Unavailable { action: "reading", location: self.location.clone(), source }
    }
}

/// A range of this version of the object, and the size of the whole object.
async fn get(
    client: &Client,
    location: &S3Location,
    pin: &ObjectVersion,
    range: &Range<u64>,
) -> Result<(ByteStream, u64), StorageError> {
    let asked = range_text("reading", location, range)?;
    let Pin { version_id, if_match } = Pin::of(Some(pin));
    let request = client.get_object().bucket(&location.bucket).key(&location.key);
    let request = request.set_version_id(version_id).set_if_match(if_match);
    let sent = request.range(format!("bytes={asked}")).send().await;
    let object = sent.map_err(|error| StorageError::new("reading", location, error))?;
    // A server may leave `Range` out of account, and shortens a range that ends behind the object.
    let answered = object.content_range.as_deref().unwrap_or("the whole object");
    let size_bytes = answered.strip_prefix(&format!("bytes {asked}/"));
    let size_bytes = size_bytes.and_then(|size_bytes| size_bytes.parse().ok());
    let size_bytes = size_bytes.ok_or_else(|| StorageError::Refused {
        action: "reading",
        location: location.clone(),
        code: "InvalidRange".to_owned(),
        message: format!("asked for bytes `{asked}`, the answer is `{answered}`"),
    })?;
    Ok((object.body, size_bytes))
}
