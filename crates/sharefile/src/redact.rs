//! The server's words without secrets.

use delivery::sanitize;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::address::Address;

/// Returns `text` sanitized: without the `secrets`, however a server writes them, and with no more
/// of an address than its host. Whoever knows the address of an upload can upload.
pub(crate) fn redact<'a>(
    text: &str,
    secrets: impl IntoIterator<Item = &'a SecretString>,
) -> String {
    let spellings: Vec<_> = secrets.into_iter().flat_map(spellings).collect();
    hosts_only(&sanitize(text, &spellings))
}

/// The ways in which a server may repeat a secret: as it is, from a form, an address, or JSON.
fn spellings(secret: &SecretString) -> Vec<SecretString> {
    let secret = secret.expose_secret();
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let escaped = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let quoted = format!("{secret:?}");
    let mut spellings = vec![secret.to_owned(), quoted[1..quoted.len() - 1].to_owned()];
    for encoded in [form.replace('+', "%20"), form, escaped] {
        spellings.push(lower_escapes(&encoded));
        spellings.push(encoded);
    }
    // A longer spelling goes before one that is a part of it.
    spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    spellings.dedup();
    spellings.into_iter().map(SecretString::from).collect()
}

/// Returns percent-encoded text with `%2f` in place of `%2F`.
fn lower_escapes(text: &str) -> String {
    let mut escape = 0;
    let lowered = text.chars().map(|character| {
        escape = if character == '%' { 3 } else { usize::saturating_sub(escape, 1) };
        if escape > 0 { character.to_ascii_lowercase() } else { character }
    });
    lowered.collect()
}

/// Cuts addresses behind their hosts.
fn hosts_only(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        if !word.contains("://") {
            return word.to_owned();
        }
        let begin = word.find("http").unwrap_or_default();
        let shown = Address::parse(&word[begin..], true);
        shown.map_or_else(|_| "…".to_owned(), |a| format!("{}{a}", &word[..begin]))
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let secrets = ["hunter2".into(), "".into(), "a+b/ä \"%25".into()];
        assert_eq!(redact(text, &secrets), expected);
    }

    #[test]
    fn a_secret_is_masked_however_it_is_encoded() {
        check("password hunter2 is wrong", "password *** is wrong");
        check("a+b/ä \"%25", "***");
        check("{\"p\":\"a+b/ä \\\"%25\"}", "{\"p\":\"***\"}");
        check("p=a%2Bb%2F%C3%A4+%22%2525&x", "p=***&x");
        check("p=a%2bb%2f%c3%a4%20%22%2525&x", "p=***&x");
        check("p=a b/%C3%A4", "p=a b/%C3%A4");
    }

    #[test]
    fn no_more_of_an_address_than_its_host_is_shown() {
        check(
            "see https://z.example/u?uploadid=rsu-1, or ftp://x/y?z",
            "see https://z.example/… or …",
        );
        check("(url=https://z.example/u?uploadid=rsu-1)", "(url=https://z.example/…");
        check("a\nhttps://z.example/u?id=1\nb", "a\\nhttps://z.example/…");
    }
}
