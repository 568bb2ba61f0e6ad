//! Athena, as far as cancelling needs it. The SDK's types stop here.

use aws_sdk_athena::{Client, error::ProvideErrorMetadata};

use crate::GatherError;

/// Athena's API.
#[derive(Clone, Debug)]
pub struct Athena {
    client: Client,
}

impl Athena {
    /// The Athena that `config` leads to.
    pub fn new(config: &aws_io::sdk::SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Cancels a query; one that has ended, or that Athena does not know any more, is fine.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), GatherError> {
        let Err(error) = self.client.stop_query_execution().query_execution_id(id).send().await
        else {
            return Ok(());
        };
        let id = id.to_owned();
        match error.code() {
            Some("InvalidRequestException") => Ok(()),
            Some("ThrottlingException" | "TooManyRequestsException") => {
                Err(GatherError::Throttled { id, source: Box::new(error) })
            }
            _ => Err(GatherError::Unavailable { id, source: Box::new(error) }),
        }
    }
}
