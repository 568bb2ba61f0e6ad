//! One attempt: the requests of the stages, one after the other.

use std::time::Duration;

use delivery::{Attempt, HashedOffset};
use job::{
    FileName,
    delivery::{Checkpoint, DeliveryStatus, Intent, Settled, Verified},
    transport::{Overwrite, Sidecar, Verify, WriteMode},
};
use tokio::time::{Instant, sleep};

use crate::{
    Sftp,
    content::FileContent,
    error::Error,
    names::Paths,
    readback,
    remote::{Entry, Remote},
    sending::Sent,
    ssh::Connection,
    stage::{Failure, Identity, Observation, Rules, Stage},
};

/// Waits between renames of a file that a scanner may hold, and between looks at a size that is not
/// right yet.
const WAITS: [Duration; 7] = [
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_200),
    Duration::from_millis(2_400),
    Duration::from_millis(4_800),
    Duration::from_secs(5),
    Duration::from_secs(5),
];

/// One file on its way: the delivered one, or the second one beside it.
pub(crate) struct Carrier<'a> {
    pub(crate) sftp: &'a Sftp,
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) connection: &'a Connection,
    pub(crate) remote: &'a Remote,
    /// Its name at the recipient.
    pub(crate) name: &'a FileName,
    pub(crate) content: FileContent<'a>,
}

/// A file that has its final name.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) status: DeliveryStatus,
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: Option<String>,
    pub(crate) verified: Verified,
    pub(crate) settled: Option<Settled>,
    pub(crate) seen: Option<bool>,
}

/// Knowledge that the stages share.
struct Course {
    paths: Paths,
    rules: Rules,
    /// Publication that was about to be made, by this attempt or an earlier one.
    intent: Option<Intent>,
    /// Whether the intent, and with it the names, are those of an earlier attempt.
    is_adopted: bool,
    sent: Option<Sent>,
    old_mark: Option<String>,
    /// Number of waits so far.
    waits: usize,
}

