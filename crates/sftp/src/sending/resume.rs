//! Resuming what an earlier attempt wrote.

use delivery::HashedOffset;
use futures_util::{StreamExt, stream};
use job::delivery::Checkpoint;

use super::{Open, SEAM_BYTES, Sent};
use crate::{
    attempt::Carrier, content::take, error::Error, names::Paths, readback::read_range, upload::Seam,
};

impl Carrier<'_> {
    /// A file that an earlier attempt wrote to its end, without hearing that it was closed. To open
    /// it again would begin a server's scan anew.
    pub(super) async fn sent_before(&self, paths: &mut Paths) -> Result<Option<Sent>, Error> {
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
        let Ok(Some(entry)) = self.look_for_size(&path, size_bytes).await? else {
            return Ok(None);
        };
        if entry.size_bytes != Some(size_bytes) {
            return Ok(None);
        }
        tracing::info!(remote_path = path, "the file was sent whole by an earlier attempt");
        paths.temporary.clone_from(&path);
        let verified = self.verify_path(&path, size_bytes, &sha256, false).await?;
        Ok(Some(Sent { size_bytes, sha256, verified, mark: entry.mark }))
    }

    /// Opens what an earlier attempt wrote, if it is still there and can be checked.
    pub(super) async fn resume(&self, paths: &mut Paths) -> Result<Option<Open>, Error> {
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
        let before = Some(Seam { offset: begin, bytes: vec![ours.into()] });
        Ok(Some(Open { handle, reads: false, from, chunks, before }))
    }
}
