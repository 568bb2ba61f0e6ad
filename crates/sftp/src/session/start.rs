//! The beginning of a session.

use std::{sync::Arc, time::Duration};

use bytes::Buf;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    Features, Limits, Link, Loss, QUEUE_MAX, RequestError, Session,
    packets::{NoPacket, Packets},
    pending::Pending,
    reader::receive_replies,
    writer::send_requests,
};
use crate::protocol::{
    self, Malformed, PACKET_BYTES_MAX, Reply, Request, VERSION, Version, decode_version,
};

/// The most that is kept of a text that comes instead of SFTP.
const TEXT_BYTES_MAX: usize = 200;

/// Time for the rest of such a text.
const TEXT_REST: Duration = Duration::from_millis(300);

/// Reason why a session did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// The server did not answer in time.
    TimedOut { seconds: u64 },
    /// The stream ended before the server said anything.
    Closed,
    /// The server prints text instead of speaking SFTP: its first printable bytes, at most 200.
    Text(String),
    /// The server speaks another version.
    Version(u32),
    /// The server refuses to begin, with this text.
    Refused(String),
    /// The server sent something that cannot be read.
    Protocol { place: String },
}

impl From<Loss> for StartError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Closed => Self::Closed,
            Loss::TimedOut { seconds } => Self::TimedOut { seconds },
            Loss::Protocol { place } => Self::Protocol { place },
        }
    }
}

impl Session {
    /// Starts SFTP on a stream. `limit` is the time for each step of the start, and for every later
    /// request.
    ///
    /// Must be called inside a Tokio runtime, in which two tasks serve the session until its last
    /// clone is dropped.
    pub(crate) async fn start<S>(stream: S, limit: Duration) -> Result<Self, StartError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, mut writer) = split(stream);
        let mut packets = Packets::new(reader);
        let greeted = timeout(limit, greet(&mut packets, &mut writer)).await;
        let version = match greeted {
            Ok(version) => version?,
            // A text may be shorter than the length of a packet.
            Err(_) => match text(packets.received()) {
                Some(text) => return Err(StartError::Text(text)),
                None => return Err(StartError::TimedOut { seconds: limit.as_secs() }),
            },
        };
        if version.number != VERSION {
            return Err(StartError::Version(version.number));
        }
        let announces = |wanted: Request<'_>| {
            let wanted = wanted.name().as_bytes();
            version.extensions.iter().any(|(name, data)| name == wanted && data == "1")
        };
        let features = Features {
            posix_rename: announces(Request::PosixRename { from: "", to: "" }),
            fsync: announces(Request::Fsync { handle: &[] }),
            limits: Limits::default(),
        };
        let mut session = Self { link: Link::start(packets, writer, limit), features };
        if announces(Request::Limits) {
            session.features.limits = session.ask_limits().await?;
        }
        Ok(session)
    }

    /// Asks for the server's limits. A server that announced them may still refuse.
    async fn ask_limits(&self) -> Result<Limits, StartError> {
        match self.request(&Request::Limits).await {
            Ok(Reply::Extended(body)) => {
                limits(&body).map_err(|place| StartError::Protocol { place })
            }
            Ok(reply) => Err(StartError::Protocol {
                place: format!("reply to {}: {}", Request::Limits.name(), reply.name()),
            }),
            Err(RequestError::Refused { .. }) => Ok(Limits::default()),
            Err(RequestError::Lost(loss)) => Err(loss.into()),
        }
    }
}

impl Link {
    /// Starts the tasks that serve a session.
    fn start<R, W>(packets: Packets<R>, writer: W, limit: Duration) -> Arc<Self>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let pending = Arc::new(Pending::default());
        // Bounded by `room`, and by the callers of `Session::begin_write`.
        let (queue, requests) = mpsc::unbounded_channel();
        let (failed, write_failed) = oneshot::channel();
        let replies = receive_replies(packets, Arc::clone(&pending), queue.clone(), write_failed);
        let tasks = [
            tokio::spawn(send_requests(writer, requests, failed)).abort_handle(),
            tokio::spawn(replies).abort_handle(),
        ];
        let room = Arc::new(Semaphore::new(QUEUE_MAX));
        Arc::new(Self { pending, queue, room, limit, tasks })
    }
}

/// Exchanges INIT and VERSION.
async fn greet<R, W>(packets: &mut Packets<R>, writer: &mut W) -> Result<Version, StartError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // A failure to write is no news: what the server printed before it closed is.
    drop(writer.write_all(&protocol::encode_init()).await);
    drop(writer.flush().await);
    let in_reply =
        |place: String| StartError::Protocol { place: format!("reply to INIT: {place}") };
    match packets.next().await {
        Ok(packet) => match protocol::decode(packet.clone()) {
            // Some servers say so that they do not speak this version.
            Ok(Reply::Refusal { message, .. }) => Err(StartError::Refused(message)),
            _ => decode_version(packet).map_err(|Malformed(place)| in_reply(place)),
        },
        Err(NoPacket::Closed) => match text(packets.received()) {
            Some(text) => Err(StartError::Text(text)),
            None => Err(StartError::Closed),
        },
        Err(NoPacket::TooLong(length)) => {
            if text(packets.received()).is_some() {
                read_text(packets).await;
            }
            Err(text(packets.received()).map_or_else(
                || in_reply(format!("a packet of {length} bytes, more than {PACKET_BYTES_MAX}")),
                StartError::Text,
            ))
        }
    }
}

/// Reads on in a text, until it is long enough or pauses.
async fn read_text<R: AsyncRead + Unpin>(packets: &mut Packets<R>) {
    while packets.received().len() < TEXT_BYTES_MAX {
        match timeout(TEXT_REST, packets.fill(1)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
}

/// Returns the printable beginning of what was received, if it is text. The length of a packet
/// begins with a zero, which is none.
fn text(received: &[u8]) -> Option<String> {
    let is_text = |byte: &u8| !byte.is_ascii_control() || b"\t\n\r\x1b".contains(byte);
    if received.is_empty() || !received.iter().take(size_of::<u32>()).all(is_text) {
        return None;
    }
    let received = &received[..received.len().min(TEXT_BYTES_MAX)];
    let printable = String::from_utf8_lossy(received);
    let printable = printable.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let mut text: String = printable.filter(|c| !c.is_control()).collect();
    // A replacement character is longer than the byte that it replaces.
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    Some(text.trim().to_owned())
}

/// Reads the body of the reply to `limits@openssh.com`. A limit of 0 is not told.
fn limits(mut body: &[u8]) -> Result<Limits, String> {
    let length = body.len();
    let mut next = || match body.try_get_u64() {
        Ok(0) => Ok(None),
        Ok(limit) => Ok(Some(limit)),
        Err(_) => Err(format!("reply to {}: {length} bytes of limits", Request::Limits.name())),
    };
    Ok(Limits {
        packet_bytes: next()?,
        read_bytes: next()?,
        write_bytes: next()?,
        open_handles: next()?,
    })
}
