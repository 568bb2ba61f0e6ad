//! One delivery: what is asked for, who does it, and the receipt.

use std::time::Instant;

use async_trait::async_trait;
use aws_io::secrets::Freshness;
use job::{FileName, RunId, SecretReference, error::Chain, states::Run, transport::Transporter};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    credentials::{self, SecretReader},
    error::Error,
    s3::ObjectReference,
    sftp::Sftp,
    sharefile::ShareFile,
    source::Source,
};

/// What the state machine asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    /// The run that the file belongs to.
    pub run_id: RunId,
    /// The run, which must not have ended; nothing if somebody calls the function by hand.
    #[serde(default)]
    pub run: Option<Run>,
    /// The file.
    pub source: ObjectReference,
    /// What the file is called, unless the transporter's configuration says otherwise.
    pub file_name: FileName,
    /// Where it goes.
    pub transporter: Transporter,
    /// How far the delivery got in an earlier invocation.
    #[serde(default)]
    pub checkpoint: Option<Checkpoint>,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The file is there.
    Delivered(Receipt),
    /// The file was there before, and nothing was sent.
    AlreadyThere(Receipt),
    /// The time was up before all of the file was sent: call again with this checkpoint.
    InProgress {
        /// What the next invocation is given.
        checkpoint: Checkpoint,
    },
}

/// How far a delivery got that did not fit into one invocation. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Which version of the file is being sent: [`Content::version`](crate::Content::version).
    pub version: String,
    /// How many bytes the recipient has acknowledged, counted from the file's beginning.
    pub acknowledged_bytes: u64,
    /// How many invocations there were.
    pub invocations: u32,
    /// The state of the SHA-256 of those bytes, in hexadecimal, where the transport does not read
    /// them again. It holds none of them: it is only taken where the hash's own buffer is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_state: Option<String>,
    /// The whole file, if the recipient has it under its temporary name or its final one, and which
    /// of them is not known: the answer to the rename was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

/// A file that was sent and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Which check it passed.
    pub verified: Verified,
}

/// What a delivery leaves behind in the run's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The kind of transport: `sftp` or `sharefile`.
    pub transport: &'static str,
    /// The file's path at the recipient.
    pub remote_path: String,
    /// The file's size.
    pub bytes: u64,
    /// The SHA-256 of what was sent, in hexadecimal; nothing if nothing was read.
    pub sha256: Option<String>,
    /// The MD5 of what was sent, in hexadecimal, where the recipient compares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// What the recipient calls the file's entry, where it has a name of its own for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// Which check the file passed at the recipient before it got its final name.
    pub verified: Verified,
    /// The key that an SSH server presented: its type and its SHA-256 fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// Whether that key is one of the pinned ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key_verified: Option<bool>,
    /// How long the delivery took.
    pub duration_ms: u64,
    /// How many attempts it took.
    pub attempts: u32,
}

/// Which check a delivered file passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// None: not wanted, or the server does not tell.
    None,
    /// The recipient's file has the right size.
    Size,
    /// The recipient's file has the right size and MD5, as the recipient tells them.
    Md5,
    /// The recipient's file was read back and has the right SHA-256.
    Readback,
}

/// A file to deliver, and the time for it.
#[derive(Clone, Copy)]
pub struct Parcel<'a> {
    /// The run that it belongs to.
    pub run_id: &'a RunId,
    /// What it is called.
    pub file_name: &'a FileName,
    /// Its bytes.
    pub source: &'a dyn Source,
    /// How far an earlier invocation got.
    pub checkpoint: Option<&'a Checkpoint>,
    /// When the invocation is ended, whatever it is doing.
    pub deadline: Instant,
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
    async fn deliver(&self, parcel: &Parcel<'_>) -> Result<Outcome, Error>;
}

/// Does what `delivery` asks for, with the bytes of `source`, until shortly before `deadline`.
///
/// Credentials that the job names are read by `secrets`. If the recipient does not take them, they
/// are read anew, and if they have changed since, the file is delivered with the new ones: secrets
/// are rotated. Rejected credentials are never tried twice.
///
/// # Errors
///
/// When the transporter's configuration has problems (all are told at once), and when the
/// delivery fails.
pub async fn deliver(
    delivery: &Delivery,
    source: &dyn Source,
    secrets: &dyn SecretReader,
    deadline: Instant,
) -> Result<Outcome, Error> {
    let problems = delivery.transporter.problems();
    if !problems.is_empty() {
        return Err(Error::Configuration { problems });
    }
    if let Some(better) = credentials::inline(&delivery.transporter) {
        tracing::warn!(run.id = %delivery.run_id, "credentials inline; use {better}");
    }
    let parcel = Parcel {
        run_id: &delivery.run_id,
        file_name: &delivery.file_name,
        source,
        checkpoint: delivery.checkpoint.as_ref(),
        deadline,
    };
    let outcome = match credentials::reference(&delivery.transporter)? {
        Some(reference) => {
            deliver_by_reference(&delivery.transporter, &reference, secrets, &parcel).await?
        }
        None => deliver_parcel(&delivery.transporter, &parcel).await?,
    };
    match &outcome {
        Outcome::Delivered(receipt) | Outcome::AlreadyThere(receipt) => tracing::info!(
            run.id = %delivery.run_id,
            remote_path = receipt.remote_path,
            size_bytes = receipt.bytes,
            host_key = receipt.host_key,
            host_key_verified = receipt.host_key_verified,
            attempts = receipt.attempts,
            "the file is delivered"
        ),
        Outcome::InProgress { checkpoint } => tracing::info!(
            run.id = %delivery.run_id,
            acknowledged_bytes = checkpoint.acknowledged_bytes,
            invocations = checkpoint.invocations,
            "the time is up; the next invocation goes on"
        ),
    }
    Ok(outcome)
}

/// Delivers with the credentials of a secret, and if they do not work with those that it has now.
async fn deliver_by_reference(
    transporter: &Transporter,
    reference: &SecretReference,
    secrets: &dyn SecretReader,
    parcel: &Parcel<'_>,
) -> Result<Outcome, Error> {
    let text = secrets.read(reference, Freshness::Cached).await?;
    let error = match deliver_with(transporter, reference, &text, parcel).await {
        Err(error) if error.is_of_credentials() => error,
        ended => return ended,
    };
    match secrets.read(reference, Freshness::Now).await {
        Ok(now) if now.expose_secret() != text.expose_secret() => {
            tracing::warn!(
                run.id = %parcel.run_id,
                secret.reference = %reference,
                error.message = %Chain(&error),
                "the credentials do not work, and the secret has others now; trying those"
            );
            deliver_with(transporter, reference, &now, parcel).await
        }
        Ok(_) => Err(error),
        Err(reading) => {
            tracing::warn!(
                run.id = %parcel.run_id,
                secret.reference = %reference,
                error.message = %Chain(&reading),
                "the credentials do not work, and the secret can not be read anew"
            );
            Err(error)
        }
    }
}

async fn deliver_with(
    transporter: &Transporter,
    reference: &SecretReference,
    text: &SecretString,
    parcel: &Parcel<'_>,
) -> Result<Outcome, Error> {
    deliver_parcel(&credentials::fill(transporter, reference, text)?, parcel).await
}

async fn deliver_parcel(transporter: &Transporter, parcel: &Parcel<'_>) -> Result<Outcome, Error> {
    let transport: Box<dyn Transport> = match transporter {
        Transporter::Sftp(config) => Box::new(Sftp::new(config)?),
        Transporter::ShareFile(config) => Box::new(ShareFile::new(config)?),
    };
    transport.deliver(parcel).await
}
