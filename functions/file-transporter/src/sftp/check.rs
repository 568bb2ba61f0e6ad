//! Whether the server has what was sent.

use bytes::BytesMut;
use futures_util::{
    TryStreamExt,
    stream::{self, StreamExt},
};
use job::transport::{SftpConfig, Verify};
use openssh_sftp_client::file::File;
use tokio::time::timeout_at;

use super::{
    attempt::Attempt,
    point::Point,
    remote::{Fault, Remote},
};
use crate::{
    delivery::{Sent, Verified},
    error::Error,
    source::Content,
};

/// Requests in flight while a file is read back.
const READS_IN_FLIGHT: usize = 32;

impl Attempt<'_> {
    /// Checks the file at `path`, of which `written` is the end, as the configuration says.
    ///
    /// A file that is read back must be read within one invocation: what is not finished in time
    /// begins anew in the next one.
    pub(super) async fn verify(
        &self,
        remote: &Remote,
        path: &str,
        written: &Point,
    ) -> Result<Verified, Error> {
        let config = self.sftp.config;
        match config.sftp_verify {
            Verify::None => Ok(Verified::None),
            Verify::Size => check_size(remote, path, written.offset()).await,
            Verify::Readback => {
                let read = read_back(remote, path, written.offset(), config);
                let read = timeout_at(self.clock.stop_at, read).await;
                let sha256 = read
                    .map_err(|_| self.time_up())?
                    .map_err(|fault| fault.into_error(format!("reading `{path}` back")))?;
                if sha256 == written.sha256() {
                    Ok(Verified::Readback)
                } else {
                    Err(Error::ContentMismatch { path: path.to_owned() })
                }
            }
        }
    }
}

async fn check_size(remote: &Remote, path: &str, written: u64) -> Result<Verified, Error> {
    match remote.size(path).await {
        Ok(Some(found)) if found == written => Ok(Verified::Size),
        Ok(Some(found)) => Err(Error::SizeMismatch { path: path.to_owned(), written, found }),
        Err(Fault::Lost(error)) => Err(error),
        Ok(None) | Err(Fault::Refused(..)) => {
            tracing::warn!(
                remote_path = path,
                "the server does not tell the size of the written file"
            );
            Ok(Verified::None)
        }
    }
}

/// Checks the size under the final name, unless nothing is to be checked. That the file is not
/// there, or can not be looked at, is no failure: recipients take files away, and some servers do
/// not let anybody look. Another size is one for good: the recipient has the file, so it is not
/// sent again.
pub(super) async fn check_published(
    remote: &Remote,
    path: &str,
    sent: &Sent,
    verify: Verify,
) -> Result<(), Error> {
    if verify == Verify::None {
        return Ok(());
    }
    let written = sent.size_bytes;
    match remote.size(path).await {
        Ok(Some(found)) if found != written => {
            Err(Error::PublishedSize { path: path.to_owned(), written, found })
        }
        Ok(_) => Ok(()),
        Err(_) => {
            tracing::info!(
                remote_path = path,
                "the delivered file can not be seen under its final name"
            );
            Ok(())
        }
    }
}

/// The SHA-256 of a source, in hexadecimal.
pub(super) async fn hash(mut content: Content) -> Result<String, Error> {
    let mut end = Point::default();
    while let Some(chunk) = content.chunks.try_next().await? {
        end.advance(&chunk);
    }
    Ok(end.sha256())
}

/// Reads a file of `size_bytes` back: its SHA-256 in hexadecimal, also if it is shorter. Of a longer
/// one the byte behind counts, too.
pub(super) async fn read_back(
    remote: &Remote,
    path: &str,
    size_bytes: u64,
    config: &SftpConfig,
) -> Result<String, Fault> {
    let file = remote.open_for_reading(path).await?;
    let piece = config.sftp_write_size.get();
    let end = size_bytes + 1;
    let pieces = (0..end).step_by(config.sftp_write_size.count());
    let reads = pieces.map(|offset| {
        let length = u32::try_from(end - offset).map_or(piece, |rest| rest.min(piece));
        read_piece(remote, file.clone(), offset, length)
    });
    let mut end = Point::default();
    let mut reads = stream::iter(reads).buffered(READS_IN_FLIGHT);
    while let Some(data) = remote.in_time("reading the file back", reads.try_next()).await? {
        end.advance(&data);
    }
    Ok(end.sha256())
}

/// The bytes from `offset`, `length` of them or up to the end: servers may answer with less.
async fn read_piece(
    remote: &Remote,
    mut file: File,
    offset: u64,
    length: u32,
) -> Result<BytesMut, Fault> {
    let mut data = BytesMut::new();
    let missing =
        |data: &BytesMut| length - u32::try_from(data.len()).unwrap_or(length).min(length);
    while missing(&data) > 0 {
        let place = offset + data.len() as u64;
        let more = remote.read(&mut file, place, missing(&data)).await?;
        if more.is_empty() {
            break;
        }
        data.unsplit(more);
    }
    Ok(data)
}
