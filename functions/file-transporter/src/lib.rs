//! Delivers a file to an SFTP server or a ShareFile folder.
//!
//! The recipient never sees half a file under its final name, and an existing file is never lost:
//! see [`sftp`] and [`sharefile`] for how. Every failure has one of the names of [`job::ErrorName`], so that the
//! state machine retries what a retry can mend and nothing else.
//!
//! A transport is a [`Transport`]; the file comes from a [`Source`], credentials that the job names
//! come from a [`SecretReader`]. [`deliver`] joins them.

mod credentials;
mod delivery;
mod error;
mod hexadecimal;
mod retry;
pub mod s3;
pub mod sftp;
pub mod sharefile;
mod source;

pub use crate::{
    credentials::SecretReader,
    delivery::{
        Checkpoint, Delivery, Outcome, Parcel, Receipt, Sent, Transport, Verified, deliver,
    },
    error::Error,
    source::{Content, Source},
};
