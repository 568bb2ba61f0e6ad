//! The lease of a delivery: of several invocations at once, one acts.
//!
//! The journal is written under the condition that nobody else has written it. A lease is valid for a
//! minute after the last write, by S3's clock, and never beyond the deadline of its function.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_io::{Failure, StorageError};
use jiff::Timestamp;
use job::{
    ErrorName, RunId,
    delivery::{
        Checkpoint, DeliveryStatus, DeliverySummary, Intent, Journal, JournalEvent, JournalRefusal,
        JournalStage, Lease as LeaseRecord, Progress, Receipt, Settled,
    },
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{Instant, sleep},
};

use crate::{budget::Budget, digest::hexadecimal};

/// Validity of a lease after the last write of the journal.
const LEASE: Duration = Duration::from_mins(1);
/// Time between two renewals: two may fail before the lease expires.
const RENEWAL: Duration = Duration::from_secs(20);
/// Time between two looks at the journal while a publication is under way. A run that is cancelled
/// meanwhile has its journal closed, and the server may still hold the request: the sooner that is
/// seen, the sooner the temporary file is gone.
const LOOK_WHILE_PUBLISHING: Duration = Duration::from_millis(200);
/// Time between two looks at a lease that another invocation has.
const LOOK: Duration = Duration::from_secs(2);

/// The journal of one delivery, where it is kept.
#[async_trait]
pub trait Journals: Send + Sync {
    /// Writes the journal if there is none. Returns its ETag; nothing if there is one.
    async fn create(&self, journal: &Journal) -> Result<Option<String>, StorageError>;

    /// Reads the journal; nothing if there is none.
    async fn read(&self) -> Result<Option<StoredJournal>, StorageError>;

    /// Writes the journal if it still has this ETag. Returns the new ETag; nothing if somebody else
    /// has written it.
    async fn replace(&self, journal: &Journal, etag: &str) -> Result<Option<String>, StorageError>;
}

/// A journal as it was read.
#[derive(Clone, Debug)]
pub struct StoredJournal {
    /// The journal.
    pub journal: Journal,
    /// Its ETag.
    pub etag: String,
    /// Time since it was written, by the clock of its store.
    pub age: Duration,
}

/// Reason why an invocation may not act, or not act any more.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The run has ended.
    #[error("the run `{run_id}` has ended: nothing more of it is delivered")]
    Ended {
        /// The run.
        run_id: RunId,
    },
    /// Another invocation delivers the file.
    #[error("another call is delivering the file")]
    Held,
    /// Another invocation has taken the lease over.
    #[error("another call has taken the delivery over")]
    Lost,
    /// The journal cannot be read or written.
    #[error("the journal of the delivery")]
    Storage(#[from] StorageError),
}

impl Failure for LeaseError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Ended { .. } => ErrorName::RunEnded,
            Self::Held | Self::Lost => ErrorName::TransportUnavailable,
            Self::Storage(error) => error.name(),
        }
    }
}

/// The end of asking for a lease.
pub enum Acquired<'a> {
    /// This invocation may act.
    Lease(Box<Lease<'a>>),
    /// The file was delivered before.
    Delivered(DeliverySummary),
}

/// The right to act for a delivery, and its journal.
pub struct Lease<'a> {
    journals: &'a dyn Journals,
    holder: String,
    deadline: Instant,
    /// The journal as it was written or read last.
    stored: AsyncMutex<Stored>,
    /// Progress since then. It is never locked across an `await`.
    progress: Mutex<Progress>,
    /// Number of bytes that were acknowledged when the lease was taken.
    acknowledged_before: u64,
    is_publishing: watch::Sender<bool>,
    is_lost: AtomicBool,
}

struct Stored {
    journal: Journal,
    etag: String,
}

