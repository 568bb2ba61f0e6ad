//! A line with a delay: passes TCP connections on, every byte half a round trip later.
//!
//! `cargo run --release -p sftp --example delay -- 127.0.0.1:22 50` prints the address
//! it listens at. It stands in for the kernel's network emulator where there is none. What is under
//! way is not limited but by memory (64 MiB for each direction of a connection), so that the
//! delay, and not the line, is what clients see.

use std::{error::Error, io::Write, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};

const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_MAX: usize = 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [target, round_trip_ms] = arguments.as_slice() else {
        return Err("usage: delay HOST:PORT ROUND_TRIP_MS".into());
    };
    let (target, round_trip_ms): (SocketAddr, u64) = (target.parse()?, round_trip_ms.parse()?);
    let delay = Duration::from_micros(round_trip_ms * 500);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A connection that can not be passed on is closed, which the client sees.
            let Ok(server) = TcpStream::connect(target).await else { return };
            drop((client.set_nodelay(true), server.set_nodelay(true)));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            pass_on(from_client, to_server, delay);
            pass_on(from_server, to_client, delay);
        });
    }
}

/// Passes one direction on until it ends.
fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, BytesMut)>(CHUNKS_MAX);
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK_BYTES);
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if sender.send((Instant::now() + delay, buffer.split())).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
}
