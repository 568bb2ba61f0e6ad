//! The digests of a file, computed while it is read.

use delivery::hexadecimal;
use md5::Md5;
use sha2::{Digest, Sha256};

/// Size and digests of the bytes so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digests {
    md5: Md5,
    sha256: Sha256,
    size_bytes: u64,
}

impl Digests {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// MD5 in hexadecimal.
    pub(crate) fn md5(&self) -> String {
        hexadecimal(&self.md5.clone().finalize())
    }

    /// SHA-256 in hexadecimal.
    pub(crate) fn sha256(&self) -> String {
        hexadecimal(&self.sha256.clone().finalize())
    }
}

/// MD5 of `bytes` in hexadecimal.
pub(crate) fn md5_of(bytes: &[u8]) -> String {
    hexadecimal(&Md5::digest(bytes))
}
