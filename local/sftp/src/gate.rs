//! What stands between a client and the server's files, counts SFTP's messages, and stops one.

use std::sync::Arc;

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex,
    split,
};
use tokio_util::sync::CancellationToken;

use crate::{Fault, observed::Observed};

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
    /// The request arrives when the test says so.
    HoldRequest,
    /// The request is done, and its answer arrives when the test says so.
    HoldAnswer,
    /// The first failure gets the status for a quota, and the channel ends behind it.
    Quota,
}

/// SFTP's message type STATUS.
const STATUS: u8 = 101;
/// The place of the status in such a message, behind its length, its type and the request's id.
const STATUS_AT: std::ops::Range<usize> = 9..13;
/// Failure, and a quota that is exceeded in later versions of SFTP.
const FAILURE: [u8; 4] = [0, 0, 0, 4];
const QUOTA: [u8; 4] = [0, 0, 0, 15];

impl Gate {
    /// The gate that a fault asks for, if it is one that asks for a gate.
    pub(crate) fn of(fault: Fault) -> Option<Self> {
        let (number, stop) = match fault {
            Fault::DropBeforeRequest(number) => (number, Stop::CutRequest),
            Fault::DropBeforeAnswer(number) => (number, Stop::CutAnswer),
            Fault::SilentFromAnswer(number) => (number, Stop::MuteAnswer),
            Fault::HoldRequest(number) => (number, Stop::HoldRequest),
            Fault::HoldAnswer(number) => (number, Stop::HoldAnswer),
            Fault::QuotaAfterBytes(_) => (0, Stop::Quota),
            _ => return None,
        };
        Some(Self { number, stop })
    }

    /// Stands before `client`: what is returned is for the server. `cut` cuts the connection.
    pub(crate) fn before<S>(
        self,
        client: S,
        cut: &CancellationToken,
        observed: &Arc<Observed>,
    ) -> DuplexStream
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (server, outside) = duplex(MESSAGE_BYTES_MAX);
        let (from_client, to_client) = split(client);
        let (from_server, to_server) = split(outside);
        let (requests, answers) = match self.stop {
            Stop::CutRequest | Stop::HoldRequest => (Some(self), None),
            Stop::CutAnswer | Stop::MuteAnswer | Stop::HoldAnswer | Stop::Quota => {
                (None, Some(self))
            }
        };
        let (cut, observed) = (cut.clone(), observed.clone());
        tokio::spawn(pass_on(from_client, to_server, requests, cut.clone(), observed.clone()));
        tokio::spawn(pass_on(from_server, to_client, answers, cut, observed));
        server
    }
}

/// Passes messages on until the stream ends or the gate is reached.
async fn pass_on<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    gate: Option<Gate>,
    cut: CancellationToken,
    observed: Arc<Observed>,
) {
    let mut number = 0;
    while let Some(mut message) = read_message(&mut from).await {
        number += 1;
        let is_last = gate.is_some_and(|gate| gate.stop == Stop::Quota) && exceed(&mut message);
        match gate.filter(|gate| gate.number == number).map(|gate| gate.stop) {
            Some(Stop::CutRequest | Stop::CutAnswer) => return cut.cancel(),
            Some(Stop::MuteAnswer) => return cut.cancelled().await,
            Some(Stop::HoldRequest | Stop::HoldAnswer) => observed.hold().await,
            Some(Stop::Quota) | None => {}
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
        if is_last {
            break;
        }
    }
    // The other side learns of the end by this, or has gone itself.
    drop(to.shutdown().await);
}

/// Makes a failure one for a quota. Returns whether it was one.
fn exceed(message: &mut [u8]) -> bool {
    let is_status = message.get(4) == Some(&STATUS);
    match message.get_mut(STATUS_AT) {
        Some(status) if is_status && *status == FAILURE => {
            status.copy_from_slice(&QUOTA);
            true
        }
        _ => false,
    }
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
