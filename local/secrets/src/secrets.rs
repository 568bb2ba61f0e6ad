//! The secrets of Secrets Manager.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{Timestamp, ToSpan as _};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Config, error::ApiError, seconds};

/// The longest value, by the quotas of Secrets Manager.
const VALUE_BYTES_MAX: usize = 65_536;

const NAME_BYTES_MAX: usize = 512;

/// How long a deleted secret could be restored, if nothing else is said.
const RECOVERY_DAYS: i64 = 30;

const MARKED_FOR_DELETION: &str =
    "You can't perform this operation on the secret because it was marked for deletion.";

/// All secrets, by their names.
#[derive(Debug)]
pub(crate) struct Secrets {
    arn_prefix: String,
    by_name: BTreeMap<String, Secret>,
}

#[derive(Debug)]
struct Secret {
    arn: String,
    description: Option<String>,
    created: Timestamp,
    changed: Timestamp,
    deleted: Option<Timestamp>,
    /// The latest is the last; there are two at the most.
    versions: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    id: String,
    created: Timestamp,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Text(SecretString),
    /// In base64, as it is sent.
    Binary(SecretString),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateSecret {
    name: String,
    description: Option<String>,
    client_request_token: Option<String>,
    secret_string: Option<SecretString>,
    secret_binary: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PutSecretValue {
    secret_id: String,
    client_request_token: Option<String>,
    secret_string: Option<SecretString>,
    secret_binary: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetSecretValue {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeSecret {
    secret_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListSecrets {
    /// Has no effect: the list is never cut.
    #[serde(rename = "MaxResults")]
    _max_results: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteSecret {
    secret_id: String,
    recovery_window_in_days: Option<i64>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

impl Secrets {
    pub(crate) fn new(config: &Config) -> Self {
        let Config { account, region } = config;
        let arn_prefix = format!("arn:aws:secretsmanager:{region}:{account}:secret:");
        Self { arn_prefix, by_name: BTreeMap::new() }
    }

    pub(crate) fn put_text(&mut self, name: &str, text: SecretString) -> Result<String, ApiError> {
        if !self.by_name.contains_key(name) {
            self.create(CreateSecret {
                name: name.to_owned(),
                description: None,
                client_request_token: None,
                secret_string: None,
                secret_binary: None,
            })?;
        }
        let (_, secret) = self.usable(name)?;
        secret.add(None, Contents::of(Some(text), None)?)?;
        Ok(secret.arn.clone())
    }

    pub(crate) fn create(&mut self, request: CreateSecret) -> Result<Value, ApiError> {
        let CreateSecret { name, description, client_request_token: token, .. } = request;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
            let message = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!";
            return Err(ApiError::Validation(message.to_owned()));
        }
        match self.by_name.get(&name) {
            Some(Secret { deleted: Some(_), .. }) => {
                return Err(ApiError::InvalidRequest(
                    "You can't create this secret because a secret with this name is already scheduled for deletion.",
                ));
            }
            Some(_) => {
                return Err(ApiError::SecretExists(format!(
                    "The operation failed because the secret {name} already exists."
                )));
            }
            None => {}
        }
        let now = Timestamp::now();
        let suffix: String = Uuid::new_v4().simple().to_string().chars().take(6).collect();
        let mut secret = Secret {
            arn: format!("{}{name}-{suffix}", self.arn_prefix),
            description,
            created: now,
            changed: now,
            deleted: None,
            versions: Vec::new(),
        };
        let mut answer = json!({ "ARN": secret.arn, "Name": name });
        if request.secret_string.is_some() || request.secret_binary.is_some() {
            let contents = Contents::of(request.secret_string, request.secret_binary)?;
            answer["VersionId"] = secret.add(token, contents)?.into();
        }
        self.by_name.insert(name, secret);
        Ok(answer)
    }

    pub(crate) fn put_value(&mut self, request: PutSecretValue) -> Result<Value, ApiError> {
        let contents = Contents::of(request.secret_string, request.secret_binary)?;
        let (name, secret) = self.usable(&request.secret_id)?;
        let id = secret.add(request.client_request_token, contents)?;
        Ok(json!({
            "ARN": secret.arn, "Name": name, "VersionId": id, "VersionStages": ["AWSCURRENT"],
        }))
    }

    pub(crate) fn get_value(&mut self, request: &GetSecretValue) -> Result<Value, ApiError> {
        let (name, secret) = self.usable(&request.secret_id)?;
        let stage = request.version_stage.as_deref();
        let wanted = |(place, version): &(usize, &Version)| {
            let by_stage = stage.is_none_or(|stage| secret.stage(*place) == stage);
            match &request.version_id {
                Some(id) => version.id == *id && by_stage,
                None => secret.stage(*place) == stage.unwrap_or("AWSCURRENT"),
            }
        };
        let Some((place, version)) = secret.versions.iter().enumerate().find(wanted) else {
            return Err(ApiError::NoSecretValue(match &request.version_id {
                Some(id) => format!("VersionId: {id}"),
                None => format!("staging label: {}", stage.unwrap_or("AWSCURRENT")),
            }));
        };
        let mut answer = json!({
            "ARN": secret.arn, "Name": name, "VersionId": version.id,
            "VersionStages": [secret.stage(place)], "CreatedDate": seconds(version.created),
        });
        let (field, value) = match &version.contents {
            Contents::Text(text) => ("SecretString", text),
            Contents::Binary(base64) => ("SecretBinary", base64),
        };
        answer[field] = value.expose_secret().into();
        Ok(answer)
    }

    pub(crate) fn describe(&self, request: &DescribeSecret) -> Result<Value, ApiError> {
        let name = self.name_of(&request.secret_id).ok_or(ApiError::NoSecret)?;
        Ok(self.by_name[name].entry(name, "VersionIdsToStages"))
    }

    pub(crate) fn list(&self) -> Value {
        let living = self.by_name.iter().filter(|(_, secret)| secret.deleted.is_none());
        let entries: Vec<_> =
            living.map(|(name, secret)| secret.entry(name, "SecretVersionsToStages")).collect();
        json!({ "SecretList": entries })
    }

    pub(crate) fn delete(&mut self, request: &DeleteSecret) -> Result<Value, ApiError> {
        let days = match request.recovery_window_in_days {
            Some(_) if request.force_delete_without_recovery => {
                return Err(ApiError::InvalidParameter(
                    "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.".to_owned(),
                ));
            }
            Some(days) if !(7..=30).contains(&days) => {
                return Err(ApiError::InvalidParameter(
                    "RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
                        .to_owned(),
                ));
            }
            days => days.unwrap_or(RECOVERY_DAYS),
        };
        let (name, secret) = self.usable(&request.secret_id)?;
        let arn = secret.arn.clone();
        let now = Timestamp::now();
        let gone = if request.force_delete_without_recovery {
            self.by_name.remove(&name);
            now
        } else {
            secret.deleted = Some(now);
            now + (days * 24).hours()
        };
        Ok(json!({ "ARN": arn, "Name": name, "DeletionDate": seconds(gone) }))
    }

    /// The name behind a name, an ARN, or an ARN without its random end.
    pub(crate) fn arn_of(&self, id: &str) -> Option<String> {
        self.name_of(id).map(|name| self.by_name[name].arn.clone())
    }

    fn name_of(&self, id: &str) -> Option<&str> {
        let Some(rest) = id.strip_prefix(&self.arn_prefix) else {
            return self.by_name.get_key_value(id).map(|(name, _)| name.as_str());
        };
        let matches = |(name, secret): &(&String, &Secret)| secret.arn == id || *name == rest;
        self.by_name.iter().find(matches).map(|(name, _)| name.as_str())
    }

    fn usable(&mut self, id: &str) -> Result<(String, &mut Secret), ApiError> {
        let name = self.name_of(id).ok_or(ApiError::NoSecret)?.to_owned();
        let secret = self.by_name.get_mut(&name).ok_or(ApiError::NoSecret)?;
        if secret.deleted.is_some() {
            return Err(ApiError::InvalidRequest(MARKED_FOR_DELETION));
        }
        Ok((name, secret))
    }
}

impl Secret {
    /// Makes a value the current one; the same token with the same value does nothing.
    fn add(&mut self, token: Option<String>, contents: Contents) -> Result<String, ApiError> {
        let id = token.unwrap_or_else(|| Uuid::new_v4().to_string());
        if let Some(known) = self.versions.iter().find(|version| version.id == id) {
            if known.contents.is_as(&contents) {
                return Ok(id);
            }
            return Err(ApiError::SecretExists(format!(
                "You can't use ClientRequestToken {id} because that value is already in use for a version of secret {}.",
                self.arn
            )));
        }
        let now = Timestamp::now();
        self.changed = now;
        if self.versions.len() == 2 {
            self.versions.remove(0);
        }
        self.versions.push(Version { id: id.clone(), created: now, contents });
        Ok(id)
    }

    fn stage(&self, place: usize) -> &'static str {
        if place + 1 == self.versions.len() { "AWSCURRENT" } else { "AWSPREVIOUS" }
    }

    /// What is told of a secret without its value; one operation calls the stages otherwise.
    fn entry(&self, name: &str, stages_field: &str) -> Value {
        let stages: Map<String, Value> = self
            .versions
            .iter()
            .enumerate()
            .map(|(place, version)| (version.id.clone(), json!([self.stage(place)])))
            .collect();
        let mut entry = json!({
            "ARN": self.arn, "Name": name, stages_field: stages,
            "CreatedDate": seconds(self.created), "LastChangedDate": seconds(self.changed),
        });
        if let Some(description) = &self.description {
            entry["Description"] = description.as_str().into();
        }
        if let Some(deleted) = self.deleted {
            entry["DeletedDate"] = seconds(deleted).into();
        }
        entry
    }
}

impl Contents {
    fn of(text: Option<SecretString>, binary: Option<SecretString>) -> Result<Self, ApiError> {
        let invalid = |message: &str| Err(ApiError::InvalidParameter(message.to_owned()));
        match (text, binary) {
            (Some(text), None) if text.expose_secret().len() > VALUE_BYTES_MAX => {
                Err(ApiError::Validation(format!(
                    "1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to {VALUE_BYTES_MAX}"
                )))
            }
            (Some(text), None) => Ok(Self::Text(text)),
            (None, Some(binary)) => match BASE64_STANDARD.decode(binary.expose_secret()) {
                Ok(bytes) if bytes.len() <= VALUE_BYTES_MAX => Ok(Self::Binary(binary)),
                _ => invalid("SecretBinary is not base64, or is too long."),
            },
            (Some(_), Some(_)) => {
                invalid("You can't specify both a binary secret value and a string secret value.")
            }
            (None, None) => invalid("You must provide either SecretString or SecretBinary."),
        }
    }

    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) | (Self::Binary(a), Self::Binary(b)) => {
                a.expose_secret() == b.expose_secret()
            }
            _ => false,
        }
    }
}
