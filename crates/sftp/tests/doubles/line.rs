//! The line to a server: a proxy that is slow, falls silent or breaks.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// Trouble of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// After so many bytes this way, it ends.
    Cut(Way, usize),
    /// After so many bytes this way, nothing arrives any more, in neither direction.
    Mute(Way, usize),
    /// Every so many bytes take so long.
    Slow(usize, Duration),
}

/// A proxy before a server.
pub(crate) struct Line {
    pub(crate) port: u16,
    accepting: JoinHandle<()>,
}

impl Line {
    /// A line to `server`, with the weather of each connection by its number, counted from 0.
    pub(crate) async fn to(
        server: SocketAddr,
        weather: impl Fn(usize) -> Weather + Send + 'static,
    ) -> Self {
        Self::to_one_of(move |_| server, weather).await
    }

    /// A line that leads to a server by the number of the connection.
    pub(crate) async fn to_one_of(
        server: impl Fn(usize) -> SocketAddr + Send + 'static,
        weather: impl Fn(usize) -> Weather + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(server(number)).await.unwrap();
                connect(client, server, weather(number));
            }
        });
        Self { port, accepting }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn connect(client: TcpStream, server: TcpStream, weather: Weather) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let over = CancellationToken::new();
    tokio::spawn(pass_on(from_client, to_server, Way::ToServer, weather, over.clone()));
    tokio::spawn(pass_on(from_server, to_client, Way::ToClient, weather, over));
}

/// Passes one direction on until it ends or the weather ends it; `over` ends the other one.
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    weather: Weather,
    over: CancellationToken,
) {
    let limit = match weather {
        Weather::Cut(bad, limit) | Weather::Mute(bad, limit) if bad == way => limit,
        _ => usize::MAX,
    };
    let piece = if let Weather::Slow(bytes, _) = weather { bytes } else { 64 * 1024 };
    let mut buffer = vec![0; piece];
    let mut passed = 0;
    while passed < limit {
        let room = buffer.len().min(limit - passed);
        let count = tokio::select! {
            () = over.cancelled() => break,
            read = from.read(&mut buffer[..room]) => read.unwrap_or(0),
        };
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
        passed += count;
        if let Weather::Slow(_, pause) = weather {
            sleep(pause).await;
        }
    }
    over.cancel();
    if matches!(weather, Weather::Mute(..)) {
        // Both sides keep their connections, and hear nothing.
        sleep(Duration::from_mins(10)).await;
    }
}
