//! The journal of one delivery: `deliveries/{destination}/{n}.json`, and its receipt.
//!
//! Every step that a recipient could see is written down before it is taken. The journal only goes
//! forward: `OPEN -> PUBLISHING -> DELIVERED`. It returns from `PUBLISHING` to `OPEN` only when
//! nothing was published. `CLOSED` ends a delivery of a run that has ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{error::ErrorName, name::RunId, run_record::ExecutionId};

/// Attempts that a journal keeps. The oldest go first.
const ATTEMPTS_KEPT: usize = 50;

/// The journal of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// The run that the file belongs to.
    pub run_id: RunId,
    /// The execution that owns the run; nothing if somebody called the function by hand.
    #[serde(default)]
    pub execution: Option<ExecutionId>,
    /// URI of the file.
    pub file: String,
    /// The invocation that may act; nothing if none may. An ended journal has none.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// Number of invocations that have held the lease.
    #[serde(default)]
    pub invocations: u32,
    /// Progress of the delivery. While there is a lease, it is its holder's.
    #[serde(flatten)]
    pub progress: Progress,
    /// Stage of the delivery.
    #[serde(flatten)]
    pub stage: JournalStage,
}

/// Progress of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Number of attempts so far.
    #[serde(default)]
    pub attempt_count: u32,
    /// The latest attempts.
    #[serde(default)]
    pub attempts: Vec<AttemptRecord>,
    /// Place at which the next attempt resumes.
    #[serde(default)]
    pub checkpoint: Option<Checkpoint>,
    /// Temporary files that may lie at the recipient. A path is written here before the file is
    /// made.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// Settlement of the lost answer to a publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
}

impl Progress {
    /// Begins an attempt, and returns its number.
    pub fn begin_attempt(&mut self, now: Timestamp) -> u32 {
        self.attempt_count += 1;
        let number = self.attempt_count;
        let attempt =
            AttemptRecord { number, started_at: now, ended_at: None, error: None, cause: None };
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
        number
    }

    /// Ends the latest attempt.
    pub fn end_attempt(&mut self, now: Timestamp, error: Option<(ErrorName, String)>) {
        if let Some(last) = self.attempts.last_mut() {
            last.ended_at = Some(now);
            (last.error, last.cause) = error.unzip();
        }
    }
}

/// The right of one invocation to act. It expires when the journal has not been written for so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Random name of the invocation.
    pub holder: String,
    /// Validity in seconds, counted from the journal's last modification by S3's clock.
    pub seconds: u32,
}

/// Stage of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "UPPERCASE")]
pub enum JournalStage {
    /// Nothing is published.
    Open,
    /// The file may be published, or may become published at any time.
    Publishing {
        /// The file that was about to be published.
        intent: Intent,
    },
    /// The file is published.
    Delivered {
        /// The way in which it came there.
        status: DeliveryStatus,
        /// The receipt.
        receipt: Receipt,
    },
    /// The run has ended: nothing more is published.
    Closed {
        /// The file that was about to be published when the run ended.
        #[serde(default)]
        intent: Option<Intent>,
        /// Receipt of a file that was published all the same: the request was under way.
        #[serde(default)]
        receipt: Option<Receipt>,
    },
}

/// The way in which a published file came to the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It was sent.
    Delivered,
    /// It was there before.
    AlreadyThere,
}

/// Place in the file from which a delivery resumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of the file that is being sent.
    pub version: String,
    /// Number of bytes that the recipient has acknowledged, from the beginning of the file.
    pub acknowledged_bytes: u64,
    /// State of the SHA-256 of those bytes, in hexadecimal. It is taken between two blocks of the
    /// hash, where it holds no byte of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_state: Option<String>,
    /// SHA-256 of the file, in hexadecimal, once all of it is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Path of the temporary file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary_path: Option<String>,
    /// Whether the temporary file was written through more than one handle.
    #[serde(default)]
    pub reopened: bool,
}

/// A file that is complete at the recipient and about to get its final name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Version of the file.
    pub version: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its MD5, in hexadecimal, where the recipient compares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// The check that it passed.
    pub verified: Verified,
    /// Its temporary path; nothing where the transport has no temporary names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary_path: Option<String>,
    /// Path to which an old file is moved aside, where a rename cannot replace it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_path: Option<String>,
    /// Its final path.
    pub remote_path: String,
    /// Mark by which the recipient's entry for this file is known again, such as its modification
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Mark of the file that had the final path before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_mark: Option<String>,
}

