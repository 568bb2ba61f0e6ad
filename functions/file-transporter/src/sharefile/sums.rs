//! What is computed of a file while it is sent.

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::hexadecimal::hexadecimal;

/// The sums of the bytes so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    md5: Md5,
    sha256: Sha256,
    size_bytes: u64,
}

impl Sums {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The MD5 in hexadecimal.
    pub(super) fn md5(&self) -> String {
        hexadecimal(&self.md5.clone().finalize())
    }

    /// The SHA-256 in hexadecimal.
    pub(super) fn sha256(&self) -> String {
        hexadecimal(&self.sha256.clone().finalize())
    }
}

/// The MD5 of `bytes` in hexadecimal.
pub(super) fn md5_of(bytes: &[u8]) -> String {
    hexadecimal(&Md5::digest(bytes))
}
