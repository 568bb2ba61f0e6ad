//! How digests are written.

use std::fmt::Write as _;

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a `String` can not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
