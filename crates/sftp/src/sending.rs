//! Writing a file under its temporary name, and checking that it is there.

use std::time::Duration;

use delivery::HashedOffset;
use futures_util::{StreamExt, future::join_all, stream};
use job::{
    delivery::{Checkpoint, Verified},
    transport::{Verify, WriteMode},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout_at},
};

use crate::{
    attempt::Carrier,
    content::{Chunks, take},
    error::Error,
    names::{Paths, sidecar_name},
    readback::{self, read_range},
    remote::Remote,
    session::{Access, Handle},
    ssh::Connection,
    stage::{Code, Refusal},
    upload::{Ending, Lane, Pace, Seam, Upload, UploadError, check_seams},
};

/// Bytes before the place of a resumed file that are compared with the source.
pub(crate) const SEAM_BYTES: u64 = 4096;

/// A file of this size and a server this far away are worth a second channel: the window of a
/// channel, 2 MiB with OpenSSH, is acknowledged once in a round trip.
const SECOND_CHANNEL_BYTES: u64 = 32 * 1024 * 1024;
const SECOND_CHANNEL_ROUND_TRIP: Duration = Duration::from_millis(10);

/// Waits for the right size of a closed file: some servers tell 0 for a moment.
const SIZE_WAITS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

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
    reopened: bool,
}

/// A further lane, with the connection that it needs, if it is another one.
struct Branch {
    connection: Option<Connection>,
    remote: Remote,
    handle: Handle,
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

    /// A file that an earlier attempt wrote to its end, without hearing that it was closed. To open
    /// it again would begin a server's scan anew.
    async fn sent_before(&self, paths: &mut Paths) -> Result<Option<Sent>, Error> {
        let Some(Checkpoint {
            version,
            sha256: Some(sha256),
            temporary_path: Some(path),
            reopened,
            acknowledged_bytes,
            ..
        }) = self.checkpoint()
        else {
            return Ok(None);
        };
        let size_bytes = self.content.size_bytes().await?;
        if version != self.content.version().await? || acknowledged_bytes != size_bytes || reopened
        {
            return Ok(None);
        }
        match self.remote.look(&path).await? {
            Ok(Some(entry)) if entry.size_bytes == Some(size_bytes) => {
                tracing::info!(remote_path = path, "the file was sent whole by an earlier attempt");
                paths.temporary.clone_from(&path);
                let verified = self.verify_path(&path, size_bytes, &sha256, false).await?;
                Ok(Some(Sent { size_bytes, sha256, verified, mark: entry.mark }))
            }
            _ => Ok(None),
        }
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.attempt.lease.checkpoint().filter(|_| self.content.is_journaled())
    }

    /// Opens what an earlier attempt wrote, if it is still there and can be checked.
    async fn resume(&self, paths: &mut Paths) -> Result<Option<Open>, Error> {
        let Some(checkpoint) = self.checkpoint() else { return Ok(None) };
        let opened = self.reopen(&checkpoint).await?;
        let Some(path) = checkpoint.temporary_path else { return Ok(None) };
        if opened.is_some() {
            tracing::info!(
                run.id = %self.attempt.parcel.run_id,
                acknowledged_bytes = checkpoint.acknowledged_bytes,
                "the delivery resumes where it was interrupted"
            );
            paths.temporary = path;
            return Ok(opened);
        }
        tracing::warn!(
            run.id = %self.attempt.parcel.run_id,
            remote_path = path,
            "the delivery begins anew: what was written of the file cannot be used"
        );
        self.attempt.lease.set_checkpoint(None);
        if path != paths.last && self.remote.remove(&path).await? {
            self.attempt.lease.forget_leftover(&path);
        }
        Ok(None)
    }

