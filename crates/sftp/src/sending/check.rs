//! Checking a closed file.

use std::time::Duration;

use job::{delivery::Verified, transport::Verify};
use tokio::time::{sleep, timeout_at};

use super::{Sent, Written};
use crate::{
    attempt::Carrier,
    error::Error,
    names::Paths,
    readback::{self, read_range},
    remote::Entry,
    stage::{Code, Refusal},
    upload::Seam,
};

/// Waits for the right size of a closed file: some servers tell 0 for a moment.
const SIZE_WAITS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

impl Carrier<'_> {
    /// Checks a closed file.
    pub(super) async fn check(&self, written: Written, paths: &Paths) -> Result<Sent, Error> {
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

    /// Compares both sides of the place where a file was resumed. What was before it was there when
    /// the file was opened again, but a server may begin an object of zeros with the new handle.
    async fn compare_seams(&self, path: &str, seams: &[Seam]) -> Result<(), Error> {
        let session = &self.remote.session;
        let reading = format!("reading `{path}` back");
        let file = self.remote.succeed(&reading, session.open_for_reading(path).await).await?;
        let mut is_right = true;
        for Seam { offset, bytes } in seams {
            let ours = bytes.concat();
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
    pub(super) async fn verify_path(
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
        let opened = self.remote.answer(&reading, session.open_for_reading(path).await).await?;
        let file = opened.map_err(|refusal| match refusal.code {
            Code::NoSuchFile => Error::Vanished { path: path.to_owned(), was_read: false },
            _ => Error::refused(&reading, refusal),
        })?;
        let read = readback::sha256(session, &file, size_bytes).await;
        let sha256 = self.remote.succeed(&reading, read).await?;
        drop(session.close(file).await);
        Ok(sha256)
    }

    async fn check_size(&self, path: &str, written: u64) -> Result<Verified, Error> {
        let looked = self.look_for_size(path, written).await?;
        match looked.ok().flatten().and_then(|entry| entry.size_bytes) {
            Some(found) if found == written => Ok(Verified::Size),
            Some(found) => Err(Error::SizeMismatch { path: path.to_owned(), written, found }),
            // The rename tells whether it is there.
            None => {
                tracing::warn!(remote_path = path, "the server does not tell the size of the file");
                Ok(Verified::None)
            }
        }
    }

    /// Looks at a file, and waits while it has another size.
    pub(super) async fn look_for_size(
        &self,
        path: &str,
        size_bytes: u64,
    ) -> Result<Result<Option<Entry>, Refusal>, Error> {
        let mut waits = SIZE_WAITS.iter();
        loop {
            let looked = self.remote.look(path).await?;
            let found = looked.as_ref().ok().and_then(|entry| entry.as_ref()?.size_bytes);
            let is_early = found.is_some_and(|found| found != size_bytes);
            match waits.next().filter(|_| is_early) {
                Some(wait) => sleep(*wait).await,
                None => return Ok(looked),
            }
        }
    }
}
