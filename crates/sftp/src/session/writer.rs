//! The task that sends requests.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, mpsc::UnboundedReceiver, oneshot},
};

/// Slices for one vectored write.
const SLICES_MAX: usize = 64;

/// Bytes that are taken from the queue before they are written.
const BATCH_BYTES: usize = 256 * 1024;

/// The usual size of an SSH channel's packets. A stream that takes one slice at a time is given so
/// much at once, because every write to it becomes a packet of its own.
const STAGE_BYTES: usize = 32 * 1024;

/// Slices that are shorter are worth a copy to be written with their neighbours.
const SHORT_BYTES: usize = 8 * 1024;

/// An encoded request that waits to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    packet: Bytes,
    data: Vec<Bytes>,
    /// A place in the queue, if the request waited for one.
    room: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(super) fn new(packet: Bytes) -> Self {
        Self { packet, data: Vec::new(), room: None }
    }

    pub(super) fn with_data(self, data: Vec<Bytes>) -> Self {
        Self { data, ..self }
    }

    pub(super) fn with_room(self, room: OwnedSemaphorePermit) -> Self {
        Self { room: Some(room), ..self }
    }
}

/// Writes requests in the order of the queue until its end. A failure is told to the reader, which
/// ends the session.
pub(super) async fn send_requests<W: AsyncWrite + Unpin>(
    mut stream: W,
    mut queue: UnboundedReceiver<Outgoing>,
    failed: oneshot::Sender<()>,
) {
    let mut batch = Batch::default();
    while let Some(request) = queue.recv().await {
        let mut places = Vec::new();
        let mut next = Some(request);
        while let Some(request) = next {
            places.extend(request.room);
            batch.push(request.packet);
            request.data.into_iter().for_each(|data| batch.push(data));
            next = if batch.bytes < BATCH_BYTES { queue.try_recv().ok() } else { None };
        }
        let written = async {
            batch.write_to(&mut stream).await?;
            stream.flush().await
        };
        if written.await.is_err() {
            // The reader may have ended before.
            let _ = failed.send(());
            return;
        }
    }
}

/// Slices that are written one behind the other.
#[derive(Default)]
struct Batch {
    slices: VecDeque<Bytes>,
    bytes: usize,
    stage: BytesMut,
}

impl Batch {
    fn push(&mut self, slice: Bytes) {
        // A stream may take a write of nothing for a failure.
        if !slice.is_empty() {
            self.bytes += slice.len();
            self.slices.push_back(slice);
        }
    }

    async fn write_to<W: AsyncWrite + Unpin>(&mut self, stream: &mut W) -> io::Result<()> {
        if stream.is_write_vectored() {
            self.write_vectored(stream).await?;
        } else {
            self.write_staged(stream).await?;
        }
        self.bytes = 0;
        Ok(())
    }

    async fn write_vectored<W: AsyncWrite + Unpin>(&mut self, stream: &mut W) -> io::Result<()> {
        while !self.slices.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.slices) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let mut written = stream.write_vectored(&slices[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            while let Some(slice) = self.slices.front_mut()
                && written > 0
            {
                let part = slice.len().min(written);
                slice.advance(part);
                written -= part;
                if slice.is_empty() {
                    self.slices.pop_front();
                }
            }
        }
        Ok(())
    }

    async fn write_staged<W: AsyncWrite + Unpin>(&mut self, stream: &mut W) -> io::Result<()> {
        while let Some(front) = self.slices.pop_front() {
            if front.len() >= SHORT_BYTES || self.slices.is_empty() {
                stream.write_all(&front).await?;
                continue;
            }
            self.stage.clear();
            self.stage.extend_from_slice(&front);
            while self.stage.len() < STAGE_BYTES
                && let Some(mut slice) = self.slices.pop_front()
            {
                let part = slice.len().min(STAGE_BYTES - self.stage.len());
                self.stage.extend_from_slice(&slice.split_to(part));
                if !slice.is_empty() {
                    self.slices.push_front(slice);
                }
            }
            stream.write_all(&self.stage).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
