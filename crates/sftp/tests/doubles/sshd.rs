//! OpenSSH's own server, where it is installed.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use job::ErrorName;
use russh::keys::{
    Algorithm, PrivateKey,
    key::safe_rng,
    ssh_key::{LineEnding, private::RsaKeypair},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::partner::{Memory, Watcher, deliver_to, file, files_below, summary};

const SSHD: &str = "/usr/sbin/sshd";

/// An account of this machine with a password, which `.ci/run` makes and removes.
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Account {
    /// The account; nothing if there is none and none is required.
    pub(crate) fn find() -> Option<Self> {
        let name = variable("ATHENA_WORKFLOW_TEST_USER");
        let password = variable("ATHENA_WORKFLOW_TEST_PASSWORD");
        let account = name.zip(password).map(|(name, password)| Self { name, password });
        account.filter(|_| is_root()).or_else(|| {
            missing("an account to log in with, ATHENA_WORKFLOW_TEST_USER and _PASSWORD, and to be root for it")
        })
    }
}

/// OpenSSH's server with a configuration of its own, on loopback, for the user who runs the test.
pub(crate) struct OpenSsh {
    process: Child,
    folder: TempDir,
    pub(crate) port: u16,
    user: String,
    pub(crate) user_key: PrivateKey,
    pub(crate) host_key: PrivateKey,
    pub(crate) rsa_key: PrivateKey,
}

impl OpenSsh {
    /// Starts the server; nothing if there is none on this machine and none is required.
    ///
    /// `lines` are added to its configuration, in which `{files}` is the folder for files.
    pub(crate) async fn start(lines: &str) -> Option<Self> {
        Self::start_as("exec", lines).await
    }

    /// Starts the server by a command of the shell, such as `ulimit -f 100; exec`. In it, too,
    /// `{files}` is the folder for files.
    pub(crate) async fn start_as(command: &str, lines: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            return missing(SSHD);
        }
        // The way to a folder that a server locks its users into must belong to root alone.
        let place = if is_root() { Path::new("/run") } else { Path::new("/tmp") };
        let folder = tempfile::Builder::new().tempdir_in(place).unwrap();
        let path = folder.path();
        // Another user's login reads the keys that may log in.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let [user_key, host_key] =
            [(); 2].map(|()| PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap());
        write_private(&path.join("host_key"), &host_key.to_openssh(LineEnding::LF).unwrap());
        fs::create_dir(path.join("files")).unwrap();
        let rsa_key = PrivateKey::from(RsaKeypair::random(&mut safe_rng(), 2048).unwrap());
        // The server's RSA key lets the user in, too: for servers that know nothing newer.
        let authorized = [&user_key, &rsa_key].map(|key| key.public_key().to_openssh().unwrap());
        fs::write(path.join("authorized_keys"), authorized.join("\n")).unwrap();
        write_private(&path.join("rsa_key"), &rsa_key.to_openssh(LineEnding::LF).unwrap());
        if fs::create_dir_all("/run/sshd").is_err() {
            eprintln!("`/run/sshd` could not be made; OpenSSH wants it when it runs as root");
        }
        let [command, lines] = [command, lines]
            .map(|text| text.replace("{files}", path.join("files").to_str().unwrap()));
        let (process, port) = run(path, &command, &lines).await;
        Some(Self { process, port, user: user_name(), user_key, host_key, rsa_key, folder })
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    pub(crate) fn config(&self, changes: &Value) -> Value {
        let mut config = json!({
            "sftp_host": "127.0.0.1",
            "sftp_port": self.port,
            "sftp_user": self.user,
            "sftp_private_key": self.user_key.to_openssh(LineEnding::LF).unwrap().as_str(),
            "sftp_host_keys": [self.host_key.public_key().to_openssh().unwrap()],
            "sftp_path": self.files().join("in/daily").to_str().unwrap(),
        });
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        config
    }

    /// Delivers the file twice, and expects exactly it and the outcome `expected` both times.
    pub(crate) async fn check_twice(&self, changes: Value, expected: Result<u32, ErrorName>) {
        let place = self.files().join("in/daily/report.zip");
        let watcher = Watcher::start(place, vec![file()]);
        for _ in 0..2 {
            let result = deliver_to(self.config(&changes), &Memory::new(file())).await;
            assert_eq!(summary(&result), expected, "{changes}: {result:?}\n{}", self.log());
            let files = files_below(&self.files());
            match expected {
                Ok(_) => assert!(
                    files == [("in/daily/report.zip".to_owned(), file())].into(),
                    "{:?}",
                    files.keys()
                ),
                Err(_) => assert_eq!(files.keys().collect::<Vec<_>>(), Vec::<&String>::new()),
            }
        }
        let direct = changes["sftp_write_mode"] == "direct";
        assert!(watcher.stop().is_empty() || direct, "{changes}: seen under the final name");
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// Runs the server at a free port. Another process may take a port between its choice and its
/// use; then the server ends, and another port is tried.
async fn run(folder: &Path, command: &str, lines: &str) -> (Child, u16) {
    let log = folder.join("log");
    for _ in 0..5 {
        let port = free_port();
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host_key\nHostKey {0}/rsa_key\nAuthorizedKeysFile {0}/authorized_keys\n\
             {lines}\nPidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n\
             PermitRootLogin prohibit-password\nMaxStartups 100\n",
            folder.display()
        );
        fs::write(folder.join("sshd_config"), configuration).unwrap();
        let mut process = Command::new("sh")
            .arg("-c")
            .arg(format!("{command} {SSHD} -D -e -f {}", folder.join("sshd_config").display()))
            .stderr(fs::File::create(&log).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        while process.try_wait().unwrap().is_none() {
            if fs::read_to_string(&log).unwrap().contains("Server listening on") {
                return (process, port);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    panic!("OpenSSH does not start: {}", fs::read_to_string(log).unwrap());
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        // Ended by its own process id; an error means that it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a test may use of the machine it runs on is told by its environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Says that something is not there, which is a failure where it has to be.
#[track_caller]
pub(crate) fn missing<T>(what: &str) -> Option<T> {
    let required = variable("ATHENA_WORKFLOW_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    assert!(!required, "`{what}` is missing, and ATHENA_WORKFLOW_REQUIRE_SERVERS is 1");
    eprintln!("skipped: `{what}` is missing");
    None
}

pub(crate) fn is_root() -> bool {
    user_name() == "root"
}

fn user_name() -> String {
    id("-un")
}

/// Returns what `id` says of the user who runs the test.
pub(crate) fn id(option: &str) -> String {
    let output = Command::new("id").arg(option).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A port that nothing listens at.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
