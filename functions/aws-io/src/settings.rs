//! The settings of a function, from its environment.

use serde::de::DeserializeOwned;

/// A variable of the environment that is missing or does not say what it must.
#[derive(Debug, thiserror::Error)]
#[error("reading the settings from the environment")]
pub struct SettingsError(#[source] config::ConfigError);

/// Reads `T` from environment variables of the same names as its fields, in capitals.
///
/// # Errors
///
/// When a variable is missing that has no default, or can not be read as its field's type.
pub fn from_environment<T: DeserializeOwned>() -> Result<T, SettingsError> {
    let environment = config::Environment::default().try_parsing(true);
    let settings =
        config::Config::builder().add_source(environment).build().map_err(SettingsError)?;
    settings.try_deserialize().map_err(SettingsError)
}
