//! Delivery to a ShareFile folder, by its API v3.
//!
//! 1. Log in for a token; it tells where the API answers.
//! 2. Find the folder, by its id or alias and a path below it; make what is missing.
//! 3. Ask for an upload specification, and do what it says: everything in one request, chunks one
//!    after the other, or chunks side by side. A chunk that fails is sent again, alone.
//! 4. End the upload with the MD5 of the whole file, and compare the MD5 and the size that come
//!    back. If that answer is lost, look into the folder.
//!
//! A file appears in its folder when the upload is ended, so no temporary name is needed. If it
//! replaces a file of that name, ShareFile makes a new version of it, with a new item id.
//!
//! The memory in use is `sharefile_threads` times `sharefile_chunk_size`, and one piece of the
//! source.
//!
//! When the time of an invocation is nearly up, no chunk is begun any more. The next invocation asks
//! for a specification again; ShareFile tells how many bytes it has and their MD5, and if they are
//! the beginning of our file the upload goes on after them. The file is read from its beginning for
//! that, because the MD5 of the whole is needed at the end. If no more than the last chunk was
//! missing, the upload may have been ended without an answer that came in time: then the folder is
//! looked at first, so that the file is not uploaded, and its recipients not notified, twice.
//!
//! Addresses of uploads, the token and the password are secrets: what is shown of an address is its
//! host.

mod address;
mod answer;
mod chunks;
mod folder;
mod http;
mod patience;
mod said;
mod session;
mod specification;
mod sums;
mod trouble;
mod upload;

use std::time::Duration;

use async_trait::async_trait;
use aws_io::Failure;
use futures_util::TryStreamExt;
use job::transport::{ShareFileConfig, TransportProblem, remote_file_name, sharefile_name_fault};
use tokio::time::{Instant, timeout_at};

use self::{
    answer::Kind,
    folder::{Folder, Item},
    session::{Credentials, Session},
    specification::{Specification, Wish},
    sums::Sums,
    trouble::Trouble,
    upload::{Sent, Upload, Whole},
};
use crate::{
    delivery::{Checkpoint, Outcome, Parcel, Receipt, Transport, Verified},
    error::Error,
    source::Content,
};

/// How often a file is uploaded from its beginning in one call, after an upload that was lost.
const UPLOADS_MAX: u32 = 2;

/// The most time that is kept for the chunks in flight before the time is up.
const MARGIN_MAX: Duration = Duration::from_secs(30);

/// A folder of a ShareFile account.
pub struct ShareFile<'a> {
    config: &'a ShareFileConfig,
    credentials: Credentials<'a>,
}

impl<'a> ShareFile<'a> {
    /// The folder that `config` describes. Its secret, if it has one, must have been looked up.
    ///
    /// # Errors
    ///
    /// When credentials are missing.
    pub fn new(config: &'a ShareFileConfig) -> Result<Self, Error> {
        Ok(Self { config, credentials: Credentials::new(config)? })
    }

    fn file_name(&self, parcel: &Parcel<'_>) -> Result<String, Error> {
        let template = &self.config.sharefile_filename;
        let name = remote_file_name(template, parcel.file_name, parcel.run_id)
            .map_err(Error::FileName)?
            .as_str()
            .to_owned();
        match sharefile_name_fault(&name) {
            None => Ok(name),
            Some(fault) => Err(Error::Configuration {
                problems: vec![TransportProblem {
                    path: "config.sharefile_filename".to_owned(),
                    message: format!("gives `{name}`, which is no name for ShareFile: {fault}"),
                }],
            }),
        }
    }
}

#[async_trait]
impl Transport for ShareFile<'_> {
    async fn deliver(&self, parcel: &Parcel<'_>) -> Result<Outcome, Error> {
        let name = self.file_name(parcel)?;
        let time = Time::until(Instant::from_std(parcel.deadline));
        let session = Session::new(self.config, &self.credentials, time.give_up)?;
        let folder = Folder::find(&session).await?;
        let run = Run { session: &session, parcel, folder: &folder, name: &name, time };
        run.deliver().await
    }
}

/// The moments of an invocation.
#[derive(Clone, Copy)]
struct Time {
    started: Instant,
    /// When nothing more is begun that can be left to the next invocation.
    stop: Instant,
    /// When the end of an upload is not begun any more, if something can be handed over: a server
    /// may need minutes to put a large file together.
    finish_before: Instant,
    /// When everything is given up, so that there is time to answer.
    give_up: Instant,
}

impl Time {
    fn until(deadline: Instant) -> Self {
        let started = Instant::now();
        let time = deadline.saturating_duration_since(started);
        let margin = (time / 8).min(MARGIN_MAX);
        let before = |margin| deadline.checked_sub(margin).unwrap_or(started);
        Self {
            started,
            stop: before(margin),
            finish_before: before(time / 4),
            give_up: before(margin / 8),
        }
    }
}

/// The delivery of a file into a folder that is known.
struct Run<'a> {
    session: &'a Session<'a>,
    parcel: &'a Parcel<'a>,
    folder: &'a Folder,
    name: &'a str,
    time: Time,
}

