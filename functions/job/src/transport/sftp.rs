//! The configuration of a delivery by SFTP.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};

use super::{
    HostKeyError, HostKeyPin, Limited, ProblemList, basename_template, host::host_problem,
    host_key::parse_host_keys, secret, template_fault,
};

/// A directory of an SFTP server and how to deliver into it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftpConfig {
    /// The server's name or address. Needed unless `sftp_secret` holds it.
    #[serde(default)]
    pub sftp_host: String,
    /// The server's port. Default: the one that `sftp_secret` holds, else 22.
    #[serde(default)]
    pub sftp_port: Option<Port>,
    /// The user to log in as. Needed unless `sftp_secret` holds it.
    #[serde(default)]
    pub sftp_user: Option<String>,
    /// The user's password. Better kept in a secret store: `sftp_secret`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>", extend("format" = "password", "writeOnly" = true))]
    pub sftp_password: Option<SecretString>,
    /// The directory that receives the file. Without a leading `/` it is below the login directory.
    #[serde(default)]
    pub sftp_path: String,
    /// Name or ARN of a secret, or `ssm:` and the name of a parameter, with `Username`, `Password`
    /// and `PrivateKey`, as AWS Transfer Family keeps them. It fills what is left out here.
    #[serde(default)]
    pub sftp_secret: Option<String>,
    /// A private key in OpenSSH, PEM, PKCS#8 or PuTTY form. Better kept in a secret store:
    /// `sftp_secret`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>", extend("format" = "password", "writeOnly" = true))]
    pub sftp_private_key: Option<SecretString>,
    /// What opens the private key, if it is encrypted.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>", extend("format" = "password", "writeOnly" = true))]
    pub sftp_private_key_passphrase: Option<SecretString>,
    /// The keys that the server may present: fingerprints `SHA256:…`, public keys, or lines of a
    /// `known_hosts` file. An entry may have several lines, such as the output of `ssh-keyscan`.
    #[serde(default)]
    pub sftp_host_keys: Vec<String>,
    /// What happens when the server presents another key. Default: `require` when
    /// `sftp_host_keys` are given, else `warn`.
    #[serde(default)]
    pub sftp_host_key_check: Option<HostKeyCheck>,
    /// The file's name at the recipient; `{basename}` stands for the name of the delivered file,
    /// `{run_id}` for the run.
    #[serde(default = "basename_template")]
    pub sftp_filename: String,
    /// What happens to a file of the same name.
    #[serde(default)]
    pub sftp_overwrite: Overwrite,
    /// Whether the file is written under a temporary name first.
    #[serde(default)]
    pub sftp_write_mode: WriteMode,
    /// What the temporary name ends with.
    #[serde(default = "temp_suffix")]
    pub sftp_temp_suffix: String,
    /// What the temporary name begins with.
    #[serde(default = "temp_prefix")]
    pub sftp_temp_prefix: String,
    /// Mode bits of the delivered file, in octal, such as `"0640"`. The server decides if it is left
    /// out.
    #[serde(default)]
    pub sftp_file_mode: Option<FileMode>,
    /// Whether the partner takes files away as soon as they appear. A file whose final rename was
    /// not answered and that is nowhere to be seen counts as delivered then; otherwise it is sent
    /// again.
    #[serde(default)]
    pub partner_takes_files: bool,
    /// Whether missing directories are created.
    #[serde(default = "yes")]
    pub sftp_create_dirs: bool,
    /// How the written file is checked before it gets its final name.
    #[serde(default)]
    pub sftp_verify: Verify,
    /// A second file, written after the delivery, that tells the recipient it is complete.
    #[serde(default)]
    pub sftp_sidecar: Option<Sidecar>,
    /// Whether algorithms that are no longer considered safe are offered, for old servers.
    #[serde(default)]
    pub sftp_legacy_algorithms: bool,
    /// Number of writes that a connection sends before the first is answered, as far as they are
    /// not more than 4 MiB together; 1 for servers that can not take more.
    #[serde(default)]
    pub sftp_max_in_flight: Limited<1, 1024, 64>,
    /// Largest size of a write in bytes. A server that announces no limit is sent 32768
    /// at most, which every server takes.
    #[serde(default)]
    pub sftp_write_size: Limited<1024, 261_120, 261_120>,
    /// Number of connections that write parts of one large file at the same time. A distant server
    /// limits what each has under way, to 2 MiB with OpenSSH, so four are up to four times as fast.
    /// One by default, because some servers count sessions and lock out who has too many. More
    /// write only where a probe has shown that their handles meet in one file. Each connection takes
    /// some 5 MiB of memory.
    #[serde(default)]
    pub sftp_connections: Limited<1, 8, 1>,
    /// Seconds to wait for the connection and its key exchange.
    #[serde(default)]
    pub sftp_connect_timeout_s: Limited<1, 300, 15>,
    /// Seconds without any progress after which the delivery is given up.
    #[serde(default)]
    pub sftp_idle_timeout_s: Limited<1, 800, 60>,
    /// Number of attempts inside one call, none of which gets any further with the file, before the
    /// error is handed to the workflow.
    #[serde(default)]
    pub sftp_max_attempts: Limited<1, 10, 3>,
}

