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
    /// Number of attempts so far.
    #[serde(default)]
    pub attempt_count: u32,
    /// The latest attempts.
    #[serde(default)]
    pub attempts: Vec<AttemptRecord>,
    /// Temporary files that may still lie at the recipient. A path is written here before the file
    /// is made.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// Stage of the delivery.
    #[serde(flatten)]
    pub stage: JournalStage,
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
    Open {
        /// Place at which the next attempt resumes.
        #[serde(default)]
        checkpoint: Option<Checkpoint>,
    },
    /// The file may be published, or may become published at any time.
    Publishing {
        /// What was about to be published.
        intent: Intent,
    },
    /// The file is published.
    Delivered {
        /// How it came there.
        status: DeliveryStatus,
        /// The receipt.
        receipt: Receipt,
    },
    /// The run has ended: nothing more is published.
    Closed {
        /// What was about to be published when the run ended.
        #[serde(default)]
        intent: Option<Intent>,
        /// Receipt of a file that was published all the same: the request was under way.
        #[serde(default)]
        receipt: Option<Receipt>,
    },
}

/// How a published file came to the recipient.
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
    /// How a lost answer was settled; nothing if no answer was lost.
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
    /// What only this kind of transport knows.
    #[serde(flatten)]
    pub details: ReceiptDetails,
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

/// How the lost answer to a publication was settled.
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
    /// The holder is alive. Its checkpoint replaces the old one.
    Renewed {
        /// The holder.
        lease: Lease,
        /// Its checkpoint.
        checkpoint: Option<Checkpoint>,
    },
    /// The holder begins an attempt.
    Begun {
        /// The holder.
        holder: String,
        /// The attempt.
        attempt: AttemptRecord,
        /// Temporary files that may be at the recipient, with that of the attempt.
        leftovers: Vec<String>,
    },
    /// The holder is about to publish.
    Intended {
        /// The holder.
        holder: String,
        /// What it is about to publish.
        intent: Intent,
    },
    /// The holder has found that nothing was published, and that nothing will be.
    NotPublished {
        /// The holder.
        holder: String,
    },
    /// The file is published.
    Delivered {
        /// The holder.
        holder: String,
        /// How the file came there.
        status: DeliveryStatus,
        /// The receipt.
        receipt: Receipt,
        /// Temporary files that may still be at the recipient.
        leftovers: Vec<String>,
    },
    /// The holder ends without having published.
    Released {
        /// The holder.
        holder: String,
        /// End of its last attempt.
        ended_at: Timestamp,
        /// Error of its last attempt.
        error: Option<(ErrorName, String)>,
        /// Place at which the next invocation resumes.
        checkpoint: Option<Checkpoint>,
        /// Temporary files that may still be at the recipient.
        leftovers: Vec<String>,
    },
    /// The run has ended.
    Closed,
}

/// Why a step of a delivery is not possible any more.
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
            attempt_count: 0,
            attempts: Vec::new(),
            leftovers: Vec::new(),
            stage: JournalStage::Open { checkpoint: None },
        }
    }

    /// Returns whether nothing can follow.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, JournalStage::Delivered { .. } | JournalStage::Closed { .. })
    }

    /// The receipt, if the file was published.
    pub fn receipt(&self) -> Option<(DeliveryStatus, &Receipt)> {
        match &self.stage {
            JournalStage::Delivered { status, receipt } => Some((*status, receipt)),
            JournalStage::Closed { receipt: Some(receipt), .. } => {
                Some((DeliveryStatus::Delivered, receipt))
            }
            JournalStage::Open { .. }
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
            JournalEvent::Closed => next.close()?,
            // The request to publish was under way when the run ended. The journal stays closed,
            // and tells what happened.
            JournalEvent::Delivered { receipt, leftovers, .. } if self.is_closed_with_intent() => {
                let intent = match next.stage {
                    JournalStage::Closed { intent, .. } => intent,
                    _ => None,
                };
                next.stage = JournalStage::Closed { intent, receipt: Some(receipt) };
                next.leftovers = leftovers;
            }
            _ if self.has_ended() => return Err(JournalRefusal::Ended),
            JournalEvent::Taken(lease) => next.take(lease),
            JournalEvent::Renewed { lease, checkpoint } => {
                self.expect_holder(&lease.holder)?;
                next.lease = Some(lease);
                next.set_checkpoint(checkpoint);
            }
            JournalEvent::Begun { holder, attempt, leftovers } => {
                self.expect_holder(&holder)?;
                next.attempt_count = attempt.number;
                next.attempts.push(attempt);
                let surplus = next.attempts.len().saturating_sub(ATTEMPTS_KEPT);
                next.attempts.drain(..surplus);
                next.leftovers = leftovers;
            }
            JournalEvent::Intended { holder, intent } => {
                self.expect_holder(&holder)?;
                next.stage = JournalStage::Publishing { intent };
            }
            JournalEvent::NotPublished { holder } => {
                self.expect_holder(&holder)?;
                next.stage = JournalStage::Open { checkpoint: None };
            }
            JournalEvent::Delivered { holder, status, receipt, leftovers } => {
                self.expect_holder(&holder)?;
                next.lease = None;
                next.leftovers = leftovers;
                next.stage = JournalStage::Delivered { status, receipt };
            }
            JournalEvent::Released { holder, ended_at, error, checkpoint, leftovers } => {
                self.expect_holder(&holder)?;
                next.lease = None;
                next.set_checkpoint(checkpoint);
                next.leftovers = leftovers;
                if let Some(last) = next.attempts.last_mut() {
                    last.ended_at = Some(ended_at);
                    (last.error, last.cause) = error.unzip();
                }
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
            self.set_checkpoint(None);
        }
        self.lease = Some(lease);
        self.invocations += 1;
    }

    fn close(&mut self) -> Result<(), JournalRefusal> {
        self.stage = match &self.stage {
            JournalStage::Open { .. } => JournalStage::Closed { intent: None, receipt: None },
            JournalStage::Publishing { intent } => {
                JournalStage::Closed { intent: Some(intent.clone()), receipt: None }
            }
            JournalStage::Delivered { .. } | JournalStage::Closed { .. } => {
                return Err(JournalRefusal::Ended);
            }
        };
        self.lease = None;
        Ok(())
    }

    fn set_checkpoint(&mut self, checkpoint: Option<Checkpoint>) {
        if let JournalStage::Open { checkpoint: kept } = &mut self.stage {
            *kept = checkpoint;
        }
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
