//! What stands between a client and the server's files, counts SFTP's messages, and stops one.

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex,
    split,
};
use tokio_util::sync::CancellationToken;

use crate::Fault;

/// The longest message that is passed on; `russh-sftp` takes no longer one.
const MESSAGE_BYTES_MAX: usize = 262_144;

/// Which message is stopped, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// Counted from 1, which is the greeting. The server answers in the order of the requests.
    number: u32,
    stop: Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The connection is lost before the request arrives.
    CutRequest,
    /// The request is done, and the connection is lost before its answer.
    CutAnswer,
    /// The request is done, and nothing is answered any more.
    MuteAnswer,
}

impl Gate {
    /// The gate that a fault asks for, if it is one that asks for a gate.
    pub(crate) fn of(fault: Fault) -> Option<Self> {
        let (number, stop) = match fault {
            Fault::DropBeforeRequest(number) => (number, Stop::CutRequest),
            Fault::DropBeforeAnswer(number) => (number, Stop::CutAnswer),
            Fault::SilentFromAnswer(number) => (number, Stop::MuteAnswer),
            _ => return None,
        };
        Some(Self { number, stop })
    }

    /// Stands before `client`: what is returned is for the server. `cut` cuts the connection.
    pub(crate) fn before<S>(self, client: S, cut: &CancellationToken) -> DuplexStream
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (server, outside) = duplex(MESSAGE_BYTES_MAX);
        let (from_client, to_client) = split(client);
        let (from_server, to_server) = split(outside);
        let (requests, answers) = match self.stop {
            Stop::CutRequest => (Some(self), None),
            Stop::CutAnswer | Stop::MuteAnswer => (None, Some(self)),
        };
        tokio::spawn(pass_on(from_client, to_server, requests, cut.clone()));
        tokio::spawn(pass_on(from_server, to_client, answers, cut.clone()));
        server
    }
}

/// Passes messages on until the stream ends or the gate is reached.
async fn pass_on<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    gate: Option<Gate>,
    cut: CancellationToken,
) {
    let mut number = 0;
    while let Some(message) = read_message(&mut from).await {
        number += 1;
        match gate.filter(|gate| gate.number == number).map(|gate| gate.stop) {
            Some(Stop::CutRequest | Stop::CutAnswer) => return cut.cancel(),
            Some(Stop::MuteAnswer) => return cut.cancelled().await,
            None => {}
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
    // The other side learns of the end by this, or has gone itself.
    drop(to.shutdown().await);
}

/// The next message with the length before it; nothing at the end of the stream.
async fn read_message<R: AsyncRead>(from: &mut ReadHalf<R>) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let count = usize::try_from(length).ok().filter(|count| *count <= MESSAGE_BYTES_MAX)?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(4 + count, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}
