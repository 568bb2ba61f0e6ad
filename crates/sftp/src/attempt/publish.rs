//! Publishing a file, and taking a publication back that was not made.

use std::{sync::PoisonError, time::Duration};

use job::{
    delivery::{Intent, Settled},
    transport::Verify,
};
use tokio::time::{Instant, sleep};

use super::{Carrier, Course};
use crate::{
    error::Error,
    names::Paths,
    remote::Entry,
    stage::{Failure, Observation},
};

/// Waits between renames of a file that a scanner may hold, and between looks at a size that is not
/// right yet.
pub(super) const WAITS: [Duration; 7] = [
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_200),
    Duration::from_millis(2_400),
    Duration::from_millis(4_800),
    Duration::from_secs(5),
    Duration::from_secs(5),
];

/// Waits for requests of a broken connection that the server carries out late.
const LATE_REQUESTS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1_500), Duration::from_secs(2)];

impl Carrier<'_> {
    pub(super) async fn rename(
        &self,
        from: &str,
        to: &str,
        posix: bool,
    ) -> Result<Observation, Error> {
        let session = &self.remote.session;
        let renamed = if posix {
            session.posix_rename(from, to).await
        } else {
            session.rename(from, to).await
        };
        let action = format!("renaming `{from}` to `{to}`");
        Ok(match self.remote.answer(&action, renamed).await? {
            Ok(()) => Observation::Done,
            Err(refusal) => Observation::Refused(refusal),
        })
    }

    pub(super) async fn wait(&self, course: &mut Course) -> Observation {
        match WAITS.get(course.waits).filter(|wait| self.has(**wait)) {
            Some(wait) => {
                course.waits += 1;
                sleep(*wait).await;
                Observation::Done
            }
            None => Observation::NoTime,
        }
    }

    pub(super) fn has(&self, wait: Duration) -> bool {
        Instant::now() + wait < self.attempt.parcel.budget.stop_at
    }

    /// Writes down what is about to be published.
    pub(super) async fn intend(&self, course: &mut Course) -> Result<(), Error> {
        if !self.content.is_journaled() {
            return Ok(());
        }
        let Paths { last, temporary, backup } = course.paths.clone();
        let intent = match (&course.sent, course.intent.take()) {
            (Some(sent), _) => Intent {
                version: self.content.version().await?,
                size_bytes: sent.size_bytes,
                sha256: sent.sha256.clone(),
                md5: None,
                verified: sent.verified,
                temporary_path: Some(temporary),
                backup_path: Some(backup),
                remote_path: last,
                mark: sent.mark.clone(),
                old_mark: course.old_mark.clone(),
            },
            // The file of an earlier attempt.
            (None, Some(intent)) => Intent { old_mark: course.old_mark.clone(), ..intent },
            (None, None) => unreachable!("a file is sent before it is published"),
        };
        self.attempt.lease.intend(intent.clone()).await?;
        let session = self.remote.session.clone();
        *self.sftp.publishing.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((session, intent.clone()));
        course.intent = Some(intent);
        Ok(())
    }

    /// Clears the backup path of an earlier attempt whose file is published now.
    ///
    /// The earlier attempt may have died between its renames: then the old file is there. Or the
    /// server carries its request to move the old file aside out late, and moves ours: then it is
    /// put back. So it is looked at several times, where files are moved aside at all.
    pub(super) async fn guard_adopted(&self, adopted: &Intent) -> Result<(), Error> {
        let Some(backup) = &adopted.backup_path else { return Ok(()) };
        let is_plain = !self.remote.session.features().posix_rename;
        let waits = LATE_REQUESTS.into_iter().filter(|wait| is_plain && self.has(*wait));
        for wait in [Duration::ZERO].into_iter().chain(waits) {
            sleep(wait).await;
            if let Ok(Some(entry)) = self.remote.look(backup).await? {
                self.clear_backup(backup, &entry, adopted).await?;
            }
        }
        Ok(())
    }

    async fn clear_backup(
        &self,
        backup: &str,
        entry: &Entry,
        adopted: &Intent,
    ) -> Result<(), Error> {
        let last = &adopted.remote_path;
        if matches!(self.remote.look(last).await?, Ok(None)) {
            self.rename(backup, last, false).await?;
        } else if entry.mark != adopted.mark || entry.mark == adopted.old_mark {
            self.remote.remove(backup).await?;
        }
        Ok(())
    }

    /// Nothing of the intent was published: forget its files, and begin with new names.
    pub(super) async fn not_published(
        &self,
        course: &mut Course,
        settled: Option<Settled>,
    ) -> Result<(), Error> {
        let lease = self.attempt.lease;
        self.put_back(course).await;
        if self.remote.remove(&course.paths.temporary).await? {
            lease.forget_leftover(&course.paths.temporary);
        }
        lease.set_checkpoint(None);
        if let Some(settled) = settled {
            lease.set_settled(settled);
        }
        lease.not_published().await?;
        *course = self.course(None).await?;
        Ok(())
    }

    /// Puts back an old file that was moved aside, if nothing took its place.
    ///
    /// Only where a rename does not replace files: elsewhere nothing is moved aside.
    pub(super) async fn put_back(&self, course: &Course) {
        let Paths { last, backup, .. } = &course.paths;
        let earlier = course.adopted.as_ref().and_then(|adopted| adopted.backup_path.as_ref());
        if !course.rules.posix_rename && matches!(self.remote.look(last).await, Ok(Ok(None))) {
            // There is nothing aside, unless an attempt died between its renames.
            for backup in [Some(backup), earlier].into_iter().flatten() {
                drop(self.remote.session.rename(backup, last).await);
            }
        }
    }

    pub(super) async fn failed(&self, failure: Failure, course: &Course) -> Result<Error, Error> {
        let Paths { last, temporary, backup } = course.paths.clone();
        let is_published = matches!(failure, Failure::PublishedSize { .. });
        if is_published {
            self.attempt.lease.forget_leftover(&temporary);
        } else if course.intent.is_some() {
            self.attempt.lease.not_published().await?;
        }
        let renaming = format!("renaming `{temporary}` to `{last}`");
        Ok(match failure {
            Failure::Exists => Error::Exists { path: last },
            Failure::InTheWay(kind) => Error::InTheWay { path: last, kind },
            Failure::Look(refusal) => Error::refused(&format!("looking at `{last}`"), refusal),
            Failure::Rename(refusal) => {
                Error::Rename { renaming, message: refusal.message, code: refusal.code }
            }
            Failure::OldFileAside(refusal) => {
                Error::OldFileAside { renaming, backup, message: refusal.message }
            }
            Failure::Vanished => Error::Vanished {
                path: temporary,
                was_read: self.sftp.server.config.sftp_verify == Verify::Readback,
            },
            Failure::PublishedSize { found } => {
                Error::PublishedSize { path: last, written: course.rules.size_bytes, found }
            }
        })
    }

    /// Removes the temporary file of a failed attempt, where the connection still works.
    pub(super) async fn withdraw(&self, course: &Course) {
        self.put_back(course).await;
        let path = &course.paths.temporary;
        let lease = self.attempt.lease;
        if self.content.is_journaled() {
            lease.set_checkpoint(None);
        }
        // A final path that was never opened is not ours to remove.
        if !lease.leftovers().contains(path) {
            return;
        }
        if self.remote.remove(path).await.is_ok_and(|is_gone| is_gone) {
            lease.forget_leftover(path);
        }
    }
}