impl Carrier<'_> {
    /// Carries the file to its final name.
    ///
    /// # Errors
    ///
    /// After an error on a working connection the temporary file is removed.
    pub(crate) async fn carry(&self) -> Result<Carried, Error> {
        let intent = self.intent().await;
        let mut course = self.course(intent).await?;
        self.remove_leftovers(&course).await?;
        let mut stage = self.first_stage(&course);
        let ended = loop {
            match stage {
                Stage::Published { .. } => break Ok(stage),
                Stage::Failed(failure) => break Err(self.failed(failure, &course).await?),
                _ => {}
            }
            match self.observe(&stage, &mut course).await {
                Ok(seen) => {
                    let next = stage.clone().next(seen.clone(), &course.rules);
                    self.note(&stage, &seen, &next);
                    stage = next;
                }
                Err(error) => break Err(error),
            }
        };
        match ended {
            Ok(stage) => {
                if course.is_adopted {
                    // The earlier attempt may have died between its renames.
                    self.remote.remove(&course.paths.backup).await?;
                }
                Ok(self.carried(&stage, course))
            }
            Err(error) => {
                if !error.keeps_temporary_file() {
                    self.withdraw(&course).await;
                }
                Err(error)
            }
        }
    }

    /// The publication of an earlier attempt. The second file has none: it may be sent again.
    async fn intent(&self) -> Option<Intent> {
        if self.content.is_journaled() { self.attempt.lease.intent().await } else { None }
    }

    async fn course(&self, intent: Option<Intent>) -> Result<Course, Error> {
        let config = &self.sftp.server.config;
        let mut paths = Paths::new(config, &self.sftp.directory, self.name, self.attempt.nonce);
        let size_bytes = if let Some(intent) = &intent {
            paths.adopt(intent);
            intent.size_bytes
        } else {
            self.content.size_bytes().await?
        };
        let is_direct = config.sftp_write_mode == WriteMode::Direct;
        let rules = Rules {
            overwrite: if self.content.is_journaled() {
                config.sftp_overwrite
            } else {
                Overwrite::Replace
            },
            is_direct,
            compares_content: is_direct || config.sftp_sidecar == Some(Sidecar::Sha256),
            posix_rename: self.remote.session.features().posix_rename,
            partner_takes_files: config.partner_takes_files,
            checks_size: config.sftp_verify != Verify::None,
            size_bytes,
        };
        let is_adopted = intent.is_some();
        Ok(Course { paths, rules, intent, is_adopted, sent: None, old_mark: None, waits: 0 })
    }

    /// In the write mode `direct` our own beginning may have the final name: it is not looked at.
    fn first_stage(&self, course: &Course) -> Stage {
        let lease = self.attempt.lease;
        let is_ours = course.rules.is_direct
            && self.content.is_journaled()
            && lease.leftovers().contains(&course.paths.last);
        if is_ours { Stage::Send } else { Stage::first(course.intent.is_some()) }
    }

    /// Removes temporary files of attempts that are not resumed.
    async fn remove_leftovers(&self, course: &Course) -> Result<(), Error> {
        let lease = self.attempt.lease;
        let resumed = lease.checkpoint().and_then(|checkpoint| checkpoint.temporary_path);
        let intended = course.intent.as_ref().and_then(|intent| intent.temporary_path.clone());
        for path in lease.leftovers() {
            let is_needed = [&resumed, &intended].into_iter().flatten().any(|used| *used == path);
            if !is_needed && path != course.paths.last && self.remote.remove(&path).await? {
                lease.forget_leftover(&path);
            }
        }
        Ok(())
    }

    /// Makes the request of a stage.
    async fn observe(&self, stage: &Stage, course: &mut Course) -> Result<Observation, Error> {
        let Paths { last, temporary, backup } = course.paths.clone();
        match stage {
            Stage::LookForTemporary | Stage::LookAtSource(_) => self.look(&temporary, course).await,
            Stage::LookForPublished | Stage::LookAtTarget(_) => self.look(&last, course).await,
            Stage::LookBefore | Stage::LookAgain => {
                let looked = self.remote.look(&last).await?;
                course.old_mark = looked.as_ref().ok().and_then(|entry| entry.clone()?.mark);
                Ok(observation(looked, course))
            }
            Stage::LookAfter => self.look_after(&last, course).await,
            Stage::ComparePublished => {
                let sha256 = course.intent.as_ref().map(|intent| intent.sha256.clone());
                self.compare(&last, sha256, course).await
            }
            Stage::CompareBefore { .. } => self.compare(&last, None, course).await,
            Stage::Withdraw { settled } => {
                self.not_published(course, *settled).await?;
                Ok(Observation::Done)
            }
            Stage::Send => {
                course.sent = Some(self.send(&mut course.paths).await?);
                Ok(Observation::Done)
            }
            Stage::Intend => {
                self.intend(course).await?;
                Ok(Observation::Done)
            }
            Stage::Rename { posix } => self.rename(&temporary, &last, *posix).await,
            Stage::RenameUnseen => self.rename(&temporary, &last, course.rules.posix_rename).await,
            Stage::Replace => self.rename(&temporary, &last, false).await,
            Stage::MoveAside(_) => self.rename(&last, &backup, false).await,
            Stage::PutBack(_) => self.rename(&backup, &last, false).await,
            Stage::RemoveBackup => {
                self.remote.remove(&backup).await?;
                Ok(Observation::Done)
            }
            Stage::Wait(_) => Ok(self.wait(course).await),
            Stage::Published { .. } | Stage::Failed(_) => unreachable!("{stage:?} is a last stage"),
        }
    }

    async fn look(&self, path: &str, course: &Course) -> Result<Observation, Error> {
        Ok(observation(self.remote.look(path).await?, course))
    }

    /// Looks at the published file. Some servers tell an old size for a moment.
    async fn look_after(&self, path: &str, course: &Course) -> Result<Observation, Error> {
        let mut waits = WAITS.iter().take(4);
        loop {
            let looked = self.remote.look(path).await?;
            let is_early = looked.as_ref().is_ok_and(|entry| {
                let size_bytes = entry.as_ref().and_then(|entry| entry.size_bytes);
                size_bytes.is_some_and(|found| found != course.rules.size_bytes)
            });
            match waits.next().filter(|wait| is_early && self.has(**wait)) {
                Some(wait) => sleep(*wait).await,
                None => return Ok(observation(looked, course)),
            }
        }
    }

    /// Compares the file at a path with one of this digest, or with ours.
    async fn compare(
        &self,
        path: &str,
        sha256: Option<String>,
        course: &mut Course,
    ) -> Result<Observation, Error> {
        let ours = match (sha256, &course.sent) {
            (Some(sha256), _) => sha256,
            (None, Some(sent)) => sent.sha256.clone(),
            (None, None) => self.content.sha256().await?,
        };
        let size_bytes = course.rules.size_bytes;
        let reading = format!("reading `{path}`");
        let session = &self.remote.session;
        let file = match self.remote.answer(&reading, session.open_for_reading(path).await).await? {
            Ok(file) => file,
            Err(refusal) => return Ok(Observation::Refused(refusal)),
        };
        let read = readback::sha256(session, &file, size_bytes).await;
        let read = self.remote.answer(&reading, read).await?;
        drop(session.close(file).await);
        Ok(match read {
            Ok(theirs) if theirs == ours => {
                let verified = Verified::Readback;
                course.sent.get_or_insert(Sent { size_bytes, sha256: ours, verified, mark: None });
                Observation::Same(true)
            }
            Ok(_) => Observation::Same(false),
            Err(refusal) => Observation::Refused(refusal),
        })
    }

    async fn rename(&self, from: &str, to: &str, posix: bool) -> Result<Observation, Error> {
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

    async fn wait(&self, course: &mut Course) -> Observation {
        match WAITS.get(course.waits).filter(|wait| self.has(**wait)) {
            Some(wait) => {
                course.waits += 1;
                sleep(*wait).await;
                Observation::Done
            }
            None => Observation::NoTime,
        }
    }

    fn has(&self, wait: Duration) -> bool {
        Instant::now() + wait < self.attempt.parcel.budget.end_at
    }

    /// Writes down what is about to be published.
    async fn intend(&self, course: &mut Course) -> Result<(), Error> {
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
        course.intent = Some(intent);
        Ok(())
    }

    /// Nothing of the intent was published: forget its files, and begin with new names.
    async fn not_published(
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
    async fn put_back(&self, course: &Course) {
        let Paths { last, backup, .. } = &course.paths;
        if !course.rules.posix_rename && matches!(self.remote.look(last).await, Ok(Ok(None))) {
            // There is nothing aside, unless an attempt died between its renames.
            drop(self.remote.session.rename(backup, last).await);
        }
    }

    /// Notes for the receipt that the rename of an earlier attempt is made now.
    fn note(&self, stage: &Stage, seen: &Observation, next: &Stage) {
        let lease = self.attempt.lease;
        let is_late = *stage == Stage::LookForTemporary && *next == Stage::LookAgain
            || *stage == Stage::RenameUnseen && *seen == Observation::Done;
        // That the file was sent twice is said for good.
        if is_late && lease.settled() != Some(Settled::SentAgain) {
            lease.set_settled(Settled::Published);
        }
    }

    async fn failed(&self, failure: Failure, course: &Course) -> Result<Error, Error> {
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
    async fn withdraw(&self, course: &Course) {
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

    fn carried(&self, stage: &Stage, course: Course) -> Carried {
        let Stage::Published { status, verified, settled, seen } = *stage else {
            unreachable!("{stage:?} publishes nothing");
        };
        let lease = self.attempt.lease;
        lease.forget_leftover(&course.paths.temporary);
        if self.content.is_journaled() {
            lease.set_checkpoint(None);
        }
        let (sha256, checked) = match (course.sent, course.intent) {
            (Some(sent), _) => (Some(sent.sha256), sent.verified),
            (None, Some(intent)) => (Some(intent.sha256), intent.verified),
            (None, None) => (None, Verified::None),
        };
        Carried {
            status,
            path: course.paths.last,
            size_bytes: course.rules.size_bytes,
            sha256,
            verified: verified.unwrap_or(checked),
            settled: match lease.settled() {
                Some(Settled::SentAgain) => Some(Settled::SentAgain),
                noted => settled.or(noted),
            },
            seen,
        }
    }

    /// Writes the acknowledged offset down, for the next attempt.
    pub(crate) fn acknowledge(&self, version: &str, path: &str, at: &HashedOffset, reopened: bool) {
        if !self.content.is_journaled() || !at.is_between_blocks() || at.offset() == 0 {
            return;
        }
        self.attempt.lease.set_checkpoint(Some(Checkpoint {
            version: version.to_owned(),
            acknowledged_bytes: at.offset(),
            sha256_state: Some(at.state()),
            sha256: None,
            temporary_path: Some(path.to_owned()),
            reopened,
        }));
    }
}

fn observation(
    looked: Result<Option<Entry>, crate::stage::Refusal>,
    course: &Course,
) -> Observation {
    match looked {
        Err(refusal) => Observation::Refused(refusal),
        Ok(None) => Observation::Absent,
        Ok(Some(Entry { kind, size_bytes, mark })) => {
            let intent = course.intent.as_ref();
            let (ours, old) = intent
                .map(|intent| (intent.mark.as_ref(), intent.old_mark.as_ref()))
                .unwrap_or_default();
            let identity = match mark.as_ref() {
                Some(mark) if ours.is_some() && ours != old => match mark {
                    mark if ours == Some(mark) => Identity::Ours,
                    mark if old == Some(mark) => Identity::Old,
                    _ => Identity::Another,
                },
                _ => Identity::Unknown,
            };
            Observation::Found { kind, size_bytes, identity }
        }
    }
}
