//! The attempts of one invocation.

use aws_io::Failure;
use jiff::Timestamp;
use job::{
    delivery::{DeliverySummary, Receipt},
    error::Chain,
};
use tokio::time::{sleep, timeout_at};

use crate::{
    lease::{Lease, LeaseError},
    retry::Waits,
    transport::{Attempt, Parcel, Published, Transport, TransportError},
};

/// Invocations that one file may take: of a quarter of an hour each, they end while the execution can
/// still say what is wrong.
const INVOCATIONS_MAX: u32 = 90;

/// The end of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The file is at the recipient, and the journal has the receipt.
    Delivered(DeliverySummary),
    /// The next invocation resumes from the journal's checkpoint.
    InProgress,
}

/// Makes attempts until the file is delivered, the time is up, or an error is final. Ends the lease.
///
/// # Errors
///
/// The error of the last attempt. The final name holds then what it held before, or the new file if
/// the journal says that it may be published.
pub async fn deliver<T: Transport>(
    transport: &T,
    parcel: &Parcel<'_>,
    lease: &Lease<'_>,
    clock: fn() -> Timestamp,
) -> Result<Ended, T::Error> {
    let mut waits = Waits::default();
    let mut stalled_attempts = 0;
    let error = loop {
        let before = lease.acknowledged_bytes();
        let error = match attempt(transport, parcel, lease, clock).await {
            Ok(published) => return delivered(parcel, lease, published).await,
            Err(error) => error,
        };
        if lease.acknowledged_bytes() > before {
            (stalled_attempts, waits) = (0, Waits::default());
        }
        stalled_attempts += 1;
        let attempts_max = error.retry().attempts(transport.attempts_max());
        let wait = waits.next_wait();
        let wait = error.wait().map_or(wait, |asked| asked.max(wait));
        if stalled_attempts >= attempts_max || !parcel.budget.has(wait) {
            break error;
        }
        tracing::warn!(
            run.id = %parcel.run_id,
            attempt = lease.attempts(),
            acknowledged_bytes = lease.acknowledged_bytes(),
            error.message = %Chain(&error),
            "an attempt to deliver the file failed; there will be another"
        );
        sleep(wait).await;
    };
    failed(transport, parcel, lease, error).await
}

/// Makes one attempt, and drops it when the lease is lost.
async fn attempt<T: Transport>(
    transport: &T,
    parcel: &Parcel<'_>,
    lease: &Lease<'_>,
    clock: fn() -> Timestamp,
) -> Result<Published, T::Error> {
    let number = lease.begin_attempt(clock());
    let nonce = crate::hexadecimal(&rand::random::<[u8; 4]>());
    let attempt = Attempt { parcel: *parcel, number, nonce: &nonce, lease };
    let ended = tokio::select! {
        ended = transport.attempt(&attempt) => ended,
        error = lease.keep() => Err(error.into()),
    };
    let error = ended.as_ref().err().map(|error| (error.name(), Chain(error).to_string()));
    lease.end_attempt(clock(), error);
    ended
}

async fn delivered<E: From<LeaseError>>(
    parcel: &Parcel<'_>,
    lease: &Lease<'_>,
    published: Published,
) -> Result<Ended, E> {
    let Published { status, remote_path, size_bytes, sha256, verified, settled, seen, details } =
        published;
    let elapsed = parcel.budget.started.elapsed();
    let receipt = Receipt {
        remote_path,
        bytes: size_bytes,
        sha256,
        verified,
        settled,
        seen,
        duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        attempts: lease.attempts(),
        details,
    };
    lease.deliver(status, receipt.clone()).await?;
    Ok(Ended::Delivered(DeliverySummary { status, receipt }))
}

/// Ends an invocation that has not delivered: with a checkpoint for the next one, or with nothing
/// left at the recipient.
async fn failed<T: Transport>(
    transport: &T,
    parcel: &Parcel<'_>,
    lease: &Lease<'_>,
    error: T::Error,
) -> Result<Ended, T::Error> {
    let is_last = lease.invocations().await >= INVOCATIONS_MAX;
    let could_resume = error.name().is_retryable() && lease.checkpoint().is_some();
    let acknowledged_bytes = lease.acknowledged_bytes();
    let resumes = could_resume && lease.got_on() && !is_last;
    if !could_resume || is_last {
        lease.set_checkpoint(None);
        // Rejected credentials are not sent once more, not even to clean up.
        if !error.forbids_login() && (!lease.leftovers().is_empty() || lease.is_lost()) {
            let cleaning = transport.clean_up(parcel, lease);
            // What is not removed in time stays among the journal's leftovers.
            drop(timeout_at(parcel.budget.answer_at, cleaning).await);
        }
        for path in lease.leftovers() {
            tracing::warn!(remote_path = path, "a temporary file may be left at the recipient");
        }
    }
    match lease.release().await {
        // The error says it already.
        Ok(()) | Err(LeaseError::Ended { .. } | LeaseError::Lost | LeaseError::Held) => {}
        // The next invocation waits for the lease to expire.
        Err(release @ LeaseError::Storage(_)) => {
            tracing::warn!(error.message = %Chain(&release), "the lease could not be released");
        }
    }
    if resumes {
        return Ok(Ended::InProgress);
    }
    if is_last && could_resume {
        return Err(T::Error::too_slow(acknowledged_bytes));
    }
    Err(error)
}
