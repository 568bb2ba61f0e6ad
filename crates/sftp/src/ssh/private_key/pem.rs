//! PEM blocks in a text, however their lines were mangled.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};

const BEGIN: &str = "-----BEGIN ";
const LINE_CHARACTERS: usize = 64;

/// One block.
pub(super) struct Block {
    /// Words behind `BEGIN`.
    pub(super) label: String,
    /// Cipher and initialisation vector of `DEK-Info`, if the block is encrypted (RFC 1421).
    pub(super) encryption: Option<(String, String)>,
    /// Whether the last line is missing.
    pub(super) is_cut: bool,
    body: SecretString,
}

impl Block {
    /// A block that is not encrypted by headers.
    pub(super) fn new(label: &str, base64: &str) -> Self {
        let body = SecretString::from(base64);
        Self { label: label.to_owned(), encryption: None, is_cut: false, body }
    }

    pub(super) fn der(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.body.expose_secret()).ok()
    }

    /// The block alone, in lines as RFC 7468 wants them.
    pub(super) fn to_pem(&self) -> SecretString {
        to_pem(&self.label, self.body.expose_secret())
    }
}

/// Returns a block with this label and this base64.
pub(super) fn to_pem(label: &str, base64: &str) -> SecretString {
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64;
    while !rest.is_empty() {
        // The text may have any characters where a console mangled it.
        let end = rest.char_indices().nth(LINE_CHARACTERS).map_or(rest.len(), |(at, _)| at);
        text.push_str(&rest[..end]);
        text.push('\n');
        rest = &rest[end..];
    }
    SecretString::from(text + &format!("-----END {label}-----\n"))
}

/// Finds the blocks of a text, whose lines may be joined by spaces.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let parts = text.split(BEGIN).skip(1);
    parts.filter_map(block).collect()
}

fn block(text: &str) -> Option<Block> {
    let (label, rest) = text.split_once("-----")?;
    let (content, is_cut) = match rest.split_once("-----END ") {
        Some((content, _)) => (content, false),
        None => (rest, true),
    };
    let mut encryption = None;
    let mut body = String::new();
    let mut words = content.split_whitespace();
    while let Some(word) = words.next() {
        match word.strip_suffix(':') {
            // Of the headers only this one matters.
            Some("DEK-Info") => {
                let value = words.next()?;
                let (cipher, vector) = value.split_once(',').unwrap_or((value, ""));
                encryption = Some((cipher.to_uppercase(), vector.to_owned()));
            }
            Some(_) => {
                words.next();
            }
            None => body.push_str(word),
        }
    }
    Some(Block {
        label: label.trim().to_owned(),
        encryption,
        is_cut,
        body: SecretString::from(body),
    })
}
