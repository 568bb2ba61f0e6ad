//! The fields of a packet, in order.

use bytes::{Buf, Bytes};

/// A packet that cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// The unread rest of a packet.
pub(super) struct Fields {
    rest: Bytes,
    packet_bytes: usize,
}

impl Fields {
    pub(super) fn new(packet: Bytes) -> Self {
        Self { packet_bytes: packet.len(), rest: packet }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8, Malformed> {
        self.rest.try_get_u8().map_err(|_| self.ends_before(what))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        self.rest.try_get_u32().map_err(|_| self.ends_before(what))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        self.rest.try_get_u64().map_err(|_| self.ends_before(what))
    }

    /// Reads bytes that follow their length.
    pub(super) fn string(&mut self, what: &str) -> Result<Bytes, Malformed> {
        let length = self.u32(what)?;
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(self.rest.split_to(length)),
            _ => Err(Malformed(format!(
                "{what} of {length} bytes in a packet of {}",
                self.packet_bytes
            ))),
        }
    }

    /// Reads a text for people. One that is cut off is taken as far as it goes, and none is empty.
    pub(super) fn text(&mut self) -> String {
        let length = self.rest.try_get_u32().unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.rest.len());
        String::from_utf8_lossy(&self.rest.split_to(length)).into_owned()
    }

    /// Takes everything that is left.
    pub(super) fn into_rest(self) -> Bytes {
        self.rest
    }

    fn ends_before(&self, what: &str) -> Malformed {
        Malformed(format!("a packet of {} bytes ends before {what}", self.packet_bytes))
    }
}