impl Run<'_> {
    async fn deliver(&self) -> Result<Outcome, Error> {
        if let Some(whole) = self.look_for_the_end().await? {
            return Ok(Outcome::Delivered(self.receipt(whole, 1)));
        }
        let mut uploads = 1;
        let mut start_over = false;
        loop {
            let content = self.parcel.source.open(0).await?;
            let (size_bytes, version) = (content.size_bytes, content.version.clone());
            let wish = Wish { folder: self.folder, name: self.name, size_bytes, start_over };
            let specification = Specification::get(self.session, &wish).await?;
            if specification.is_duplicate && !self.session.config.sharefile_overwrite {
                return self.compare_with_the_other(content).await;
            }
            match self.upload(content, &specification, start_over).await {
                Ok(Some(Sent::Whole(whole))) => {
                    return Ok(Outcome::Delivered(self.receipt(*whole, uploads)));
                }
                Ok(Some(Sent::Part(acknowledged))) => {
                    return self.in_progress(acknowledged, version);
                }
                // The next invocation looks whether the file is there before it sends anything.
                Ok(Some(Sent::InDoubt(trouble))) => {
                    return self.in_progress(size_bytes, version).map_err(|_| trouble.error);
                }
                Ok(None) => {
                    tracing::info!(
                        remote_path = self.path(),
                        "what an earlier upload left is not the beginning of this file"
                    );
                    start_over = true;
                }
                Err(trouble) if is_lost(&trouble) && uploads < UPLOADS_MAX => {
                    tracing::warn!(
                        remote_path = self.path(),
                        error.message = %trouble.error,
                        "the upload is lost; it begins again"
                    );
                    start_over = true;
                    uploads += 1;
                }
                Err(trouble) => return Err(trouble.into()),
            }
        }
    }

    async fn upload(
        &self,
        content: Content,
        specification: &Specification,
        start_over: bool,
    ) -> Result<Option<Sent>, Trouble> {
        let upload = Upload {
            session: self.session,
            folder: self.folder,
            name: self.name,
            specification,
            goes_on: !start_over,
            stop: self.time.stop,
            finish_before: self.time.finish_before,
        };
        upload::send(&upload, content, self.parcel.source).await
    }

    fn path(&self) -> String {
        format!("{}/{}", self.folder.path, self.name)
    }

    /// What the next invocation needs to know, unless this one got nowhere.
    fn in_progress(&self, acknowledged_bytes: u64, version: String) -> Result<Outcome, Error> {
        let before = self.parcel.checkpoint.filter(|checkpoint| checkpoint.version == version);
        let acknowledged = before.map_or(0, |checkpoint| checkpoint.acknowledged_bytes);
        if acknowledged_bytes <= acknowledged {
            return Err(Error::TimeUp { path: self.path(), acknowledged });
        }
        let invocations = self.parcel.checkpoint.map_or(0, |checkpoint| checkpoint.invocations) + 1;
        Ok(Outcome::InProgress {
            checkpoint: Checkpoint {
                version,
                acknowledged_bytes,
                invocations,
                sha256_state: None,
                sent: None,
            },
        })
    }

    /// The file in the folder, if an earlier invocation ended the upload without hearing of it.
    async fn look_for_the_end(&self) -> Result<Option<Whole>, Error> {
        let Some(checkpoint) = self.parcel.checkpoint else { return Ok(None) };
        let content = self.parcel.source.open(0).await?;
        let left = content.size_bytes.saturating_sub(checkpoint.acknowledged_bytes);
        let chunk_bytes = self.session.config.sharefile_chunk_size.count() as u64;
        if checkpoint.version != content.version || left > chunk_bytes {
            return Ok(None);
        }
        match self.folder.file(self.session, self.name).await {
            Ok(Some(item)) => self.compare(content, item).await,
            Err(error) if error.name().is_retryable() => Err(error),
            // Who may not look may still upload.
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// What there is to do when the name is taken by a file that must stay: nothing, if it is the
    /// same file, as when an earlier delivery of this run did not hear that it was done.
    async fn compare_with_the_other(&self, content: Content) -> Result<Outcome, Error> {
        let duplicate = || Error::Duplicate { path: self.path() };
        let other = self.folder.file(self.session, self.name).await?.ok_or_else(duplicate)?;
        let whole = self.compare(content, other).await?.ok_or_else(duplicate)?;
        Ok(Outcome::AlreadyThere(self.receipt(whole, 1)))
    }

    /// The file in the folder, if it is the same as ours. It is not read for nothing.
    async fn compare(&self, mut content: Content, other: Item) -> Result<Option<Whole>, Error> {
        if other.size_bytes != Some(content.size_bytes) || other.md5.is_none() {
            return Ok(None);
        }
        let mut sums = Sums::default();
        let summing = async {
            while let Some(piece) = content.chunks.try_next().await? {
                sums.update(&piece);
            }
            Ok::<_, Error>(())
        };
        timeout_at(self.time.give_up, summing).await.map_err(|_| Error::OutOfTime {
            action: format!("comparing the file with `{}`", self.path()),
        })??;
        let is_the_same = other.is_the_same(sums.size_bytes(), &sums.md5());
        let whole = Whole { sums, item_id: Some(other.id), verified: Verified::Md5 };
        Ok(is_the_same.then_some(whole))
    }

    fn receipt(&self, whole: Whole, attempts: u32) -> Receipt {
        let Whole { sums, item_id, verified } = whole;
        let duration_ms = self.time.started.elapsed().as_millis();
        Receipt {
            transport: "sharefile",
            remote_path: self.path(),
            bytes: sums.size_bytes(),
            sha256: Some(sums.sha256()),
            md5: Some(sums.md5()),
            item_id,
            verified,
            host_key: None,
            host_key_verified: None,
            duration_ms: u64::try_from(duration_ms).unwrap_or(u64::MAX),
            attempts,
        }
    }
}

/// Whether another upload may succeed where this one, which the server took, did not.
fn is_lost(trouble: &Trouble) -> bool {
    trouble.kind == Some(Kind::UploadGone)
        || matches!(trouble.error, Error::SizeMismatch { .. } | Error::ContentMismatch { .. })
}
