//! Credentials by reference: a secret fills what the job leaves out.
//!
//! The secret is a JSON object. For SFTP it may hold `Username`, `Password` and `PrivateKey`, as AWS
//! Transfer Family keeps them for its connectors, and `PrivateKeyPassphrase`, `HostKeys` (a list, or
//! text with line breaks or commas between the keys), `Host`, `Port` and `Path`; for ShareFile
//! `client_id`, `client_secret`, `username` and `password`. Capitals, underscores and a leading
//! `sftp_` do not matter, so the names of the job's fields are as good, and `user` means `Username`.
//! Other names are ignored, because secrets that AWS makes have more; `null` and an empty text count
//! as left out.
//!
//! What the job itself says counts before what the secret says, field by field.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_io::secrets::{Freshness, SecretError, Secrets};
use job::{
    SecretReference,
    transport::{Port, SftpConfig, ShareFileConfig, Transporter},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::error::Error;

/// Reads secrets.
#[async_trait]
pub trait SecretReader: Send + Sync {
    /// The secret's text.
    ///
    /// # Errors
    ///
    /// The secret cannot be read.
    async fn read(
        &self,
        reference: &SecretReference,
        freshness: Freshness,
    ) -> Result<SecretString, SecretError>;
}

#[async_trait]
impl SecretReader for Secrets {
    async fn read(
        &self,
        reference: &SecretReference,
        freshness: Freshness,
    ) -> Result<SecretString, SecretError> {
        self.get(reference, freshness).await
    }
}

/// Returns the secret that the transporter names.
///
/// # Errors
///
/// Its text is no name of a secret.
pub(crate) fn reference(transporter: &Transporter) -> Result<Option<SecretReference>, Error> {
    let (field, text) = match transporter {
        Transporter::Sftp(config) => ("sftp_secret", config.sftp_secret.as_deref()),
        Transporter::ShareFile(config) => ("sharefile_secret", config.sharefile_secret.as_deref()),
    };
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|source| Error::SecretReference { field, source })
}

/// Returns the field that would keep the transporter's credentials out of the job, if they are in it.
pub(crate) fn inline(transporter: &Transporter) -> Option<&'static str> {
    let (is_inline, field) = match transporter {
        Transporter::Sftp(config) => {
            (config.sftp_password.is_some() || config.sftp_private_key.is_some(), "sftp_secret")
        }
        Transporter::ShareFile(config) => {
            (config.client_secret.is_some() || config.password.is_some(), "sharefile_secret")
        }
    };
    is_inline.then_some(field)
}

/// The transporter with what the secret adds to it. It names no secret any more.
///
/// # Errors
///
/// When the secret does not hold what it must, or the two together are not enough. No error shows a
/// value.
pub(crate) fn fill(
    transporter: &Transporter,
    reference: &SecretReference,
    text: &SecretString,
) -> Result<Transporter, Error> {
    let invalid = |reason: String| SecretError::Invalid { reference: reference.clone(), reason };
    let filled = match transporter {
        Transporter::Sftp(config) => {
            let layout = Layout::read(text, SFTP_NAMES).map_err(invalid)?;
            Transporter::Sftp(Box::new(sftp(config, &layout).map_err(invalid)?))
        }
        Transporter::ShareFile(config) => {
            let layout = Layout::read(text, SHAREFILE_NAMES).map_err(invalid)?;
            Transporter::ShareFile(Box::new(sharefile(config, &layout).map_err(invalid)?))
        }
    };
    let problems = filled.problems();
    if problems.is_empty() {
        return Ok(filled);
    }
    let problems: Vec<_> =
        problems.iter().map(|problem| format!("`{}` {}", problem.path, problem.message)).collect();
    Err(invalid(format!("with what it holds, {}", problems.join("; "))).into())
}

const SFTP_NAMES: &[&str] = &[
    "Username",
    "Password",
    "PrivateKey",
    "PrivateKeyPassphrase",
    "HostKeys",
    "Host",
    "Port",
    "Path",
];

const SHAREFILE_NAMES: &[&str] = &["client_id", "client_secret", "username", "password"];

