//! The words of a recipient's server, made fit to be shown.

use secrecy::{ExposeSecret, SecretString};

/// The most bytes of a server's text that are shown.
const TEXT_BYTES_MAX: usize = 2048;

/// The shortest secret that is masked: a shorter one would make stars of every text.
const SECRET_BYTES_MIN: usize = 4;

/// The shortest line of a secret of several lines, such as a private key, that is masked on its own.
const LINE_BYTES_MIN: usize = 16;

/// Returns a server's text without the secrets, with control characters escaped, cut at 2 KB.
///
/// Secrets are masked first: neither an escape nor the cut may hide a part of one from the mask.
pub fn sanitize<'a>(text: &str, secrets: impl IntoIterator<Item = &'a SecretString>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        text = mask(text, secret.expose_secret());
    }
    let mut shown = String::new();
    for (at, character) in text.char_indices() {
        let before = shown.len();
        // Unicode's separators and directions change what a terminal shows, too.
        if character.is_control() || is_invisible(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        if shown.len() > TEXT_BYTES_MAX {
            shown.truncate(before);
            let cut = text.len() - at;
            return format!("{shown}… ({cut} bytes more)");
        }
    }
    shown
}

fn mask(text: String, secret: &str) -> String {
    let lines = secret.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN);
    let whole = std::iter::once(secret.trim());
    let mut parts: Vec<&str> =
        whole.chain(lines).filter(|part| part.len() >= SECRET_BYTES_MIN).collect();
    // The whole goes before its lines.
    parts.dedup();
    parts.into_iter().fold(text, |text, part| text.replace(part, "***"))
}

fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, secrets: &[&str], expected: &str) {
        let secrets: Vec<_> = secrets.iter().map(|text| SecretString::from(*text)).collect();
        assert_eq!(sanitize(text, &secrets), expected);
    }

    #[test]
    fn control_characters_are_escaped_and_text_stays() {
        check("plain ä € 😀", &[], "plain ä € 😀");
        check("\u{1b}[2Jfine\r\nINFO forged", &[], "\\u{1b}[2Jfine\\r\\nINFO forged");
        check("a\u{202e}b", &[], "a\\u{202e}b");
    }

    #[test]
    fn secrets_are_masked_before_anything_is_cut() {
        check("no hunter2 here", &["hunter2"], "no *** here");
        let key = "-----BEGIN KEY-----\nAAAABBBBCCCCDDDDEEEE\n-----END KEY-----";
        check("got AAAABBBBCCCCDDDDEEEE", &[key], "got ***");
        check("nothing", &["", "n"], "nothing");
        let long = format!("{}hunter2", "x".repeat(TEXT_BYTES_MAX - 3));
        let shown = sanitize(&long, &[SecretString::from("hunter2")]);
        assert!(shown.ends_with("***") && !shown.contains("hun"), "{shown}");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let shown = sanitize(&"ä".repeat(5_000), []);
        assert_eq!(shown, format!("{}… (7952 bytes more)", "ä".repeat(1024)));
    }
}
