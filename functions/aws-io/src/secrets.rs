//! Secrets, read by reference from Secrets Manager or from the Parameter Store.
//!
//! The SDK's types stop here, and no error or log line holds anything of a secret's value.

mod cache;
mod parameter_store;

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    config::{Builder, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
};
use job::{ErrorName, SecretReference, SecretStore, error::Chain};
use secrecy::{ExposeSecret, SecretString};

use self::{cache::Cache, parameter_store::ParameterStore};
use crate::Failure;

/// How often a request is sent when the store is busy or fails: the SDK waits between with
/// exponential backoff and full jitter, some seconds in all.
const SENDS_MAX: u32 = 4;

/// The longest value, by the quotas of Secrets Manager; a parameter has at most 8 KiB.
pub const SECRET_BYTES_MAX: usize = 65_536;

/// How old a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Five minutes at the most.
    Cached,
    /// As it is now, because the one from before does not work any more.
    Now,
}

/// Why a secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not there.
    #[error("reading the secret `{reference}`: there is no such secret ({code})")]
    NotFound {
        /// Its name or ARN.
        reference: SecretReference,
        /// The store's word for it.
        code: String,
    },
    /// The role may not read it, or not use the key that it is encrypted with.
    #[error("reading the secret `{reference}`: access denied ({code}: {message})")]
    Denied {
        /// Its name or ARN.
        reference: SecretReference,
        /// The store's error code.
        code: String,
        /// The store's text.
        message: String,
    },
    /// It is not what can be used, or the store refuses the request.
    #[error("reading the secret `{reference}`: {reason}")]
    Invalid {
        /// Its name or ARN.
        reference: SecretReference,
        /// Why.
        reason: String,
    },
    /// The store was not reached, was busy, or failed.
    #[error("reading the secret `{reference}`: its store could not be reached, is busy or failed")]
    Unavailable {
        /// Its name or ARN.
        reference: SecretReference,
        /// What happened, as text: the SDK's error may hold the answer, and with it the secret.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure for SecretError {
    fn name(&self) -> ErrorName {
        match self {
            Self::NotFound { .. } => ErrorName::SecretNotFound,
            Self::Denied { .. } => ErrorName::SecretDenied,
            Self::Invalid { .. } => ErrorName::SecretInvalid,
            Self::Unavailable { .. } => ErrorName::SecretUnavailable,
        }
    }
}

/// Both stores, and what was read from them in the last minutes.
pub struct Secrets {
    manager: Client,
    parameters: ParameterStore,
    cache: Mutex<Cache>,
    now: Box<dyn Fn() -> Instant + Send + Sync>,
}

impl Secrets {
    /// The stores that `config` leads to; `now` is the clock by which values grow old.
    pub fn new(config: &SdkConfig, now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let retries = config.retry_config().cloned().unwrap_or_else(RetryConfig::standard);
        let retries = retries.with_max_attempts(SENDS_MAX);
        let parameters = ParameterStore::new(config, &retries);
        let manager = Builder::from(config).retry_config(retries).build();
        Self {
            manager: Client::from_conf(manager),
            parameters,
            cache: Mutex::default(),
            now: Box::new(now),
        }
    }

    /// The secret's text.
    ///
    /// # Errors
    ///
    /// When it can not be read, is binary, or is longer than [`SECRET_BYTES_MAX`].
    pub async fn get(
        &self,
        reference: &SecretReference,
        freshness: Freshness,
    ) -> Result<SecretString, SecretError> {
        let asked = (self.now)();
        let kept = match freshness {
            Freshness::Cached => self.cache().get(reference, asked),
            Freshness::Now => None,
        };
        if let Some(text) = kept {
            return Ok(text);
        }
        let text = match reference.store() {
            SecretStore::SecretsManager => self.secret(reference).await?,
            SecretStore::ParameterStore => self.parameter(reference).await?,
        };
        let size = text.expose_secret().len();
        if size > SECRET_BYTES_MAX {
            let reason = format!("it has {size} bytes, and {SECRET_BYTES_MAX} is the most");
            return Err(SecretError::Invalid { reference: reference.clone(), reason });
        }
        self.cache().put(reference.clone(), text.clone(), asked);
        Ok(text)
    }

    async fn secret(&self, reference: &SecretReference) -> Result<SecretString, SecretError> {
        let sent = self.manager.get_secret_value().secret_id(reference.id()).send().await;
        let answer = sent.map_err(|error| SecretError::new(reference, &error))?;
        answer.secret_string.map(SecretString::from).ok_or_else(|| SecretError::Invalid {
            reference: reference.clone(),
            reason: "it is binary; a text is expected".to_owned(),
        })
    }

    async fn parameter(&self, reference: &SecretReference) -> Result<SecretString, SecretError> {
        let sent = self.parameters.get(reference.id()).await;
        let parameter = sent.map_err(|error| SecretError::new(reference, &error))?;
        if parameter.kind != "SecureString" {
            tracing::warn!(
                secret.reference = %reference,
                parameter.kind,
                "the parameter is not encrypted; make it a `SecureString`"
            );
        }
        Ok(parameter.value)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SecretError {
    fn new<E, R>(reference: &SecretReference, error: &SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let reference = reference.clone();
        let metadata = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = metadata.and_then(|metadata| metadata.code()).unwrap_or_default().to_owned();
        let message =
            metadata.and_then(|metadata| metadata.message()).unwrap_or_default().to_owned();
        match code.as_str() {
            "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound" => {
                Self::NotFound { reference, code }
            }
            "AccessDeniedException"
            | "DecryptionFailure"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidKeyId"
            | "InvalidSignatureException"
            | "KMSAccessDeniedException"
            | "UnrecognizedClientException" => Self::Denied { reference, code, message },
            "InvalidParameterException" | "InvalidRequestException" | "ValidationException" => {
                Self::Invalid { reference, reason: format!("{code}: {message}") }
            }
            _ => Self::Unavailable { reference, source: Chain(error).to_string().into() },
        }
    }
}
