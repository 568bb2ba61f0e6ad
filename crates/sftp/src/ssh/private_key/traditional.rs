//! Keys in the form that OpenSSL calls traditional: PKCS#1 and SEC1, encrypted by PEM headers.

use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use russh::keys::{Error as KeyError, PrivateKey, decode_secret_key};
use secrecy::ExposeSecret as _;

use super::{NO_PASSPHRASE, UNKNOWN, WRONG_PASSPHRASE, pem, pem::Block};

/// Bytes of the initialisation vector that are the salt of the key (OpenSSL, `PEM_do_header`).
const SALT_BYTES: usize = 8;

/// Reads a key in PKCS#1, SEC1 or plain PKCS#8 form.
pub(super) fn read(block: &Block, passphrase: Option<&str>) -> Result<PrivateKey, String> {
    let Some((cipher, vector)) = &block.encryption else {
        let text = block.to_pem();
        return decode_secret_key(text.expose_secret(), None).map_err(|error| explain(&error));
    };
    let decrypt = decryptor(cipher).ok_or_else(|| {
        format!(
            "it is encrypted with `{}`, which is not supported; `ssh-keygen -p -f FILE` encrypts it \
             anew",
            delivery::sanitize(cipher, [])
        )
    })?;
    let passphrase = passphrase.ok_or(NO_PASSPHRASE)?;
    let vector = hexadecimal(vector).ok_or(UNKNOWN)?;
    let mut der = block.der().ok_or(UNKNOWN)?;
    let length = decrypt(passphrase.as_bytes(), &vector, &mut der).ok_or(WRONG_PASSPHRASE)?;
    let text = pem::to_pem(&block.label, &STANDARD.encode(&der[..length]));
    // Once in 256 times a wrong passphrase ends with valid padding.
    decode_secret_key(text.expose_secret(), None).map_err(|_| WRONG_PASSPHRASE.to_owned())
}

fn explain(error: &KeyError) -> String {
    match error {
        KeyError::UnknownAlgorithm(oid) => {
            format!("it is a key of the kind `{oid}`, which is not supported for SSH")
        }
        _ => UNKNOWN.to_owned(),
    }
}

/// Decrypts in place with passphrase and vector; returns the length of the plain text.
type Decrypt = fn(&[u8], &[u8], &mut [u8]) -> Option<usize>;

fn decryptor(cipher: &str) -> Option<Decrypt> {
    Some(match cipher {
        "AES-128-CBC" => decrypt::<cbc::Decryptor<aes::Aes128>, 16>,
        "AES-192-CBC" => decrypt::<cbc::Decryptor<aes::Aes192>, 24>,
        "AES-256-CBC" => decrypt::<cbc::Decryptor<aes::Aes256>, 32>,
        "DES-EDE3-CBC" => decrypt::<cbc::Decryptor<des::TdesEde3>, 24>,
        "DES-CBC" => decrypt::<cbc::Decryptor<des::Des>, 8>,
        _ => return None,
    })
}

fn decrypt<D: BlockModeDecrypt + KeyIvInit, const KEY_BYTES: usize>(
    passphrase: &[u8],
    vector: &[u8],
    text: &mut [u8],
) -> Option<usize> {
    let key: [u8; KEY_BYTES] = derive(passphrase, vector.get(..SALT_BYTES)?);
    let decryptor = D::new_from_slices(&key, vector).ok()?;
    decryptor.decrypt_padded::<Pkcs7>(text).ok().map(<[u8]>::len)
}

/// Derives a key as OpenSSL's `EVP_BytesToKey` does with MD5 and one iteration.
fn derive<const KEY_BYTES: usize>(passphrase: &[u8], salt: &[u8]) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let mut digest: Vec<u8> = Vec::new();
    for part in key.chunks_mut(16) {
        let hash = Md5::new().chain_update(&digest).chain_update(passphrase).chain_update(salt);
        digest = hash.finalize().to_vec();
        part.copy_from_slice(&digest[..part.len()]);
    }
    key
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
