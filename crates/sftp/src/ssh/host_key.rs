//! The server's identity: the keys that it may present, and the one that it does.

use job::transport::{HostKeyCheck, HostKeyPin, HostKeyType, PinnedKey, SftpConfig};
use russh::keys::{HashAlg, PublicKey};

use super::algorithms::host_key_type;
use crate::error::Error;

/// The keys that the server may present.
#[derive(Clone, Debug)]
pub(crate) struct HostKeys {
    trusted: Vec<HostKeyPin>,
    revoked: Vec<HostKeyPin>,
    check: HostKeyCheck,
}

/// The key that the server presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PresentedKey {
    /// Its type and SHA-256 fingerprint, such as `ssh-ed25519 SHA256:…`.
    pub(crate) text: String,
    /// Whether it is one of the pinned keys.
    pub(crate) is_pinned: bool,
    pub(super) is_revoked: bool,
    pub(super) key_type: Option<HostKeyType>,
}

/// The host keys that one key exchange asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Types to ask for; all if there is no preference.
    pub(super) types: Option<Vec<HostKeyType>>,
    /// Whether a key has to be pinned to be accepted.
    pub(super) must_be_pinned: bool,
}

impl HostKeys {
    pub(super) fn new(config: &SftpConfig) -> Result<Self, Error> {
        let pins = config
            .host_key_pins()
            .map_err(|(index, error)| Error::HostKeyPin { index, reason: error.to_string() })?;
        let (revoked, trusted) = pins.into_iter().partition(|pin| pin.is_revoked);
        Ok(Self { trusted, revoked, check: config.host_key_check() })
    }

    /// Returns the next offer, after keys of the types `seen` were presented and are not pinned.
    ///
    /// A server has a key of each type, and presents the one that the client prefers. The types of
    /// the pinned keys go first. A fingerprint does not tell its type, so all others are asked for
    /// after them, one key exchange each, before any credential is sent. Nothing is left when the
    /// server has none of the pinned keys and the check requires one.
    pub(super) fn next_offer(&self, seen: &[HostKeyType]) -> Option<Offer> {
        let any = Offer { types: None, must_be_pinned: self.check == HostKeyCheck::Require };
        if self.trusted.is_empty() {
            return Some(any);
        }
        let named: Vec<_> = self.trusted.iter().filter_map(|pin| pin.key_type).collect();
        let unseen = |types: &[HostKeyType]| -> Vec<_> {
            types.iter().copied().filter(|of| !seen.contains(of)).collect()
        };
        let mut types = unseen(&named);
        if types.is_empty() && named.len() < self.trusted.len() {
            types = unseen(&HostKeyType::ALL);
        }
        if !types.is_empty() {
            return Some(Offer { types: Some(types), must_be_pinned: true });
        }
        (self.check != HostKeyCheck::Require).then_some(any)
    }

    pub(super) fn look_at(&self, key: &PublicKey) -> PresentedKey {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let blob = key.to_bytes().ok();
        let is_in = |pins: &[HostKeyPin]| {
            pins.iter().any(|pin| match &pin.key {
                PinnedKey::Sha256(pinned) => fingerprint.strip_prefix("SHA256:") == Some(pinned),
                PinnedKey::Blob(pinned) => blob.as_ref() == Some(pinned),
            })
        };
        PresentedKey {
            text: format!("{} {fingerprint}", key.algorithm()),
            is_pinned: is_in(&self.trusted),
            is_revoked: is_in(&self.revoked),
            key_type: host_key_type(&key.algorithm()),
        }
    }

    /// Returns whether the delivery may go on with this key.
    ///
    /// A revoked key is refused whatever the check is: somebody else has it.
    pub(super) fn accept(&self, presented: &PresentedKey, offer: &Offer) -> bool {
        if presented.is_revoked || offer.must_be_pinned && !presented.is_pinned {
            return false;
        }
        if !presented.is_pinned && self.check == HostKeyCheck::Warn {
            tracing::warn!(
                host_key = presented.text,
                "the server's host key is not one of `sftp_host_keys`; the delivery goes on"
            );
        }
        true
    }

