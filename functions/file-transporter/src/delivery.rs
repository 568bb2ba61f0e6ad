//! One delivery: what is asked for, who does it, and the receipt.

use async_trait::async_trait;
use job::{FileName, RunId, transport::Transporter};
use serde::{Deserialize, Serialize};

use crate::{error::Error, s3::ObjectReference, sftp::Sftp, sharefile::ShareFile, source::Source};

/// What the state machine asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    /// The run that the file belongs to.
    pub run_id: RunId,
    /// The file.
    pub source: ObjectReference,
    /// What the file is called, unless the transporter's configuration says otherwise.
    pub file_name: FileName,
    /// Where it goes.
    pub transporter: Transporter,
}

/// What a delivery leaves behind in the run's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// How the delivery ended.
    pub status: Status,
    /// The kind of transport: `sftp` or `sharefile`.
    pub transport: &'static str,
    /// The file's path at the recipient.
    pub remote_path: String,
    /// The file's size.
    pub bytes: u64,
    /// The SHA-256 of what was sent, in hexadecimal; nothing if nothing was read.
    pub sha256: Option<String>,
    /// Which check the file passed at the recipient before it got its final name.
    pub verified: Verified,
    /// The key that the server presented: its type and its SHA-256 fingerprint.
    pub host_key: String,
    /// Whether that key is one of the pinned ones.
    pub host_key_verified: bool,
    /// How long the delivery took.
    pub duration_ms: u64,
    /// How many attempts it took.
    pub attempts: u32,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The file is there.
    Delivered,
    /// The file was there before, and nothing was sent.
    AlreadyThere,
}

/// Which check a delivered file passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// None: not wanted, or the server does not tell.
    None,
    /// The recipient's file has the right size.
    Size,
    /// The recipient's file was read back and has the right SHA-256.
    Readback,
}

/// A file to deliver.
#[derive(Clone, Copy)]
pub struct Parcel<'a> {
    /// The run that it belongs to.
    pub run_id: &'a RunId,
    /// What it is called.
    pub file_name: &'a FileName,
    /// Its bytes.
    pub source: &'a dyn Source,
}

/// A way to a recipient.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Delivers a file. Doing it twice leaves one complete file.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After an error the final name holds what it held before: nothing, or the old
    /// file. It holds the new one if only an answer was lost, or if a second file failed. It never
    /// holds a part of a file, except where the configuration asks for writing in place.
    async fn deliver(&self, parcel: &Parcel<'_>) -> Result<Receipt, Error>;
}

/// Does what `delivery` asks for, with the bytes of `source`.
///
/// # Errors
///
/// When the transporter's configuration has problems (all are told at once), and when the
/// delivery fails.
pub async fn deliver(delivery: &Delivery, source: &dyn Source) -> Result<Receipt, Error> {
    let problems = delivery.transporter.problems();
    if !problems.is_empty() {
        return Err(Error::Configuration { problems });
    }
    let transport: Box<dyn Transport> = match &delivery.transporter {
        Transporter::Sftp(config) => Box::new(Sftp::new(config)?),
        Transporter::ShareFile(_) => Box::new(ShareFile),
    };
    let parcel = Parcel { run_id: &delivery.run_id, file_name: &delivery.file_name, source };
    let receipt = transport.deliver(&parcel).await?;
    tracing::info!(
        run.id = %delivery.run_id,
        remote_path = receipt.remote_path,
        size_bytes = receipt.bytes,
        host_key = receipt.host_key,
        host_key_verified = receipt.host_key_verified,
        attempts = receipt.attempts,
        "the file is delivered"
    );
    Ok(receipt)
}
