//! The task that receives replies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::AsyncRead,
    sync::{mpsc::UnboundedSender, oneshot},
    time::sleep,
};

use super::{
    Loss,
    packets::{NoPacket, Packets},
    pending::Pending,
    writer::Outgoing,
};
use crate::protocol::{self, PACKET_BYTES_MAX, Reply, Request};

/// Time for replies that are under way after a write to the stream failed. A server that refuses
/// and then closes says why in them.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// Receives replies until the stream ends.
pub(super) async fn receive_replies<R: AsyncRead + Unpin>(
    mut packets: Packets<R>,
    pending: Arc<Pending>,
    queue: UnboundedSender<Outgoing>,
    write_failed: oneshot::Receiver<()>,
) {
    let last_replies_over = async {
        match write_failed.await {
            Ok(()) => sleep(LAST_REPLIES).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::pin!(last_replies_over);
    let loss = loop {
        let packet = tokio::select! {
            packet = packets.next() => packet,
            () = &mut last_replies_over => break Loss::Closed,
        };
        let received = packet.map_err(Loss::from);
        if let Err(loss) = received.and_then(|packet| deliver(packet, &pending, &queue)) {
            break loss;
        }
    };
    pending.end(loss);
}

/// Hands a reply to the request that waits for it.
fn deliver(
    packet: Bytes,
    pending: &Pending,
    queue: &UnboundedSender<Outgoing>,
) -> Result<(), Loss> {
    let id = protocol::head(&packet).map_err(|fault| Loss::Protocol { place: fault.0 })?;
    let unknown =
        || Loss::Protocol { place: format!("a reply to request {id}, which is not open") };
    let request = pending.request(id).ok_or_else(unknown)?;
    let reply = protocol::decode(packet)
        .map_err(|fault| Loss::Protocol { place: format!("reply to {request}: {}", fault.0) })?;
    let waiting = pending.take(id).ok_or_else(unknown)?;
    if let Err(Reply::Handle(handle)) = waiting.reply.send(reply) {
        close_unwanted(&handle, pending, queue);
    }
    Ok(())
}

/// Closes the handle of an OPEN that nobody waits for. Servers allow few open handles.
pub(super) fn close_unwanted(handle: &[u8], pending: &Pending, queue: &UnboundedSender<Outgoing>) {
    let request = Request::Close { handle };
    if let Ok((id, _)) = pending.register(request.name()) {
        // Without a writer the connection is gone, and the handle with it.
        drop(queue.send(Outgoing::new(request.encode(id))));
    }
}

impl From<NoPacket> for Loss {
    fn from(reason: NoPacket) -> Self {
        match reason {
            NoPacket::Closed => Self::Closed,
            NoPacket::TooLong(length) => Self::Protocol {
                place: format!("a packet of {length} bytes, more than {PACKET_BYTES_MAX}"),
            },
        }
    }
}