    /// The pinned keys, for a message.
    pub(super) fn expected(&self) -> String {
        if self.trusted.is_empty() {
            return "one of `sftp_host_keys`, which is empty".to_owned();
        }
        let pins = self.trusted.iter().map(|pin| {
            let key_type = pin.key_type.map(|of| format!("{} ", of.name())).unwrap_or_default();
            let digest = match &pin.key {
                PinnedKey::Sha256(digest) => format!("SHA256:{digest}"),
                PinnedKey::Blob(blob) => PublicKey::from_bytes(blob).map_or_else(
                    |_| "key".to_owned(),
                    |key| key.fingerprint(HashAlg::Sha256).to_string(),
                ),
            };
            format!("`{key_type}{digest}`")
        });
        pins.collect::<Vec<_>>().join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::{Algorithm, PrivateKey, key::safe_rng};
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

    /// Presents `key` for one type after the other, as a server that has only this one.
    #[track_caller]
    fn check(pins: &[String], mode: Option<&str>, key: &PublicKey, pinned: bool, accepted: bool) {
        let keys = host_keys(pins, mode);
        let presented = keys.look_at(key);
        let mut seen = Vec::new();
        let mut found = false;
        while let Some(offer) = keys.next_offer(&seen) {
            found = keys.accept(&presented, &offer);
            let Some(types) = offer.types.filter(|_| !found) else { break };
            seen.extend(types);
        }
        assert_eq!((presented.is_pinned, found), (pinned, accepted), "{pins:?} {mode:?}");
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
            format!("# h\nh {}\nh {line}", key().to_openssh().unwrap()),
        ] {
            check(std::slice::from_ref(&pin), None, &right, true, true);
            check(&[pin], None, &other, false, false);
        }
    }

    #[test]
    fn without_pins_any_key_is_accepted_and_not_called_verified() {
        check(&[], None, &key(), false, true);
        check(&[], Some("off"), &key(), false, true);
        check(&[], Some("require"), &key(), false, false);
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
    fn a_revoked_key_is_refused_even_if_it_is_pinned_elsewhere() {
        let revoked = key();
        let line = revoked.to_openssh().unwrap();
        let pins = [line.clone(), format!("@revoked * {line}")];
        for mode in [None, Some("require"), Some("warn"), Some("off")] {
            check(&pins, mode, &revoked, true, false);
            check(&pins[1..], mode, &revoked, false, false);
        }
        check(&pins[1..], None, &key(), false, true);
    }

    #[test]
    fn types_of_pinned_keys_are_asked_for_first_and_others_only_for_a_fingerprint() {
        use HostKeyType::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa};
        let line = key().to_openssh().unwrap();
        let bare = key().fingerprint(HashAlg::Sha256).to_string();
        let pinned = |types: &[HostKeyType]| {
            Some(Offer { types: Some(types.to_vec()), must_be_pinned: true })
        };
        let any = Some(Offer { types: None, must_be_pinned: false });
        let others = [EcdsaP256, EcdsaP384, EcdsaP521, Rsa];
        for (pins, mode, seen, expected) in [
            (vec![], None, &[][..], any.clone()),
            (vec![line.clone()], None, &[], pinned(&[Ed25519])),
            (vec![line.clone()], None, &[Ed25519], None),
            (vec![line.clone()], Some("warn"), &[Ed25519], any),
            (vec![format!("ssh-rsa {bare}")], None, &[], pinned(&[Rsa])),
            (vec![bare.clone()], None, &[Ed25519], pinned(&others)),
            (vec![bare.clone(), line.clone()], None, &[], pinned(&[Ed25519])),
            (vec![bare, line], None, &[Ed25519], pinned(&others)),
        ] {
            assert_eq!(host_keys(&pins, mode).next_offer(seen), expected, "{pins:?} {seen:?}");
        }
    }
}
