//! Packets of a stream of bytes.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::PACKET_BYTES_MAX;

/// Bytes that are read at once at least, if they are there.
const READ_BYTES: usize = 64 * 1024;

const LENGTH_BYTES: usize = size_of::<u32>();

/// Reason why there is no next packet.
#[derive(Debug)]
pub(super) enum NoPacket {
    /// The stream ended or failed, perhaps inside a packet.
    Closed,
    /// The length field has a value that no packet has.
    TooLong(u32),
}

/// Reads packets. Dropping a read loses nothing.
pub(super) struct Packets<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Packets<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Returns the next packet without its length.
    pub(super) async fn next(&mut self) -> Result<Bytes, NoPacket> {
        loop {
            let mut wanted = LENGTH_BYTES;
            if let Ok(length) = self.buffer.as_ref().try_get_u32() {
                wanted += usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= PACKET_BYTES_MAX)
                    .ok_or(NoPacket::TooLong(length))?;
                if self.buffer.len() >= wanted {
                    self.buffer.advance(LENGTH_BYTES);
                    return Ok(self.buffer.split_to(wanted - LENGTH_BYTES).freeze());
                }
            }
            let missing = wanted - self.buffer.len();
            match self.fill(missing).await {
                Ok(0) | Err(_) => return Err(NoPacket::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Reads what is there, after making room for `missing` bytes.
    pub(super) async fn fill(&mut self, missing: usize) -> io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < missing {
            self.buffer.reserve(missing.max(READ_BYTES));
        }
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Bytes that were received and are no packet yet.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer
    }
}
