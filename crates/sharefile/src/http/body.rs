//! The payload of a request.

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

/// Size of the pieces that are handed to the connection. When one is taken, the upload has moved.
const PIECE_BYTES: usize = 64 * 1024;

/// The payload of a request.
pub(crate) enum Payload {
    /// None.
    Empty,
    /// A form, which holds credentials.
    Form(SecretString),
    Json(Vec<u8>),
    Bytes(Bytes),
    /// So many bytes from a stream.
    Stream(u64, BoxStream<'static, Result<Bytes, StorageError>>),
}

impl Payload {
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Form(form) => form.expose_secret().len() as u64,
            Self::Json(json) => json.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream(size_bytes, _) => *size_bytes,
        }
    }

    pub(crate) fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Empty => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
            Self::Bytes(_) | Self::Stream(..) => Some("application/octet-stream"),
        }
    }

    pub(crate) fn into_body(self, activity: Arc<Activity>) -> Body {
        let left = self.size_bytes();
        activity.with(|state| state.is_sent = left == 0);
        let pieces = match self {
            Self::Empty => stream::empty().boxed(),
            Self::Form(form) => in_pieces(Bytes::from(form.expose_secret().to_owned())),
            Self::Json(json) => in_pieces(json.into()),
            Self::Bytes(bytes) => in_pieces(bytes),
            Self::Stream(_, pieces) => pieces,
        };
        Body { pieces, left, activity }
    }
}

fn in_pieces(mut bytes: Bytes) -> BoxStream<'static, Result<Bytes, StorageError>> {
    let pieces = std::iter::from_fn(move || {
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some(Ok(piece))
    });
    stream::iter(pieces).boxed()
}

/// The signs of life of a request.
pub(crate) struct Activity(Mutex<State>);

struct State {
    last_moved: Instant,
    is_sent: bool,
    broken_source: Option<StorageError>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { last_moved: Instant::now(), is_sent: false, broken_source: None }))
    }

    pub(crate) fn moved(&self) {
        self.with(|state| state.last_moved = Instant::now());
    }

    pub(crate) fn last_moved(&self) -> Instant {
        self.with(|state| state.last_moved)
    }

    /// Returns whether the connection has taken the whole payload.
    pub(crate) fn is_sent(&self) -> bool {
        self.with(|state| state.is_sent)
    }

    /// Returns why the payload ended early, if it did.
    pub(crate) fn take_broken_source(&self) -> Option<StorageError> {
        self.with(|state| state.broken_source.take())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A payload on its way.
pub(crate) struct Body {
    pieces: BoxStream<'static, Result<Bytes, StorageError>>,
    left: u64,
    activity: Arc<Activity>,
}

/// The payload ended early. The reason is in the [`Activity`].
#[derive(Debug, thiserror::Error)]
#[error("the file could not be read")]
pub(crate) struct BrokenSource;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenSource;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenSource>>> {
        let polled = self.pieces.as_mut().poll_next(context);
        polled.map(|piece| {
            self.activity.moved();
            match piece? {
                Ok(piece) => {
                    self.left = self.left.saturating_sub(piece.len() as u64);
                    let is_sent = self.left == 0;
                    self.activity.with(|state| state.is_sent = is_sent);
                    Some(Ok(Frame::data(piece)))
                }
                Err(error) => {
                    self.activity.with(|state| state.broken_source = Some(error));
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
