//! The parameters of the Parameter Store.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Config, error::ApiError, seconds};

/// The longest value of the tier `Standard`, and of `Advanced`.
const VALUE_BYTES_MAX: (usize, usize) = (4096, 8192);

const NAME_BYTES_MAX: usize = 1011;

const NAMES_MAX: usize = 10;

/// All parameters, by their names.
#[derive(Debug)]
pub(crate) struct Parameters {
    arn_prefix: String,
    by_name: BTreeMap<String, Parameter>,
}

#[derive(Debug)]
struct Parameter {
    kind: Kind,
    changed: Timestamp,
    /// Version 1 comes first.
    values: Vec<SecretString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Kind {
    String,
    StringList,
    SecureString,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Tier {
    #[default]
    Standard,
    Advanced,
    #[serde(rename = "Intelligent-Tiering")]
    Intelligent,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PutParameter {
    name: String,
    value: SecretString,
    #[serde(rename = "Type")]
    kind: Option<Kind>,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    tier: Tier,
    /// Kept nowhere: nothing here shows it.
    #[serde(rename = "Description")]
    _description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetParameter {
    name: String,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetParameters {
    names: Vec<String>,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteParameter {
    name: String,
}

impl Parameters {
    pub(crate) fn new(config: &Config) -> Self {
        let Config { account, region } = config;
        let arn_prefix = format!("arn:aws:ssm:{region}:{account}:parameter/");
        Self { arn_prefix, by_name: BTreeMap::new() }
    }

    pub(crate) fn put_secure(&mut self, name: &str, value: SecretString) -> Result<(), ApiError> {
        let request = PutParameter {
            name: name.to_owned(),
            value,
            kind: Some(Kind::SecureString),
            overwrite: true,
            tier: Tier::Advanced,
            _description: None,
        };
        self.put(request).map(drop)
    }

    pub(crate) fn put(&mut self, request: PutParameter) -> Result<Value, ApiError> {
        let PutParameter { name, value, kind, overwrite, tier, .. } = request;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_.-/".contains(&b);
        let is_path = !name.contains('/') || name.starts_with('/');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) || !is_path
        {
            let message = "Parameter name must be a fully qualified name of letters, numbers and the symbols .-_/";
            return Err(ApiError::Validation(message.to_owned()));
        }
        let (standard, advanced) = VALUE_BYTES_MAX;
        let size = value.expose_secret().len();
        let limit = if tier == Tier::Standard { standard } else { advanced };
        if size == 0 || size > limit {
            let message = format!("A parameter value must have 1 to {limit} characters.");
            return Err(ApiError::Validation(message));
        }
        let known = self.by_name.get_mut(&name);
        let version = match known {
            Some(_) if !overwrite => return Err(ApiError::ParameterExists),
            Some(parameter) => {
                parameter.kind = kind.unwrap_or(parameter.kind);
                parameter.changed = Timestamp::now();
                parameter.values.push(value);
                parameter.values.len()
            }
            None => {
                let Some(kind) = kind else {
                    let message = "A parameter type is required when you create a parameter.";
                    return Err(ApiError::Validation(message.to_owned()));
                };
                let parameter = Parameter { kind, changed: Timestamp::now(), values: vec![value] };
                self.by_name.insert(name, parameter);
                1
            }
        };
        let tier = if size > standard { "Advanced" } else { "Standard" };
        Ok(json!({ "Version": version, "Tier": tier }))
    }

    pub(crate) fn get(&self, request: &GetParameter) -> Result<Value, ApiError> {
        let parameter = self.find(&request.name, request.with_decryption)?;
        Ok(json!({ "Parameter": parameter }))
    }

    pub(crate) fn get_several(&self, request: GetParameters) -> Result<Value, ApiError> {
        let GetParameters { names, with_decryption } = request;
        if names.is_empty() || names.len() > NAMES_MAX {
            let message = format!("1 to {NAMES_MAX} names can be asked for at once.");
            return Err(ApiError::Validation(message));
        }
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for name in names {
            match self.find(&name, with_decryption) {
                Ok(parameter) => found.push(parameter),
                Err(_) => invalid.push(name),
            }
        }
        Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
    }

    pub(crate) fn delete(&mut self, request: &DeleteParameter) -> Result<Value, ApiError> {
        let gone = self.by_name.remove(&request.name);
        gone.map(|_| json!({})).ok_or_else(|| ApiError::NoParameter(request.name.clone()))
    }

    /// A parameter by its name or ARN, with `:` and a version behind it or not.
    fn find(&self, id: &str, decrypt: bool) -> Result<Value, ApiError> {
        let missing = || ApiError::NoParameter(id.to_owned());
        let id_in_arn = id.strip_prefix(&self.arn_prefix);
        let (name, version) = match id_in_arn.unwrap_or(id).split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (id_in_arn.unwrap_or(id), None),
        };
        let path = format!("/{name}");
        let known = self.by_name.get_key_value(name);
        let known = known.or_else(|| id_in_arn.and_then(|_| self.by_name.get_key_value(&path)));
        let (name, parameter) = known.ok_or_else(missing)?;
        let number = match version {
            Some(version) => version.parse().ok().filter(|number| *number > 0),
            None => Some(parameter.values.len()),
        };
        let value = number.and_then(|number| parameter.values.get(number - 1));
        let (Some(value), Some(number)) = (value, number) else {
            return Err(ApiError::NoParameterVersion(version.unwrap_or_default().to_owned()));
        };
        let value = match parameter.kind {
            Kind::SecureString if !decrypt => BASE64_STANDARD.encode(format!("{id} is encrypted")),
            _ => value.expose_secret().to_owned(),
        };
        let arn = format!("{}{}", self.arn_prefix, name.trim_start_matches('/'));
        Ok(json!({
            "Name": name, "Type": format!("{:?}", parameter.kind), "Value": value,
            "Version": number, "ARN": arn, "DataType": "text",
            "LastModifiedDate": seconds(parameter.changed),
        }))
    }
}
