//! The configuration of a delivery to ShareFile.

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::{Limited, ProblemList, basename_template, secret, template_fault};

/// The most characters that ShareFile takes in the name of a file or a folder.
const NAME_CHARS_MAX: usize = 256;

/// A folder of a ShareFile account and how to deliver into it.
///
/// ShareFile does not take every name: neither a file nor a folder may have one of the characters
/// `\ * < > ? : | "` in it, begin or end with a space or a dot, or be longer than 256 characters.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareFileConfig {
    /// The account's host, such as `acme.sharefile.com`, or its subdomain alone, `acme`.
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
    /// The folder: its id, its address in a browser, or one of `home`, `favorites`, `allshared`,
    /// `connectors`, `box`, `top`.
    #[serde(deserialize_with = "folder")]
    pub sharefile_folder: String,
    /// Name or ARN of a secret, or `ssm:` and the name of a parameter, with `client_id`, `client_secret`, `username` and `password`.
    #[serde(default)]
    pub sharefile_secret: Option<String>,
    /// A path below the folder; what is missing of it is created. Below `top` it is needed.
    #[serde(default)]
    pub sharefile_path: String,
    /// The file's name at the recipient; `{basename}` stands for the name of the delivered file,
    /// `{run_id}` for the run.
    #[serde(default = "basename_template")]
    pub sharefile_filename: String,
    /// Whether a file of the same name is replaced, by a new version of it; otherwise it is an
    /// error, unless it is the same file.
    #[serde(default = "yes")]
    pub sharefile_overwrite: bool,
    /// Whether ShareFile tells the folder's subscribers.
    #[serde(default)]
    pub sharefile_notify: bool,
    /// Size of an uploaded chunk in bytes. Times `sharefile_threads`, it is the memory that an
    /// upload takes.
    #[serde(default)]
    pub sharefile_chunk_size: Limited<65_536, 67_108_864, 8_388_608>,
    /// Number of chunks uploaded at the same time.
    #[serde(default)]
    pub sharefile_threads: Limited<1, 16, 4>,
    /// Seconds until a connection must be there.
    #[serde(default)]
    pub sharefile_connect_timeout_s: Limited<1, 120, 15>,
    /// Seconds without any progress until a request is given up; five times as many for the one that
    /// ends an upload, because ShareFile may put the file together first.
    #[serde(default)]
    pub sharefile_idle_timeout_s: Limited<1, 600, 60>,
    /// How often one request is tried, a chunk for instance.
    #[serde(default)]
    pub sharefile_max_attempts: Limited<1, 10, 5>,
    /// Where the API answers, if not at the account's host; for tests. It begins with `https://`,
    /// or with `http://` and a loopback address.
    #[serde(default)]
    pub sharefile_endpoint: Option<String>,
}

/// What ShareFile does not take about the name of a file or a folder, if anything.
pub fn sharefile_name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.chars().count() > NAME_CHARS_MAX {
        Some("it is longer than 256 characters")
    } else if name.contains(['\\', '*', '<', '>', '?', ':', '|', '"', '/']) {
        Some("one of the characters `/ \\ * < > ? : | \"` is in it")
    } else if name.chars().any(char::is_control) {
        Some("a control character is in it")
    } else if name.starts_with([' ', '.']) || name.ends_with([' ', '.']) {
        Some("it begins or ends with a space or a dot")
    } else {
        None
    }
}

/// Reads a folder. In the place of a browser's address stands the id that is in it.
fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let text = text.trim();
    Ok(id_in_address(text).unwrap_or(text).to_owned())
}

/// Returns the id of a folder that is in its address in a browser, such as
/// `https://acme.sharefile.com/home/shared/fo12ab34-…`. Older pages have it in the fragment:
/// `https://acme.sharefile.com/app/#/home/shared/fo12ab34-…?sort=name`.
fn id_in_address(text: &str) -> Option<&str> {
    if !text.contains('/') {
        return None;
    }
    let segments = text.rsplit(['/', '#']);
    let mut segments = segments.map(|part| part.split(['?', '&']).next().unwrap_or_default());
    segments.find(|segment| is_folder_id(segment))
}

