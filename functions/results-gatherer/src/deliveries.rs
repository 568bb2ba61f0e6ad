//! The journals of the run's deliveries.

use aws_io::StorageError;
use delivery::{Journals, S3Journal, close};
use job::{RunLayout, delivery::DeliverySummary, error::Chain};
use serde_json::Value;
use tracing::warn;

use crate::{GatherError, Services};

/// The destination that a job names inline, by its place, and the run's own delivery to it.
const INLINE: (&str, u32) = ("1", 1);

/// Reads the receipt of the run's delivery.
///
/// # Errors
///
/// [`GatherError::NotDelivered`] when the journal has none.
pub(crate) async fn receipt(
    services: &Services,
    layout: &RunLayout,
) -> Result<DeliverySummary, GatherError> {
    let read = journal(services, layout).read().await?;
    let summary = read.and_then(|read| read.journal.summary());
    summary.ok_or(GatherError::NotDelivered)
}

/// Closes the journal of the run's delivery, so that nothing more is published. Returns the receipt
/// if the file is delivered.
///
/// A journal that cannot be read does not prevent the manifest: the transporter cannot write it
/// either, and publishes nothing.
pub(crate) async fn close_all(
    services: &Services,
    layout: &RunLayout,
) -> Result<Option<Value>, GatherError> {
    match close(&journal(services, layout)).await {
        Ok(journal) => {
            let summary = journal.and_then(|journal| journal.summary());
            Ok(summary.as_ref().map(to_value))
        }
        Err(error @ (StorageError::Document { .. } | StorageError::TooLarge { .. })) => {
            warn!(error.message = %Chain(&error), "the journal of the delivery cannot be read");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The receipt as the manifest has it.
pub(crate) fn to_value(summary: &DeliverySummary) -> Value {
    serde_json::to_value(summary).expect("a receipt is always JSON")
}

fn journal(services: &Services, layout: &RunLayout) -> S3Journal {
    let (destination, number) = INLINE;
    S3Journal::new(services.storage.clone(), layout.delivery(destination, number))
}
