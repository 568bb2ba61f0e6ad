//! A server that runs for one row of the matrix.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    partner::{PASSWORD, USER},
    sshd::{OpenSsh, free_port},
};

/// Time for a server to listen. The machine may be busy.
const START: Duration = Duration::from_mins(1);

/// A server, and what the deliveries need to know of it.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Folder on this machine in which the server keeps the files.
    pub(crate) files: PathBuf,
    /// The same folder, as the server names it to its clients. Empty for the root.
    pub(crate) path: String,
    pub(crate) port: u16,
    /// The fields of a configuration that log in.
    pub(crate) login: Value,
    /// Text that the log has once for each login.
    pub(crate) login_text: &'static str,
    pub(crate) handles: Handles,
    pub(crate) running: Running,
}

/// Treatment of several handles of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handles {
    /// Each sees at once what another one wrote.
    Meet,
    /// Only a handle that is opened later can read it.
    Apart,
    /// Bytes are taken from the beginning of the file and in order.
    InOrder,
}

/// The processes of a server.
pub(crate) enum Running {
    OpenSsh(Box<OpenSsh>),
    Other(Process),
}

impl Server {
    /// A process that knows the user and the password of the tests, and shows its
    /// folder for files as the root.
    pub(crate) fn of(name: &'static str, process: Process, login_text: &'static str) -> Self {
        Self {
            name,
            files: process.files(),
            path: String::new(),
            port: process.port,
            login: json!({ "sftp_user": USER, "sftp_password": PASSWORD }),
            login_text,
            handles: Handles::Meet,
            running: Running::Other(process),
        }
    }

    pub(crate) fn log(&self) -> String {
        match &self.running {
            Running::OpenSsh(server) => server.log(),
            Running::Other(process) => process.log(),
        }
    }

    /// Waits until the log tells of so many logins, and returns how many it tells of in the end.
    pub(crate) async fn logins(&self, expected: usize) -> usize {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let found = self.log().matches(self.login_text).count();
            if found >= expected || Instant::now() > until {
                return found;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A folder that a server has for itself.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// Makes the folder, with one for files in it that every account may write to.
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.files()).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(folder.files(), fs::Permissions::from_mode(0o777)).unwrap();
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.path().join("files")
    }

    /// The log: what the server prints, and what it is told to write there.
    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("log")
    }
}

/// A process that listens on loopback.
pub(crate) struct Process {
    child: Child,
    folder: Folder,
    port: u16,
}

impl Process {
    /// Starts a server at a free port. Another process may take a port between its choice and its
    /// use. Then the server ends, and another port is tried.
    pub(crate) async fn start(folder: Folder, command: impl Fn(&Folder, u16) -> Command) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let log = fs::File::options().create(true).append(true).open(folder.log()).unwrap();
            let mut child = command(&folder, port)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            if listens(&mut child, port).await {
                return Self { child, folder, port };
            }
            drop(child.kill());
            drop(child.wait());
        }
        panic!("a server does not start: {}", fs::read_to_string(folder.log()).unwrap());
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.folder.files()
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.log()).unwrap()).into_owned()
    }
}

async fn listens(child: &mut Child, port: u16) -> bool {
    let until = Instant::now() + START;
    while child.try_wait().unwrap().is_none() && Instant::now() < until {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            // Whoever else has the port made the server end by now.
            sleep(Duration::from_millis(200)).await;
            return child.try_wait().unwrap().is_none();
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended by its own process id; an error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