    /// Opens the file of a checkpoint. Nothing if it is gone, or if it cannot be read: a server may
    /// keep what is written through each handle apart, and would lose the beginning.
    async fn reopen(&self, checkpoint: &Checkpoint) -> Result<Option<Open>, Error> {
        let from = HashedOffset::from_checkpoint(checkpoint);
        let (Some(from), Some(path)) = (from, &checkpoint.temporary_path) else { return Ok(None) };
        if self.sftp.uses_one_handle() || checkpoint.version != self.content.version().await? {
            return Ok(None);
        }
        let before = from.offset().min(SEAM_BYTES);
        let begin = from.offset() - before;
        let mut chunks = self.content.chunks(begin).await?;
        let length = usize::try_from(before).unwrap_or_default();
        let (ours, rest) = take(&mut chunks, length).await?;
        let session = &self.remote.session;
        let reading = format!("reading `{path}`");
        let Ok(file) = self.remote.answer(&reading, session.open_for_reading(path).await).await?
        else {
            return Ok(None);
        };
        let theirs = read_range(session, &file, begin, length).await;
        let theirs = self.remote.answer(&reading, theirs).await?;
        drop(session.close(file).await);
        if !theirs.is_ok_and(|theirs| theirs.concat() == ours) {
            return Ok(None);
        }
        let opening = format!("opening `{path}`");
        let opened = session.open_for_writing(path).await;
        let Ok(handle) = self.remote.answer(&opening, opened).await? else { return Ok(None) };
        // Through this handle the beginning has to be there, too.
        let found = self.remote.answer(&opening, session.fstat(&handle).await).await?;
        let is_there =
            found.is_ok_and(|found| found.size_bytes.is_none_or(|found| found >= from.offset()));
        if !is_there {
            drop(session.close(handle).await);
            return Ok(None);
        }
        let chunks = stream::iter([Ok(rest)]).chain(chunks).boxed();
        Ok(Some(Open { handle, reads: false, from, chunks, reopened: true }))
    }

    /// Returns whether the handle of a new file should be able to read: only then can others be
    /// probed against it.
    fn reads(&self, size_bytes: u64) -> bool {
        let (channels, connections) = self.branches_wanted(size_bytes);
        channels + connections > 0
    }

    /// Numbers of further channels and connections that are of use.
    fn branches_wanted(&self, size_bytes: u64) -> (u64, u64) {
        let config = &self.sftp.server.config;
        if !self.content.is_journaled()
            || self.sftp.uses_one_handle()
            || config.sftp_write_mode == WriteMode::Direct
        {
            return (0, 0);
        }
        let limits = &self.remote.session.features().limits;
        // A window that is never full does not get fuller by another one.
        let window_bytes = Pace::new([limits], config).window_bytes() as u64;
        let of_use = size_bytes.div_ceil(window_bytes.max(1)).max(1);
        let connections = u64::from(config.sftp_connections.get()).min(of_use) - 1;
        let is_far = self.connection.round_trip() >= SECOND_CHANNEL_ROUND_TRIP;
        let is_worth_it = connections == 0
            && is_far
            && size_bytes >= SECOND_CHANNEL_BYTES
            // A server that tells the limits of its file system has one.
            && limits.write_bytes.is_some()
            && config.sftp_max_in_flight.get() > 1;
        (u64::from(is_worth_it), connections)
    }

    /// Creates the file. Only if that fails, missing directories are made: that costs nothing where
    /// all is well.
    async fn create(&self, paths: &Paths, reads: bool) -> Result<Open, Error> {
        let config = &self.sftp.server.config;
        let path = &paths.temporary;
        self.attempt.lease.will_create(path).await?;
        if paths.temporary == paths.last && self.content.is_journaled() {
            self.remove_old_sidecar().await?;
        }
        let first = match self.try_create(paths, reads).await? {
            Ok((handle, reads)) => return self.opened(handle, reads).await,
            Err(refusal) => refusal,
        };
        let denied = if config.sftp_create_dirs { self.make_directories().await? } else { None };
        match self.try_create(paths, reads).await? {
            Ok((handle, reads)) => self.opened(handle, reads).await,
            Err(_) => {
                self.attempt.lease.forget_leftover(path);
                Err(self.not_created(paths, first, denied).await?)
            }
        }
    }

    /// Removes a second file of an earlier delivery: it would say that the file is complete while it
    /// is written in place.
    async fn remove_old_sidecar(&self) -> Result<(), Error> {
        if let Some(sidecar) = self.sftp.server.config.sftp_sidecar {
            let name = sidecar_name(self.name, sidecar).map_err(Error::FileName)?;
            self.remote.remove(&self.sftp.directory.join(name.as_str())).await?;
        }
        Ok(())
    }

    async fn opened(&self, handle: Handle, reads: bool) -> Result<Open, Error> {
        let chunks = self.content.chunks(0).await?;
        Ok(Open { handle, reads, from: HashedOffset::default(), chunks, reopened: false })
    }