impl<'a> Lease<'a> {
    /// Takes the lease of the delivery that `fresh` begins, unless it is delivered already. Waits
    /// while another invocation has the lease.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Ended`] when the journal is closed, [`LeaseError::Held`] when the time is up.
    pub async fn acquire(
        journals: &'a dyn Journals,
        fresh: Journal,
        budget: &Budget,
    ) -> Result<Acquired<'a>, LeaseError> {
        let holder = hexadecimal(&rand::random::<[u8; 8]>());
        let taken =
            |journal: &Journal| journal.next(JournalEvent::Taken(lease(&holder, budget.deadline)));
        let first = taken(&fresh).unwrap_or(fresh);
        if let Some(etag) = journals.create(&first).await? {
            let lease = Self::new(journals, holder, budget, first, etag);
            return Ok(Acquired::Lease(Box::new(lease)));
        }
        loop {
            // A journal that vanishes between the two calls was removed by a person.
            let Some(StoredJournal { journal, etag, age }) = journals.read().await? else {
                return Err(LeaseError::Lost);
            };
            if let JournalStage::Delivered { status, receipt } = journal.stage {
                return Ok(Acquired::Delivered(DeliverySummary { status, receipt }));
            }
            let Ok(next) = taken(&journal) else {
                return Err(LeaseError::Ended { run_id: journal.run_id });
            };
            let is_free = journal.lease.as_ref().is_none_or(|held| {
                // Our own: the answer to the write was lost.
                held.holder == holder || age > Duration::from_secs(held.seconds.into())
            });
            if is_free {
                if let Some(etag) = journals.replace(&next, &etag).await? {
                    let lease = Self::new(journals, holder, budget, next, etag);
                    return Ok(Acquired::Lease(Box::new(lease)));
                }
            } else if budget.has(LOOK) {
                sleep(LOOK).await;
            } else {
                return Err(LeaseError::Held);
            }
        }
    }

    fn new(
        journals: &'a dyn Journals,
        holder: String,
        budget: &Budget,
        journal: Journal,
        etag: String,
    ) -> Self {
        let progress = journal.progress.clone();
        let checkpoint = progress.checkpoint.as_ref();
        Self {
            journals,
            holder,
            deadline: budget.deadline,
            acknowledged_before: checkpoint.map_or(0, |at| at.acknowledged_bytes),
            progress: Mutex::new(progress),
            is_publishing: watch::Sender::new(matches!(
                journal.stage,
                JournalStage::Publishing { .. }
            )),
            stored: AsyncMutex::new(Stored { journal, etag }),
            is_lost: AtomicBool::new(false),
        }
    }

    /// Renews the lease until it is lost, and returns why.
    ///
    /// Drop the work of the lease then: nothing more may be published.
    pub async fn keep(&self) -> LeaseError {
        let mut is_publishing = self.is_publishing.subscribe();
        let mut renewed_at = Instant::now();
        loop {
            let wait = if *is_publishing.borrow() { LOOK_WHILE_PUBLISHING } else { RENEWAL };
            tokio::select! {
                () = sleep(wait) => {}
                _ = is_publishing.changed() => continue,
            }
            let is_due = renewed_at.elapsed() >= RENEWAL;
            let kept = if is_due { self.save().await } else { self.expect_held().await };
            match kept {
                Ok(()) if is_due => renewed_at = Instant::now(),
                Ok(()) => {}
                Err(error @ LeaseError::Storage(_)) => {
                    tracing::warn!(
                        error.message = %job::error::Chain(&error),
                        "the lease of the delivery could not be renewed"
                    );
                    if renewed_at.elapsed() > LEASE {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Returns an error when the run has ended or the lease is another's.
    async fn expect_held(&self) -> Result<(), LeaseError> {
        // No write is under way: the answer to one would be taken for somebody else's.
        let mut stored = self.stored.lock().await;
        let read = self.journals.read().await?.ok_or(LeaseError::Lost)?;
        if read.etag != stored.etag {
            *stored = Stored { journal: read.journal, etag: read.etag };
        }
        let (lease, progress) = (self.record(), self.progress().clone());
        let still = stored.journal.next(JournalEvent::Saved { lease, progress });
        still.map(drop).map_err(|refusal| self.refused(refusal, &stored.journal))
    }

    /// Place at which the attempt resumes.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.progress().checkpoint.clone()
    }

    /// Replaces the checkpoint. It is written with the next renewal, or with the end.
    pub fn set_checkpoint(&self, checkpoint: Option<Checkpoint>) {
        self.progress().checkpoint = checkpoint;
    }

    /// Paths of temporary files that may lie at the recipient.
    pub fn leftovers(&self) -> Vec<String> {
        self.progress().leftovers.clone()
    }

    /// Removes a path from the leftovers: there is no such file any more.
    pub fn forget_leftover(&self, path: &str) {
        self.progress().leftovers.retain(|leftover| leftover != path);
    }

    /// Writes down that a temporary file is about to be made.
    pub async fn will_create(&self, path: &str) -> Result<(), LeaseError> {
        let is_known = {
            let mut progress = self.progress();
            let is_known = progress.leftovers.iter().any(|leftover| leftover == path);
            if !is_known {
                progress.leftovers.push(path.to_owned());
            }
            is_known
        };
        if is_known { Ok(()) } else { self.save().await }
    }

    /// The publication that an earlier attempt was about to make, and whose outcome is unknown.
    pub async fn intent(&self) -> Option<Intent> {
        match &self.stored.lock().await.journal.stage {
            JournalStage::Publishing { intent }
            | JournalStage::Closed { intent: Some(intent), .. } => Some(intent.clone()),
            JournalStage::Open
            | JournalStage::Delivered { .. }
            | JournalStage::Closed { intent: None, .. } => None,
        }
    }

    /// Writes down what is about to be published. Only after this has succeeded may it be.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Ended`] when the run has ended: the file must not be published.
    pub async fn intend(&self, intent: Intent) -> Result<(), LeaseError> {
        let (lease, progress) = (self.record(), self.progress().clone());
        self.advance(JournalEvent::Intended { lease, progress, intent }).await?;
        self.is_publishing.send_replace(true);
        Ok(())
    }

    /// Writes down that nothing was published, and that nothing of the intent will be.
    pub async fn not_published(&self) -> Result<(), LeaseError> {
        let (lease, progress) = (self.record(), self.progress().clone());
        self.advance(JournalEvent::NotPublished { lease, progress }).await?;
        self.is_publishing.send_replace(false);
        Ok(())
    }

    /// Notes how a lost answer was settled, for the receipt.
    pub fn set_settled(&self, settled: Settled) {
        self.progress().settled = Some(settled);
    }

    /// Settlement of a lost answer.
    pub fn settled(&self) -> Option<Settled> {
        self.progress().settled
    }

    /// Writes the progress, which renews the lease.
    pub(crate) async fn save(&self) -> Result<(), LeaseError> {
        let (lease, progress) = (self.record(), self.progress().clone());
        self.advance(JournalEvent::Saved { lease, progress }).await
    }

    /// Begins an attempt, and returns its number.
    pub(crate) fn begin_attempt(&self, now: Timestamp) -> u32 {
        self.progress().begin_attempt(now)
    }

    /// Ends an attempt.
    pub(crate) fn end_attempt(&self, now: Timestamp, error: Option<(ErrorName, String)>) {
        self.progress().end_attempt(now, error);
    }

    /// Number of attempts so far, over all invocations.
    pub(crate) fn attempts(&self) -> u32 {
        self.progress().attempt_count
    }

    /// Number of bytes that the recipient has acknowledged.
    pub(crate) fn acknowledged_bytes(&self) -> u64 {
        self.checkpoint().map_or(0, |checkpoint| checkpoint.acknowledged_bytes)
    }

    /// Returns whether this invocation got further than the one before it.
    pub(crate) fn got_on(&self) -> bool {
        self.acknowledged_bytes() > self.acknowledged_before
    }

    /// Number of invocations that have held the lease.
    pub(crate) async fn invocations(&self) -> u32 {
        self.stored.lock().await.journal.invocations
    }

    /// Writes the receipt: the delivery has ended.
    pub(crate) async fn deliver(
        &self,
        status: DeliveryStatus,
        receipt: Receipt,
    ) -> Result<(), LeaseError> {
        let (holder, progress) = (self.holder.clone(), self.progress().clone());
        self.advance(JournalEvent::Delivered { holder, progress, status, receipt }).await
    }

    /// Gives the lease back: the next invocation need not wait for it to expire.
    pub async fn release(&self) -> Result<(), LeaseError> {
        let (holder, progress) = (self.holder.clone(), self.progress().clone());
        self.advance(JournalEvent::Released { holder, progress }).await
    }

    /// Returns whether another invocation has taken the lease over.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    fn refused(&self, refusal: JournalRefusal, journal: &Journal) -> LeaseError {
        match refusal {
            JournalRefusal::Ended if !matches!(journal.stage, JournalStage::Delivered { .. }) => {
                LeaseError::Ended { run_id: journal.run_id.clone() }
            }
            // Who took the lease over may have delivered the file by now.
            JournalRefusal::Ended | JournalRefusal::LeaseLost => {
                self.is_lost.store(true, Ordering::Relaxed);
                // The temporary files are its business.
                self.progress().leftovers.clear();
                LeaseError::Lost
            }
        }
    }

    fn record(&self) -> LeaseRecord {
        lease(&self.holder, self.deadline)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn advance(&self, event: JournalEvent) -> Result<(), LeaseError> {
        let mut stored = self.stored.lock().await;
        loop {
            let next = stored.journal.next(event.clone());
            let next = next.map_err(|refusal| self.refused(refusal, &stored.journal))?;
            if let Some(etag) = self.journals.replace(&next, &stored.etag).await? {
                *stored = Stored { journal: next, etag };
                return Ok(());
            }
            // Somebody else was faster, or we were and the answer was lost.
            let read = self.journals.read().await?.ok_or(LeaseError::Lost)?;
            let is_done = read.journal == next;
            *stored = Stored { journal: read.journal, etag: read.etag };
            if is_done {
                return Ok(());
            }
        }
    }
}

/// The lease of `holder`, which ends before its function does.
fn lease(holder: &str, deadline: Instant) -> LeaseRecord {
    let left = deadline.saturating_duration_since(Instant::now()).min(LEASE).as_secs().max(1);
    LeaseRecord { holder: holder.to_owned(), seconds: u32::try_from(left).unwrap_or(u32::MAX) }
}

/// Closes the journal of a delivery whose run has ended, so that nothing more is published. Returns
/// the journal; nothing if the delivery never began.
pub async fn close(journals: &dyn Journals) -> Result<Option<Journal>, StorageError> {
    loop {
        let Some(StoredJournal { journal, etag, .. }) = journals.read().await? else {
            return Ok(None);
        };
        let Ok(closed) = journal.next(JournalEvent::Closed) else { return Ok(Some(journal)) };
        if journals.replace(&closed, &etag).await?.is_some() {
            return Ok(Some(closed));
        }
    }
}
