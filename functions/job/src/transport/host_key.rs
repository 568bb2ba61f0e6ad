//! Host keys of an SFTP server, as people paste them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Characters of a SHA-256 fingerprint in base64, without padding.
const FINGERPRINT_CHARACTERS: usize = 43;

const NO_KEY: &str = "is neither a fingerprint `SHA256:…` (43 characters of base64) nor a public key \
                      `ssh-… AAAA…`";

/// One line that names a host key: to be trusted, or never to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyPin {
    /// Whether the line is marked `@revoked`.
    pub is_revoked: bool,
    /// Type of the key, if the line tells it.
    pub key_type: Option<HostKeyType>,
    /// The key or its fingerprint.
    pub key: PinnedKey,
}

/// A host key, whole or as its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinnedKey {
    /// SHA-256 of the key in base64 without padding, as OpenSSH shows it behind `SHA256:`.
    Sha256(String),
    /// The public key in the form of RFC 4253, section 6.6.
    Blob(Vec<u8>),
}

/// The types of host keys that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyType {
    /// `ssh-ed25519`.
    Ed25519,
    /// `ssh-rsa`, whatever hash it signs with.
    Rsa,
    /// `ecdsa-sha2-nistp256`.
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`.
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`.
    EcdsaP521,
}

impl HostKeyType {
    /// All types.
    pub const ALL: [Self; 5] =
        [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384, Self::EcdsaP521, Self::Rsa];

    /// The name in a public key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Rsa => "ssh-rsa",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
        }
    }

    /// Returns the type of this name, which may be one of an RSA signature.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "rsa-sha2-256" | "rsa-sha2-512" => Some(Self::Rsa),
            name => Self::ALL.into_iter().find(|known| known.name() == name),
        }
    }

    /// Returns the type that `ssh-keygen -l` means by `(ED25519)` or `(ECDSA)`.
    fn of_keygen(words: &[&str]) -> Option<Self> {
        let named = |name: &str| {
            words.iter().any(|word| word.trim_matches(['(', ')']).eq_ignore_ascii_case(name))
        };
        match words {
            _ if named("ED25519") => Some(Self::Ed25519),
            _ if named("RSA") => Some(Self::Rsa),
            // The number of bits tells the curve.
            ["256", ..] if named("ECDSA") => Some(Self::EcdsaP256),
            ["384", ..] if named("ECDSA") => Some(Self::EcdsaP384),
            ["521", ..] if named("ECDSA") => Some(Self::EcdsaP521),
            _ => None,
        }
    }
}

/// The reason why a text names no host key, to be read behind the name of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyError(String);

impl HostKeyError {
    /// The fault of a text without a key.
    pub(super) fn no_key() -> Self {
        Self(NO_KEY.to_owned())
    }
}

impl fmt::Display for HostKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HostKeyError {}

/// Reads an entry of `sftp_host_keys`, which may have several lines.
///
/// A line is a fingerprint, a public key, or a line of `known_hosts`, `ssh-keyscan` or
/// `ssh-keygen -l`. Comments and empty lines are skipped. The hosts of a line, hashed or not, are not
/// compared with `sftp_host`: whoever lists a key trusts it, under whatever name it was recorded.
///
/// # Errors
///
/// When a line is something else.
pub(super) fn parse_host_keys(text: &str) -> Result<Vec<HostKeyPin>, HostKeyError> {
    let text = text.trim_start_matches('\u{feff}').replace("\\n", "\n");
    if let Some((_, body)) = text.split_once("---- BEGIN SSH2 PUBLIC KEY ----") {
        return Ok(vec![ssh2_block(body)?]);
    }
    let lines: Vec<_> = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let is_one = text.trim().lines().count() == 1;
    let pins = lines.into_iter().map(|(number, line)| {
        parse_line(line).map_err(|reason| {
            HostKeyError(if is_one { reason } else { format!("line {number} {reason}") })
        })
    });
    pins.collect()
}

fn parse_line(line: &str) -> Result<HostKeyPin, String> {
    let mut words: Vec<_> = line.split_whitespace().collect();
    if line.starts_with("-----BEGIN ") {
        return Err(if line.contains("PRIVATE KEY") {
            "is a private key; the server's public key belongs here".to_owned()
        } else {
            "is a PEM file; `ssh-keygen -i -m PKCS8 -f FILE` prints the public key that belongs here"
                .to_owned()
        });
    }
    let is_revoked = words[0] == "@revoked";
    match words[0] {
        "@revoked" => {
            words.remove(0);
        }
        "@cert-authority" => {
            return Err(
                "is marked `@cert-authority`, and certificates of hosts are not supported; give the \
                 server's own key"
                    .to_owned(),
            );
        }
        marker if marker.starts_with('@') => {
            return Err(format!("has the unknown marker `{marker}`"));
        }
        _ => {}
    }
    let (key_type, key) = match fingerprint(&words)? {
        Some(found) => found,
        None => public_key(&words)?,
    };
    Ok(HostKeyPin { is_revoked, key_type, key })
}

