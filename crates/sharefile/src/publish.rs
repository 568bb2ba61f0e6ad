//! The end of an upload, which publishes the file.
//!
//! The journal has the intent before the request goes out. If the answer is lost, the folder tells:
//! a file with our size and MD5 and another id than the old file is ours, because a new version of a
//! file gets a new id (<https://api.sharefile.com/gettingstarted/faq>).
//!
//! An intent stays in the journal until the next one replaces it: ShareFile may end an upload long
//! after its answer was lost. It is taken back only when the server has refused the request.

use aws_io::{Failure, StorageError};
use bytes::{Bytes, BytesMut};
use delivery::{Content, Lease, Published, Source};
use futures_util::TryStreamExt;
use hyper::Method;
use job::{
    delivery::{DeliveryStatus, Intent, ReceiptDetails, Settled, Verified},
    error::Chain,
};

use crate::{
    address::Address,
    digests::Digests,
    error::Error,
    folder::{Folder, Item},
    http::Payload,
    request_error::RequestError,
    response::{RejectionKind, Uploaded},
    session::{Session, UploadCall},
};

/// The name in a folder under which a file is published.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) folder: &'a Folder,
    pub(crate) name: &'a str,
    pub(crate) lease: &'a Lease<'a>,
}

/// The payload of the request that ends an upload.
pub(crate) enum Ending<'a> {
    /// The last bytes, or none.
    Bytes(Bytes),
    /// The whole file.
    File(Bytes),
    /// The whole file, which is read again for every request.
    Reread { source: &'a dyn Source, size_bytes: u64, version: &'a str },
}

impl Ending<'_> {
    async fn payload(&self) -> Result<Payload, Error> {
        match self {
            Self::Bytes(bytes) | Self::File(bytes) => Ok(Payload::Bytes(bytes.clone())),
            Self::Reread { source, size_bytes, version } => {
                let content = source.open(0).await?;
                if content.version != *version {
                    return Err(Error::FileChanged);
                }
                Ok(Payload::Stream(*size_bytes, content.chunks))
            }
        }
    }

    fn sends_again(&self) -> bool {
        !matches!(self, Self::Bytes(_))
    }
}

