//! An SFTP server over a directory: "the partner's server" of the stack on a laptop, and of tests.
//!
//! It speaks SSH by `russh` and SFTP version 3 by `russh-sftp`, with OpenSSH's extensions
//! `posix-rename`, `fsync` and `limits`. What a client sees as `/` is the configured directory, and
//! nothing outside of it can be reached: not by `..`, not by an absolute path, not by a symbolic
//! link. Clients can not make links.
//!
//! [`Faults`] make it misbehave in the ways that real servers do.

mod connection;
mod fault;
mod files;
mod gate;
mod host_key;
mod login;
mod observed;
mod paths;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cap_std::{ambient_authority, fs::Dir};
use russh::keys::{HashAlg, PrivateKey};
use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub use crate::fault::{Fault, Faults, ObjectStore};
use crate::{
    connection::{Session, Severable},
    login::Accounts,
    observed::Observed,
};

/// What to serve, to whom, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory that clients see as `/`; created if it is missing.
    pub root: PathBuf,
    /// The only user.
    pub user: String,
    /// The user's password, accepted as a password and as the answer to an interactive prompt.
    pub password: SecretString,
    /// The public keys that the user may log in with, each as one line in OpenSSH's format.
    pub authorized_keys: Vec<String>,
    /// Where the host key is kept; made there if it is missing. Without a file there is a new key
    /// at every start.
    pub host_key_file: Option<PathBuf>,
    /// The address to listen at; port 0 takes any free one.
    pub address: SocketAddr,
    /// In which ways the server misbehaves.
    pub faults: Faults,
}

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory to serve can not be made or opened.
    #[error("opening `{path}` as the directory to serve")]
    Root {
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
    /// The host key file can not be read or written.
    #[error("reading or writing the host key file `{path}`")]
    HostKeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What should be a host key is none, or one could not be made.
    #[error("making or reading the host key")]
    HostKey(#[source] russh::keys::Error),
    /// One of the authorized keys is no public key.
    #[error("reading authorized key {number}")]
    AuthorizedKey {
        /// Its place in the list, beginning with 1.
        number: usize,
        /// Why.
        source: russh::keys::ssh_key::Error,
    },
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    fingerprint: String,
    accepting: JoinHandle<()>,
    stop: CancellationToken,
    state: Arc<State>,
}

/// What all connections share.
#[derive(Debug)]
struct State {
    root: Arc<Dir>,
    accounts: Accounts,
    faults: Faults,
    ssh: Arc<russh::server::Config>,
    connections: AtomicUsize,
    logins_rejected: AtomicUsize,
    observed: Arc<Observed>,
}

impl Server {
    /// Starts a server, which then runs until [`Server::stop`] or the end of the runtime.
    ///
    /// # Errors
    ///
    /// When the directory, the host key, an authorized key or the address can not be used.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let root = open_root(&config.root)
            .map_err(|source| Error::Root { path: config.root.clone(), source })?;
        let host_key = host_key::load_or_make(config.host_key_file.as_deref())?;
        let fingerprint = host_key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let accounts = Accounts::new(config.user, config.password, &config.authorized_keys)?;
        let state = Arc::new(State {
            root: Arc::new(root),
            ssh: Arc::new(ssh_config(host_key, &accounts, &config.faults)),
            accounts,
            faults: config.faults,
            connections: AtomicUsize::new(0),
            logins_rejected: AtomicUsize::new(0),
            observed: Arc::default(),
        });
        let listen = |source| Error::Listen { address: config.address, source };
        let listener = TcpListener::bind(config.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, state.clone(), stop.clone()));
        tracing::debug!(%address, %fingerprint, "the SFTP server listens");
        Ok(Self { address, fingerprint, accepting, stop, state })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The SHA-256 fingerprint of the host key, as `SHA256:` and base64.
    pub fn host_key_fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The number of logins that were tried with credentials and rejected so far.
    pub fn logins_rejected(&self) -> usize {
        self.state.logins_rejected.load(Ordering::SeqCst)
    }

    /// The number of requests and answers that were held so far.
    pub fn held(&self) -> usize {
        self.state.observed.held()
    }

    /// Goes on with everything that is held, and holds nothing more.
    pub fn release(&self) {
        self.state.observed.release();
    }

    /// The latest thousand requests that were done and name files: `open`, `close`, `rename`,
    /// `remove`, each with its paths as clients call them. A renamed file's size is behind them.
    pub fn requests(&self) -> Vec<String> {
        self.state.observed.requests()
    }

    /// Stops listening and cuts all connections.
    pub async fn stop(self) {
        self.stop.cancel();
        // Its only failure is a panic, which has been reported where it happened.
        drop(self.accepting.await);
    }
}

fn open_root(path: &std::path::Path) -> io::Result<Dir> {
    std::fs::create_dir_all(path)?;
    Dir::open_ambient_dir(path, ambient_authority())
}

fn ssh_config(host_key: PrivateKey, accounts: &Accounts, faults: &Faults) -> russh::server::Config {
    russh::server::Config {
        methods: accounts.methods(faults),
        // Long enough to be visible as a rejection, short enough for tests. On loopback nobody
        // guesses passwords.
        auth_rejection_time: Duration::from_millis(50),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        nodelay: true,
        ..russh::server::Config::default()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                tracing::debug!(%peer, number, "a client connected");
                tokio::spawn(serve(stream, number, state.clone(), stop.child_token()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Without a pause, running out of file descriptors would become a busy loop.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, number: usize, state: Arc<State>, cut: CancellationToken) {
    if state.faults.refuses_connection(number) {
        return;
    }
    if state.faults.has(number, Fault::Silent) {
        cut.cancelled().await;
        return;
    }
    // Only a setting for speed; the connection works without it.
    drop(stream.set_nodelay(true));
    let ssh = state.ssh.clone();
    let session = Session::new(state, number, cut.clone());
    let ended = match russh::server::run_stream(ssh, Severable::new(stream, cut), session).await {
        Ok(running) => running.await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, number, "a connection ended");
    }
}
