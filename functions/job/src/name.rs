//! Names: of queries, runs and files.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a name of the wanted kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: {reason}")]
pub struct NameError {
    text: String,
    kind: &'static str,
    reason: &'static str,
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $format:literal, $check:path) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("format" = $format))]
        pub struct $name(String);

        impl $name {
            pub(crate) const FORMAT: &str = $format;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match $check(text) {
                    None => Ok(Self(text.to_owned())),
                    Some(reason) => Err(NameError { text: text.escape_debug().collect(), kind: $kind, reason }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a query: a path below the prefix of the queries, without `.sql`.
    ///
    /// 1 to 200 bytes; no empty, `.` or `..` segment, no leading or trailing `/`, no backslash, no
    /// control character. It may be a pattern: [`QueryName::is_pattern`].
    QueryName, "a query name", "query-name", query_name_fault
}

name! {
    /// The name of a run, which is the name of its execution in Step Functions.
    ///
    /// 1 to 80 of `A-Z a-z 0-9 - _`: the part of what [Step Functions] accepts that is safe in a
    /// key, a URL and a file name.
    ///
    /// [Step Functions]: https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    RunId, "a run id", "run-id", run_id_fault
}

name! {
    /// The name of a file as the recipient gets it: one path segment.
    ///
    /// 1 to 255 bytes; no `/`, no backslash, no control character, not `.` or `..`, no white space
    /// at either end.
    FileName, "a file name", "file-name", file_name_fault
}

name! {
    /// The name of a bucket, by the [rules for general purpose buckets].
    ///
    /// [rules for general purpose buckets]: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    BucketName, "a bucket name", "s3-bucket-name", bucket_name_fault
}

impl QueryName {
    /// Whether the name stands for several queries: it contains `*` or `?`.
    pub fn is_pattern(&self) -> bool {
        self.0.contains(['*', '?'])
    }

    /// The name as one path segment: what the run's files of this query are called.
    ///
    /// `/` becomes `-`, so two names may meet; the plan refuses that.
    pub fn file_stem(&self) -> String {
        self.0.replace('/', "-")
    }
}

fn query_name_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > 200 {
        Some("it is longer than 200 bytes")
    } else if text.chars().any(|c| c.is_control() || c == '\\') {
        Some("a control character or a backslash is in it")
    } else if text.starts_with('/') || text.ends_with('/') {
        Some("it begins or ends with `/`")
    } else if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        Some("a part between its slashes is empty, `.` or `..`, so it would leave the prefix")
    } else {
        None
    }
}

fn run_id_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 80 {
        Some("it must have 1 to 80 characters")
    } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        Some("only the characters A-Z, a-z, 0-9, `-` and `_` may be in it")
    } else {
        None
    }
}

pub(crate) fn bucket_name_fault(text: &str) -> Option<&'static str> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(3..=63).contains(&text.len()) {
        Some("it must have 3 to 63 characters")
    } else if !text.chars().all(|c| edge(c) || matches!(c, '-' | '.')) {
        Some("only the characters a-z, 0-9, `-` and `.` may be in it")
    } else if !text.starts_with(edge) || !text.ends_with(edge) || text.contains("..") {
        Some("it must begin and end with a letter or a digit and have no `..`")
    } else {
        None
    }
}

fn file_name_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > 255 {
        Some("it is longer than 255 bytes")
    } else if matches!(text, "." | "..") {
        Some("it names a directory")
    } else if text.contains(['/', '\\']) || text.chars().any(char::is_control) {
        Some("a slash, a backslash or a control character is in it")
    } else if text.trim() != text {
        Some("white space is at its beginning or end")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: FromStr>(text: &str, valid: bool) {
        assert_eq!(text.parse::<T>().is_ok(), valid, "{text:?}");
    }

    #[test]
    fn a_query_name_can_not_leave_its_prefix() {
        for bad in ["", "..", "a/../b", "/a", "a/", "a//b", "./a", "a\nb", "a\\b"] {
            check::<QueryName>(bad, false);
        }
        for good in ["a", "daily/users", "Größe ..x", "users_*", "a.b"] {
            check::<QueryName>(good, true);
        }
    }

    #[test]
    fn a_run_id_is_safe_in_a_key_and_a_url() {
        check::<RunId>("2026-01-01_nightly", true);
        check::<RunId>(&"x".repeat(81), false);
        for bad in ["", "a b", "a/b", "ä", "a.b"] {
            check::<RunId>(bad, false);
        }
    }

    #[test]
    fn a_file_name_is_one_path_segment() {
        for bad in ["", ".", "..", "a/b", "a\\b", " a", "a\t", "\u{0}"] {
            check::<FileName>(bad, false);
        }
        check::<FileName>("Users 2026-01-01 ä.csv", true);
    }

    #[test]
    fn a_bucket_name_follows_the_rules_of_s3() {
        for good in ["abc", "acme.data-1", "0ab"] {
            check::<BucketName>(good, true);
        }
        for bad in ["", "ab", "Acme", "a_b", "-ab", "ab-", "a..b", &"a".repeat(64)] {
            check::<BucketName>(bad, false);
        }
    }

    #[test]
    fn a_bad_name_says_what_is_wrong_with_it() {
        let error = "a\n/b".parse::<FileName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`a\\n/b` is not a file name: a slash, a backslash or a control character is in it"
        );
    }
}