/// One attempt at a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// Its beginning.
    pub started_at: Timestamp,
    /// Its end; nothing while it runs, or if its function was killed.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Name of its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorName>,
    /// Text of its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The receipt of a delivery, as the run's manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Path of the file at the recipient.
    pub remote_path: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of what was sent, in hexadecimal; nothing if nothing was read.
    pub sha256: Option<String>,
    /// The check that the file passed at the recipient.
    pub verified: Verified,
    /// Settlement of a lost answer; nothing if no answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// Whether the file was seen under `remote_path` after it was published; nothing if the server
    /// does not let us look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<bool>,
    /// Duration of the last invocation.
    pub duration_ms: u64,
    /// Number of attempts.
    pub attempts: u32,
    /// Details that only this kind of transport knows.
    #[serde(flatten)]
    pub details: ReceiptDetails,
}

/// A delivery as the run's manifest and view have it: the receipt, and its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverySummary {
    /// The way in which the file came to the recipient.
    pub status: DeliveryStatus,
    /// The receipt.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// The part of a receipt that differs between transports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "lowercase")]
pub enum ReceiptDetails {
    /// By SFTP.
    Sftp {
        /// Type and SHA-256 fingerprint of the key that the server presented.
        host_key: String,
        /// Whether that key is pinned.
        host_key_verified: bool,
    },
    /// Into ShareFile.
    ShareFile {
        /// MD5 of what was sent, in hexadecimal.
        md5: String,
        /// Id of the file's item.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item_id: Option<String>,
    },
}

/// The check that a delivered file passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// None: not wanted, or the server does not tell.
    None,
    /// The recipient's file has the right size.
    Size,
    /// The file was written through several handles: the open file has the right size, and the bytes
    /// around each seam were read back and are right.
    Seams,
    /// The recipient's file has the right size and MD5, as the recipient tells them.
    Md5,
    /// The recipient's file was read back and has the right SHA-256.
    Readback,
}

/// Settlement of the lost answer to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// The file was found under its final name.
    Found,
    /// The temporary file was still there, and was published.
    Published,
    /// Neither name was there, and the destination says that its partner takes files away at once.
    Taken,
    /// Neither name was there: the file was sent again. The recipient may have received it twice.
    SentAgain,
}

/// A step of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum JournalEvent {
    /// An invocation takes the lease, which is free or has expired.
    Taken(Lease),
    /// The holder is alive.
    Saved {
        /// Its lease, renewed.
        lease: Lease,
        /// Its progress.
        progress: Progress,
    },
    /// The holder is about to publish.
    Intended {
        /// Its lease, renewed.
        lease: Lease,
        /// Its progress.
        progress: Progress,
        /// The file that it is about to publish.
        intent: Intent,
    },
    /// The holder has found that nothing was published, and that nothing will be.
    NotPublished {
        /// Its lease, renewed.
        lease: Lease,
        /// Its progress.
        progress: Progress,
    },
    /// The file is published.
    Delivered {
        /// Name of the holder.
        holder: String,
        /// Its progress.
        progress: Progress,
        /// The way in which the file came there.
        status: DeliveryStatus,
        /// The receipt.
        receipt: Receipt,
    },
    /// The holder ends without having published.
    Released {
        /// Name of the holder.
        holder: String,
        /// Its progress.
        progress: Progress,
    },
    /// The run has ended.
    Closed,
}

/// Reason why a step of a delivery is not possible any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalRefusal {
    /// The delivery has ended, as its stage says.
    Ended,
    /// Another invocation has the lease.
    LeaseLost,
}

impl Journal {
    /// Returns the journal of a delivery that has not begun.
    pub fn new(run_id: RunId, execution: Option<ExecutionId>, file: String) -> Self {
        Self {
            run_id,
            execution,
            file,
            lease: None,
            invocations: 0,
            progress: Progress::default(),
            stage: JournalStage::Open,
        }
    }

