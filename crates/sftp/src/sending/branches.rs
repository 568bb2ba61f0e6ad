//! Further channels and connections that write to the same file.

use std::time::Duration;

use futures_util::future::join_all;
use job::transport::WriteMode;

use crate::{
    attempt::Carrier,
    error::Error,
    remote::Remote,
    session::Handle,
    ssh::Connection,
    upload::{Lane, Pace},
};

/// A file of this size and a server this far away are worth a second channel: the window of a
/// channel, 2 MiB with OpenSSH, is acknowledged once in a round trip.
const SECOND_CHANNEL_BYTES: u64 = 32 * 1024 * 1024;
const SECOND_CHANNEL_ROUND_TRIP: Duration = Duration::from_millis(10);

/// A further lane, with the connection that it needs, if it is another one.
pub(super) struct Branch {
    connection: Option<Connection>,
    pub(super) remote: Remote,
    handle: Handle,
}

impl Carrier<'_> {
    /// Returns whether the handle of a new file should be able to read: only then can others be
    /// probed against it.
    pub(super) fn reads(&self, size_bytes: u64) -> bool {
        let (channels, connections) = self.branches_wanted(size_bytes);
        channels + connections > 0
    }

    /// Numbers of further channels and connections that are of use.
    pub(super) fn branches_wanted(&self, size_bytes: u64) -> (u64, u64) {
        let config = &self.sftp.server.config;
        if !self.content.is_journaled()
            || self.sftp.uses_one_handle()
            || config.sftp_write_mode == WriteMode::Direct
        {
            return (0, 0);
        }
        let limits = &self.remote.session.features().limits;
        // A window that is never full does not get fuller by another one.
        let window_bytes = Pace::new([limits], config).window_bytes() as u64;
        let of_use = size_bytes.div_ceil(window_bytes.max(1)).max(1);
        let connections = u64::from(config.sftp_connections.get()).min(of_use) - 1;
        let is_far = self.connection.round_trip() >= SECOND_CHANNEL_ROUND_TRIP;
        let is_worth_it = connections == 0
            && is_far
            && size_bytes >= SECOND_CHANNEL_BYTES
            // A server that tells the limits of its file system has one.
            && limits.write_bytes.is_some()
            && config.sftp_max_in_flight.get() > 1;
        (u64::from(is_worth_it), connections)
    }

    /// Opens further channels or connections, and a handle of the file in each.
    ///
    /// Some servers count sessions. Those that refuse one more are written to by those that they
    /// took; only a server with another host key is not to be trusted at all.
    pub(super) async fn open_branches(
        &self,
        path: &str,
        size_bytes: u64,
    ) -> Result<Vec<Branch>, Error> {
        let (channels, connections) = self.branches_wanted(size_bytes);
        let channels = join_all((0..channels).map(|_| self.open_channel(path))).await;
        let connections = join_all((0..connections).map(|_| self.open_connection(path))).await;
        let mut branches = Vec::new();
        let mut refused = None;
        for opened in channels.into_iter().chain(connections) {
            match opened {
                Ok(branch) => branches.push(branch),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error @ (Error::HostKey { .. } | Error::RevokedHostKey { .. })) => {
                Branch::abandon(branches).await;
                return Err(error);
            }
            Some(error) => tracing::info!(
                run.id = %self.attempt.parcel.run_id,
                handles = branches.len() + 1,
                error.message = %job::error::Chain(&error),
                "the server does not take every channel or connection; these are used"
            ),
            None => {}
        }
        Ok(branches)
    }

    async fn open_channel(&self, path: &str) -> Result<Branch, Error> {
        let remote = self.sftp.start(self.connection).await?;
        let handle = open_handle(&remote, path).await?;
        Ok(Branch { connection: None, remote, handle })
    }

    async fn open_connection(&self, path: &str) -> Result<Branch, Error> {
        let connection = Connection::open(&self.sftp.server).await?;
        let opened = async {
            let remote = self.sftp.start(&connection).await?;
            let handle = open_handle(&remote, path).await?;
            Ok((remote, handle))
        };
        match opened.await {
            Ok((remote, handle)) => Ok(Branch { connection: Some(connection), remote, handle }),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }
}

async fn open_handle(remote: &Remote, path: &str) -> Result<Handle, Error> {
    let opened = remote.session.open_for_writing(path).await;
    remote.succeed(&format!("opening `{path}` once more"), opened).await
}

impl Branch {
    pub(super) fn lane(&self) -> Lane {
        Lane { session: self.remote.session.clone(), handle: self.handle.clone() }
    }

    /// Closes the file, which can tell of writes that failed, and the connection.
    pub(super) async fn close(self, closing: &str) -> Result<(), Error> {
        let Self { connection, remote, handle } = self;
        let closed = remote.succeed(closing, remote.session.close(handle).await).await;
        if let Some(connection) = connection {
            connection.close().await;
        }
        closed
    }

    /// Ends all branches, whatever they do.
    pub(super) async fn abandon(branches: Vec<Self>) {
        let closing = branches.into_iter().map(|Self { connection, remote, handle }| async move {
            drop(remote.session.close(handle).await);
            if let Some(connection) = connection {
                connection.close().await;
            }
        });
        join_all(closing).await;
    }
}
