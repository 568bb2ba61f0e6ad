//! The digest of a file, and the offset up to which it is known.

use std::fmt::Write as _;

use job::delivery::Checkpoint;
use sha2::{Digest, Sha256, digest::common::hazmat::SerializableState};

/// Returns bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An offset in a file, and the SHA-256 of everything before it.
///
/// The state of the hash can be kept: a resumed delivery does not read the beginning again.
#[derive(Clone, Debug, Default)]
pub struct HashedOffset {
    offset: u64,
    hash: Sha256,
}

impl HashedOffset {
    /// Block size of SHA-256. At multiples of it the hash's state holds no byte of the file.
    pub const BLOCK_BYTES: usize = 64;

    /// The offset.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns whether the offset lies between two blocks of the hash.
    pub fn is_between_blocks(&self) -> bool {
        self.offset.is_multiple_of(Self::BLOCK_BYTES as u64)
    }

    /// Moves behind the bytes that follow.
    pub fn advance(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// SHA-256 of everything before the offset, in hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(&self.hash.clone().finalize())
    }

    /// Reads the offset that `checkpoint` holds; nothing if it holds none.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Option<Self> {
        let text = checkpoint.sha256_state.as_deref()?;
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let state = bytes?.as_slice().try_into().ok()?;
        let hash = Sha256::deserialize(&state).ok()?;
        Some(Self { offset: checkpoint.acknowledged_bytes, hash })
    }

    /// State of the hash, in hexadecimal.
    pub fn state(&self) -> String {
        hexadecimal(&self.hash.serialize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(acknowledged_bytes: u64, sha256_state: Option<String>) -> Checkpoint {
        Checkpoint {
            version: String::new(),
            acknowledged_bytes,
            sha256_state,
            sha256: None,
            temporary_path: None,
            reopened: false,
        }
    }

    #[test]
    fn a_hash_resumes_in_the_next_invocation_and_its_state_shows_nothing_of_the_file() {
        let text = b"a line of the file that has 64 bytes, the block size of SHA-256.";
        let mut whole = HashedOffset::default();
        whole.advance(text);
        assert!(whole.is_between_blocks());
        let state = whole.state();
        assert!(state.ends_with(&"0".repeat(2 * HashedOffset::BLOCK_BYTES)), "{state}");
        let mut resumed = HashedOffset::from_checkpoint(&checkpoint(64, Some(state))).unwrap();
        whole.advance(b"rest");
        resumed.advance(b"rest");
        assert_eq!((resumed.offset(), resumed.sha256()), (68, whole.sha256()));
        assert!(!resumed.is_between_blocks());
    }

    #[test]
    fn text_that_is_no_state_of_a_hash_is_refused() {
        for state in [None, Some(""), Some("abc"), Some("zz"), Some("ä"), Some("00ff")] {
            let checkpoint = checkpoint(64, state.map(str::to_owned));
            assert!(HashedOffset::from_checkpoint(&checkpoint).is_none());
        }
    }
}
