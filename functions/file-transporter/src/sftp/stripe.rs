//! Further connections that write to the same file.

use futures_util::future::join_all;
use openssh_sftp_client::file::File;

use super::{
    attempt::Attempt,
    connection::Connection,
    remote::Remote,
    upload::{Lane, window_bytes},
};
use crate::error::Error;

/// A further connection, with a handle of the file.
pub(super) struct Stripe {
    connection: Connection,
    remote: Remote,
    file: File,
}

impl Attempt<'_> {
    /// Opens as many further connections to write to `path` as are asked for and of use.
    ///
    /// Some servers count sessions. Those that refuse one more are written to by those that they
    /// took; only a server with another host key is not to be trusted at all.
    pub(super) async fn open_stripes(
        &self,
        path: &str,
        size_bytes: u64,
    ) -> Result<Vec<Stripe>, Error> {
        let config = self.sftp.config;
        // What one connection can have in flight at once does not get faster by another one.
        let of_use = size_bytes.div_ceil(window_bytes(config)).max(1);
        let wanted = u64::from(config.sftp_connections.get()).min(of_use);
        let opened = join_all((1..wanted).map(|_| self.open_stripe(path))).await;
        let mut stripes = Vec::new();
        let mut refused = None;
        for result in opened {
            match result {
                Ok(stripe) => stripes.push(stripe),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error @ Error::HostKey { .. }) => {
                Stripe::abandon(stripes).await;
                return Err(error);
            }
            Some(error) => tracing::warn!(
                run.id = %self.parcel.run_id,
                connections = stripes.len() + 1,
                error.message = %job::error::Chain(&error),
                "the server does not take all of `sftp_connections`; the delivery goes on with these"
            ),
            None => {}
        }
        Ok(stripes)
    }

    async fn open_stripe(&self, path: &str) -> Result<Stripe, Error> {
        let connection = Connection::open(self.sftp).await?;
        let opened = async {
            let remote = Remote::start(&connection, self.sftp.request_limit()).await?;
            let file = remote.open_as_it_is(path).await;
            let failed = |path: &str| format!("opening `{path}` once more");
            Ok((file.map_err(|fault| fault.into_error(failed(path)))?, remote))
        };
        match opened.await {
            Ok((file, remote)) => Ok(Stripe { connection, remote, file }),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }
}

impl Stripe {
    pub(super) fn lane(&self) -> Lane<'_> {
        Lane { remote: &self.remote, file: &self.file }
    }

    /// Closes all files, which can tell of writes that failed, and all connections.
    pub(super) async fn close(stripes: Vec<Self>, path: &str) -> Result<(), Error> {
        let closed =
            join_all(stripes.into_iter().map(async |Self { connection, remote, file }| {
                let closed = remote.close_file(file).await;
                if closed.is_ok() {
                    remote.close().await;
                }
                connection.close().await;
                closed.map_err(|fault| fault.into_error(format!("closing `{path}`")))
            }));
        closed.await.into_iter().collect()
    }

    /// Ends all connections, whatever they do.
    pub(super) async fn abandon(stripes: Vec<Self>) {
        join_all(stripes.into_iter().map(|stripe| stripe.connection.close())).await;
    }
}
