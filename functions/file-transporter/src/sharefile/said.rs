//! What a server said, made fit to be shown: short, and without secrets.

use secrecy::{ExposeSecret, SecretString};

use super::address::Address;

/// The most characters that are shown.
const CHARS_MAX: usize = 300;

/// `text` on one line, cut to a sensible length, without the `secrets` and without the paths and
/// queries of addresses.
pub(super) fn fit_to_be_shown<'a>(
    text: &str,
    secrets: impl IntoIterator<Item = &'a SecretString>,
) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let secret = secret.expose_secret();
        if !secret.is_empty() {
            text = text.replace(secret, "***");
        }
    }
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words = words.filter(|word| !word.is_empty()).map(|word| {
        if !word.contains("://") {
            return word.to_owned();
        }
        let begin = word.find("http").unwrap_or_default();
        Address::parse(&word[begin..], true).map_or_else(|_| "…".to_owned(), |a| a.to_string())
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let secrets = ["hunter2".into(), "".into()];
        assert_eq!(fit_to_be_shown(text, &secrets), expected);
    }

    #[test]
    fn what_a_server_said_is_shown_on_one_line_and_without_secrets() {
        check("no room\r\n  left\u{0}", "no room left");
        check("password hunter2 is wrong", "password *** is wrong");
        check(
            "see https://z.example/u?uploadid=rsu-1, or ftp://x/y?z",
            "see https://z.example/… or …",
        );
        check("(url=https://z.example/u?uploadid=rsu-1)", "https://z.example/…");
        check(&"ä".repeat(301), &format!("{}…", "ä".repeat(300)));
    }
}