    async fn try_create(
        &self,
        paths: &Paths,
        reads: bool,
    ) -> Result<Result<(Handle, bool), Refusal>, Error> {
        let (session, path) = (&self.remote.session, &paths.temporary);
        let opening = format!("opening `{path}` for writing");
        if paths.temporary == paths.last {
            let opened = session.create_or_truncate(path).await;
            return Ok(self.remote.answer(&opening, opened).await?.map(|handle| (handle, false)));
        }
        if reads {
            let opened = session.create_new(path, Access::ReadWrite).await;
            if let Ok(handle) = self.remote.answer(&opening, opened).await? {
                return Ok(Ok((handle, true)));
            }
        }
        let opened = session.create_new(path, Access::Write).await;
        let refusal = match self.remote.answer(&opening, opened).await? {
            Ok(handle) => return Ok(Ok((handle, false))),
            Err(refusal) => refusal,
        };
        if refusal.code == Code::NoSuchFile {
            return Ok(Err(refusal));
        }
        // Some servers do not know how to create only what is not there.
        let opened = session.create_or_truncate(path).await;
        let opened = self.remote.answer(&opening, opened).await?;
        Ok(opened.map(|handle| (handle, false)).map_err(|_| refusal))
    }

    /// Makes the directory and those above it. Returns the first refusal of permission. Other
    /// refusals are ignored: most servers fail so for a directory that exists.
    async fn make_directories(&self) -> Result<Option<Refusal>, Error> {
        let mut denied = None;
        for path in self.sftp.directory.chain() {
            let action = format!("making the directory `{path}`");
            let made = self.remote.session.mkdir(&path).await;
            if let Err(refusal) = self.remote.answer(&action, made).await?
                && refusal.code == Code::Denied
            {
                denied.get_or_insert(refusal);
            }
        }
        Ok(denied)
    }

    /// The error of a file that was not created, with the setting that helps.
    async fn not_created(
        &self,
        paths: &Paths,
        first: Refusal,
        denied: Option<Refusal>,
    ) -> Result<Error, Error> {
        let (path, directory) = (&paths.temporary, &self.sftp.directory);
        if first.code == Code::NoSuchFile {
            return Ok(match denied {
                Some(denied) => {
                    Error::refused(&format!("making the directory `{directory}`"), denied)
                }
                None => Error::NoDirectory {
                    path: path.clone(),
                    hint: if self.sftp.server.config.sftp_create_dirs {
                        format!(", and it could not be made ({})", first.message)
                    } else {
                        ", and `sftp_create_dirs` is false".to_owned()
                    },
                },
            });
        }
        let hint = if path == &paths.last { None } else { self.name_hint(paths).await? };
        let action = format!("opening `{path}` for writing");
        Ok(Error::Refused { action, code: first.code, message: first.message, hint })
    }

