//! The credentials of an account.

use job::transport::{ShareFileConfig, TransportProblem};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// The credentials of a login.
pub(crate) struct Credentials<'a> {
    client_id: &'a str,
    pub(crate) client_secret: &'a SecretString,
    pub(crate) username: &'a str,
    pub(crate) password: &'a SecretString,
}

impl<'a> Credentials<'a> {
    /// Takes the credentials of `config`, whose secret must have been looked up.
    ///
    /// # Errors
    ///
    /// Names all that are missing.
    pub(crate) fn new(config: &'a ShareFileConfig) -> Result<Self, Error> {
        let fields = (
            config.client_id.as_deref(),
            config.client_secret.as_ref(),
            config.username.as_deref(),
            config.password.as_ref(),
        );
        if let (Some(client_id), Some(client_secret), Some(username), Some(password)) = fields {
            return Ok(Self { client_id, client_secret, username, password });
        }
        let missing = [
            ("client_id", fields.0.is_none()),
            ("client_secret", fields.1.is_none()),
            ("username", fields.2.is_none()),
            ("password", fields.3.is_none()),
        ];
        let problems = missing.into_iter().filter(|(_, is_missing)| *is_missing);
        let problems = problems.map(|(field, _)| TransportProblem {
            path: format!("config.{field}"),
            message: "is missing, also in the secret".to_owned(),
        });
        Err(Error::Configuration { problems: problems.collect() })
    }

    /// Returns the body of a login.
    pub(crate) fn form(&self) -> SecretString {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "password")
            .append_pair("client_id", self.client_id)
            .append_pair("client_secret", self.client_secret.expose_secret())
            .append_pair("username", self.username)
            .append_pair("password", self.password.expose_secret());
        form.finish().into()
    }
}
