//! Writing a file under its temporary name, and checking that it is there.

mod branches;
mod check;
mod create;
mod resume;

use delivery::HashedOffset;
use job::delivery::{Checkpoint, Verified};
use tokio::sync::watch;

use self::branches::Branch;
use crate::{
    attempt::Carrier,
    content::Chunks,
    error::Error,
    names::Paths,
    session::{Handle, RequestError},
    stage::Refusal,
    upload::{Ending, Lane, Seam, Upload, UploadError, check_seams},
};

/// Bytes before the place of a resumed file that are compared with the source.
pub(crate) const SEAM_BYTES: u64 = 4096;

/// A complete file under its temporary name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
    pub(crate) verified: Verified,
    /// Mark by which the file is known again.
    pub(crate) mark: Option<String>,
}

/// A file that is open for writing.
struct Open {
    handle: Handle,
    /// Whether the handle can read.
    reads: bool,
    from: HashedOffset,
    chunks: Chunks,
    /// The bytes before the place of a resumed file.
    before: Option<Seam>,
}

/// A file that was written through one or several handles.
struct Written {
    end: HashedOffset,
    /// The places that show whether all handles wrote to one file.
    seams: Vec<Seam>,
    /// Whether they were compared already.
    is_compared: bool,
}

impl Carrier<'_> {
    /// Writes the file, closes it, and checks it. `paths` get the temporary name that was used.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfTime`] when the time is up; the lease has the checkpoint then.
    pub(crate) async fn send(&self, paths: &mut Paths) -> Result<Sent, Error> {
        if let Some(sent) = self.sent_before(paths).await? {
            return Ok(sent);
        }
        let size_bytes = self.content.size_bytes().await?;
        let open = match self.resume(paths).await? {
            Some(open) => open,
            None => self.create(paths, self.reads(size_bytes)).await?,
        };
        let written = self.write(open, paths, size_bytes).await?;
        self.check(written, paths).await
    }

    /// Writes what is missing of the file, and closes it. What is of no use is written anew, through
    /// one handle.
    async fn write(
        &self,
        mut open: Open,
        paths: &mut Paths,
        size_bytes: u64,
    ) -> Result<Written, Error> {
        loop {
            if let Some(written) = self.try_write(open, paths, size_bytes).await? {
                return Ok(written);
            }
            self.sftp.use_one_handle();
            open = self.create_anew(paths).await?;
        }
    }

    /// Writes what is missing of the file, and closes it. Returns nothing if the server takes a file
    /// through one handle only, from its beginning to its end.
    async fn try_write(
        &self,
        open: Open,
        paths: &Paths,
        size_bytes: u64,
    ) -> Result<Option<Written>, Error> {
        let path = &paths.temporary;
        let branches = if open.reads && open.before.is_none() {
            self.open_branches(path, size_bytes).await?
        } else {
            Vec::new()
        };
        let Open { handle, from, chunks, before, .. } = open;
        let (acknowledged, _) = watch::channel(from.clone());
        let (reopened, is_single) = (before.is_some(), branches.is_empty());
        let first = Lane { session: self.remote.session.clone(), handle: handle.clone() };
        let lanes = [first].into_iter().chain(branches.iter().map(Branch::lane)).collect();
        let mut upload = Upload::new(lanes, from, &self.sftp.server.config, chunks);
        if !is_single {
            let do_meet = do_meet(&mut upload, &acknowledged).await;
            if !matches!(do_meet, Ok(true)) {
                Branch::abandon(branches).await;
                drop(self.remote.session.close(handle).await);
                return do_meet.map(|_| None);
            }
        }
        let run = upload.run(self.attempt.parcel.budget.stop_at, &acknowledged);
        let ending = match self.run_and_acknowledge(run, &acknowledged, path, reopened).await {
            Ok(ending) => ending,
            // Some servers take bytes only in order.
            Err(UploadError::Request { error: RequestError::Refused { .. }, .. }) if reopened => {
                drop(self.remote.session.close(handle).await);
                return Ok(None);
            }
            Err(error) => {
                let error = self.write_error(error, &branches, path).await;
                Branch::abandon(branches).await;
                return Err(error);
            }
        };
        let (first, end) = (upload.first_lane().clone(), upload.end().clone());
        let mut seams = upload.seams();
        seams.extend(before);
        drop(upload);
        let is_compared = ending == Ending::Complete && !is_single;
        if is_compared && !self.is_one_file(&first, end.offset(), &seams, path).await? {
            Branch::abandon(branches).await;
            return Err(Error::ContentMismatch { path: path.clone() });
        }
        self.close(handle, branches, path, ending, &end, reopened).await?;
        if ending == Ending::TimeUp {
            return Err(self.out_of_time(&paths.last));
        }
        Ok(Some(Written { end, seams, is_compared }))
    }

    /// Returns whether all handles wrote to one file, as the handle that was there first sees it.
    async fn is_one_file(
        &self,
        first: &Lane,
        size_bytes: u64,
        seams: &[Seam],
        path: &str,
    ) -> Result<bool, Error> {
        let checked = check_seams(first, size_bytes, seams).await;
        let answer = self.remote.answer(&format!("checking `{path}`"), checked).await?;
        let is_right = answer.is_ok_and(|is_right| is_right);
        if !is_right {
            self.sftp.use_one_handle();
        }
        Ok(is_right)
    }

    /// Begins once more, under another name.
    async fn create_anew(&self, paths: &mut Paths) -> Result<Open, Error> {
        if self.remote.remove(&paths.temporary).await? {
            self.attempt.lease.forget_leftover(&paths.temporary);
        }
        self.attempt.lease.set_checkpoint(None);
        let nonce = format!("{}-1", self.attempt.nonce);
        let config = &self.sftp.server.config;
        *paths = Paths::new(config, &self.sftp.directory, self.name, &nonce);
        self.create(paths, false).await
    }

    /// Runs an upload and keeps the checkpoint up to date meanwhile, also if this is dropped.
    async fn run_and_acknowledge(
        &self,
        run: impl Future<Output = Result<Ending, UploadError>>,
        acknowledged: &watch::Sender<HashedOffset>,
        path: &str,
        reopened: bool,
    ) -> Result<Ending, UploadError> {
        let version = self.content.version().await.unwrap_or_default();
        let mut changes = acknowledged.subscribe();
        tokio::pin!(run);
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut run => break ended,
                // The sender outlives this.
                _ = changes.changed() => {
                    let at = changes.borrow_and_update().clone();
                    self.acknowledge(&version, path, &at, reopened);
                }
            }
        };
        let at = changes.borrow_and_update().clone();
        self.acknowledge(&version, path, &at, reopened);
        ended
    }

    async fn write_error(&self, error: UploadError, branches: &[Branch], path: &str) -> Error {
        match error {
            UploadError::Source(error) => error.into(),
            UploadError::Request { lane, error } => {
                let remote = match lane.checked_sub(1) {
                    Some(number) => &branches[number].remote,
                    None => self.remote,
                };
                let action = format!("writing `{path}`");
                match remote.succeed::<()>(&action, Err(error)).await {
                    Err(error) => error,
                    Ok(()) => unreachable!("an error stays one"),
                }
            }
        }
    }

    /// Flushes and closes the file: a server may tell only now that a write failed.
    async fn close(
        &self,
        handle: Handle,
        branches: Vec<Branch>,
        path: &str,
        ending: Ending,
        end: &HashedOffset,
        reopened: bool,
    ) -> Result<(), Error> {
        let session = &self.remote.session;
        let closing = format!("closing `{path}`");
        // The others first: over some stores the handle that is closed last makes the file.
        for branch in branches {
            branch.close(&closing).await?;
        }
        if ending == Ending::Complete {
            self.set_mode(path).await?;
            if session.features().fsync {
                let flushed = session.fsync(&handle).await;
                let flushed = self.remote.answer(&format!("flushing `{path}`"), flushed).await?;
                if let Err(Refusal { message, .. }) = flushed {
                    tracing::warn!(message, "the server announces fsync and refuses it");
                }
            }
            self.acknowledge_all(path, end, reopened).await;
        }
        self.remote.succeed(&closing, session.close(handle).await).await
    }

    /// Everything is acknowledged: a later attempt need not write, even if closing takes long.
    async fn acknowledge_all(&self, path: &str, end: &HashedOffset, reopened: bool) {
        if !self.content.is_journaled() {
            return;
        }
        self.attempt.lease.set_checkpoint(Some(Checkpoint {
            version: self.content.version().await.unwrap_or_default(),
            acknowledged_bytes: end.offset(),
            sha256_state: None,
            sha256: Some(end.sha256()),
            temporary_path: Some(path.to_owned()),
            reopened,
        }));
    }

    async fn set_mode(&self, path: &str) -> Result<(), Error> {
        let Some(mode) = self.sftp.server.config.sftp_file_mode else { return Ok(()) };
        let set = self.remote.session.set_permissions(path, mode.get()).await;
        let action = format!("setting the mode of `{path}`");
        let set = self.remote.answer(&action, set).await?;
        set.map_err(|refusal| Error::Refused {
            action,
            code: refusal.code,
            message: refusal.message,
            hint: Some("; without `sftp_file_mode` the server decides"),
        })
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.attempt.lease.checkpoint().filter(|_| self.content.is_journaled())
    }

    fn out_of_time(&self, path: &str) -> Error {
        let acknowledged = self.checkpoint().map_or(0, |checkpoint| checkpoint.acknowledged_bytes);
        Error::OutOfTime { path: path.to_owned(), acknowledged }
    }
}

/// Returns whether all handles write to one file. If not, the file is of no use.
async fn do_meet(
    upload: &mut Upload,
    acknowledged: &watch::Sender<HashedOffset>,
) -> Result<bool, Error> {
    match upload.probe(acknowledged).await {
        Ok(true) => Ok(true),
        Err(UploadError::Source(error)) => Err(error.into()),
        Ok(false) | Err(UploadError::Request { .. }) => {
            tracing::info!("the server keeps the handles of a file apart; one is used");
            Ok(false)
        }
    }
}
