//! Private keys, as they arrive from consoles, files and JSON.

mod pem;
mod traditional;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use russh::keys::{PrivateKey, decode_secret_key};
use secrecy::{ExposeSecret, SecretString};

use self::pem::Block;
use crate::error::Error;

const NO_PASSPHRASE: &str = "it is encrypted, and `sftp_private_key_passphrase` is missing";
const WRONG_PASSPHRASE: &str = "the passphrase is wrong, or it is damaged";
const UNKNOWN: &str = "it is damaged or of an unknown kind";
const PUBLIC: &str = "it is a public key; the private key belongs here, the file without `.pub`";
const CERTIFICATE: &str = "it is a certificate; the private key that belongs to it is needed";

/// Reads a private key in OpenSSH, PKCS#1, PKCS#8, SEC1 or PuTTY form.
///
/// Text around the key is skipped: other PEM blocks, attributes, quotes, a byte order mark. A
/// passphrase that a plain key does not need is ignored.
///
/// # Errors
///
/// With a reason that is made here, so that nothing of the key gets into it.
pub(super) fn read(
    key: &SecretString,
    passphrase: Option<&SecretString>,
) -> Result<PrivateKey, Error> {
    let text = tidy(key.expose_secret());
    let passphrase = passphrase.map(ExposeSecret::expose_secret);
    parse(text.expose_secret(), passphrase).map_err(|reason| Error::PrivateKey { reason })
}

/// Removes what a console or an editor put around and into the text.
fn tidy(text: &str) -> SecretString {
    let text = text.trim_start_matches('\u{feff}').trim();
    let quotes: &[char] = &['"', '\'', '`'];
    let text = text.trim_matches(quotes).replace("\\r", "").replace("\\n", "\n");
    // Windows PowerShell 5 saves a file in UTF-16, which JSON then shows with a NUL in each place.
    let text = SecretString::from(text.replace('\0', ""));
    if text.expose_secret().contains("-----BEGIN") || is_putty(text.expose_secret()) {
        return text;
    }
    // The whole file in base64, as secret stores and CI systems keep it.
    let encoded: String = text.expose_secret().split_whitespace().collect();
    let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded {
        Some(decoded) => SecretString::from(decoded.trim_start_matches('\u{feff}')),
        None => text,
    }
}

fn is_putty(text: &str) -> bool {
    text.trim_start().starts_with("PuTTY-User-Key-File-")
}

fn parse(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, String> {
    if is_putty(text) {
        return putty(text.trim_start(), passphrase);
    }
    let blocks = pem::blocks(text);
    let Some(block) = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")) else {
        return bare(text, passphrase)
            .unwrap_or_else(|| Err(other_than_private(text, &blocks).to_owned()));
    };
    if block.is_cut {
        return Err(format!(
            "it is cut short: its last line `-----END {}-----` is missing",
            block.label
        ));
    }
    match block.label.as_str() {
        "OPENSSH PRIVATE KEY" => openssh(block, passphrase),
        "ENCRYPTED PRIVATE KEY" => pkcs8(block, passphrase),
        "DSA PRIVATE KEY" => Err("it is a DSA key, which servers no longer take".to_owned()),
        _ => traditional::read(block, passphrase),
    }
}

/// Reads base64 without the lines around it, which is nothing that has a form of its own.
fn bare(text: &str, passphrase: Option<&str>) -> Option<Result<PrivateKey, String>> {
    let encoded = SecretString::from(text.split_whitespace().collect::<String>());
    let bytes = STANDARD.decode(encoded.expose_secret()).ok()?;
    let block = |label: &str| Block::new(label, encoded.expose_secret());
    if bytes.starts_with(b"openssh-key-v1\0") {
        return Some(openssh(&block("OPENSSH PRIVATE KEY"), passphrase));
    }
    // The version of PKCS #12 is 3, and that of all kinds of keys is smaller.
    if bytes.first() == Some(&0x30) && bytes.get(..8)?.ends_with(b"\x02\x01\x03\x30") {
        return Some(Err(
            "it is a PKCS #12 file; `openssl pkcs12 -in FILE -nodes -nocerts` takes the \
                         key out of it"
                .to_owned(),
        ));
    }
    let plain = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let read = plain.iter().find_map(|label| traditional::read(&block(label), None).ok());
    read.map(Ok).or_else(|| match passphrase {
        Some(_) if bytes.first() == Some(&0x30) => {
            Some(pkcs8(&block("ENCRYPTED PRIVATE KEY"), passphrase))
        }
        _ => None,
    })
}

/// Names what is there instead of a private key.
fn other_than_private(text: &str, blocks: &[Block]) -> &'static str {
    let is_labelled = |word: &str| blocks.iter().any(|block| block.label.contains(word));
    let starts = ["ssh-", "ecdsa-sha2-", "sk-"];
    if text.contains("-cert-v01@openssh.com ") || is_labelled("CERTIFICATE") {
        CERTIFICATE
    } else if text.contains("SSH2 ENCRYPTED PRIVATE KEY") {
        "it has the form of ssh.com, which is not supported; PuTTYgen reads it and exports an OpenSSH \
         key"
    } else if is_labelled("PUBLIC KEY")
        || text.contains("BEGIN SSH2 PUBLIC KEY")
        || starts.iter().any(|start| text.starts_with(start))
    {
        PUBLIC
    } else if text.starts_with("PVK") || text.contains("SSH PRIVATE KEY FILE FORMAT 1.1") {
        "it has a form that is not supported; `ssh-keygen -p -f FILE` converts it"
    } else {
        UNKNOWN
    }
}

