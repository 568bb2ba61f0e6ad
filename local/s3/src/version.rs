//! Ids of versions.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::crypto::{Checksum as _, Sha256};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::StoreError;

/// Number of random bytes of an id. Check bytes follow them.
const RANDOM_BYTES: usize = 16;

/// Number of bytes of an id in all: 32 characters, as many as AWS's.
const ID_BYTES: usize = 24;

/// The id of a version of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum VersionId {
    /// `null`: the version that is written while versioning is not enabled.
    #[default]
    Null,
    /// An id that a store made. Its check bytes tell it from one that was made up, as S3 can with
    /// its own.
    Issued(String),
}

impl VersionId {
    /// Makes an id that no other version has.
    pub(crate) fn issue() -> Self {
        let random = Uuid::new_v4().into_bytes();
        let id = [&random[..], &check_bytes(&random)].concat();
        // A leading hyphen would make the id an option on a command line.
        Self::Issued(URL_SAFE_NO_PAD.encode(id).replace('-', "."))
    }

    /// Parses an id that a client gives.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidVersionId`] if no store made it.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let id = URL_SAFE_NO_PAD.decode(text.replace('.', "-")).unwrap_or_default();
        if id.len() == ID_BYTES && id[RANDOM_BYTES..] == check_bytes(&id[..RANDOM_BYTES]) {
            Ok(Self::Issued(text.to_owned()))
        } else {
            Err(StoreError::InvalidVersionId { version_id: text.to_owned() })
        }
    }

    /// Returns the id unless it is `null`.
    pub(crate) fn issued(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Issued(id) => Some(id),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::Null
    }
}

fn check_bytes(random: &[u8]) -> [u8; ID_BYTES - RANDOM_BYTES] {
    let digest = Sha256::checksum(random);
    std::array::from_fn(|index| digest[index])
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.issued().unwrap_or("null"))
    }
}

impl From<VersionId> for String {
    fn from(version: VersionId) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for VersionId {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, StoreError> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_looks_like_one_of_s3_and_is_read_back() {
        for _ in 0..100 {
            let version = VersionId::issue();
            let id = version.to_string();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
            assert!(id.len() == 32 && id.chars().all(is_plain), "{id}");
            assert_eq!(VersionId::parse(&id).expect("it was made here"), version);
        }
        assert_eq!(VersionId::parse("null").expect("it is an id"), VersionId::Null);
    }

    /// AWS answers `InvalidArgument` to the second one, which has the form of an id.
    #[test]
    fn an_id_that_was_made_up_is_none() {
        let cut = VersionId::issue().to_string()[1..].to_owned();
        for text in ["", "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD", "../../etc/passwd", cut.as_str()] {
            let parsed = VersionId::parse(text);
            assert!(matches!(parsed, Err(StoreError::InvalidVersionId { .. })), "{text}");
        }
    }
}
