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
            text = masked(&text, secret.as_bytes());
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

/// `text` with stars wherever it holds `secret`, as it is or encoded for an address or a form.
fn masked(text: &str, secret: &[u8]) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let held = length_in(rest.as_bytes(), secret).and_then(|length| rest.get(length..));
        if let Some(behind) = held {
            masked.push_str("***");
            rest = behind;
        } else {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    masked
}

/// How many bytes `secret` takes at the beginning of `text`, if it is there. Every byte of it may be
/// percent-encoded or not, because senders differ in what they encode.
fn length_in(text: &[u8], secret: &[u8]) -> Option<usize> {
    if text.starts_with(secret) {
        return Some(secret.len());
    }
    let mut rest = text;
    for byte in secret {
        let length = match rest {
            [b'%', high, low, ..] if hexadecimal(*high, *low) == Some(*byte) => 3,
            [b'+', ..] if *byte == b' ' => 1,
            [first, ..] if first == byte => 1,
            _ => return None,
        };
        rest = &rest[length..];
    }
    Some(text.len() - rest.len())
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let secrets = ["hunter2".into(), "".into(), "a+b/ä %25".into()];
        assert_eq!(fit_to_be_shown(text, &secrets), expected);
    }

    #[test]
    fn what_a_server_said_is_shown_on_one_line_and_without_secrets() {
        check("no room\r\n  left\u{0}", "no room left");
        check("password hunter2 is wrong", "password *** is wrong");
        check("hhunter2hunter%32", "h******");
        check("a+b/ä %25", "***");
        check("p=a%2Bb%2F%C3%A4+%2525&x", "p=***&x");
        check("p=a%2bb/%c3%a4%20%2525&x", "p=***&x");
        check("p=a b/%C3%A4", "p=a b/%C3%A4");
        check(
            "see https://z.example/u?uploadid=rsu-1, or ftp://x/y?z",
            "see https://z.example/… or …",
        );
        check("(url=https://z.example/u?uploadid=rsu-1)", "https://z.example/…");
        check(&"ä".repeat(301), &format!("{}…", "ä".repeat(300)));
    }
}
