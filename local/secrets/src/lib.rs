//! Secrets Manager and the Parameter Store of Systems Manager, as far as the functions and those
//! who try them need them.
//!
//! It speaks their protocol (AWS JSON 1.1), so that unmodified SDKs and the AWS CLI work against it:
//! `CreateSecret`, `PutSecretValue`, `GetSecretValue`, `DescribeSecret`, `ListSecrets`,
//! `DeleteSecret`; `PutParameter`, `GetParameter`, `GetParameters`, `DeleteParameter`. A field that
//! it does not know is refused by name.
//!
//! # What differs from AWS
//!
//! * Everything is in memory: nothing reaches the disk, and all is gone when the process ends.
//! * There are no keys, policies, rotations, replicas or tags. What `GetParameter` gives of a
//!   `SecureString` without decryption is opaque.
//! * `ListSecrets` gives all secrets at once, and takes no filter.
//! * A secret keeps the two latest values, `AWSCURRENT` and `AWSPREVIOUS`. One that was deleted with
//!   a recovery window stays marked for deletion, and can not be restored.

mod api;
mod error;
mod faults;
mod parameters;
mod secrets;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use secrecy::SecretString;

pub use crate::{
    api::router,
    faults::{Fault, Faults},
};
use crate::{error::ApiError, parameters::Parameters, secrets::Secrets};

/// What the ARNs of a store say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account, 12 digits.
    pub account: String,
    /// The region.
    pub region: String,
}

/// Why a value was not taken, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Refused(ApiError);

/// The state of both services. Clones share it.
#[derive(Clone, Debug)]
pub struct SecretStores(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    faults: Faults,
}

#[derive(Debug)]
struct Kept {
    secrets: Secrets,
    parameters: Parameters,
    reads: u64,
}

impl SecretStores {
    /// Two services without a secret.
    pub fn new(config: &Config) -> Self {
        let kept =
            Kept { secrets: Secrets::new(config), parameters: Parameters::new(config), reads: 0 };
        Self(Arc::new(Shared { kept: Mutex::new(kept), faults: Faults::default() }))
    }

    /// The faults that both services show on demand, none at first.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Gives a secret of Secrets Manager a value, and makes it if it is not there; its ARN.
    ///
    /// # Errors
    ///
    /// When the name is none, or the value is too long.
    pub fn put_secret(&self, name: &str, text: impl Into<SecretString>) -> Result<String, Refused> {
        self.kept().secrets.put_text(name, text.into()).map_err(Refused)
    }

    /// Gives a parameter of the type `SecureString` a value, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// When the name is none, or the value is too long.
    pub fn put_parameter(&self, name: &str, text: impl Into<SecretString>) -> Result<(), Refused> {
        self.kept().parameters.put_secure(name, text.into()).map_err(Refused)
    }

    /// The ARN of the secret with this name or ARN, if there is one.
    pub fn secret_arn(&self, id: &str) -> Option<String> {
        self.kept().secrets.arn_of(id)
    }

    /// How often a value was asked for, in vain or not.
    pub fn reads(&self) -> u64 {
        self.kept().reads
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as AWS JSON has it: seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of our time fit")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}