/// What happens when the server presents a key that is not pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostKeyCheck {
    /// The delivery fails.
    Require,
    /// The delivery goes on; the receipt and the log have the presented fingerprint.
    Warn,
    /// The delivery goes on; the receipt has the presented fingerprint.
    Off,
}

/// What happens to a file that already has the final name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// It is replaced.
    #[default]
    Replace,
    /// The delivery fails, unless the content is that of the run's file, which counts as delivered.
    Fail,
    /// If it has the size of the new file, it counts as delivered; otherwise it is replaced. Where it
    /// is written in place, or a checksum is wanted beside it, its content is compared too.
    SkipIfSameSize,
}

/// How the file comes to its final name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// Written under a temporary name in the same directory, checked, renamed.
    #[default]
    Temp,
    /// Written in place, for servers that forbid renaming. A reader can see half a file.
    Direct,
}

/// How the written file is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Not at all.
    None,
    /// By its size, where the server tells it.
    #[default]
    Size,
    /// By reading it back and comparing its SHA-256.
    Readback,
}

/// A second file beside the delivered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Sidecar {
    /// `{name}.sha256` in the format of `sha256sum`.
    #[serde(rename = ".sha256")]
    Sha256,
    /// `{name}.done`, empty.
    #[serde(rename = ".done")]
    Done,
}

impl Sidecar {
    /// What the second file's name adds to the first one's.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Sha256 => ".sha256",
            Self::Done => ".done",
        }
    }
}

fn temp_suffix() -> String {
    ".part".to_owned()
}

fn temp_prefix() -> String {
    ".".to_owned()
}

fn yes() -> bool {
    true
}

impl SftpConfig {
    /// What happens when the server presents a key that is not pinned.
    pub fn host_key_check(&self) -> HostKeyCheck {
        // Keys that are only revoked pin nothing. What cannot be read may be a pin.
        let pinned =
            self.host_key_pins().map_or(true, |pins| pins.iter().any(|pin| !pin.is_revoked));
        self.sftp_host_key_check.unwrap_or(if pinned {
            HostKeyCheck::Require
        } else {
            HostKeyCheck::Warn
        })
    }

    /// The host, without the brackets of an IPv6 address, and the port.
    ///
    /// A port behind the host, as in `sftp.partner.example:2222`, counts before `sftp_port`.
    pub fn address(&self) -> (&str, u16) {
        let (host, behind) = self.host_and_port();
        let port = behind.and_then(Port::read).or(self.sftp_port).unwrap_or_default();
        (host, port.get())
    }

