//! Where a secret is kept.

use std::{fmt, str::FromStr};

/// The longest ARN of Secrets Manager and of the Parameter Store.
const REFERENCE_BYTES_MAX: usize = 2048;

/// What begins the short form of a parameter.
const PARAMETER_PREFIX: &str = "ssm:";

/// The name of a secret, which is no secret itself.
///
/// One of: the name or ARN of a secret in Secrets Manager; `ssm:` and the name of a parameter in
/// the Parameter Store of Systems Manager, or its ARN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretReference {
    store: SecretStore,
    id: String,
}

/// Who keeps a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretStore {
    /// AWS Secrets Manager.
    SecretsManager,
    /// The Parameter Store of AWS Systems Manager.
    ParameterStore,
}

/// Why a text does not refer to a secret. It never holds the text: that may be the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretReferenceError {
    /// It has no or too many characters, or others than names have.
    #[error(
        "expected the name or ARN of a secret, or `ssm:` and the name of a parameter: 1 to 2048 letters, digits and `/_+=.@:-`"
    )]
    Characters,
    /// It is an ARN of something else.
    #[error("is an ARN of something else than a secret or a parameter")]
    OtherArn,
}

impl SecretReference {
    /// Who keeps the secret.
    pub fn store(&self) -> SecretStore {
        self.store
    }

    /// What the store calls it: a name or an ARN.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl FromStr for SecretReference {
    type Err = SecretReferenceError;

    fn from_str(text: &str) -> Result<Self, SecretReferenceError> {
        let is_name = |text: &str| {
            text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@:-".contains(&b))
        };
        let (store, id) = if text.starts_with("arn:") {
            let mut parts = text.splitn(6, ':').skip(2);
            let store = match (parts.next(), parts.nth(2)) {
                (Some("secretsmanager"), Some(what)) if what.starts_with("secret:") => {
                    SecretStore::SecretsManager
                }
                (Some("ssm"), Some(what)) if what.starts_with("parameter/") => {
                    SecretStore::ParameterStore
                }
                _ => return Err(SecretReferenceError::OtherArn),
            };
            (store, text)
        } else if let Some(name) = text.strip_prefix(PARAMETER_PREFIX) {
            (SecretStore::ParameterStore, name)
        } else if text.contains(':') {
            return Err(SecretReferenceError::Characters);
        } else {
            (SecretStore::SecretsManager, text)
        };
        if id.is_empty() || id.len() > REFERENCE_BYTES_MAX || !is_name(id) {
            return Err(SecretReferenceError::Characters);
        }
        Ok(Self { store, id: id.to_owned() })
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.store == SecretStore::ParameterStore && !self.id.starts_with("arn:") {
            f.write_str(PARAMETER_PREFIX)?;
        }
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, store: SecretStore, id: &str) {
        let reference: SecretReference = text.parse().unwrap();
        assert_eq!((reference.store(), reference.id()), (store, id), "{text}");
        assert_eq!(reference.to_string(), text);
    }

    #[track_caller]
    fn check_refused(text: &str, error: &SecretReferenceError) {
        assert_eq!(text.parse::<SecretReference>().as_ref(), Err(error), "{text}");
    }

    #[test]
    fn names_and_arns_of_both_stores_are_told_apart() {
        use SecretStore::{ParameterStore, SecretsManager};
        check("sftp/acme", SecretsManager, "sftp/acme");
        let arn = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:sftp/acme-a1B2c3";
        check(arn, SecretsManager, arn);
        let arn = "arn:aws-cn:secretsmanager:cn-north-1:000000000000:secret:x";
        check(arn, SecretsManager, arn);
        check("ssm:/sftp/acme", ParameterStore, "/sftp/acme");
        check("ssm:acme:3", ParameterStore, "acme:3");
        let arn = "arn:aws:ssm:eu-west-1:000000000000:parameter/sftp/acme";
        check(arn, ParameterStore, arn);
    }

    #[test]
    fn other_texts_are_refused() {
        use SecretReferenceError::{Characters, OtherArn};
        for text in ["", "ssm:", "a b", "kms:x", r#"{"Password":"x"}"#, "ä", &"x".repeat(2049)] {
            check_refused(text, &Characters);
        }
        for text in [
            "arn:aws:s3:::bucket",
            "arn:aws:secretsmanager:eu-west-1:000000000000",
            "arn:aws:ssm:eu-west-1:000000000000:document/x",
        ] {
            check_refused(text, &OtherArn);
        }
    }
}