    /// Returns whether nothing can follow.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, JournalStage::Delivered { .. } | JournalStage::Closed { .. })
    }

    /// The receipt, if the file was published.
    pub fn summary(&self) -> Option<DeliverySummary> {
        match &self.stage {
            JournalStage::Delivered { status, receipt } => {
                Some(DeliverySummary { status: *status, receipt: receipt.clone() })
            }
            JournalStage::Closed { receipt: Some(receipt), .. } => Some(DeliverySummary {
                status: DeliveryStatus::Delivered,
                receipt: receipt.clone(),
            }),
            JournalStage::Open
            | JournalStage::Publishing { .. }
            | JournalStage::Closed { receipt: None, .. } => None,
        }
    }

    /// Returns the journal after `event`.
    ///
    /// # Errors
    ///
    /// When the delivery has ended, or the lease is another invocation's.
    pub fn next(&self, event: JournalEvent) -> Result<Self, JournalRefusal> {
        let mut next = self.clone();
        match event {
            // The request to publish was under way when the run ended. The journal stays closed, and
            // tells what happened.
            JournalEvent::Delivered { receipt, progress, .. } if self.is_closed_with_intent() => {
                next.progress = progress;
                if let JournalStage::Closed { receipt: kept, .. } = &mut next.stage {
                    *kept = Some(receipt);
                }
            }
            _ if self.has_ended() => return Err(JournalRefusal::Ended),
            JournalEvent::Closed => {
                let intent = match next.stage {
                    JournalStage::Publishing { intent } => Some(intent),
                    _ => None,
                };
                next.stage = JournalStage::Closed { intent, receipt: None };
                next.lease = None;
            }
            JournalEvent::Taken(lease) => next.take(lease),
            JournalEvent::Saved { lease, progress } => next.save(lease, progress)?,
            JournalEvent::Intended { lease, progress, intent } => {
                next.save(lease, progress)?;
                next.stage = JournalStage::Publishing { intent };
            }
            JournalEvent::NotPublished { lease, progress } => {
                next.save(lease, progress)?;
                next.stage = JournalStage::Open;
            }
            JournalEvent::Delivered { holder, progress, status, receipt } => {
                self.expect_holder(&holder)?;
                next.progress = progress;
                next.lease = None;
                next.stage = JournalStage::Delivered { status, receipt };
            }
            JournalEvent::Released { holder, progress } => {
                self.expect_holder(&holder)?;
                next.progress = progress;
                next.lease = None;
            }
        }
        Ok(next)
    }

    fn take(&mut self, lease: Lease) {
        let is_mine = self.lease.as_ref().is_some_and(|held| held.holder == lease.holder);
        if is_mine {
            return;
        }
        // The old holder may still write to its temporary file: that file is not resumed.
        if self.lease.is_some() {
            self.progress.checkpoint = None;
        }
        self.lease = Some(lease);
        self.invocations += 1;
    }

    fn save(&mut self, lease: Lease, progress: Progress) -> Result<(), JournalRefusal> {
        self.expect_holder(&lease.holder)?;
        self.lease = Some(lease);
        self.progress = progress;
        Ok(())
    }

    fn is_closed_with_intent(&self) -> bool {
        matches!(self.stage, JournalStage::Closed { intent: Some(_), receipt: None })
    }

    fn expect_holder(&self, holder: &str) -> Result<(), JournalRefusal> {
        match &self.lease {
            Some(lease) if lease.holder == holder => Ok(()),
            _ => Err(JournalRefusal::LeaseLost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str) -> Lease {
        Lease { holder: holder.to_owned(), seconds: 60 }
    }

    fn intent() -> Intent {
        Intent {
            version: "v".to_owned(),
            size_bytes: 3,
            sha256: "00".to_owned(),
            md5: None,
            verified: Verified::Size,
            temporary_path: Some("/in/.x.part".to_owned()),
            backup_path: None,
            remote_path: "/in/x".to_owned(),
            mark: None,
            old_mark: None,
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            remote_path: "/in/x".to_owned(),
            bytes: 3,
            sha256: Some("00".to_owned()),
            verified: Verified::Size,
            settled: None,
            seen: Some(true),
            duration_ms: 5,
            attempts: 1,
            details: ReceiptDetails::Sftp {
                host_key: "ssh-ed25519 SHA256:x".to_owned(),
                host_key_verified: true,
            },
        }
    }

    fn events(holder: &str) -> Vec<JournalEvent> {
        let progress = Progress::default();
        let checkpoint = Checkpoint {
            version: "v".to_owned(),
            acknowledged_bytes: 64,
            sha256_state: None,
            sha256: None,
            temporary_path: Some("/in/.x.part".to_owned()),
            reopened: false,
        };
        let far = Progress { checkpoint: Some(checkpoint), ..Progress::default() };
        let (lease, name) = (lease(holder), holder.to_owned());
        vec![
            JournalEvent::Taken(lease.clone()),
            JournalEvent::Saved { lease: lease.clone(), progress: far.clone() },
            JournalEvent::Intended {
                lease: lease.clone(),
                progress: far.clone(),
                intent: intent(),
            },
            JournalEvent::NotPublished { lease, progress: progress.clone() },
            JournalEvent::Delivered {
                holder: name.clone(),
                progress,
                status: DeliveryStatus::Delivered,
                receipt: receipt(),
            },
            JournalEvent::Released { holder: name, progress: far },
            JournalEvent::Closed,
        ]
    }

    /// All journals that two invocations and a clean-up can make.
    fn reachable() -> Vec<Journal> {
        let mut found = vec![Journal::new("r1".parse().unwrap(), None, "s3://b/k".to_owned())];
        let mut at = 0;
        while at < found.len() {
            for event in events("a").into_iter().chain(events("b")) {
                if let Ok(mut next) = found[at].next(event) {
                    next.invocations = next.invocations.min(2);
                    if !found.contains(&next) {
                        found.push(next);
                    }
                }
            }
            at += 1;
        }
        found
    }

    #[test]
    fn an_ended_journal_stays_as_it_is_but_for_the_receipt_of_a_late_publication() {
        for journal in reachable().iter().filter(|journal| journal.has_ended()) {
            assert_eq!(journal.lease, None);
            for event in events("a") {
                match journal.next(event) {
                    Err(refusal) => assert_eq!(refusal, JournalRefusal::Ended),
                    Ok(next) => {
                        assert!(journal.is_closed_with_intent(), "{journal:?}");
                        let status = DeliveryStatus::Delivered;
                        let receipt = receipt();
                        assert_eq!(next.summary(), Some(DeliverySummary { status, receipt }));
                        assert!(matches!(next.stage, JournalStage::Closed { .. }));
                    }
                }
            }
        }
    }

    #[test]
    fn only_the_holder_of_the_lease_acts() {
        for journal in reachable() {
            let holder = journal.lease.as_ref().map(|lease| lease.holder.clone());
            for event in events("a").into_iter().skip(1).take(5) {
                let is_holder = holder.as_deref() == Some("a");
                let is_late = journal.is_closed_with_intent()
                    && matches!(event, JournalEvent::Delivered { .. });
                assert_eq!(journal.next(event).is_ok(), is_holder || is_late, "{journal:?}");
            }
        }
    }

    #[test]
    fn a_checkpoint_outlives_a_release_and_not_an_expired_lease() {
        let journal = Journal::new("r1".parse().unwrap(), None, "s3://b/k".to_owned());
        let [taken, saved, _, _, _, released, _] = events("a").try_into().unwrap();
        let held = journal.next(taken).unwrap().next(saved).unwrap();
        let other = |journal: &Journal| journal.next(JournalEvent::Taken(lease("b"))).unwrap();
        assert_eq!(other(&held).progress.checkpoint, None);
        assert!(other(&held.next(released).unwrap()).progress.checkpoint.is_some());
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        for journal in reachable() {
            let text = serde_json::to_string(&journal).unwrap();
            assert_eq!(serde_json::from_str::<Journal>(&text).unwrap(), journal, "{text}");
        }
    }

    #[test]
    fn a_receipt_keeps_the_published_form() {
        let expected = serde_json::json!({
            "transport": "sftp", "remote_path": "/in/x", "bytes": 3, "sha256": "00",
            "verified": "size", "seen": true, "duration_ms": 5, "attempts": 1,
            "host_key": "ssh-ed25519 SHA256:x", "host_key_verified": true,
        });
        assert_eq!(serde_json::to_value(receipt()).unwrap(), expected);
    }
}