    /// The host, and what is behind the colon after it.
    fn host_and_port(&self) -> (&str, Option<&str>) {
        let host = self.sftp_host.trim();
        if let Some((inside, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return (inside, rest.strip_prefix(':'));
        }
        match host.split_once(':') {
            // More than one colon is an IPv6 address without brackets.
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            Some(_) | None => (host, None),
        }
    }

    /// Reads `sftp_host_keys`.
    ///
    /// # Errors
    ///
    /// The first entry that cannot be read, or the first of all if none holds a key: its index, and
    /// the reason.
    pub fn host_key_pins(&self) -> Result<Vec<HostKeyPin>, (usize, HostKeyError)> {
        let entries = self.sftp_host_keys.iter().enumerate();
        let pins: Result<Vec<_>, _> = entries
            .map(|(index, entry)| parse_host_keys(entry).map_err(|error| (index, error)))
            .collect();
        let pins: Vec<_> = pins?.into_iter().flatten().collect();
        // Comments alone would pin nothing, and whoever wrote them believes otherwise.
        if pins.is_empty() && !self.sftp_host_keys.is_empty() {
            return Err((0, HostKeyError::no_key()));
        }
        Ok(pins)
    }

    /// The directory that receives the file.
    ///
    /// # Errors
    ///
    /// See [`RemoteDirectory::parse`].
    pub fn directory(&self) -> Result<RemoteDirectory, RemoteDirectoryError> {
        RemoteDirectory::parse(&self.sftp_path)
    }

    pub(super) fn check(&self, problems: &mut ProblemList) {
        problems.add_if(
            self.sftp_host.trim().is_empty() && self.sftp_secret.is_none(),
            "sftp_host",
            "is needed unless `sftp_secret` holds it",
        );
        match host_problem(&self.sftp_host) {
            Some(problem) => problems.add("sftp_host", problem),
            None => problems.add_if(
                self.host_and_port().1.is_some_and(|port| Port::read(port).is_none()),
                "sftp_host",
                "what is behind the colon is no port from 1 to 65535",
            ),
        }
        self.check_credentials(problems);
        if let Err(error) = self.directory() {
            problems.add("sftp_path", error.to_string());
        }
        self.check_host_keys(problems);
        if let Some(fault) = template_fault(&self.sftp_filename) {
            problems.add("sftp_filename", fault);
        }
        for (field, text) in [
            ("sftp_temp_suffix", &self.sftp_temp_suffix),
            ("sftp_temp_prefix", &self.sftp_temp_prefix),
        ] {
            let bad = text.contains('/') || text.chars().any(char::is_control);
            problems.add_if(bad, field, "a slash or a control character is in it");
            problems.add_if(text.len() > 32, field, "is longer than 32 bytes");
        }
        problems.add_if(
            self.sftp_temp_suffix.is_empty() && self.sftp_temp_prefix.is_empty(),
            "sftp_temp_suffix",
            "prefix and suffix of the temporary name are both empty",
        );
    }

    fn check_credentials(&self, problems: &mut ProblemList) {
        let by_reference = self.sftp_secret.is_some();
        problems.add_reference("sftp_secret", self.sftp_secret.as_deref());
        match self.sftp_user.as_deref() {
            Some("") => problems.add("sftp_user", "is empty"),
            None if !by_reference => {
                problems.add("sftp_user", "a user name is needed unless `sftp_secret` holds it");
            }
            Some(_) | None => {}
        }
        let none = self.sftp_password.is_none() && self.sftp_private_key.is_none();
        problems.add_if(
            none && !by_reference,
            "sftp_password",
            "a password, a private key or `sftp_secret` is needed to log in",
        );
        for (field, secret) in [
            ("sftp_password", &self.sftp_password),
            ("sftp_private_key", &self.sftp_private_key),
            ("sftp_private_key_passphrase", &self.sftp_private_key_passphrase),
        ] {
            let empty = secret.as_ref().is_some_and(|secret| secret.expose_secret().is_empty());
            problems.add_if(empty, field, "is empty");
        }
        problems.add_if(
            self.sftp_private_key_passphrase.is_some()
                && self.sftp_private_key.is_none()
                && !by_reference,
            "sftp_private_key_passphrase",
            "there is no `sftp_private_key` that it could open",
        );
    }

    fn check_host_keys(&self, problems: &mut ProblemList) {
        if let Err((index, error)) = self.host_key_pins() {
            problems.add(&format!("sftp_host_keys[{index}]"), error.to_string());
        }
        problems.add_if(
            self.sftp_host_key_check == Some(HostKeyCheck::Require)
                && self.sftp_host_keys.is_empty()
                && self.sftp_secret.is_none(),
            "sftp_host_keys",
            "`sftp_host_key_check` is `require`, so at least one host key must be given",
        );
    }
}

/// Mode bits of a file, written in octal as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// The mode bits.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        let is_octal =
            (3..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
        mode.map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "expected mode bits in octal as text, from \"000\" to \"0777\", found `{text}`"
            ))
        })
    }
}

