//! A ShareFile account over a directory: "the partner's folder" of the stack on a laptop, and of
//! tests.
//!
//! It speaks what of ShareFile's API v3 an upload needs: the password grant for a token, items by
//! id, alias and path, making folders, upload specifications, and uploads in one request, in chunks
//! one after the other and in chunks side by side. A file appears in the directory when its upload
//! is ended, never before; until then its bytes are in another directory.
//!
//! The directory `home` below the root is what the alias `home` means, and so on for the other
//! aliases; `top` is the root itself.
//!
//! [`Faults`] make it misbehave in the ways that are known of the real one.
//!
//! | | here | ShareFile |
//! |---|---|---|
//! | encryption | HTTP | HTTPS only |
//! | item ids | made from the path, and for a file from its time too | opaque, kept when renamed |
//! | old versions of a file | gone | kept, as the account is set |
//! | permissions | everybody who logs in may do everything | by folder |
//! | tokens | good until the process ends | `expires_in` |
//! | storage | the same host | other hosts, also customers' own |
//! | `Notify`, `Title`, `Details` | ignored | used |
//! | a chunk with a wrong MD5 | error 420 | an error; which one is not verified |
//! | a folder that exists | 409, `Conflict` | not verified |
//! | a file that exists, without `Overwrite` | 409 at the end of the upload | not verified |
//! | an unfinished upload | is gone on with if folder, name and size are the same | by the same rule, not verified |

#![expect(clippy::result_large_err, reason = "a handler may end early with its answer")]

mod fault;
mod items;
mod serving;
mod token;
mod tree;
mod uploads;

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use secrecy::SecretString;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use crate::fault::{Call, Fault, Faults};
use crate::{tree::Tree, uploads::Uploads};

/// What to serve, to whom, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory with the account's folders; created if it is missing.
    pub root: PathBuf,
    /// Where unfinished uploads are kept: another directory of the same file system.
    pub uploads: PathBuf,
    /// Who may log in.
    pub accounts: Vec<Account>,
    /// The address to listen at; port 0 takes any free one.
    pub address: SocketAddr,
    /// In which ways the server misbehaves.
    pub faults: Faults,
}

/// What somebody logs in with.
#[derive(Clone, Debug)]
pub struct Account {
    /// The API client's id.
    pub client_id: String,
    /// The API client's secret.
    pub client_secret: SecretString,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
}

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory can not be made.
    #[error("making the directory `{path}`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address can not be listened at.
    #[error("listening at `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

/// What all connections share.
#[derive(Debug)]
struct State {
    address: SocketAddr,
    accounts: Vec<Account>,
    tree: Tree,
    uploads: Uploads,
    faults: Faults,
    tokens: Mutex<HashSet<String>>,
    requests: Mutex<Vec<(Call, String)>>,
    published: Mutex<Vec<(PathBuf, String)>>,
    logins_rejected: AtomicUsize,
    chunks_in_flight: AtomicUsize,
    chunks_in_flight_max: AtomicUsize,
    bytes_received: AtomicU64,
}

impl Server {
    /// Starts a server, which then runs until [`Server::stop`] or the end of the runtime.
    ///
    /// # Errors
    ///
    /// When a directory or the address can not be used.
    pub async fn start(config: Config) -> Result<Self, Error> {
        for path in [&config.root.join("home"), &config.root.join("allshared"), &config.uploads] {
            std::fs::create_dir_all(path)
                .map_err(|source| Error::Directory { path: path.clone(), source })?;
        }
        let listen = |source| Error::Listen { address: config.address, source };
        let listener = TcpListener::bind(config.address).await.map_err(listen)?;
        let state = Arc::new(State {
            address: listener.local_addr().map_err(listen)?,
            accounts: config.accounts,
            tree: Tree::new(config.root),
            uploads: Uploads::new(config.uploads),
            faults: config.faults,
            tokens: Mutex::default(),
            requests: Mutex::default(),
            published: Mutex::default(),
            logins_rejected: AtomicUsize::default(),
            chunks_in_flight: AtomicUsize::default(),
            chunks_in_flight_max: AtomicUsize::default(),
            bytes_received: AtomicU64::default(),
        });
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(serving::accept(listener, state.clone(), stop.clone()));
        tracing::debug!(address = %state.address, "the ShareFile server listens");
        Ok(Self { state, stop, accepting })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Where the server listens, as the `sharefile_endpoint` of a job.
    pub fn url(&self) -> String {
        self.state.url()
    }

    /// The requests so far, each with its path, without the query.
    pub fn requests(&self) -> Vec<(Call, String)> {
        lock(&self.state.requests).clone()
    }

    /// The files that uploads have published so far, each with its MD5. A new version of a file counts
    /// as a file of its own.
    pub fn published(&self) -> Vec<(PathBuf, String)> {
        lock(&self.state.published).clone()
    }

    /// The number of logins that were rejected so far.
    pub fn logins_rejected(&self) -> usize {
        self.state.logins_rejected.load(Ordering::SeqCst)
    }

    /// The most chunks that were on their way at the same time so far.
    pub fn chunks_in_flight_max(&self) -> usize {
        self.state.chunks_in_flight_max.load(Ordering::SeqCst)
    }

    /// How many bytes of files have arrived so far, also those of requests that then failed.
    pub fn bytes_received(&self) -> u64 {
        self.state.bytes_received.load(Ordering::SeqCst)
    }

    /// Stops listening and cuts all connections.
    pub async fn stop(self) {
        self.stop.cancel();
        // Its only failure is a panic, which has been reported where it happened.
        drop(self.accepting.await);
    }
}

impl State {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
