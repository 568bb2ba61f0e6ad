//! The places where the work of two handles meets.

use bytes::Bytes;

use super::Lane;
use crate::{readback::read_range, session::RequestError};

/// A piece that was written, to be compared with what the server has.
///
/// It keeps the source's chunks in memory in which it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seam {
    pub(crate) offset: u64,
    /// At most 255 KiB, as the source gave them.
    pub(crate) bytes: Vec<Bytes>,
}

/// Returns whether the first lane's handle sees a file of `size_bytes` with every seam in it.
///
/// On a server where handles do not share a file, or where a reopened file is appended to, some
/// piece is missing or elsewhere. A server that does not tell the size is one of these.
///
/// # Errors
///
/// When the server refuses to tell, or does not answer.
pub(crate) async fn check_seams(
    first: &Lane,
    size_bytes: u64,
    seams: &[Seam],
) -> Result<bool, RequestError> {
    let Lane { session, handle } = first;
    if session.fstat(handle).await?.size_bytes != Some(size_bytes) {
        return Ok(false);
    }
    for seam in seams {
        let length = seam.bytes.iter().map(Bytes::len).sum();
        let found = read_range(session, handle, seam.offset, length).await?;
        if found.concat() != seam.bytes.concat() {
            return Ok(false);
        }
    }
    Ok(true)
}
