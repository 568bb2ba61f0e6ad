//! Places in S3.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{BucketName, NameError};

/// An object: its bucket and its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct S3Location {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key, not URL-encoded.
    pub key: String,
}

impl S3Location {
    /// The object `key` in `bucket`.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), key: key.into() }
    }

    /// What comes after the last `/` of the key; empty for a key that ends with one.
    pub fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// One version of an object: the pin of every read that must not see another one.
///
/// The version id decides where there is one: under SSE-KMS equal bytes have another ETag after
/// each write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// Version id; nothing in a bucket without versioning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// ETag, with its quotes.
    pub etag: String,
}

/// Why a text is not an S3 URI.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum S3UriError {
    /// It does not begin with `s3://`.
    #[error("`{0}` is not an S3 URI: expected `s3://bucket/key`")]
    Scheme(String),
    /// The bucket is not one.
    #[error("`{uri}` is not an S3 URI")]
    Bucket {
        /// The text.
        uri: String,
        /// What is wrong with its bucket.
        source: NameError,
    },
    /// There is no key, or it is longer than 1,024 bytes.
    #[error("`{0}` names no object: the key must have 1 to 1,024 bytes")]
    Key(String),
}

impl FromStr for S3Location {
    type Err = S3UriError;

    fn from_str(uri: &str) -> Result<Self, S3UriError> {
        let rest = uri.strip_prefix("s3://").ok_or_else(|| S3UriError::Scheme(uri.to_owned()))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        BucketName::from_str(bucket)
            .map_err(|source| S3UriError::Bucket { uri: uri.to_owned(), source })?;
        if key.is_empty() || key.len() > 1024 {
            return Err(S3UriError::Key(uri.to_owned()));
        }
        Ok(Self::new(bucket, key))
    }
}

/// A key prefix: empty, or text that ends with `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Prefix(String);

impl Prefix {
    /// The prefix, empty or with its trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of `name` below this prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }
}

impl From<String> for Prefix {
    fn from(mut text: String) -> Self {
        if !text.is_empty() && !text.ends_with('/') {
            text.push('/');
        }
        Self(text)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_uri_gives_bucket_key_and_file_name() {
        let location: S3Location = "s3://acme-data/a/b c+ä%20.csv".parse().unwrap();
        assert_eq!(location, S3Location::new("acme-data", "a/b c+ä%20.csv"));
        assert_eq!(location.file_name(), "b c+ä%20.csv");
        assert_eq!(location.to_string(), "s3://acme-data/a/b c+ä%20.csv");
    }

    #[test]
    fn what_is_no_s3_uri_is_refused() {
        for bad in
            ["", "acme/a", "https://acme/a", "s3://acme", "s3://acme/", "s3:///a", "s3://A_B/c"]
        {
            assert!(bad.parse::<S3Location>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_ends_with_a_slash_or_is_empty() {
        for (given, kept) in [("", ""), ("a", "a/"), ("a/", "a/"), ("a/b", "a/b/")] {
            assert_eq!(Prefix::from(given.to_owned()).as_str(), kept);
        }
        assert_eq!(Prefix::from("a".to_owned()).key("b.csv"), "a/b.csv");
    }
}
