//! One attempt: the requests of the stages, one after the other.

mod look;
mod publish;

use delivery::{Attempt, HashedOffset};
use job::{
    FileName,
    delivery::{Checkpoint, DeliveryStatus, Intent, Settled, Verified},
    transport::{Overwrite, Sidecar, Verify, WriteMode},
};

use self::look::observation;
use crate::{
    Sftp,
    content::FileContent,
    error::Error,
    names::Paths,
    remote::Remote,
    sending::Sent,
    ssh::Connection,
    stage::{Observation, Rules, Stage},
};

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
    /// The publication of an earlier attempt, whose temporary file is published.
    adopted: Option<Intent>,
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
                if let Some(adopted) = &course.adopted {
                    self.guard_adopted(adopted).await?;
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
        let adopted = intent.clone();
        Ok(Course { paths, rules, intent, adopted, sent: None, old_mark: None, waits: 0 })
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
            Stage::LookForTemporary | Stage::LookAtSource { .. } => {
                self.look(&temporary, course).await
            }
            Stage::LookForPublished | Stage::LookAtTarget(_) => self.look(&last, course).await,
            Stage::LookBefore | Stage::LookAgain => {
                let looked = self.remote.look(&last).await?;
                course.old_mark = looked.as_ref().ok().and_then(|entry| entry.clone()?.mark);
                Ok(observation(looked, course))
            }
            Stage::LookAfter => self.look_after(&last, course).await,
            Stage::ComparePublished { .. } => {
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
