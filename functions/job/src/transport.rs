//! Where a run's file goes: the transporter of a job.
//!
//! Types and rules only; the `file-transporter` function does the work. What the types can not say
//! (which settings belong together, what a path may hold) is said by [`Transporter::problems`].

mod host;
mod host_key;
mod limited;
mod sftp;
mod sharefile;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error as _};

pub use self::{
    host_key::{HostKeyError, HostKeyPin, HostKeyType, PinnedKey},
    limited::Limited,
    sftp::{
        FileMode, HostKeyCheck, Overwrite, Port, RemoteDirectory, RemoteDirectoryError, SftpConfig,
        Sidecar, Verify, WriteMode,
    },
    sharefile::{ShareFileConfig, sharefile_name_fault},
};
use crate::{
    name::{FileName, NameError, RunId},
    secret::SecretReference,
};

/// How and where a run's file is delivered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "config", rename_all = "lowercase", deny_unknown_fields)]
pub enum Transporter {
    /// To a directory of an SFTP server.
    Sftp(Box<SftpConfig>),
    /// To a folder of a ShareFile account.
    ShareFile(Box<ShareFileConfig>),
}

/// One thing that is wrong with a transporter: where, as a path below it, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportProblem {
    /// The place, such as `config.sftp_host`.
    pub path: String,
    /// What is wrong there, as a sentence without a full stop; never a secret.
    pub message: String,
}

impl Transporter {
    /// Everything that is wrong with the transporter beyond its types, in the order of its fields.
    pub fn problems(&self) -> Vec<TransportProblem> {
        let mut problems = ProblemList::default();
        match self {
            Self::Sftp(config) => config.check(&mut problems),
            Self::ShareFile(config) => config.check(&mut problems),
        }
        problems.0
    }
}

/// Collects problems of one configuration object.
#[derive(Default)]
struct ProblemList(Vec<TransportProblem>);

impl ProblemList {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(TransportProblem { path: format!("config.{field}"), message: message.into() });
    }

    fn add_reference(&mut self, field: &str, reference: Option<&str>) {
        if let Some(Err(error)) = reference.map(str::parse::<SecretReference>) {
            self.add(field, error.to_string());
        }
    }

    fn add_if(&mut self, wrong: bool, field: &str, message: &str) {
        if wrong {
            self.add(field, message);
        }
    }
}

/// The name that a file gets at the recipient.
///
/// `template` is the job's `sftp_filename` or `sharefile_filename`; `{basename}` in it stands for
/// the name of the delivered file, `{run_id}` for the run.
///
/// # Errors
///
/// When what comes out is not a file name.
pub fn remote_file_name(
    template: &str,
    basename: &FileName,
    run_id: &RunId,
) -> Result<FileName, NameError> {
    template.replace("{basename}", basename.as_str()).replace("{run_id}", run_id.as_str()).parse()
}

/// What is wrong with a template of a file name, if anything.
fn template_fault(template: &str) -> Option<String> {
    let filled = template.replace("{basename}", "x").replace("{run_id}", "x");
    if filled.contains(['{', '}']) {
        return Some("only the placeholders `{basename}` and `{run_id}` are known".to_owned());
    }
    filled.parse::<FileName>().err().map(|error| error.to_string())
}

fn basename_template() -> String {
    "{basename}".to_owned()
}

