//! The content of a request.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use aws_io::StorageError;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use hyper::body::{Frame, SizeHint};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

/// How much is handed to the connection at a time. When it is taken, the upload moves.
const PIECE_BYTES: usize = 64 * 1024;

/// What is sent with a request.
pub(in crate::sharefile) enum Content {
    Nothing,
    /// A form, which holds credentials.
    Form(SecretString),
    Json(Vec<u8>),
    Bytes(Bytes),
    /// So many bytes from a stream.
    Stream(u64, BoxStream<'static, Result<Bytes, StorageError>>),
}

impl Content {
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Form(form) => form.expose_secret().len() as u64,
            Self::Json(json) => json.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream(size_bytes, _) => *size_bytes,
        }
    }

    pub(super) fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
            Self::Bytes(_) | Self::Stream(..) => Some("application/octet-stream"),
        }
    }

    pub(super) fn into_body(self, flow: Arc<Flow>) -> Body {
        let left = self.size_bytes();
        let pieces = match self {
            Self::Nothing => stream::empty().boxed(),
            Self::Form(form) => in_pieces(Bytes::from(form.expose_secret().to_owned())),
            Self::Json(json) => in_pieces(json.into()),
            Self::Bytes(bytes) => in_pieces(bytes),
            Self::Stream(_, pieces) => pieces,
        };
        Body { pieces, left, flow }
    }
}

fn in_pieces(mut bytes: Bytes) -> BoxStream<'static, Result<Bytes, StorageError>> {
    let pieces = std::iter::from_fn(move || {
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some(Ok(piece))
    });
    stream::iter(pieces).boxed()
}

/// What happened to a request so far.
pub(super) struct Flow(Mutex<State>);

struct State {
    last_moved: Instant,
    broken_source: Option<StorageError>,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { last_moved: Instant::now(), broken_source: None }))
    }

    pub(super) fn moved(&self) {
        self.with(|state| state.last_moved = Instant::now());
    }

    pub(super) fn last_moved(&self) -> Instant {
        self.with(|state| state.last_moved)
    }

    /// Why the content ended early, if it did.
    pub(super) fn take_broken_source(&self) -> Option<StorageError> {
        self.with(|state| state.broken_source.take())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The content on its way.
pub(super) struct Body {
    pieces: BoxStream<'static, Result<Bytes, StorageError>>,
    left: u64,
    flow: Arc<Flow>,
}

/// The content ended early. The reason is in the [`Flow`].
#[derive(Debug, thiserror::Error)]
#[error("the file could not be read")]
pub(super) struct BrokenSource;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenSource;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenSource>>> {
        let polled = self.pieces.as_mut().poll_next(context);
        polled.map(|piece| {
            self.flow.moved();
            match piece? {
                Ok(piece) => {
                    self.left = self.left.saturating_sub(piece.len() as u64);
                    Some(Ok(Frame::data(piece)))
                }
                Err(error) => {
                    self.flow.with(|state| state.broken_source = Some(error));
                    Some(Err(BrokenSource))
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
