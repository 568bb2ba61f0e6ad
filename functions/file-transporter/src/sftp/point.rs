//! A place in the file up to which the server has everything.

use sha2::{Digest, Sha256, digest::common::hazmat::SerializableState};

use crate::delivery::Checkpoint;
use crate::hexadecimal::hexadecimal;

/// The bytes that SHA-256 takes at a time. At multiples of it the hash's state holds no bytes of
/// the file.
pub(super) const BLOCK_BYTES: usize = 64;

/// A place in a file, and the hash of everything before it.
///
/// With the hash's state the next attempt, and the next invocation, goes on from here without
/// reading the beginning again.
#[derive(Clone, Debug, Default)]
pub(super) struct Point {
    offset: u64,
    hash: Sha256,
}

impl Point {
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn is_between_blocks(&self) -> bool {
        self.offset.is_multiple_of(BLOCK_BYTES as u64)
    }

    /// Moves behind the bytes that follow.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// The SHA-256 of everything before the point, in hexadecimal.
    pub(super) fn sha256(&self) -> String {
        hexadecimal(&self.hash.clone().finalize())
    }

    /// The point that an earlier invocation stopped at; nothing if the checkpoint does not hold one.
    pub(super) fn from_checkpoint(checkpoint: &Checkpoint) -> Option<Self> {
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

    /// The state of the hash, in hexadecimal.
    pub(super) fn state(&self) -> String {
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
            invocations: 1,
            sha256_state,
            sent: None,
        }
    }

    #[test]
    fn a_hash_goes_on_in_the_next_invocation_and_its_state_shows_nothing_of_the_file() {
        let text = b"a line of the file that has 64 bytes, the block size of SHA-256.";
        let mut whole = Point::default();
        whole.advance(text);
        assert!(whole.is_between_blocks());
        let state = whole.state();
        assert!(state.ends_with(&"0".repeat(2 * BLOCK_BYTES)), "{state}");
        let mut resumed = Point::from_checkpoint(&checkpoint(64, Some(state))).unwrap();
        whole.advance(b"rest");
        resumed.advance(b"rest");
        assert_eq!((resumed.offset(), resumed.sha256()), (68, whole.sha256()));
        assert!(!resumed.is_between_blocks());
    }

    #[test]
    fn what_is_no_state_of_a_hash_is_no_point() {
        for state in [None, Some(""), Some("abc"), Some("zz"), Some("ä"), Some("00ff")] {
            assert!(Point::from_checkpoint(&checkpoint(64, state.map(str::to_owned))).is_none());
        }
    }
}