/// Returns whether `text` looks like the id of a folder.
fn is_folder_id(text: &str) -> bool {
    text.strip_prefix("fo").is_some_and(|rest| {
        rest.len() >= 6
            && rest.bytes().any(|byte| byte.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Returns the fault of a folder that is neither an id nor an alias.
fn folder_fault(folder: &str) -> Option<&'static str> {
    let segments = || folder.split(['/', '#', '?']);
    // `d-s…` is a shared folder or file, `r-…` a request for files, `share/view/s…` their older form.
    let is_link = |part: &str| part.starts_with("d-") || part.starts_with("r-") || part == "share";
    if folder.is_empty() {
        Some("is empty")
    } else if !folder.contains('/') {
        None
    } else if segments().any(is_link) {
        Some(
            "is a share link, into which nothing can be delivered; open the folder itself in the \
             browser, and take the id at the end of its address: `fo…`",
        )
    } else if folder.contains("://") || folder.contains(".sharefile.") {
        Some(
            "is an address without the id of a folder; open the folder in the browser, and take the \
             id at the end of its address: `fo…`",
        )
    } else {
        Some("is an id or an alias such as `home`; what follows it belongs into `sharefile_path`")
    }
}

fn yes() -> bool {
    true
}

impl ShareFileConfig {
    /// The host that gives out tokens: the configured one without what people copy with it.
    ///
    /// Nothing if no host name is left. A host of the API (`acme.sf-api.com`) stands for the account
    /// of the same name; a name without a dot is a subdomain of `sharefile.com`.
    pub fn account_host(&self) -> Option<String> {
        let host = self.host.trim();
        let host = host.split_once("://").map_or(host, |(_, rest)| rest);
        let host = host.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let host = host.strip_suffix(":443").unwrap_or(&host).to_owned();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_name = host.len() <= 253 && host.split('.').all(is_label);
        let host = match host.split_once('.') {
            None => format!("{host}.sharefile.com"),
            Some((account, "sf-api.com")) => format!("{account}.sharefile.com"),
            Some((account, "sf-api.eu")) => format!("{account}.sharefile.eu"),
            Some(_) => host,
        };
        is_name.then_some(host)
    }

    /// The folders of `sharefile_path`, from the outermost.
    pub fn path_segments(&self) -> impl Iterator<Item = &str> {
        self.sharefile_path.split('/').filter(|segment| !segment.is_empty())
    }

    pub(super) fn check(&self, problems: &mut ProblemList) {
        if self.host.trim().is_empty() {
            problems.add("host", "is empty");
        } else if self.account_host().is_none() {
            problems.add("host", "is no host name, such as `acme.sharefile.com`");
        }
        self.check_credentials(problems);
        if let Some(fault) = folder_fault(self.sharefile_folder.trim()) {
            problems.add("sharefile_folder", fault);
        }
        self.check_path(problems);
        if let Some(fault) = template_fault(&self.sharefile_filename) {
            problems.add("sharefile_filename", fault);
        } else {
            let filled = self.sharefile_filename.replace("{basename}", "x");
            if let Some(fault) = sharefile_name_fault(&filled.replace("{run_id}", "x")) {
                problems.add("sharefile_filename", format!("is no name for ShareFile: {fault}"));
            }
        }
        let insecure = self.sharefile_endpoint.as_deref().is_some_and(|text| !is_secure(text));
        problems.add_if(
            insecure,
            "sharefile_endpoint",
            "begins neither with `https://` nor with `http://` and a loopback address",
        );
    }

    fn check_credentials(&self, problems: &mut ProblemList) {
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
        problems.add_reference("sharefile_secret", self.sharefile_secret.as_deref());
    }

    fn check_path(&self, problems: &mut ProblemList) {
        let mut segments = self.path_segments().peekable();
        problems.add_if(
            self.sharefile_folder.trim() == "top" && segments.peek().is_none(),
            "sharefile_path",
            "is needed, because no file can be directly in `top`",
        );
        for segment in segments {
            if segment == ".." {
                problems.add("sharefile_path", "`..` may not be in the path");
            } else if let Some(fault) = sharefile_name_fault(segment) {
                let name = segment.escape_debug();
                let message = format!("`{name}` is no name for ShareFile: {fault}");
                problems.add("sharefile_path", message);
            }
        }
    }
}

/// Whether nobody on the way to `address` can read what is sent there.
fn is_secure(address: &str) -> bool {
    let authority = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    if let Some(rest) = address.strip_prefix("https://") {
        return !authority(rest).is_empty();
    }
    let Some(rest) = address.strip_prefix("http://") else { return false };
    let authority = authority(rest);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => &authority,
    };
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(field: &str, value: &str) -> ShareFileConfig {
        let mut config = json!({
            "host": "acme.sharefile.com", "client_id": "id", "client_secret": "s",
            "username": "robot", "password": "p", "sharefile_folder": "home",
        });
        config[field] = Value::from(value);
        serde_json::from_value(config).unwrap()
    }

    #[track_caller]
    fn check(field: &str, value: &str, expected: &[(&str, &str)]) {
        let mut problems = ProblemList::default();
        config(field, value).check(&mut problems);
        let found: Vec<_> =
            problems.0.iter().map(|p| (p.path.as_str(), p.message.as_str())).collect();
        assert_eq!(found, expected, "{field}: {value}");
    }

    #[test]
    fn the_host_is_found_in_what_people_copy() {
        for (host, expected) in [
            ("acme.sharefile.com", Some("acme.sharefile.com")),
            (" https://Acme.sharefile.com/ ", Some("acme.sharefile.com")),
            ("https://acme.sharefile.eu/dashboard/x", Some("acme.sharefile.eu")),
            ("acme", Some("acme.sharefile.com")),
            ("acme.sf-api.com", Some("acme.sharefile.com")),
            ("acme.sf-api.eu", Some("acme.sharefile.eu")),
            ("files.acme.example", Some("files.acme.example")),
            ("https://acme.sharefile.com?x=1#y", Some("acme.sharefile.com")),
            ("acme.sharefile.com:443/home", Some("acme.sharefile.com")),
            ("https://acme.sharefile.com/home/shared/fo12ab34", Some("acme.sharefile.com")),
            ("https://acme.sharefile.com:8443/", None),
            ("acme.sharefile.com.", None),
            ("-acme.sharefile.com", None),
            ("ácme.sharefile.com", None),
            ("https://", None),
            ("acme..com", None),
            ("a b.sharefile.com", None),
            ("user@acme.sharefile.com", None),
        ] {
            assert_eq!(config("host", host).account_host().as_deref(), expected, "{host}");
        }
        let message = "is no host name, such as `acme.sharefile.com`";
        for bad in ["a b", "robot@acme.sharefile.com", "acme.sharefile.com:8443", "https:///home"] {
            check("host", bad, &[("config.host", message)]);
        }
    }

    #[test]
    fn a_folder_is_found_in_what_people_copy() {
        let id = "fo12ab34-5c6d-4e7f-8a9b-0c1d2e3f4a5b";
        let home = "https://acme.sharefile.com/home";
        for folder in [
            id.to_owned(),
            format!(" {id} "),
            format!("{home}/shared/{id}"),
            format!("{home}/shared/{id}/"),
            format!("{home}/shared/{id}?sort=name&view=list#top"),
            format!("https://acme.sharefile.com/app/#/home/shared/{id}?a=b"),
            format!("acme.sharefile.com/f/{id}"),
            format!("{home}/shared/fo99aa88-7c6d/{id}"),
        ] {
            assert_eq!(config("sharefile_folder", &folder).sharefile_folder, id, "{folder}");
            check("sharefile_folder", &folder, &[]);
        }
        assert_eq!(config("sharefile_folder", "allshared").sharefile_folder, "allshared");
    }

    #[test]
    fn a_folder_that_cannot_be_one_is_told_with_the_right_spelling() {
        let link = "is a share link, into which nothing can be delivered; open the folder itself in \
                    the browser, and take the id at the end of its address: `fo…`";
        let page = "is an address without the id of a folder; open the folder in the browser, and \
                    take the id at the end of its address: `fo…`";
        let path = "is an id or an alias such as `home`; what follows it belongs into \
                    `sharefile_path`";
        for (folder, message) in [
            ("https://acme.sharefile.com/d-s12ab34cd56ef", link),
            ("https://acme.sharefile.com/d-s12ab34cd56ef?x=y#z", link),
            ("https://acme.sharefile.com/r-r12ab34cd56ef", link),
            ("https://acme.sharefile.com/share/view/s12ab34cd56ef", link),
            ("acme.sharefile.com/d-s12ab34cd56ef", link),
            ("https://acme.sharefile.com/", page),
            ("https://acme.sharefile.com/dashboard", page),
            ("home/Reports", path),
            ("", "is empty"),
            (" ", "is empty"),
        ] {
            check("sharefile_folder", folder, &[("config.sharefile_folder", message)]);
        }
    }

    #[test]
    fn names_that_sharefile_does_not_take_are_problems_of_the_configuration() {
        for good in ["", "/", "Reports/2026", "Reports//2026/", "Berichte/tägl. (neu)"] {
            check("sharefile_path", good, &[]);
        }
        let dots = "it begins or ends with a space or a dot";
        let characters = "one of the characters `/ \\ * < > ? : | \"` is in it";
        for (path, name, fault) in [
            ("Reports/2026.", "2026.", dots),
            (" Reports/2026", " Reports", dots),
            ("Reports/.hidden/x", ".hidden", dots),
            ("Q3: done", "Q3: done", characters),
            ("a\\b", "a\\\\b", characters),
            ("a\u{7}b", "a\\u{7}b", "a control character is in it"),
        ] {
            let message = format!("`{name}` is no name for ShareFile: {fault}");
            check("sharefile_path", path, &[("config.sharefile_path", message.as_str())]);
        }
        check(
            "sharefile_path",
            "a/../b",
            &[("config.sharefile_path", "`..` may not be in the path")],
        );
        let message = format!("is no name for ShareFile: {characters}");
        check("sharefile_filename", "{basename}?", &[("config.sharefile_filename", &message)]);
        assert_eq!(sharefile_name_fault(&"ä".repeat(256)), None);
        assert_eq!(
            sharefile_name_fault(&"ä".repeat(257)),
            Some("it is longer than 256 characters")
        );
    }

    #[test]
    fn nothing_can_be_delivered_into_top_itself() {
        let message = "is needed, because no file can be directly in `top`";
        check("sharefile_folder", "top", &[("config.sharefile_path", message)]);
    }

    #[test]
    fn an_endpoint_is_encrypted_or_on_this_machine() {
        for good in [
            "https://sharefile.example",
            "http://127.0.0.1:8080",
            "http://localhost/x",
            "http://[::1]:80/",
        ] {
            check("sharefile_endpoint", good, &[]);
        }
        let message = "begins neither with `https://` nor with `http://` and a loopback address";
        for bad in [
            "",
            "https://",
            "sharefile.example",
            "http://sharefile.example",
            "http://127.0.0.1.example/",
            "http://localhost@evil.example/",
        ] {
            check("sharefile_endpoint", bad, &[("config.sharefile_endpoint", message)]);
        }
    }
}
