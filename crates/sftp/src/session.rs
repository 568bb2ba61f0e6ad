//! A session of SFTP version 3: requests that run side by side on one stream.

mod packets;
mod pending;
mod reader;
mod requests;
mod start;
mod writer;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedSender, oneshot},
    task::AbortHandle,
    time::timeout,
};

use self::{pending::Pending, writer::Outgoing};
pub(crate) use self::{requests::Access, start::StartError};
use crate::protocol::{DATA_BYTES_MAX, Reply, Request, StatusCode};

/// Requests that may wait to be written, besides those of [`Session::begin_write`].
const QUEUE_MAX: usize = 64;

/// Room in the server's longest packet for all that is not data, as OpenSSH leaves it.
const PACKET_OVERHEAD_BYTES: u64 = 1024;

/// A session. Its clones share the stream, which is dropped with the last of them.
///
/// The future of a request may be dropped at any time. The server may carry the request out all the
/// same. Its late reply is ignored, and the handle of a late reply to OPEN is closed.
#[derive(Clone)]
pub(crate) struct Session {
    link: Arc<Link>,
    features: Features,
}

/// An open file on the server. It has to be closed by [`Session::close`], also after a failure.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Handle(Bytes);

/// Features that the server announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Renaming can replace the target in one step.
    pub(crate) posix_rename: bool,
    /// A file can be flushed to the server's disk.
    pub(crate) fsync: bool,
    pub(crate) limits: Limits,
}

/// The server's limits, as far as it tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) packet_bytes: Option<u64>,
    pub(crate) read_bytes: Option<u64>,
    pub(crate) write_bytes: Option<u64>,
    pub(crate) open_handles: Option<u64>,
}

/// The failure of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// The server answered that it does not do it. The session goes on.
    Refused {
        code: StatusCode,
        /// As the server sent it, except for what is not UTF-8. It has to be sanitized.
        message: String,
    },
    /// There is no answer, and the outcome on the server is unknown.
    Lost(Loss),
}

/// Reason why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The stream ended.
    Closed,
    /// The server did not answer in time. The session is usable, but unlikely to be of use.
    TimedOut { seconds: u64 },
    /// The server sent something that cannot be read, such as
    /// "reply to OPEN: a handle of 300 bytes in a packet of 20".
    Protocol { place: String },
}

/// The part of a session that its clones and its requests share.
struct Link {
    pending: Arc<Pending>,
    queue: UnboundedSender<Outgoing>,
    room: Arc<Semaphore>,
    limit: Duration,
    tasks: [AbortHandle; 2],
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("features", &self.features).finish_non_exhaustive()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.0.escape_ascii())
    }
}

impl Limits {
    /// Returns the longest write that the server takes, if it says so.
    pub(crate) fn write_bytes_max(&self) -> Option<usize> {
        self.data_bytes_max(self.write_bytes)
    }

    /// Returns the longest read that the server answers in full, if it says so.
    pub(crate) fn read_bytes_max(&self) -> Option<usize> {
        self.data_bytes_max(self.read_bytes)
    }

    /// A limit of a packet limits its data, too. What fits no packet of OpenSSH is never used.
    fn data_bytes_max(&self, announced: Option<u64>) -> Option<usize> {
        let packet = self.packet_bytes.map(|max| max.saturating_sub(PACKET_OVERHEAD_BYTES).max(1));
        let max = [announced, packet].into_iter().flatten().min()?;
        Some(usize::try_from(max).unwrap_or(DATA_BYTES_MAX).min(DATA_BYTES_MAX))
    }
}

impl Session {
    /// Returns what the server announced.
    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    /// Returns the time limit of a request; for pipelined reads and writes, of their progress.
    pub(crate) fn limit(&self) -> Duration {
        self.link.limit
    }

    /// Returns the loss of a request that was not answered within the limit.
    pub(crate) fn timed_out(&self) -> RequestError {
        RequestError::Lost(Loss::TimedOut { seconds: self.limit().as_secs() })
    }

    /// Sends a request and waits for its reply, up to the time limit.
    async fn request(&self, request: &Request<'_>) -> Result<Reply, RequestError> {
        let replied = timeout(self.limit(), self.request_unlimited(request)).await;
        replied.unwrap_or_else(|_| Err(self.timed_out()))
    }

    /// Sends a request and waits for its reply as long as it takes.
    async fn request_unlimited(&self, request: &Request<'_>) -> Result<Reply, RequestError> {
        // The semaphore is never closed.
        let room = Arc::clone(&self.link.room).acquire_owned().await.ok();
        self.begin(request, Vec::new(), room).await
    }

    /// Puts a request into the queue and returns its answer. Requests go out in the order of the
    /// calls.
    fn begin(
        &self,
        request: &Request<'_>,
        data: Vec<Bytes>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Answer {
        let registered = self.link.pending.register(request.name());
        let reply = registered.map(|(id, reply)| {
            let outgoing = Outgoing::new(request.encode(id)).with_data(data);
            let outgoing = match room {
                Some(room) => outgoing.with_room(room),
                None => outgoing,
            };
            // The writer is gone after a failure. The reader ends all requests then.
            drop(self.link.queue.send(outgoing));
            reply
        });
        Answer { link: Arc::clone(&self.link), reply }
    }
}

/// The reply to a request, when it comes.
struct Answer {
    link: Arc<Link>,
    reply: Result<oneshot::Receiver<Reply>, Loss>,
}

impl Future for Answer {
    type Output = Result<Reply, RequestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let reply = match &mut this.reply {
            Ok(reply) => ready!(Pin::new(reply).poll(context)),
            Err(loss) => return Poll::Ready(Err(RequestError::Lost(loss.clone()))),
        };
        Poll::Ready(match reply {
            Ok(Reply::Refusal { code, message }) => Err(RequestError::Refused { code, message }),
            Ok(reply) => Ok(reply),
            Err(_) => Err(RequestError::Lost(this.link.pending.loss())),
        })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Ok(reply) = &mut self.reply else { return };
        // A reply may have come that was not taken. None can come any more afterwards.
        reply.close();
        if let Ok(Reply::Handle(handle)) = reply.try_recv() {
            reader::close_unwanted(&handle, &self.link.pending, &self.link.queue);
        }
    }
}

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
pub(crate) mod tests;