fn sftp(config: &SftpConfig, layout: &Layout) -> Result<SftpConfig, String> {
    let mut filled = SftpConfig { sftp_secret: None, ..config.clone() };
    let or_secret = |inline: Option<SecretString>, name| match inline {
        Some(inline) => Ok(Some(inline)),
        None => layout.secret(name),
    };
    filled.sftp_password = or_secret(filled.sftp_password, "Password")?;
    filled.sftp_private_key = or_secret(filled.sftp_private_key, "PrivateKey")?;
    filled.sftp_private_key_passphrase =
        or_secret(filled.sftp_private_key_passphrase, "PrivateKeyPassphrase")?;
    filled.sftp_user = filled.sftp_user.or(layout.text("Username")?);
    filled.sftp_port = filled.sftp_port.or(layout.port("Port")?);
    for (field, name) in [(&mut filled.sftp_host, "Host"), (&mut filled.sftp_path, "Path")] {
        if field.is_empty() {
            *field = layout.text(name)?.unwrap_or_default();
        }
    }
    if filled.sftp_host_keys.is_empty() {
        filled.sftp_host_keys = layout.list("HostKeys")?;
    }
    Ok(filled)
}

fn sharefile(config: &ShareFileConfig, layout: &Layout) -> Result<ShareFileConfig, String> {
    let mut filled = ShareFileConfig { sharefile_secret: None, ..config.clone() };
    filled.client_id = filled.client_id.or(layout.text("client_id")?);
    filled.client_secret = filled.client_secret.or(layout.secret("client_secret")?);
    filled.username = filled.username.or(layout.text("username")?);
    filled.password = filled.password.or(layout.secret("password")?);
    Ok(filled)
}

/// The values of a secret, by the names of this file. It has no `Debug`, because they are secret.
struct Layout(BTreeMap<&'static str, Value>);

impl Layout {
    /// Errors are reasons that show no value.
    fn read(text: &SecretString, names: &[&'static str]) -> Result<Self, String> {
        // What the parser says could quote the text.
        let object: Map<String, Value> = serde_json::from_str(text.expose_secret())
            .map_err(|_| "it is not a JSON object".to_owned())?;
        let mut found = BTreeMap::new();
        for (key, value) in object {
            let known = names.iter().find(|name| plain(name) == plain(&key));
            let Some(name) = known else { continue };
            if found.insert(*name, value).is_some() {
                return Err(format!("it has `{name}` twice, in two spellings"));
            }
        }
        if found.is_empty() {
            return Err(format!("none of `{}` is in it", names.join("`, `")));
        }
        Ok(Self(found))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let value = self.0.get(name)?;
        let is_left_out = value.is_null() || value.as_str().is_some_and(str::is_empty);
        (!is_left_out).then_some(value)
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        let text = |value: &Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| format!("its `{name}` is not a text"))
        };
        self.value(name).map(text).transpose()
    }

    fn secret(&self, name: &str) -> Result<Option<SecretString>, String> {
        Ok(self.text(name)?.map(SecretString::from))
    }

    fn port(&self, name: &str) -> Result<Option<Port>, String> {
        let port = |value: &Value| {
            serde_json::from_value(value.clone())
                .map_err(|_| format!("its `{name}` is not a port from 1 to 65535"))
        };
        self.value(name).map(port).transpose()
    }

    fn list(&self, name: &str) -> Result<Vec<String>, String> {
        let wrong = || format!("its `{name}` is neither a text nor a list of texts");
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(host_keys(text)),
            Some(Value::Array(entries)) => entries
                .iter()
                .map(|entry| entry.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            Some(_) => Err(wrong()),
        }
    }
}

/// A name without its capitals, its underscores and the prefix of the job's fields.
fn plain(name: &str) -> String {
    let plain = name.to_lowercase().replace(['_', '-'], "");
    let plain = plain.strip_prefix("sftp").unwrap_or(&plain);
    if plain == "user" { "username".to_owned() } else { plain.to_owned() }
}

/// The keys in a text, between line breaks or commas.
///
/// The hosts before a key may have commas of their own, as in a `known_hosts` file: what is neither
/// a fingerprint nor two words begins an entry that goes on behind the comma.
fn host_keys(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut begun = String::new();
    for piece in text.lines().flat_map(|line| line.split(',')).map(str::trim) {
        if piece.is_empty() {
            continue;
        }
        begun.push_str(piece);
        if piece.starts_with("SHA256:") || piece.contains(' ') {
            keys.push(std::mem::take(&mut begun));
        } else {
            begun.push(',');
        }
    }
    // What never became a key is kept, so that it is complained about.
    keys.extend(Some(begun).filter(|begun| !begun.is_empty()));
    keys
}

#[cfg(test)]
mod tests;
