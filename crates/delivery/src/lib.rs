//! The contract between a delivery and the transports that carry it.
//!
//! [`deliver`] holds the lease of the delivery's journal, makes attempts until one succeeds, and
//! decides what an error means: another attempt, another invocation, or the end. A transport
//! implements [`Transport`]: one attempt, with one login. Everything that the recipient could see is
//! written into the journal first, by the methods of [`Lease`].

mod budget;
mod deliver;
mod digest;
#[cfg(feature = "doubles")]
mod doubles;
mod lease;
mod retry;
mod s3_journal;
mod sanitize;
mod source;
mod transport;

#[cfg(feature = "doubles")]
pub use crate::doubles::MemoryJournal;
pub use crate::{
    budget::Budget,
    deliver::{Ended, deliver},
    digest::{HashedOffset, hexadecimal},
    lease::{Acquired, Journals, Lease, LeaseError, StoredJournal, close},
    retry::{Retry, Waits},
    s3_journal::S3Journal,
    sanitize::sanitize,
    source::{Content, Source},
    transport::{Attempt, Parcel, Published, Transport, TransportError},
};
