//! Task tokens: the secret names by which callback tasks are settled.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Tells tokens of this form from others that may follow.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;
const NONCE_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + CHECKSUM_BYTES + NONCE_BYTES;

/// The token of one attempt of one callback task.
///
/// The text holds the execution's ARN, a nonce and a checksum, so a token that was given out is
/// known as such for ever without a list of closed ones. Only the nonce is secret; the machine
/// compares whole tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TaskToken {
    text: Arc<str>,
    execution_arn: Arc<str>,
}

impl TaskToken {
    pub(crate) fn new(execution_arn: &str, nonce: [u8; NONCE_BYTES]) -> Self {
        let mut body = nonce.to_vec();
        body.extend_from_slice(execution_arn.as_bytes());
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&checksum(&body));
        bytes.extend_from_slice(&body);
        Self { text: URL_SAFE_NO_PAD.encode(bytes).into(), execution_arn: execution_arn.into() }
    }

    /// Reads a token; `None` for text that no engine gave out.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (header, arn) = bytes.split_at_checked(HEADER_BYTES)?;
        let body = &bytes[1 + CHECKSUM_BYTES..];
        if header[0] != VERSION || header[1..=CHECKSUM_BYTES] != checksum(body) {
            return None;
        }
        let execution_arn = std::str::from_utf8(arn).ok()?;
        Some(Self { text: text.into(), execution_arn: execution_arn.into() })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn execution_arn(&self) -> &str {
        &self.execution_arn
    }
}

/// Whoever has a token may settle its task, so no log shows one.
impl fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskToken")
            .field("execution_arn", &self.execution_arn)
            .finish_non_exhaustive()
    }
}

/// Tells a damaged token from a closed one; it is no protection against forgery.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Sha256::digest(body);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:states:us-east-1:000000000000:execution:machine/Label:run";

    #[test]
    fn a_token_names_its_execution_and_hides_itself() {
        let token = TaskToken::new(ARN, [7; NONCE_BYTES]);
        assert_eq!(TaskToken::parse(token.text()), Some(token.clone()));
        assert_eq!(token.execution_arn(), ARN);
        let shown = format!("{token:?}");
        assert_eq!(shown, format!("TaskToken {{ execution_arn: \"{ARN}\", .. }}"));
        // AWS: a token has 1,024 characters at most.
        assert!(token.text().len() <= 1024);
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_none() {
        let token = TaskToken::new(ARN, [7; NONCE_BYTES]);
        let text = token.text();
        for place in 0..text.len() {
            let other = if &text[place..=place] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
            assert_eq!(TaskToken::parse(&changed), None, "{changed}");
            assert_eq!(TaskToken::parse(&text[..place]), None);
        }
        assert_eq!(TaskToken::parse("not a token"), None);
    }
}
