//! The configuration of a delivery to ShareFile.

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Limited, ProblemList, basename_template, secret, template_fault};

/// A folder of a ShareFile account and how to deliver into it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareFileConfig {
    /// The account's host, such as `acme.sharefile.com`.
    pub host: String,
    /// The API client's id.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The API client's secret. Better kept in a secret store: `sharefile_secret`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>", extend("format" = "password", "writeOnly" = true))]
    pub client_secret: Option<SecretString>,
    /// The user that the file is uploaded as.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password. Better kept in a secret store: `sharefile_secret`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>", extend("format" = "password", "writeOnly" = true))]
    pub password: Option<SecretString>,
    /// The folder: its id, or one of `home`, `allshared`, `favorites`, `top`.
    pub sharefile_folder: String,
    /// Name or ARN of a secret, or `ssm:` and the name of a parameter, with `client_id`, `client_secret`, `username` and `password`.
    #[serde(default)]
    pub sharefile_secret: Option<String>,
    /// A path below the folder; what is missing of it is created.
    #[serde(default)]
    pub sharefile_path: String,
    /// The file's name at the recipient; `{basename}` stands for the name of the delivered file,
    /// `{run_id}` for the run.
    #[serde(default = "basename_template")]
    pub sharefile_filename: String,
    /// Whether a file of the same name is replaced; otherwise it is an error.
    #[serde(default = "yes")]
    pub sharefile_overwrite: bool,
    /// Whether ShareFile tells the folder's subscribers.
    #[serde(default)]
    pub sharefile_notify: bool,
    /// Size of an uploaded chunk in bytes.
    #[serde(default)]
    pub sharefile_chunk_size: Limited<65_536, 67_108_864, 8_388_608>,
    /// Number of chunks uploaded at the same time.
    #[serde(default)]
    pub sharefile_threads: Limited<1, 16, 4>,
    /// Where the API answers, if not at the account's host; for tests.
    #[serde(default)]
    pub sharefile_endpoint: Option<String>,
}

fn yes() -> bool {
    true
}

impl ShareFileConfig {
    pub(super) fn check(&self, problems: &mut ProblemList) {
        problems.add_if(self.host.trim().is_empty(), "host", "is empty");
        let by_reference = self.sharefile_secret.is_some();
        let expose =
            |secret: &Option<SecretString>| secret.as_ref().map(|s| s.expose_secret().is_empty());
        let is_empty = |text: &Option<String>| text.as_ref().map(String::is_empty);
        for (field, empty) in [
            ("client_id", is_empty(&self.client_id)),
            ("client_secret", expose(&self.client_secret)),
            ("username", is_empty(&self.username)),
            ("password", expose(&self.password)),
        ] {
            match empty {
                Some(true) => problems.add(field, "is empty"),
                None if !by_reference => {
                    problems.add(field, "is needed unless `sharefile_secret` holds it");
                }
                Some(false) | None => {}
            }
        }
        problems.add_if(self.sharefile_folder.trim().is_empty(), "sharefile_folder", "is empty");
        problems.add_reference("sharefile_secret", self.sharefile_secret.as_deref());
        let leaves = self.sharefile_path.split('/').any(|part| part == "..");
        problems.add_if(leaves, "sharefile_path", "`..` may not be in the path");
        let control = self.sharefile_path.chars().any(char::is_control);
        problems.add_if(control, "sharefile_path", "a control character is in the path");
        if let Some(fault) = template_fault(&self.sharefile_filename) {
            problems.add("sharefile_filename", fault);
        }
    }
}
