//! Bodies of requests, read up to a limit.

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// A body that was read to its end.
pub(crate) enum Received {
    Whole { bytes: Bytes, trailers: Option<HeaderMap> },
    TooLarge { size_bytes: usize },
}

/// Reads a body. One that is larger than `limit_bytes` is counted to its end without being kept: a
/// client that still writes when the answer comes would see a broken connection instead of the answer.
pub(crate) async fn read_limited(
    mut body: Body,
    limit_bytes: usize,
) -> Result<Received, axum::Error> {
    let mut bytes = BytesMut::new();
    let mut size_bytes = 0;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                size_bytes += data.len();
                if size_bytes <= limit_bytes {
                    bytes.extend_from_slice(&data);
                } else {
                    bytes = BytesMut::new();
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if size_bytes > limit_bytes {
        return Ok(Received::TooLarge { size_bytes });
    }
    Ok(Received::Whole { bytes: bytes.freeze(), trailers })
}
