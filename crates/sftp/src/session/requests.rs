//! The requests of a delivery.

use bytes::Bytes;

use super::{Handle, Loss, RequestError, Session};
use crate::protocol::{Attributes, Reply, Request, StatusCode, flags};

/// The use of a new file's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Every server that takes files allows it.
    Write,
    /// Servers that only take files refuse it.
    ReadWrite,
}

impl Session {
    /// Creates a file, which must not exist.
    pub(crate) async fn create_new(
        &self,
        path: &str,
        access: Access,
    ) -> Result<Handle, RequestError> {
        let read = match access {
            Access::Write => 0,
            Access::ReadWrite => flags::READ,
        };
        self.open(path, read | flags::WRITE | flags::CREATE | flags::EXCLUSIVE).await
    }

    /// Opens a file for writing and empties it, or creates it.
    pub(crate) async fn create_or_truncate(&self, path: &str) -> Result<Handle, RequestError> {
        self.open(path, flags::WRITE | flags::CREATE | flags::TRUNCATE).await
    }

    /// Opens an existing file for writing and keeps its content.
    pub(crate) async fn open_for_writing(&self, path: &str) -> Result<Handle, RequestError> {
        self.open(path, flags::WRITE).await
    }

    /// Opens an existing file for reading.
    pub(crate) async fn open_for_reading(&self, path: &str) -> Result<Handle, RequestError> {
        self.open(path, flags::READ).await
    }

    async fn open(&self, path: &str, flags: u32) -> Result<Handle, RequestError> {
        let request = Request::Open { path, flags };
        match self.request(&request).await? {
            Reply::Handle(handle) => Ok(Handle(handle)),
            reply => Err(unexpected(&request, &reply)),
        }
    }

    /// Closes a file. The server may tell of a failed write only now.
    pub(crate) async fn close(&self, handle: Handle) -> Result<(), RequestError> {
        self.succeed(&Request::Close { handle: &handle.0 }).await
    }

    /// Writes `data`, one slice behind the other, in one request, and waits for its answer up to
    /// the time limit. More than the server's [`Limits`](super::Limits) is refused by the server.
    #[cfg(test)]
    pub(crate) async fn write(
        &self,
        handle: &Handle,
        offset: u64,
        data: Vec<Bytes>,
    ) -> Result<(), RequestError> {
        let write = self.begin_write(handle, offset, data);
        tokio::time::timeout(self.limit(), write).await.unwrap_or_else(|_| Err(self.timed_out()))
    }

    /// Begins a write like [`Session::write`] and returns its answer, for which there is no time
    /// limit.
    ///
    /// Writes go out in the order of the calls, not of the polls. There is no bound: the caller
    /// limits what is in flight.
    pub(crate) fn begin_write(
        &self,
        handle: &Handle,
        offset: u64,
        data: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), RequestError>> + Send + 'static {
        let length = data.iter().map(Bytes::len).sum();
        let request = Request::Write { handle: &handle.0, offset, length };
        let answer = self.begin(&request, data, None);
        async move {
            match answer.await? {
                Reply::Success => Ok(()),
                reply => Err(unexpected(&Request::Write { handle: &[], offset, length }, &reply)),
            }
        }
    }

    /// Reads at most `length` bytes from `offset` on, as long as it takes; none behind the last
    /// byte of the file. The server may answer with less.
    pub(crate) async fn read(
        &self,
        handle: &Handle,
        offset: u64,
        length: u32,
    ) -> Result<Bytes, RequestError> {
        let request = Request::Read { handle: &handle.0, offset, length };
        match self.request_unlimited(&request).await {
            Ok(Reply::Data(data))
                if u32::try_from(data.len()).is_ok_and(|bytes| bytes <= length) =>
            {
                Ok(data)
            }
            Ok(Reply::Data(data)) => Err(RequestError::Lost(Loss::Protocol {
                place: format!("reply to READ of {length} bytes: {} bytes", data.len()),
            })),
            Ok(reply) => Err(unexpected(&request, &reply)),
            Err(RequestError::Refused { code: StatusCode::END_OF_FILE, .. }) => Ok(Bytes::new()),
            Err(error) => Err(error),
        }
    }

    /// Returns the attributes of an open file.
    pub(crate) async fn fstat(&self, handle: &Handle) -> Result<Attributes, RequestError> {
        self.attributes(&Request::Fstat { handle: &handle.0 }).await
    }

    /// Returns the attributes of a file, or of a symbolic link's target.
    pub(crate) async fn stat(&self, path: &str) -> Result<Attributes, RequestError> {
        self.attributes(&Request::Stat { path }).await
    }

    /// Returns the attributes of a file, or of a symbolic link itself.
    pub(crate) async fn lstat(&self, path: &str) -> Result<Attributes, RequestError> {
        self.attributes(&Request::Lstat { path }).await
    }

    /// Sets the mode bits of a file.
    pub(crate) async fn set_permissions(
        &self,
        path: &str,
        permissions: u32,
    ) -> Result<(), RequestError> {
        self.succeed(&Request::SetPermissions { path, permissions }).await
    }

    /// Makes a directory. Servers answer with a plain failure if there is one.
    pub(crate) async fn mkdir(&self, path: &str) -> Result<(), RequestError> {
        self.succeed(&Request::Mkdir { path }).await
    }

    /// Removes a file.
    pub(crate) async fn remove(&self, path: &str) -> Result<(), RequestError> {
        self.succeed(&Request::Remove { path }).await
    }

    /// Renames a file. Most servers refuse if the target exists, and some replace it.
    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<(), RequestError> {
        self.succeed(&Request::Rename { from, to }).await
    }

    /// Renames a file and replaces the target in one step. Of use if
    /// [`Features::posix_rename`](super::Features) is set.
    pub(crate) async fn posix_rename(&self, from: &str, to: &str) -> Result<(), RequestError> {
        self.succeed(&Request::PosixRename { from, to }).await
    }

    /// Flushes a file to the server's disk. Of use if [`Features::fsync`](super::Features) is set.
    pub(crate) async fn fsync(&self, handle: &Handle) -> Result<(), RequestError> {
        self.succeed(&Request::Fsync { handle: &handle.0 }).await
    }

    async fn attributes(&self, request: &Request<'_>) -> Result<Attributes, RequestError> {
        match self.request(request).await? {
            Reply::Attributes(attributes) => Ok(attributes),
            reply => Err(unexpected(request, &reply)),
        }
    }

    async fn succeed(&self, request: &Request<'_>) -> Result<(), RequestError> {
        match self.request(request).await? {
            Reply::Success => Ok(()),
            reply => Err(unexpected(request, &reply)),
        }
    }
}

/// Returns the failure of a request whose reply answers something else.
fn unexpected(request: &Request<'_>, reply: &Reply) -> RequestError {
    let place = format!("reply to {}: {}", request.name(), reply.name());
    RequestError::Lost(Loss::Protocol { place })
}
