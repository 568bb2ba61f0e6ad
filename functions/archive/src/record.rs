//! The records that an archive is made of: a signature, then little-endian fields (4.4.1).

/// A record that is being written, field after field.
pub(crate) struct Record(Vec<u8>);

impl Record {
    pub(crate) fn new(signature: u32) -> Self {
        Self(signature.to_le_bytes().to_vec())
    }

    pub(crate) fn u16(self, field: u16) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn u32(self, field: u32) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn u64(self, field: u64) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        self.0.extend_from_slice(field);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The 32-bit field of a number, which is full when a ZIP64 field has the number (4.4.1.4).
pub(crate) fn field_32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The 16-bit field of a number, which is full when a ZIP64 field has the number (4.4.1.4).
pub(crate) fn field_16(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Whether the number needs a ZIP64 field: a full 32-bit field says so, and can not be a number.
pub(crate) fn needs_zip64(number: u64) -> bool {
    field_32(number) == u32::MAX
}