impl Target<'_> {
    /// Path of the file.
    pub(crate) fn path(&self) -> String {
        self.path_of(self.name)
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.path)
    }

    /// Settles the outcome of an earlier upload, whose answer was lost: returns the file if it is
    /// there. If it is not, another upload may begin, and the receipt will say so.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] while the folder cannot be read. A user who may not read it at all
    /// sends the file again: nobody can tell.
    pub(crate) async fn settle(&self) -> Result<Option<Published>, Error> {
        let Some(intent) = self.lease.intent().await else { return Ok(None) };
        match self.folder.file(self.session, self.name).await {
            Ok(Some(item)) if is_published(&intent, &item) => {
                return Ok(Some(self.found(&intent, item)));
            }
            Err(error) if error.name().is_retryable() => return Err(self.unknown(error)),
            Ok(_) | Err(_) => {}
        }
        tracing::warn!(
            remote_path = self.path(),
            "an earlier upload may have ended, but the folder does not show it; sending again"
        );
        self.lease.set_settled(Settled::SentAgain);
        Ok(None)
    }

    /// Returns the file of the intent if `item` is that file.
    pub(crate) async fn settle_with(&self, item: &Item) -> Option<Published> {
        let intent = self.lease.intent().await?;
        is_published(&intent, item).then(|| self.found(&intent, item.clone()))
    }

    /// Ends the upload of a file of these digests.
    ///
    /// Nothing is sent if an earlier upload of the same file turns out to have ended, or if the run
    /// has ended.
    pub(crate) async fn publish(
        &self,
        address: &Address,
        ending: Ending<'_>,
        digests: &Digests,
        version: &str,
    ) -> Result<Published, RequestError> {
        // The id of the old file. This is one request.
        let old = match self.folder.file(self.session, self.name).await {
            Err(error) if error.name().is_retryable() => return Err(error.into()),
            // Who may not look may still upload.
            Err(_) => None,
            Ok(old) => old,
        };
        if let Some(old) = &old
            && let Some(published) = self.settle_with(old).await
        {
            return Ok(published);
        }
        let intent = Intent {
            version: version.to_owned(),
            size_bytes: digests.size_bytes(),
            sha256: digests.sha256(),
            md5: Some(digests.md5()),
            verified: Verified::Md5,
            temporary_path: None,
            backup_path: None,
            remote_path: self.path(),
            mark: None,
            old_mark: old.map(|old| old.id),
        };
        self.finish(address, &ending, &intent).await
    }

    async fn finish(
        &self,
        address: &Address,
        ending: &Ending<'_>,
        intent: &Intent,
    ) -> Result<Published, RequestError> {
        let action = format!("finishing the upload of `{}`", self.path());
        let mut retry = self.session.retry();
        let mut may_be_done_later = false;
        loop {
            let payload = ending.payload().await?;
            // Before every request: the run may have ended since the last one.
            self.lease.intend(intent.clone()).await?;
            let (method, is_finish) = (Method::POST, true);
            let call = UploadCall { action: &action, method, address, payload, is_finish };
            let error = match self.session.upload_once(call).await {
                Ok(uploaded) => return Ok(self.uploaded(uploaded, intent).await?),
                Err(error) => error,
            };
            may_be_done_later |= error.may_be_done_later();
            let look = if error.is_worth_a_look() { self.look(intent).await } else { Ok(None) };
            let is_unknown = match look {
                Ok(Some(published)) => {
                    tracing::info!(
                        remote_path = self.path(),
                        error.message = %Chain(&error.error),
                        "the end of the upload seemed to fail, but the file is there"
                    );
                    return Ok(published);
                }
                Ok(None) => None,
                Err(look) => Some(look).filter(|look| look.name().is_retryable()),
            };
            // Nothing is sent twice while the folder could still tell.
            let is_last = is_unknown.is_some() && may_be_done_later && ending.sends_again();
            let ended = if is_last { Err(error) } else { retry.after(error).await };
            let Err(error) = ended else {
                if may_be_done_later && ending.sends_again() {
                    self.lease.set_settled(Settled::SentAgain);
                }
                continue;
            };
            return Err(self.given_up(error, is_unknown, may_be_done_later).await);
        }
    }

    /// Returns the error of an upload that did not end, and takes the intent back if it never will.
    async fn given_up(
        &self,
        error: RequestError,
        look: Option<Error>,
        may_be_done_later: bool,
    ) -> RequestError {
        if !may_be_done_later && error.kind != Some(RejectionKind::Failed) {
            return match self.lease.not_published().await {
                Ok(()) => error,
                Err(error) => error.into(),
            };
        }
        tracing::warn!(
            remote_path = self.path(),
            error.message = %Chain(&error.error),
            "the upload may have ended"
        );
        match look {
            Some(look) => self.unknown(look).into(),
            None => error,
        }
    }

    fn unknown(&self, error: Error) -> Error {
        Error::OutcomeUnknown { path: self.path(), source: Box::new(error) }
    }

    async fn look(&self, intent: &Intent) -> Result<Option<Published>, Error> {
        let item = self.folder.file(self.session, self.name).await?;
        let ours = item.filter(|item| is_published(intent, item));
        Ok(ours.map(|item| self.found(intent, item)))
    }

    /// Compares the server's words with what was sent, and looks at the file under its name.
    async fn uploaded(&self, uploaded: Uploaded, intent: &Intent) -> Result<Published, Error> {
        let name = uploaded.name.as_deref().unwrap_or(self.name);
        // A failed look is no reason to doubt the upload.
        let look = self.folder.file(self.session, name).await.ok();
        // Our own name is fit to be shown; another one is the server's word.
        let path = if name == self.name {
            self.path()
        } else {
            self.path_of(&self.session.sanitize(name).await?)
        };
        let ours = intent.md5.clone().unwrap_or_default();
        let is_ours = |item: &Item| {
            uploaded.id.as_ref().is_none_or(|id| *id == item.id)
                || item.has_content(intent.size_bytes, &ours)
        };
        let seen = look.as_ref().map(|item| item.as_ref().is_some_and(is_ours));
        let item = look.flatten().filter(|_| seen == Some(true)).unwrap_or_default();
        let size = uploaded.size.or(item.size_bytes);
        let md5 = uploaded.md5.or(item.md5.filter(|md5| !md5.is_empty()));
        let sent = intent.size_bytes;
        if let Some(found) = size.filter(|found| *found != sent) {
            return Err(Error::SizeMismatch { path, sent, found });
        }
        let verified = match &md5 {
            Some(theirs) if theirs.eq_ignore_ascii_case(&ours) => Verified::Md5,
            Some(_) => return Err(Error::ContentMismatch { path }),
            None if size.is_some() => Verified::Size,
            None => Verified::None,
        };
        let id = uploaded.id.or(Some(item.id).filter(|id| !id.is_empty()));
        let settled = self.lease.settled();
        Ok(Published { verified, settled, seen, ..published(intent, path, id) })
    }

    /// Returns the file of an intent that was found in the folder.
    fn found(&self, intent: &Intent, item: Item) -> Published {
        let path = self.path_of(item.stored_name().unwrap_or(self.name));
        let settled = Some(Settled::Found);
        Published { settled, ..published(intent, path, Some(item.id)) }
    }

    /// Returns the file that has the name already, if it has the content of our file.
    pub(crate) fn already_there(&self, digests: &Digests, item: Item) -> Option<Published> {
        if !item.has_content(digests.size_bytes(), &digests.md5()) {
            return None;
        }
        Some(Published {
            status: DeliveryStatus::AlreadyThere,
            remote_path: self.path_of(item.stored_name().unwrap_or(self.name)),
            size_bytes: digests.size_bytes(),
            sha256: Some(digests.sha256()),
            verified: Verified::Md5,
            settled: self.lease.settled(),
            seen: Some(true),
            details: ReceiptDetails::ShareFile { md5: digests.md5(), item_id: Some(item.id) },
        })
    }
}

