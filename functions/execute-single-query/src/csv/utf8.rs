//! UTF-8 over chunks.

/// UTF-8 over chunks that may be cut inside a character.
#[derive(Debug, Default)]
pub(super) struct Utf8Check {
    /// How many bytes were checked.
    offset: u64,
    /// The beginning of a character that the last chunk ended in: up to 3 bytes.
    open: [u8; 4],
    open_len: usize,
}

impl Utf8Check {
    /// Checks the next bytes.
    ///
    /// # Errors
    ///
    /// The offset of the first bad character since the beginning.
    pub(super) fn check(&mut self, chunk: &[u8]) -> Result<(), u64> {
        let mut rest = chunk;
        while self.open_len > 0 {
            let Some((first, tail)) = rest.split_first() else { return Ok(()) };
            self.open[self.open_len] = *first;
            self.open_len += 1;
            self.offset += 1;
            rest = tail;
            match std::str::from_utf8(&self.open[..self.open_len]) {
                Ok(_) => self.open_len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.offset - self.open_len as u64),
            }
        }
        // The one is faster, the other says where.
        if simdutf8::basic::from_utf8(rest).is_err()
            && let Err(error) = simdutf8::compat::from_utf8(rest)
        {
            if error.error_len().is_some() {
                return Err(self.offset + error.valid_up_to() as u64);
            }
            let open = &rest[error.valid_up_to()..];
            self.open[..open.len()].copy_from_slice(open);
            self.open_len = open.len();
        }
        self.offset += rest.len() as u64;
        Ok(())
    }
}
