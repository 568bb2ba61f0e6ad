//! The server's identity: the keys it may present, and the one that it does.

use job::transport::{HostKeyCheck, SftpConfig};
use russh::keys::{Algorithm, HashAlg, PublicKey, ssh_key::Fingerprint};

use crate::error::Error;

/// The keys that the server may present.
#[derive(Clone, Debug)]
pub(super) struct HostKeys {
    pins: Vec<Pin>,
    check: HostKeyCheck,
}

#[derive(Clone, Debug)]
enum Pin {
    Fingerprint(Fingerprint),
    Key(Box<PublicKey>),
}

/// The key that the server presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PresentedKey {
    /// Its type and SHA-256 fingerprint, such as `ssh-ed25519 SHA256:…`.
    pub(super) text: String,
    /// Whether it is one of the pinned keys.
    pub(super) is_pinned: bool,
}

impl HostKeys {
    pub(super) fn new(config: &SftpConfig) -> Result<Self, Error> {
        let pins = config.sftp_host_keys.iter().enumerate().map(|(index, text)| {
            Pin::parse(text).ok_or_else(|| Error::HostKeyPin { index, pin: text.clone() })
        });
        Ok(Self { pins: pins.collect::<Result<_, _>>()?, check: config.host_key_check() })
    }

    /// The types of the pinned keys, if all pins tell theirs: a fingerprint does not.
    pub(super) fn types(&self) -> Option<Vec<Algorithm>> {
        let types = self.pins.iter().map(|pin| match pin {
            Pin::Key(key) => Some(key.algorithm()),
            Pin::Fingerprint(_) => None,
        });
        types.collect::<Option<Vec<_>>>().filter(|types| !types.is_empty())
    }

    pub(super) fn look_at(&self, key: &PublicKey) -> PresentedKey {
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let is_pinned = self.pins.iter().any(|pin| match pin {
            Pin::Fingerprint(pinned) => *pinned == fingerprint,
            Pin::Key(pinned) => pinned.key_data() == key.key_data(),
        });
        PresentedKey { text: format!("{} {fingerprint}", key.algorithm()), is_pinned }
    }

    /// Whether the delivery may go on with this key.
    pub(super) fn accept(&self, presented: &PresentedKey) -> bool {
        match self.check {
            HostKeyCheck::Require => presented.is_pinned,
            HostKeyCheck::Warn => {
                if !presented.is_pinned {
                    tracing::warn!(
                        host_key = presented.text,
                        "the server's host key is not one of `sftp_host_keys`; the delivery goes on"
                    );
                }
                true
            }
            HostKeyCheck::Off => true,
        }
    }

    /// The pinned keys, for a message.
    pub(super) fn expected(&self) -> String {
        let pins = self.pins.iter().map(|pin| match pin {
            Pin::Fingerprint(fingerprint) => format!("`{fingerprint}`"),
            Pin::Key(key) => format!("`{} {}`", key.algorithm(), key.fingerprint(HashAlg::Sha256)),
        });
        pins.collect::<Vec<_>>().join(" or ")
    }
}

impl Pin {
    /// Reads a fingerprint, also with the key's type before it as in a receipt, a public key, or a line of a `known_hosts` file.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split_whitespace().collect();
        if let [digest] | [_, digest] = words[..]
            && digest.starts_with("SHA256:")
        {
            return digest.trim_end_matches('=').parse().ok().map(Self::Fingerprint);
        }
        // What is before the type of the key are the hosts of a `known_hosts` line.
        let keys =
            words.windows(2).filter_map(|pair| PublicKey::from_openssh(&pair.join(" ")).ok());
        keys.map(|key| Self::Key(Box::new(key))).next()
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::{PrivateKey, key::safe_rng};
    use serde_json::json;

    use super::*;

    fn key() -> PublicKey {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap().public_key().clone()
    }

    fn host_keys(pins: &[String], check: Option<&str>) -> HostKeys {
        let config =
            json!({ "sftp_host": "h", "sftp_host_keys": pins, "sftp_host_key_check": check });
        HostKeys::new(&serde_json::from_value(config).unwrap()).unwrap()
    }

    #[track_caller]
    fn check(
        pins: &[String],
        mode: Option<&str>,
        presented: &PublicKey,
        pinned: bool,
        accepted: bool,
    ) {
        let keys = host_keys(pins, mode);
        let presented = keys.look_at(presented);
        assert_eq!(
            (presented.is_pinned, keys.accept(&presented)),
            (pinned, accepted),
            "{pins:?} {mode:?}"
        );
    }

    #[test]
    fn a_key_is_accepted_by_fingerprint_by_key_and_by_known_hosts_line() {
        let (right, other) = (key(), key());
        let line = right.to_openssh().unwrap();
        for pin in [
            right.fingerprint(HashAlg::Sha256).to_string(),
            format!("{}=", right.fingerprint(HashAlg::Sha256)),
            host_keys(&[], None).look_at(&right).text,
            line.clone(),
            format!("{line} root@partner"),
            format!("[sftp.partner.example]:2222,10.0.0.1 {line}"),
        ] {
            check(std::slice::from_ref(&pin), None, &right, true, true);
            check(&[pin], None, &other, false, false);
        }
    }

    #[test]
    fn without_pins_any_key_is_accepted_and_not_called_verified() {
        check(&[], None, &key(), false, true);
        check(&[], Some("off"), &key(), false, true);
    }

    #[test]
    fn another_key_is_accepted_only_where_the_check_is_not_required() {
        let pin = [key().to_openssh().unwrap()];
        check(&pin, None, &key(), false, false);
        check(&pin, Some("require"), &key(), false, false);
        check(&pin, Some("warn"), &key(), false, true);
        check(&pin, Some("off"), &key(), false, true);
    }

    #[test]
    fn types_are_known_only_if_every_pin_tells_its_own() {
        let (key, other) = (key(), key());
        let (line, fingerprint) =
            (key.to_openssh().unwrap(), other.fingerprint(HashAlg::Sha256).to_string());
        assert_eq!(
            host_keys(std::slice::from_ref(&line), None).types(),
            Some(vec![Algorithm::Ed25519])
        );
        assert_eq!(host_keys(&[line, fingerprint], None).types(), None);
        assert_eq!(host_keys(&[], None).types(), None);
    }
}
