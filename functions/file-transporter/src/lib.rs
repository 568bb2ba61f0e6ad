//! Delivers a file to an SFTP server or a ShareFile folder.
//!
//! The function is thin: it takes the lease of the delivery's journal, reads the credentials that the
//! job names, and hands both to a transport of [`delivery`]. A second call for the same delivery
//! answers the receipt and sends nothing.

mod credentials;
mod error;
mod request;
pub mod s3;

use std::time::Instant;

use async_trait::async_trait;
use aws_io::{Failure, run_files::RunFileError, secrets::Freshness};
use delivery::{Acquired, Budget, Ended, Journals, Lease, LeaseError, Parcel, Source};
use jiff::Timestamp;
use job::{
    SecretReference,
    delivery::{DeliveryStatus, DeliverySummary, Journal, Receipt},
    error::Chain,
    transport::Transporter,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

pub use crate::{
    credentials::SecretReader,
    error::Error,
    request::{DeliveryRequest, ObjectReference},
};

/// Services of one invocation.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    /// The file.
    pub source: &'a dyn Source,
    /// The journal of the delivery.
    pub journals: &'a dyn Journals,
    /// The run that the file belongs to.
    pub run: &'a dyn LiveRun,
    /// The secrets that a job may name.
    pub secrets: &'a dyn SecretReader,
    /// The clock.
    pub clock: fn() -> Timestamp,
}

/// The run of a delivery.
#[async_trait]
pub trait LiveRun: Send + Sync {
    /// Returns an error when the run has ended.
    async fn expect_live(&self) -> Result<(), RunFileError>;
}

/// Answer of the function. The state machine keeps the status and the reference to the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// URI of the journal.
    pub journal: String,
    /// End of the invocation.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// End of an invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The file was sent.
    Delivered(Receipt),
    /// The file was there before.
    AlreadyThere(Receipt),
    /// The time was up before all of the file was sent: the next invocation resumes.
    InProgress {},
}

impl From<DeliverySummary> for Outcome {
    fn from(DeliverySummary { status, receipt }: DeliverySummary) -> Self {
        match status {
            DeliveryStatus::Delivered => Self::Delivered(receipt),
            DeliveryStatus::AlreadyThere => Self::AlreadyThere(receipt),
        }
    }
}

/// Delivers what `request` asks for, until shortly before `deadline`.
///
/// If the recipient does not take the credentials of a secret, the secret is read anew; if it has
/// changed since, the file is delivered with the new ones. Rejected credentials are never sent twice.
///
/// # Errors
///
/// When the transporter's configuration has problems (all are told at once), when the run has ended,
/// and when the delivery fails.
pub async fn deliver(
    request: &DeliveryRequest,
    services: Services<'_>,
    deadline: Instant,
) -> Result<Answer, Error> {
    let problems = request.transporter.problems();
    if !problems.is_empty() {
        return Err(Error::Configuration { problems });
    }
    if let Some(better) = credentials::inline(&request.transporter) {
        tracing::warn!(run.id = %request.run_id, "credentials inline; use {better}");
    }
    let reference = credentials::reference(&request.transporter)?;
    let call = Call { request, services, budget: Budget::until(deadline) };
    let outcome = call.deliver(reference.as_ref()).await?;
    match &outcome {
        Outcome::Delivered(receipt) | Outcome::AlreadyThere(receipt) => tracing::info!(
            run.id = %request.run_id,
            remote_path = receipt.remote_path,
            size_bytes = receipt.bytes,
            attempts = receipt.attempts,
            "the file is delivered"
        ),
        Outcome::InProgress {} => tracing::info!(
            run.id = %request.run_id,
            "the time is up; the next invocation resumes the delivery"
        ),
    }
    Ok(Answer { journal: request.journal().to_string(), outcome })
}

/// One invocation.
struct Call<'a> {
    request: &'a DeliveryRequest,
    services: Services<'a>,
    budget: Budget,
}

