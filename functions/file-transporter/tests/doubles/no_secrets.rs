//! A store of secrets that is not asked.

use async_trait::async_trait;
use aws_io::secrets::{Freshness, SecretError};
use file_transporter::SecretReader;
use job::SecretReference;
use secrecy::SecretString;

/// It panics when it is.
pub(crate) struct NoSecrets;

#[async_trait]
impl SecretReader for NoSecrets {
    async fn read(
        &self,
        asked: &SecretReference,
        _: Freshness,
    ) -> Result<SecretString, SecretError> {
        panic!("`{asked}` is read")
    }
}