impl JsonSchema for FileMode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0o)?0?[0-7]{3}$" })
    }
}

/// A TCP port, written as a number or as text; 22 where none is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(u16);

impl Port {
    /// The number, unless it is 0.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number that a text holds.
    fn read(text: &str) -> Option<Self> {
        text.trim().parse().ok().and_then(Self::new)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Port {
    fn default() -> Self {
        Self(22)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535, as a number or as text")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                let port = u16::try_from(number).ok().and_then(Port::new);
                port.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                Port::read(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65_535 },
                { "type": "string", "pattern": "^\\s*[0-9]{1,5}\\s*$" },
            ],
            "default": 22,
        })
    }
}

/// A directory of the server: absolute, or below the login directory.
///
/// It has no empty, `.` or `..` part and no control character. SFTP knows no `~`: a leading `~/`
/// is dropped, because a relative path already begins at the login directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteDirectory {
    absolute: bool,
    parts: Vec<String>,
}

/// Why a text is not a directory of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteDirectoryError {
    /// `..`, which could lead anywhere.
    #[error("`..` may not be in the path")]
    Parent,
    /// `~user`, which SFTP would take for a name.
    #[error("only the login directory `~/` can be named with `~`, not another user's")]
    OtherHome,
    /// NUL, a line break or another control character.
    #[error("a control character is in the path")]
    Control,
}

impl RemoteDirectory {
    /// Reads a path as users write it.
    ///
    /// # Errors
    ///
    /// For `..`, `~user` and control characters.
    pub fn parse(path: &str) -> Result<Self, RemoteDirectoryError> {
        if path.chars().any(char::is_control) {
            return Err(RemoteDirectoryError::Control);
        }
        let path = match path.strip_prefix('~') {
            None => path,
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            Some(_) => return Err(RemoteDirectoryError::OtherHome),
        };
        let parts = path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned);
        let parts: Vec<_> = parts.collect();
        if parts.iter().any(|part| part == "..") {
            return Err(RemoteDirectoryError::Parent);
        }
        Ok(Self { absolute: path.starts_with('/'), parts })
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &str) -> String {
        let mut path = self.path(self.parts.len());
        if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path + name
    }

    /// The directory and those above it, outermost first, without the root or login directory.
    pub fn chain(&self) -> impl Iterator<Item = String> {
        (1..=self.parts.len()).map(|depth| self.path(depth))
    }

    fn path(&self, depth: usize) -> String {
        let root = if self.absolute { "/" } else { "" };
        format!("{root}{}", self.parts[..depth].join("/"))
    }
}

impl fmt::Display for RemoteDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path(self.parts.len()).as_str() {
            "" => f.write_str("."),
            path => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_carry_its_port_and_be_an_ipv6_address() {
        for (host, expected) in [
            ("sftp.example", ("sftp.example", 22)),
            (" sftp.example ", ("sftp.example", 22)),
            ("sftp.example:2222", ("sftp.example", 2222)),
            ("[::1]", ("::1", 22)),
            ("[::1]:2222", ("::1", 2222)),
            ("fe80::1", ("fe80::1", 22)),
        ] {
            let config: SftpConfig =
                serde_json::from_value(serde_json::json!({ "sftp_host": host })).unwrap();
            assert_eq!(config.address(), expected, "{host:?}");
        }
    }

    #[test]
    fn a_remote_directory_is_read_as_its_user_means_it() {
        for (given, shown, chain, joined) in [
            ("", ".", vec![], "x"),
            ("~", ".", vec![], "x"),
            ("/", "/", vec![], "/x"),
            ("~/in", "in", vec!["in"], "in/x"),
            ("~//in", "in", vec!["in"], "in/x"),
            ("in//./daily/", "in/daily", vec!["in", "in/daily"], "in/daily/x"),
            ("/in/daily", "/in/daily", vec!["/in", "/in/daily"], "/in/daily/x"),
        ] {
            let directory = RemoteDirectory::parse(given).unwrap();
            assert_eq!(
                (
                    directory.to_string().as_str(),
                    directory.chain().collect::<Vec<_>>(),
                    directory.join("x").as_str()
                ),
                (shown, chain.into_iter().map(str::to_owned).collect(), joined),
                "{given:?}"
            );
        }
    }
}