impl Call<'_> {
    /// Delivers, or answers the receipt of a call that was faster.
    async fn deliver(&self, reference: Option<&SecretReference>) -> Result<Outcome, Error> {
        let error = match self.try_to_deliver(reference).await {
            Err(error) if error.is_of_lost_lease() => error,
            ended => return ended,
        };
        match self.acquire().await? {
            Acquired::Delivered(summary) => Ok(summary.into()),
            Acquired::Lease(lease) => release(&lease, error).await,
        }
    }

    async fn try_to_deliver(&self, reference: Option<&SecretReference>) -> Result<Outcome, Error> {
        let lease = match self.acquire().await? {
            Acquired::Lease(lease) => lease,
            Acquired::Delivered(summary) => return Ok(summary.into()),
        };
        let Some(reference) = reference else {
            return self.carry(&self.request.transporter, &lease).await;
        };
        let text = match self.services.secrets.read(reference, Freshness::Cached).await {
            Ok(text) => text,
            Err(error) => return release(&lease, error.into()).await,
        };
        let error = match self.carry_with(reference, &text, &lease).await {
            Err(error) if error.is_of_credentials() => error,
            ended => return ended,
        };
        let Some(now) = self.rotated(reference, &text, &error).await else { return Err(error) };
        match self.acquire().await? {
            Acquired::Lease(lease) => self.carry_with(reference, &now, &lease).await,
            Acquired::Delivered(summary) => Ok(summary.into()),
        }
    }

    /// Takes the lease of the journal.
    ///
    /// The run is looked at afterwards: its clean-up closes the journals that it finds, and one that
    /// it does not find is made by a call that sees the run's end.
    async fn acquire(&self) -> Result<Acquired<'_>, Error> {
        let DeliveryRequest { run_id, run, source, .. } = self.request;
        let execution = run.as_ref().map(|run| run.execution.clone());
        let fresh = Journal::new(run_id.clone(), execution, source.location.to_string());
        let acquired = Lease::acquire(self.services.journals, fresh, &self.budget).await?;
        if let Acquired::Lease(lease) = &acquired
            && let Err(error) = self.services.run.expect_live().await
        {
            return release(lease, error.into()).await;
        }
        Ok(acquired)
    }

    async fn carry_with(
        &self,
        reference: &SecretReference,
        text: &SecretString,
        lease: &Lease<'_>,
    ) -> Result<Outcome, Error> {
        match credentials::fill(&self.request.transporter, reference, text) {
            Ok(transporter) => self.carry(&transporter, lease).await,
            Err(error) => release(lease, error).await,
        }
    }

    /// Delivers by a transporter that has its credentials in it.
    async fn carry(&self, transporter: &Transporter, lease: &Lease<'_>) -> Result<Outcome, Error> {
        let DeliveryRequest { run_id, file_name, .. } = self.request;
        let Services { source, clock, .. } = self.services;
        let parcel = Parcel { run_id, file_name, source, budget: self.budget };
        let ended = match transporter {
            Transporter::Sftp(config) => match sftp::Sftp::new(config.as_ref().clone()) {
                Ok(sftp) => delivery::deliver(&sftp, &parcel, lease, clock).await?,
                Err(error) => return release(lease, error.into()).await,
            },
            Transporter::ShareFile(config) => match sharefile::ShareFile::new(config) {
                Ok(sharefile) => delivery::deliver(&sharefile, &parcel, lease, clock).await?,
                Err(error) => return release(lease, error.into()).await,
            },
        };
        Ok(match ended {
            Ended::Delivered(summary) => summary.into(),
            Ended::InProgress => Outcome::InProgress {},
        })
    }

    /// The secret, if it has changed since `text` was read.
    async fn rotated(
        &self,
        reference: &SecretReference,
        text: &SecretString,
        error: &Error,
    ) -> Option<SecretString> {
        let (message, now) = match self.services.secrets.read(reference, Freshness::Now).await {
            Ok(now) if now.expose_secret() == text.expose_secret() => return None,
            Ok(now) => {
                ("the credentials do not work; the secret has changed, and is used", Some(now))
            }
            Err(reading) => {
                tracing::warn!(
                    secret.reference = %reference,
                    error.message = %Chain(&reading),
                    "the secret cannot be read anew"
                );
                ("the credentials do not work", None)
            }
        };
        tracing::warn!(
            run.id = %self.request.run_id,
            secret.reference = %reference,
            error.name = %error.name(),
            error.message = %Chain(error),
            "{message}"
        );
        now
    }
}

/// Gives the lease back after an error that came before any attempt.
async fn release<T>(lease: &Lease<'_>, error: Error) -> Result<T, Error> {
    if let Err(release @ LeaseError::Storage(_)) = lease.release().await {
        tracing::warn!(error.message = %Chain(&release), "the lease could not be released");
    }
    Err(error)
}