    /// Finds out which part of the temporary name the server does not take, by making an empty file
    /// of another name and removing it.
    async fn name_hint(&self, paths: &Paths) -> Result<Option<&'static str>, Error> {
        let config = &self.sftp.server.config;
        let nonce = self.attempt.nonce;
        let extension = self.name.as_str().rsplit_once('.').map_or("", |(_, extension)| extension);
        let undotted = format!("{}.{nonce}{}", self.name, config.sftp_temp_suffix);
        let own = format!("{}{}.{nonce}.{extension}", config.sftp_temp_prefix, self.name);
        let trials = [
            (!config.sftp_temp_prefix.is_empty(), undotted, PREFIX_HINT),
            (!extension.is_empty(), own, SUFFIX_HINT),
        ];
        for (is_of_use, name, hint) in trials {
            let path = self.sftp.directory.join(&name);
            if !is_of_use || path == paths.temporary {
                continue;
            }
            let action = format!("opening `{path}` for writing");
            let created = self.remote.session.create_new(&path, Access::Write).await;
            if let Ok(handle) = self.remote.answer(&action, created).await? {
                drop(self.remote.session.close(handle).await);
                self.remote.remove(&path).await?;
                return Ok(Some(hint));
            }
        }
        Ok(None)
    }

    /// Writes what is missing of the file, and closes it.
    async fn write(
        &self,
        open: Open,
        paths: &mut Paths,
        size_bytes: u64,
    ) -> Result<Written, Error> {
        let branches = if open.reads && !open.reopened {
            self.open_branches(&paths.temporary, size_bytes).await?
        } else {
            Vec::new()
        };
        let (acknowledged, _) = watch::channel(open.from.clone());
        let (reopened, is_single) = (open.reopened, branches.is_empty());
        let first = Lane { session: self.remote.session.clone(), handle: open.handle.clone() };
        let mut lanes = vec![first];
        lanes.extend(branches.iter().map(Branch::lane));
        let config = &self.sftp.server.config;
        let mut upload = Upload::new(lanes, open.from, config, open.chunks);
        if !is_single {
            match upload.probe(&acknowledged).await {
                Ok(true) => {}
                probed => {
                    // One handle from now on: the file of several is of no use.
                    self.sftp.use_one_handle();
                    Branch::abandon(branches).await;
                    drop(self.remote.session.close(open.handle).await);
                    if let Err(UploadError::Source(error)) = probed {
                        return Err(error.into());
                    }
                    tracing::info!("the server keeps the handles of a file apart; one is used");
                    let open = self.create_anew(paths).await?;
                    return Box::pin(self.write(open, paths, size_bytes)).await;
                }
            }
        }
        let run = upload.run(self.attempt.parcel.budget.stop_at, &acknowledged);
        let ending = self.run_and_acknowledge(run, &acknowledged, paths, reopened).await;
        let ending = match ending {
            Ok(ending) => ending,
            Err(error) => {
                let error = self.write_error(error, &branches, &paths.temporary).await;
                Branch::abandon(branches).await;
                return Err(error);
            }
        };
        let (end, seams) = (upload.end().clone(), upload.seams());
        let mut is_compared = false;
        if ending == Ending::Complete && !is_single {
            // Through the handle that was there first, while it is open.
            let checked = check_seams(upload.first_lane(), end.offset(), &seams).await;
            let action = format!("checking `{}`", paths.temporary);
            if !self.remote.answer(&action, checked).await?.is_ok_and(|is_right| is_right) {
                self.sftp.use_one_handle();
                Branch::abandon(branches).await;
                return Err(Error::ContentMismatch { path: paths.temporary.clone() });
            }
            is_compared = true;
        }
        drop(upload);
        self.close(open.handle, branches, &paths.temporary, ending, &end, reopened).await?;
        if ending == Ending::TimeUp {
            return Err(self.out_of_time(&paths.last));
        }
        Ok(Written { end, seams, is_compared })
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
        paths: &Paths,
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
                    self.acknowledge(&version, &paths.temporary, &at, reopened);
                }
            }
        };
        let at = changes.borrow_and_update().clone();
        self.acknowledge(&version, &paths.temporary, &at, reopened);
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

    /// Checks a closed file.
    async fn check(&self, written: Written, paths: &Paths) -> Result<Sent, Error> {
        let Written { end, seams, is_compared } = written;
        let path = &paths.temporary;
        let has_seams = !seams.is_empty();
        if has_seams && !is_compared {
            self.compare_seams(path, &seams).await?;
        }
        let (size_bytes, sha256) = (end.offset(), end.sha256());
        let verified = self.verify_path(path, size_bytes, &sha256, has_seams).await?;
        let mark = match self.remote.look(path).await? {
            Ok(Some(entry)) if entry.size_bytes == Some(size_bytes) => entry.mark,
            _ => None,
        };
        Ok(Sent { size_bytes, sha256, verified, mark })
    }

    /// Compares the places where a resumed file was continued.
    async fn compare_seams(&self, path: &str, seams: &[Seam]) -> Result<(), Error> {
        let session = &self.remote.session;
        let reading = format!("reading `{path}` back");
        let file = self.remote.succeed(&reading, session.open_for_reading(path).await).await?;
        let mut is_right = true;
        for Seam { offset, bytes } in seams {
            let ours = bytes.concat();
            // What was before the seam was compared when the file was reopened; now both sides are.
            let theirs = read_range(session, &file, *offset, ours.len()).await;
            let theirs = self.remote.succeed(&reading, theirs).await?;
            is_right &= theirs.concat() == ours;
        }
        drop(session.close(file).await);
        if is_right {
            return Ok(());
        }
        self.sftp.use_one_handle();
        Err(Error::ContentMismatch { path: path.to_owned() })
    }

    /// Checks the file at a path as the configuration says.
    async fn verify_path(
        &self,
        path: &str,
        size_bytes: u64,
        sha256: &str,
        has_seams: bool,
    ) -> Result<Verified, Error> {
        match self.sftp.server.config.sftp_verify {
            Verify::None => Ok(if has_seams { Verified::Seams } else { Verified::None }),
            Verify::Size => {
                let verified = self.check_size(path, size_bytes).await?;
                Ok(if has_seams { Verified::Seams } else { verified })
            }
            Verify::Readback => {
                let read = self.read_back(path, size_bytes);
                let read = timeout_at(self.attempt.parcel.budget.stop_at, read).await;
                let theirs = read.map_err(|_| self.out_of_time(path))??;
                if theirs == sha256 {
                    Ok(Verified::Readback)
                } else {
                    Err(Error::ContentMismatch { path: path.to_owned() })
                }
            }
        }
    }

    async fn read_back(&self, path: &str, size_bytes: u64) -> Result<String, Error> {
        let session = &self.remote.session;
        let reading = format!("reading `{path}` back");
        let file = self.remote.succeed(&reading, session.open_for_reading(path).await).await?;
        let read = readback::sha256(session, &file, size_bytes).await;
        let sha256 = self.remote.succeed(&reading, read).await?;
        drop(session.close(file).await);
        Ok(sha256)
    }

    async fn check_size(&self, path: &str, written: u64) -> Result<Verified, Error> {
        let mut waits = SIZE_WAITS.iter();
        loop {
            let found = match self.remote.look(path).await? {
                Ok(Some(entry)) => entry.size_bytes,
                // The rename tells whether it is there.
                Ok(None) | Err(_) => None,
            };
            let Some(found) = found else {
                tracing::warn!(remote_path = path, "the server does not tell the size of the file");
                return Ok(Verified::None);
            };
            if found == written {
                return Ok(Verified::Size);
            }
            let Some(wait) = waits.next() else {
                return Err(Error::SizeMismatch { path: path.to_owned(), written, found });
            };
            sleep(*wait).await;
        }
    }

    /// Opens further channels or connections, and a handle of the file in each.
    ///
    /// Some servers count sessions. Those that refuse one more are written to by those that they
    /// took; only a server with another host key is not to be trusted at all.
    async fn open_branches(&self, path: &str, size_bytes: u64) -> Result<Vec<Branch>, Error> {
        let (channels, connections) = self.branches_wanted(size_bytes);
        let channels = join_all((0..channels).map(|_| self.open_channel(path))).await;
        let connections = join_all((0..connections).map(|_| self.open_connection(path))).await;
        let mut branches = Vec::new();
        let mut refused = None;
        for opened in channels.into_iter().chain(connections) {
            match opened {
                Ok(branch) => branches.push(branch),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error @ (Error::HostKey { .. } | Error::RevokedHostKey { .. })) => {
                Branch::abandon(branches).await;
                return Err(error);
            }
            Some(error) => tracing::info!(
                run.id = %self.attempt.parcel.run_id,
                handles = branches.len() + 1,
                error.message = %job::error::Chain(&error),
                "the server does not take every channel or connection; these are used"
            ),
            None => {}
        }
        Ok(branches)
    }

    async fn open_channel(&self, path: &str) -> Result<Branch, Error> {
        let remote = self.sftp.start(self.connection).await?;
        let handle = open_handle(&remote, path).await?;
        Ok(Branch { connection: None, remote, handle })
    }

    async fn open_connection(&self, path: &str) -> Result<Branch, Error> {
        let connection = Connection::open(&self.sftp.server).await?;
        let opened = async {
            let remote = self.sftp.start(&connection).await?;
            let handle = open_handle(&remote, path).await?;
            Ok((remote, handle))
        };
        match opened.await {
            Ok((remote, handle)) => Ok(Branch { connection: Some(connection), remote, handle }),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }

    fn out_of_time(&self, path: &str) -> Error {
        let acknowledged = self.checkpoint().map_or(0, |checkpoint| checkpoint.acknowledged_bytes);
        Error::OutOfTime { path: path.to_owned(), acknowledged }
    }
}

const PREFIX_HINT: &str =
    "; this server takes no name that begins so: set `sftp_temp_prefix` to \"\"";
const SUFFIX_HINT: &str = "; this server takes only certain extensions: let `sftp_temp_suffix` end with \
     one of them";

async fn open_handle(remote: &Remote, path: &str) -> Result<Handle, Error> {
    let opened = remote.session.open_for_writing(path).await;
    remote.succeed(&format!("opening `{path}` once more"), opened).await
}

impl Branch {
    fn lane(&self) -> Lane {
        Lane { session: self.remote.session.clone(), handle: self.handle.clone() }
    }

    /// Closes the file, which can tell of writes that failed, and the connection.
    async fn close(self, closing: &str) -> Result<(), Error> {
        let Self { connection, remote, handle } = self;
        let closed = remote.succeed(closing, remote.session.close(handle).await).await;
        if let Some(connection) = connection {
            connection.close().await;
        }
        closed
    }

    /// Ends all branches, whatever they do.
    async fn abandon(branches: Vec<Self>) {
        let closing = branches.into_iter().map(|Self { connection, remote, handle }| async move {
            drop(remote.session.close(handle).await);
            if let Some(connection) = connection {
                connection.close().await;
            }
        });
        join_all(closing).await;
    }
}
