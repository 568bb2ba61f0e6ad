//! Private keys, as they arrive from consoles and JSON.

use russh::keys::{PrivateKey, decode_secret_key};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// Reads a private key in OpenSSH, PKCS#1, PKCS#8, SEC1 or PuTTY form.
///
/// The text of the error is made here, so that nothing of the key gets into it.
pub(super) fn read(
    key: &SecretString,
    passphrase: Option<&SecretString>,
) -> Result<PrivateKey, Error> {
    let text = SecretString::from(normalise(key.expose_secret()));
    let bad = |reason: &str| Error::PrivateKey { reason: reason.to_owned() };
    // A passphrase that a plain key does not need is ignored, which the library does for some kinds
    // of keys only.
    let plain =
        decode_secret_key(text.expose_secret(), None).ok().filter(|key| !key.is_encrypted());
    if let Some(key) = plain {
        return Ok(key);
    }
    let Some(passphrase) = passphrase else {
        return Err(bad(if looks_encrypted(text.expose_secret()) {
            "it is encrypted, and `sftp_private_key_passphrase` is missing"
        } else {
            "it is damaged or of an unknown kind"
        }));
    };
    decode_secret_key(text.expose_secret(), Some(passphrase.expose_secret()))
        .map_err(|_| bad("it is damaged, of an unknown kind, or the passphrase is wrong"))
}

/// Whether a key that could not be read lacks its passphrase.
fn looks_encrypted(text: &str) -> bool {
    let says_so = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED", "Encryption: aes"];
    says_so.iter().any(|mark| text.contains(mark))
        || matches!(decode_secret_key(text, None), Err(russh::keys::Error::KeyIsEncrypted))
        || matches!(decode_secret_key(text, None), Ok(key) if key.is_encrypted())
}

/// Gives a PEM text its lines back: `\n` written out, spaces for line breaks, indentation.
fn normalise(text: &str) -> String {
    let text = text.trim().replace("\\r", "").replace("\\n", "\n");
    let Some((begin, rest)) = text.split_once("-----BEGIN ").filter(|_| !text.starts_with("PuTTY"))
    else {
        return text;
    };
    let parts = rest.split_once("-----").and_then(|(kind, rest)| {
        let (body, _) = rest.split_once("-----END ")?;
        Some((kind, body))
    });
    let Some((kind, body)) = parts.filter(|_| begin.trim().is_empty()) else {
        return text;
    };
    // The headers of an encrypted PKCS#1 key have spaces of their own, and end with an empty line.
    if body.contains(':') {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        return lines.join("\n") + "\n";
    }
    let body: Vec<_> = body.split_whitespace().collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", body.join("\n"))
}

#[cfg(test)]
mod tests {
    use russh::keys::{
        Algorithm, encode_pkcs8_pem, encode_pkcs8_pem_encrypted, key::safe_rng, ssh_key::LineEnding,
    };

    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap()
    }

    #[track_caller]
    fn check(text: &str, passphrase: Option<&str>, expected: Result<&PrivateKey, &str>) {
        let found = read(&text.into(), passphrase.map(SecretString::from).as_ref());
        let found =
            found.as_ref().map(|key| key.public_key().key_data()).map_err(ToString::to_string);
        let expected = expected.map(|key| key.public_key().key_data());
        assert_eq!(
            found,
            expected.map_err(|reason| format!("reading `sftp_private_key`: {reason}"))
        );
    }

    #[test]
    fn a_key_is_read_however_a_console_mangled_it() {
        let key = key();
        let openssh = key.to_openssh(LineEnding::LF).unwrap().to_string();
        let mut pkcs8 = Vec::new();
        encode_pkcs8_pem(&key, &mut pkcs8).unwrap();
        for text in [openssh.as_str(), std::str::from_utf8(&pkcs8).unwrap()] {
            check(text, None, Ok(&key));
            check(text, Some("not needed"), Ok(&key));
            check(text.trim_end(), None, Ok(&key));
            check(&text.replace('\n', "\r\n"), None, Ok(&key));
            check(&text.replace('\n', "\\n"), None, Ok(&key));
            check(&text.replace('\n', "\\r\\n"), None, Ok(&key));
            check(&text.replace('\n', " "), None, Ok(&key));
            check(&text.replace('\n', "\n    "), None, Ok(&key));
            check(&format!("\n\n   {text}\n"), None, Ok(&key));
        }
    }

    #[test]
    fn an_encrypted_key_needs_its_passphrase() {
        let key = key();
        let encrypted = key.encrypt(&mut safe_rng(), "open sesame").unwrap();
        let openssh = encrypted.to_openssh(LineEnding::LF).unwrap().to_string();
        let mut pkcs8 = Vec::new();
        encode_pkcs8_pem_encrypted(&key, b"open sesame", 100, &mut pkcs8).unwrap();
        for text in [openssh.as_str(), std::str::from_utf8(&pkcs8).unwrap()] {
            check(text, Some("open sesame"), Ok(&key));
            let missing = "it is encrypted, and `sftp_private_key_passphrase` is missing";
            check(text, None, Err(missing));
            let wrong = "it is damaged, of an unknown kind, or the passphrase is wrong";
            check(text, Some("guess"), Err(wrong));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let reason = "it is damaged or of an unknown kind";
        for text in [
            "hunter2",
            "",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----",
        ] {
            check(text, None, Err(reason));
        }
    }
}