/// Returns whether the intent's file is in the folder. A file that was there before has another id,
/// also if its content is the same.
fn is_published(intent: &Intent, item: &Item) -> bool {
    let is_new = intent.old_mark.as_ref() != Some(&item.id);
    let has_content = |md5: &String| item.has_content(intent.size_bytes, md5);
    is_new && intent.md5.as_ref().is_some_and(has_content)
}

fn published(intent: &Intent, remote_path: String, item_id: Option<String>) -> Published {
    let md5 = intent.md5.clone().unwrap_or_default();
    Published {
        status: DeliveryStatus::Delivered,
        remote_path,
        size_bytes: intent.size_bytes,
        sha256: Some(intent.sha256.clone()),
        verified: Verified::Md5,
        settled: None,
        seen: Some(true),
        details: ReceiptDetails::ShareFile { md5, item_id },
    }
}

/// Reads a whole file. Keeps its bytes if there are at most `kept_bytes_max`.
pub(crate) async fn read(
    mut content: Content,
    kept_bytes_max: u64,
) -> Result<(Digests, Option<Bytes>), StorageError> {
    let is_kept = content.size_bytes <= kept_bytes_max;
    let mut digests = Digests::default();
    // Exactly as large as it gets: a buffer that grows would take twice the memory.
    let capacity = if is_kept { usize::try_from(content.size_bytes).unwrap_or(0) } else { 0 };
    let mut kept = BytesMut::with_capacity(capacity);
    while let Some(piece) = content.chunks.try_next().await? {
        digests.update(&piece);
        if is_kept {
            kept.extend_from_slice(&piece);
        }
    }
    Ok((digests, is_kept.then(|| kept.freeze())))
}
