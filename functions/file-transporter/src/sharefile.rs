//! Delivery to a ShareFile folder.

use async_trait::async_trait;

use crate::{
    delivery::{Outcome, Parcel, Transport},
    error::Error,
};

/// A ShareFile folder. Its configuration is known and checked; a delivery is refused.
pub(crate) struct ShareFile;

#[async_trait]
impl Transport for ShareFile {
    async fn deliver(&self, _parcel: &Parcel<'_>) -> Result<Outcome, Error> {
        Err(Error::NotYet { what: "a delivery to ShareFile" })
    }
}
