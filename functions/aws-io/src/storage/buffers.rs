//! The memory of parts.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::{PARTS_IN_FLIGHT, upload::PART_BYTES};

/// Buffers of one part each, used again and again: allocated and freed a part at a time, they would
/// make the process grow with what lies between them.
#[derive(Clone, Debug, Default)]
pub(super) struct PartBuffers(Arc<Mutex<Vec<BytesMut>>>);

impl PartBuffers {
    /// An empty buffer with room for a part. Memory that is not written to is not used.
    pub(super) fn take(&self) -> BytesMut {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| BytesMut::with_capacity(PART_BYTES))
    }

    /// Takes the memory of a part back, if nobody else has it.
    pub(super) fn give_back(&self, part: Bytes) {
        let Ok(mut buffer) = part.try_into_mut() else { return };
        buffer.clear();
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() >= PART_BYTES && free.len() < PARTS_IN_FLIGHT {
            free.push(buffer);
        }
    }
}