/// Reads an optional secret; a value of another type is an error that does not show it.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Option::<SecretString>::deserialize(deserializer)
        .map_err(|_| D::Error::custom("expected a string (the value is secret and not shown)"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sftp(changes: Value) -> Value {
        let mut config = json!({
            "sftp_host": "sftp.partner.example", "sftp_user": "acme", "sftp_password": "hunter2",
            "sftp_path": "/in/daily",
        });
        merge(&mut config, changes);
        json!({ "type": "sftp", "config": config })
    }

    fn sharefile(changes: Value) -> Value {
        let mut config = json!({
            "host": "acme.sharefile.com", "client_id": "id", "client_secret": "hunter2",
            "username": "robot", "password": "hunter2", "sharefile_folder": "home",
        });
        merge(&mut config, changes);
        json!({ "type": "sharefile", "config": config })
    }

    /// Sets the fields of `changes` in `config`; `null` removes one.
    fn merge(config: &mut Value, changes: Value) {
        let (Value::Object(config), Value::Object(changes)) = (config, changes) else {
            panic!("two objects")
        };
        for (field, value) in changes {
            if value.is_null() {
                config.remove(&field);
            } else {
                config.insert(field, value);
            }
        }
    }

    #[track_caller]
    fn check(transporter: Value, expected: &[(&str, &str)]) {
        let transporter: Transporter = serde_json::from_value(transporter).unwrap();
        let problems = transporter.problems();
        let found: Vec<_> =
            problems.iter().map(|p| (p.path.as_str(), p.message.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check_refused(transporter: Value, expected: &str) {
        let error = serde_json::from_value::<Transporter>(transporter).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_published_configurations_have_no_problems() {
        check(sftp(json!({})), &[]);
        check(sftp(json!({ "sftp_port": "22" })), &[]);
        check(sftp(json!({ "sftp_port": 2222 })), &[]);
        check(sharefile(json!({})), &[]);
    }

    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let missing = "a password, a private key or `sftp_secret` is needed to log in";
        check(sftp(json!({ "sftp_password": null })), &[("config.sftp_password", missing)]);
        check(sftp(json!({ "sftp_password": "" })), &[("config.sftp_password", "is empty")]);
        check(sftp(json!({ "sftp_password": null, "sftp_private_key": "-----BEGIN" })), &[]);
        check(
            sftp(json!({ "sftp_password": null, "sftp_user": null, "sftp_secret": "sftp/acme" })),
            &[],
        );
        check(
            sftp(
                json!({ "sftp_user": null, "sftp_host": " ", "sftp_private_key_passphrase": "hunter2" }),
            ),
            &[
                ("config.sftp_host", "is needed unless `sftp_secret` holds it"),
                ("config.sftp_user", "a user name is needed unless `sftp_secret` holds it"),
                (
                    "config.sftp_private_key_passphrase",
                    "there is no `sftp_private_key` that it could open",
                ),
            ],
        );
        for host in ["h:0", "h:99999", "h:", "[::1]:x"] {
            let port = "what is behind the colon is no port from 1 to 65535";
            check(sftp(json!({ "sftp_host": host })), &[("config.sftp_host", port)]);
        }
        check(
            sftp(json!({ "sftp_host_key_check": "require" })),
            &[(
                "config.sftp_host_keys",
                "`sftp_host_key_check` is `require`, so at least one host key must be given",
            )],
        );
        let by_reference = json!({
            "sftp_host": null, "sftp_user": null, "sftp_password": null, "sftp_path": null,
            "sftp_host_key_check": "require", "sftp_secret": "ssm:/sftp/acme",
        });
        check(sftp(by_reference), &[]);
        let other = "is an ARN of something else than a secret or a parameter";
        check(
            sftp(json!({ "sftp_secret": "arn:aws:s3:::acme" })),
            &[("config.sftp_secret", other)],
        );
        check(
            sharefile(json!({ "password": null, "client_secret": "" })),
            &[
                ("config.client_secret", "is empty"),
                ("config.password", "is needed unless `sharefile_secret` holds it"),
            ],
        );
        check(
            sharefile(json!({
                "client_id": null, "client_secret": null, "username": null, "password": null,
                "sharefile_secret": "sharefile/acme",
            })),
            &[],
        );
    }

    #[test]
    fn a_path_can_not_mean_another_place_than_it_says() {
        for (path, message) in [
            ("/in/../etc", "`..` may not be in the path"),
            (
                "~partner/in",
                "only the login directory `~/` can be named with `~`, not another user's",
            ),
            ("in\u{0}x", "a control character is in the path"),
        ] {
            check(sftp(json!({ "sftp_path": path })), &[("config.sftp_path", message)]);
        }
        for path in ["", "/", "~", "~/in", "in//daily/", "/C:/in", "Berichte/täglich"] {
            check(sftp(json!({ "sftp_path": path })), &[]);
        }
    }

    #[test]
    fn the_first_entry_that_is_no_host_key_is_named() {
        let fingerprint = format!("SHA256:{}", "a".repeat(43));
        check(sftp(json!({ "sftp_host_keys": [fingerprint] })), &[]);
        let message = "is neither a fingerprint `SHA256:…` (43 characters of base64) nor a public key \
                       `ssh-… AAAA…`";
        check(
            sftp(json!({ "sftp_host_keys": [fingerprint, "SHA256:abc"] })),
            &[("config.sftp_host_keys[1]", message)],
        );
        check(sftp(json!({ "sftp_host_keys": ["# h:22", fingerprint] })), &[]);
        for nothing in ["", "# h:22 SSH-2.0-OpenSSH_9.2"] {
            check(
                sftp(json!({ "sftp_host_keys": [nothing] })),
                &[("config.sftp_host_keys[0]", message)],
            );
        }
    }

    #[test]
    fn a_host_that_is_more_than_a_host_is_refused_when_the_job_is_read() {
        let message = "is a URL, not a host; write `h` here and `2222` into `sftp_port`";
        check(sftp(json!({ "sftp_host": "sftp://h:2222" })), &[("config.sftp_host", message)]);
    }

    #[test]
    fn a_file_name_template_gives_one_path_segment() {
        check(sftp(json!({ "sftp_filename": "acme_{run_id}_{basename}" })), &[]);
        check(
            sftp(json!({ "sftp_filename": "{date}.zip" })),
            &[(
                "config.sftp_filename",
                "only the placeholders `{basename}` and `{run_id}` are known",
            )],
        );
        check(
            sftp(json!({ "sftp_filename": "a/{basename}" })),
            &[(
                "config.sftp_filename",
                "`a/x` is not a file name: a slash, a backslash or a control character is in it",
            )],
        );
        let name = remote_file_name(
            "{run_id}-{basename}",
            &"x.zip".parse().unwrap(),
            &"r1".parse().unwrap(),
        );
        assert_eq!(name.unwrap().as_str(), "r1-x.zip");
    }

    #[test]
    fn temporary_names_differ_from_the_final_one() {
        check(
            sftp(json!({ "sftp_temp_prefix": "", "sftp_temp_suffix": "" })),
            &[(
                "config.sftp_temp_suffix",
                "prefix and suffix of the temporary name are both empty",
            )],
        );
        check(
            sftp(json!({ "sftp_temp_prefix": "tmp/" })),
            &[("config.sftp_temp_prefix", "a slash or a control character is in it")],
        );
    }

    #[test]
    fn values_of_the_wrong_type_or_size_are_refused_without_showing_a_secret() {
        check_refused(
            sftp(json!({ "sftp_port": "ssh" })),
            "a port from 1 to 65535, as a number or as text",
        );
        check_refused(
            sftp(json!({ "sftp_port": 0 })),
            "a port from 1 to 65535, as a number or as text",
        );
        check_refused(
            sftp(json!({ "sftp_port": 70000 })),
            "a port from 1 to 65535, as a number or as text",
        );
        check_refused(
            sftp(json!({ "sftp_password": ["hunter2"] })),
            "the value is secret and not shown",
        );
        check_refused(sftp(json!({ "sftp_max_in_flight": 0 })), "a number from 1 to 1024");
        check_refused(sftp(json!({ "sftp_hots": "x" })), "unknown field `sftp_hots`");
        check_refused(
            sharefile(json!({ "client_secret": { "hunter2": 1 } })),
            "the value is secret and not shown",
        );
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let key =
            json!({ "sftp_private_key": "hunter2", "sftp_private_key_passphrase": "hunter2" });
        for transporter in [sftp(key), sharefile(json!({}))] {
            let transporter: Transporter = serde_json::from_value(transporter).unwrap();
            assert!(!format!("{transporter:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_schema_refuses_unknown_fields_and_accepts_the_published_form() {
        let schema = serde_json::to_value(schemars::schema_for!(Transporter)).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for good in [sftp(json!({})), sftp(json!({ "sftp_port": "22" })), sharefile(json!({}))] {
            assert!(validator.is_valid(&good), "{good}");
        }
        for bad in [
            sftp(json!({ "sftp_hots": "x" })),
            sftp(json!({ "sftp_port": 70000 })),
            sftp(json!({ "sftp_verify": "md5" })),
            sharefile(json!({ "sharefile_threads": 0 })),
        ] {
            assert!(!validator.is_valid(&bad), "{bad}");
        }
    }
}
