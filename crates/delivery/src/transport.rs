//! The interface of a transport: its input and its result.

use std::time::Duration;

use async_trait::async_trait;
use aws_io::Failure;
use job::{
    FileName, RunId,
    delivery::{DeliveryStatus, ReceiptDetails, Settled, Verified},
};

use crate::{
    budget::Budget,
    lease::{Lease, LeaseError},
    retry::Retry,
    source::Source,
};

/// A file to deliver, and the time for it.
#[derive(Clone, Copy)]
pub struct Parcel<'a> {
    /// The run that it belongs to.
    pub run_id: &'a RunId,
    /// Its name, unless the configuration says otherwise.
    pub file_name: &'a FileName,
    /// Its bytes.
    pub source: &'a dyn Source,
    /// The time of the invocation.
    pub budget: Budget,
}

/// One attempt at a delivery.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The file.
    pub parcel: Parcel<'a>,
    /// Number of the attempt over all invocations, from 1.
    pub number: u32,
    /// Random text of 8 hexadecimal digits that belongs to this attempt alone: for temporary names.
    pub nonce: &'a str,
    /// The journal.
    pub lease: &'a Lease<'a>,
}

/// A file that is at the recipient under its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The way in which it came there.
    pub status: DeliveryStatus,
    /// Its path at the recipient.
    pub remote_path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal; nothing if nothing was read.
    pub sha256: Option<String>,
    /// The check that it passed.
    pub verified: Verified,
    /// Settlement of a lost answer.
    pub settled: Option<Settled>,
    /// Whether it was seen under its final name afterwards.
    pub seen: Option<bool>,
    /// Details that only this kind of transport knows.
    pub details: ReceiptDetails,
}

/// A way to a recipient.
///
/// The recipient never sees half a file under its final name, and an existing file is never lost,
/// except where the configuration asks for writing in place.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The transport's errors.
    type Error: TransportError;

    /// Makes one attempt, with one login.
    ///
    /// Dropping the future ends the attempt: its connections close, and nothing of it goes on.
    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Published, Self::Error>;

    /// Removes what the lease's leftovers name, with a connection of its own. What cannot be removed
    /// stays in the journal and is logged.
    async fn clean_up(&self, parcel: &Parcel<'_>, lease: &Lease<'_>);

    /// Number of attempts in a row, none of which gets any further, that one invocation makes.
    fn attempts_max(&self) -> u32;
}

/// An error of a transport.
pub trait TransportError: Failure + Send + Sync + From<LeaseError> {
    /// Whether another attempt in the same invocation is worth it.
    fn retry(&self) -> Retry;

    /// Shortest wait before it that the recipient asks for.
    fn wait(&self) -> Option<Duration> {
        None
    }

    /// Whether other credentials may end better.
    fn is_of_credentials(&self) -> bool;

    /// Whether a new connection for cleaning up would send rejected credentials once more.
    fn forbids_login(&self) -> bool {
        self.is_of_credentials()
    }

    /// Error of a delivery that gets on too slowly to end before its execution does.
    fn too_slow(acknowledged_bytes: u64) -> Self;
}
