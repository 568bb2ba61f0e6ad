//! Servers for tests, which say whatever a test wants.

use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::Session;

/// Far more than any answer takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const INIT: u8 = 1;
pub(crate) const VERSION: u8 = 2;
pub(crate) const OPEN: u8 = 3;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const READ: u8 = 5;
pub(crate) const WRITE: u8 = 6;
pub(crate) const FSTAT: u8 = 8;
pub(crate) const STATUS: u8 = 101;
pub(crate) const HANDLE: u8 = 102;
pub(crate) const DATA: u8 = 103;
pub(crate) const ATTRS: u8 = 105;
pub(crate) const EXTENDED: u8 = 200;
pub(crate) const EXTENDED_REPLY: u8 = 201;

/// The server's end of a stream.
pub(crate) struct Script(pub(crate) DuplexStream);

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) id: u32,
    pub(crate) body: Bytes,
}

impl Received {
    /// Takes a string off the body.
    pub(crate) fn string(&mut self) -> Bytes {
        let length = self.body.get_u32();
        self.body.split_to(usize::try_from(length).unwrap())
    }
}

impl Script {
    /// Returns the next request; nothing at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        read_request(&mut self.0).await
    }

    pub(crate) async fn expect(&mut self, kind: u8) -> Received {
        let request = self.next().await.expect("a request");
        assert_eq!(request.kind, kind, "{request:?}");
        request
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Answers INIT.
    pub(crate) async fn greet(&mut self, extensions: &[(&str, &str)]) {
        let init = self.expect(INIT).await;
        assert_eq!((init.id, init.body.len()), (3, 0));
        self.send(version(3, extensions)).await;
    }
}

pub(crate) async fn read_request<R: AsyncRead + Unpin>(stream: &mut R) -> Option<Received> {
    let length = stream.read_u32().await.ok()?;
    let mut packet = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut packet).await.ok()?;
    let mut body = Bytes::from(packet);
    Some(Received { kind: body.get_u8(), id: body.get_u32(), body })
}

/// Starts a session with a server that announces `extensions`.
pub(crate) async fn start_with(limit: Duration, extensions: &[(&str, &str)]) -> (Session, Script) {
    let (client, server) = duplex(64 * 1024);
    let mut server = Script(server);
    let (session, ()) = tokio::join!(Session::start(client, limit), server.greet(extensions));
    (session.unwrap(), server)
}

/// Starts a session with a server that announces nothing.
pub(crate) async fn start() -> (Session, Script) {
    start_with(LIMIT, &[]).await
}

/// A packet with its length.
pub(crate) fn packet(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 5).unwrap();
    [&length.to_be_bytes()[..], &[kind], &id.to_be_bytes(), body].concat()
}

pub(crate) fn version(number: u32, extensions: &[(&str, &str)]) -> Vec<u8> {
    let strings = extensions.iter().flat_map(|(name, data)| [name, data]);
    packet(VERSION, number, &strings.flat_map(|text| string(text.as_bytes())).collect::<Vec<_>>())
}

/// A status without text.
pub(crate) fn status(id: u32, code: u32) -> Vec<u8> {
    packet(STATUS, id, &code.to_be_bytes())
}

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
