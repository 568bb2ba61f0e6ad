//! Algorithms that are offered to the server, best first.

use std::borrow::Cow;

use job::transport::HostKeyType;
use russh::{
    Preferred, cipher, compression, kex,
    keys::{Algorithm, EcdsaCurve},
    mac,
};

/// Returns the algorithms to offer.
///
/// AES-GCM comes first, because it takes the least time of the processor. The NIST curves are added
/// for servers that know nothing newer. Nothing is compressed: most deliveries already are. `legacy`
/// adds what is no longer considered safe: SHA-1, CBC, `ssh-rsa`.
///
/// `host_keys` restricts the types of host keys: a server with several keys presents the one whose
/// type comes first in this list.
pub(super) fn preferred(legacy: bool, host_keys: Option<&[HostKeyType]>) -> Preferred {
    let mut kex = Preferred::DEFAULT.kex.into_owned();
    kex.extend([kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521]);
    let mut key = Preferred::DEFAULT.key.into_owned();
    key.retain(|algorithm| *algorithm != Algorithm::Rsa { hash: None });
    let mut cipher = vec![
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    let mut mac = Preferred::DEFAULT.mac.into_owned();
    if legacy {
        kex.extend([kex::DH_GEX_SHA1, kex::DH_G14_SHA1, kex::DH_G1_SHA1]);
        key.push(Algorithm::Rsa { hash: None });
        cipher.extend([cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC]);
        mac.extend([mac::HMAC_SHA1_ETM, mac::HMAC_SHA1]);
    }
    if let Some(wanted) = host_keys {
        key.retain(|algorithm| host_key_type(algorithm).is_some_and(|of| wanted.contains(&of)));
    }
    Preferred {
        kex: Cow::Owned(kex),
        key: Cow::Owned(key),
        cipher: Cow::Owned(cipher),
        mac: Cow::Owned(mac),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}

/// Returns the type of host key that signs with this algorithm.
///
/// An RSA key can sign with several hashes, so the hash does not tell keys apart.
pub(super) fn host_key_type(algorithm: &Algorithm) -> Option<HostKeyType> {
    match algorithm {
        Algorithm::Ed25519 => Some(HostKeyType::Ed25519),
        Algorithm::Rsa { .. } => Some(HostKeyType::Rsa),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => Some(HostKeyType::EcdsaP256),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 } => Some(HostKeyType::EcdsaP384),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 } => Some(HostKeyType::EcdsaP521),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::HashAlg;

    use super::*;

    #[test]
    fn unsafe_algorithms_are_offered_only_when_asked_for() {
        let unsafe_names = |preferred: &Preferred| {
            let mut names: Vec<String> =
                preferred.key.iter().map(|key| key.as_str().to_owned()).collect();
            names.extend(preferred.kex.iter().map(|name| name.as_ref().to_owned()));
            names.extend(preferred.cipher.iter().map(|name| name.as_ref().to_owned()));
            names.extend(preferred.mac.iter().map(|name| name.as_ref().to_owned()));
            names.retain(|name| name.contains("sha1") || name.contains("cbc") || name == "ssh-rsa");
            names.len()
        };
        assert_eq!(unsafe_names(&preferred(false, None)), 0);
        assert_eq!(unsafe_names(&preferred(true, None)), 9);
    }

    #[test]
    fn a_pinned_rsa_key_asks_for_rsa_with_every_safe_hash() {
        let key = preferred(false, Some(&[HostKeyType::Rsa])).key;
        let expected = [
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ];
        assert_eq!(key.as_ref(), expected);
    }
}