fn putty(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, String> {
    let text = putty_lines(text);
    let text = text.expose_secret();
    // PuTTY ends lines with CR LF, and consoles indent them and cut spaces off their ends.
    let lines: Vec<_> = text
        .lines()
        .map(|line| match line.trim() {
            "Comment:" => "Comment: ",
            line => line,
        })
        .collect();
    let text = SecretString::from(lines.join("\n") + "\n");
    let text = text.expose_secret();
    let cipher = lines.iter().find_map(|line| line.strip_prefix("Encryption:")).map(str::trim);
    match (cipher, passphrase) {
        (None | Some("none"), _) => decode_secret_key(text, None).map_err(|_| match lines[0] {
            line if line.ends_with("ssh-dss") => {
                "it is a DSA key, which servers no longer take".to_owned()
            }
            _ => UNKNOWN.to_owned(),
        }),
        (Some(_), None) => Err(NO_PASSPHRASE.to_owned()),
        (Some("aes256-cbc"), Some(passphrase)) => {
            decode_secret_key(text, Some(passphrase)).map_err(|_| WRONG_PASSPHRASE.to_owned())
        }
        (Some(cipher), Some(_)) => Err(format!(
            "it is encrypted with `{}`, which is not supported; PuTTYgen saves it anew",
            delivery::sanitize(cipher, [])
        )),
    }
}

/// Gives a PuTTY key its lines back, if a console joined them with spaces.
fn putty_lines(text: &str) -> SecretString {
    if text.lines().count() > 2 {
        return SecretString::from(text);
    }
    let headers = [
        "Encryption:",
        "Comment:",
        "Public-Lines:",
        "Key-Derivation:",
        "Argon2-Memory:",
        "Argon2-Passes:",
        "Argon2-Parallelism:",
        "Argon2-Salt:",
        "Private-Lines:",
        "Private-MAC:",
    ];
    let mut broken = text.to_owned();
    for header in headers {
        broken = broken.replace(&format!(" {header}"), &format!("\n{header}"));
    }
    let lines = broken.lines().map(|line| match line.split_once("-Lines: ") {
        Some((before, rest)) => format!("{before}-Lines: {}", rest.trim().replace(' ', "\n")),
        None => line.to_owned(),
    });
    SecretString::from(lines.collect::<Vec<_>>().join("\n") + "\n")
}

fn openssh(block: &Block, passphrase: Option<&str>) -> Result<PrivateKey, String> {
    let Some(cipher) = block.der().as_deref().and_then(openssh_cipher) else {
        return Err(UNKNOWN.to_owned());
    };
    let text = block.to_pem();
    let text = text.expose_secret();
    match (cipher.as_str(), passphrase) {
        ("none", _) => decode_secret_key(text, None).map_err(|_| UNKNOWN.to_owned()),
        (_, None) => Err(NO_PASSPHRASE.to_owned()),
        (
            "aes128-cbc"
            | "aes192-cbc"
            | "aes256-cbc"
            | "aes128-ctr"
            | "aes192-ctr"
            | "aes256-ctr"
            | "aes128-gcm@openssh.com"
            | "aes256-gcm@openssh.com"
            | "chacha20-poly1305@openssh.com"
            | "3des-cbc",
            Some(passphrase),
        ) => decode_secret_key(text, Some(passphrase)).map_err(|_| WRONG_PASSPHRASE.to_owned()),
        (cipher, Some(_)) => Err(format!(
            "it is encrypted with `{}`, which is not supported; `ssh-keygen -p -f FILE` encrypts it \
             anew",
            delivery::sanitize(cipher, [])
        )),
    }
}

/// Returns the name of the cipher, which is the first field of an OpenSSH key.
fn openssh_cipher(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.strip_prefix(b"openssh-key-v1\0")?.split_first_chunk()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    String::from_utf8(name.to_vec()).ok()
}

fn pkcs8(block: &Block, passphrase: Option<&str>) -> Result<PrivateKey, String> {
    let Some(passphrase) = passphrase else { return Err(NO_PASSPHRASE.to_owned()) };
    let text = block.to_pem();
    decode_secret_key(text.expose_secret(), Some(passphrase)).map_err(|_| {
        let der = block.der().unwrap_or_default();
        match unsupported_scheme(&der) {
            Some(scheme) => format!(
                "it is encrypted with {scheme}, which is not supported; \
                 `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE` encrypts it anew"
            ),
            None => WRONG_PASSPHRASE.to_owned(),
        }
    })
}

/// Names the encryption of a PKCS#8 key by its object identifier, if it is not supported.
fn unsupported_scheme(der: &[u8]) -> Option<&'static str> {
    let schemes: [(&[u8], &str); 12] = [
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x01", "PBE-MD2-DES"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x03", "PBE-MD5-DES"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x06", "PBE-MD5-RC2-64"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0a", "PBE-SHA1-DES"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0b", "PBE-SHA1-RC2-64"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03", "PBE-SHA1-3DES"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01", "a cipher of PKCS #12"),
        (b"\x2a\x86\x48\x86\xf7\x0d\x03\x02", "RC2"),
        (b"\x2a\x83\x08\x8c\x9a\x4b\x3d\x01\x01\x01", "Camellia"),
        (b"\x2a\x83\x1a\x8c\x9a\x6e\x01\x01", "ARIA"),
        (b"\x2a\x81\x1c\xcf\x55\x01\x68", "SM4"),
        (b"\x2a\x83\x1a\x8c\x9a\x44\x01", "SEED"),
    ];
    // The identifiers stand in the first bytes, before the key itself.
    let head = &der[..der.len().min(200)];
    let found = schemes.iter().find(|(oid, _)| head.windows(oid.len()).any(|part| part == *oid));
    found.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