/// Returns the fingerprint in a line, if there is one.
fn fingerprint(words: &[&str]) -> Result<Option<(Option<HostKeyType>, PinnedKey)>, String> {
    let weak = |name: &str| {
        format!(
            "is a fingerprint made with {name}, which can be forged; `ssh-keygen -l -E sha256` shows \
             the one to give"
        )
    };
    let key_type = || {
        let named = words.iter().find_map(|word| HostKeyType::of_name(word));
        named.or_else(|| HostKeyType::of_keygen(words))
    };
    for word in words {
        if let Some(digest) = word.strip_prefix("SHA256:") {
            // `ssh` ends the sentence that shows a fingerprint with a full stop.
            let digest = digest.trim_end_matches(['=', '.', ',']);
            if !is_fingerprint(digest) {
                return Err(NO_KEY.to_owned());
            }
            return Ok(Some((key_type(), PinnedKey::Sha256(digest.to_owned()))));
        }
        let digits = word.strip_prefix("MD5:").unwrap_or(word);
        match hexadecimal(digits).as_deref() {
            Some([_, ..]) if word.starts_with("MD5:") => return Err(weak("MD5")),
            Some(bytes) if bytes.len() == 16 && digits.contains(':') => return Err(weak("MD5")),
            Some(bytes) if bytes.len() == 32 => {
                let digest = STANDARD.encode(bytes).trim_end_matches('=').to_owned();
                return Ok(Some((key_type(), PinnedKey::Sha256(digest))));
            }
            _ if word.starts_with("SHA1:") => return Err(weak("SHA-1")),
            _ => {}
        }
    }
    // WinSCP shows the type, the number of bits, and the fingerprint without its algorithm.
    if let [name, bits, digest] = words
        && HostKeyType::of_name(name).is_some()
        && bits.parse::<u16>().is_ok()
        && is_fingerprint(digest.trim_end_matches('='))
    {
        let digest = digest.trim_end_matches('=').to_owned();
        return Ok(Some((HostKeyType::of_name(name), PinnedKey::Sha256(digest))));
    }
    Ok(None)
}

fn is_fingerprint(digest: &str) -> bool {
    digest.len() == FINGERPRINT_CHARACTERS && is_base64(digest)
}

fn is_base64(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split(':').collect();
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

/// Reads `type base64`, with anything before and after it.
fn public_key(words: &[&str]) -> Result<(Option<HostKeyType>, PinnedKey), String> {
    let pair = words.windows(2).find(|pair| pair[1].starts_with("AAAA") && is_base64(pair[1]));
    let Some([name, body]) = pair else { return Err(NO_KEY.to_owned()) };
    if name.contains("-cert-v0") {
        return Err(
            "is a certificate, and those of hosts are not supported; give the server's own \
                    key"
            .to_owned(),
        );
    }
    let Some(key_type) = HostKeyType::of_name(name) else {
        return Err(if ["ssh-", "ecdsa-", "sk-"].iter().any(|start| name.starts_with(start)) {
            format!("is a key of type `{name}`, which is not supported")
        } else {
            NO_KEY.to_owned()
        });
    };
    let blob = STANDARD.decode(body).ok().filter(|blob| type_of(blob) == Some(key_type));
    let blob = blob.ok_or_else(|| {
        format!("is a damaged public key: the text behind `{name}` is cut short, or another type's")
    })?;
    Ok((Some(key_type), PinnedKey::Blob(blob)))
}

/// Reads the body of a public key in the form of RFC 4716.
fn ssh2_block(body: &str) -> Result<HostKeyPin, HostKeyError> {
    let body = body.split_once("----").map_or(body, |(body, _)| body);
    let mut continues = false;
    let mut encoded = String::new();
    for line in body.lines().map(str::trim) {
        let is_header = continues || line.contains(':');
        continues = is_header && line.ends_with('\\');
        if !is_header {
            encoded.push_str(line);
        }
    }
    let blob = STANDARD.decode(encoded).ok();
    let key = blob.and_then(|blob| type_of(&blob).map(|key_type| (key_type, blob)));
    let (key_type, blob) =
        key.ok_or_else(|| HostKeyError("is a damaged or unsupported public key".to_owned()))?;
    Ok(HostKeyPin { is_revoked: false, key_type: Some(key_type), key: PinnedKey::Blob(blob) })
}

/// Returns the type that a whole public key has; nothing if it is cut short.
fn type_of(blob: &[u8]) -> Option<HostKeyType> {
    let (name, mut rest) = field(blob)?;
    let key_type = HostKeyType::of_name(std::str::from_utf8(name).ok()?)?;
    let mut fields = 0;
    while !rest.is_empty() {
        (_, rest) = field(rest)?;
        fields += 1;
    }
    let expected = if key_type == HostKeyType::Ed25519 { 1 } else { 2 };
    (fields == expected).then_some(key_type)
}

/// Splits a string of RFC 4251, section 5, off the front.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests;
