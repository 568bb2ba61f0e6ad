//! The same deliveries against OpenSSH's own server, where it is installed.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use job::ErrorName;
use russh::keys::{
    Algorithm, HashAlg, PrivateKey,
    key::safe_rng,
    ssh_key::{LineEnding, private::RsaKeypair},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::partner::{Memory, deliver_to, file, files_below, summary};

const SSHD: &str = "/usr/sbin/sshd";

const SFTP: &str = "Subsystem sftp internal-sftp";
/// What servers of 2010 have.
const OLD: &str = "KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1\n\
                   HostKeyAlgorithms ssh-rsa\nPubkeyAcceptedAlgorithms ssh-rsa\n";

/// OpenSSH's server with a configuration of its own, on loopback, for the user who runs the test.
struct OpenSsh {
    process: Child,
    folder: TempDir,
    port: u16,
    user: String,
    user_key: PrivateKey,
    host_key: PrivateKey,
    rsa_key: PrivateKey,
}

impl OpenSsh {
    /// Starts the server; nothing if there is none on this machine and none is required.
    ///
    /// `lines` are added to its configuration.
    async fn start(lines: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            assert!(
                !servers_are_required(),
                "`{SSHD}` is not there, and ATHENA_WORKFLOW_REQUIRE_SERVERS is 1"
            );
            eprintln!("skipped: `{SSHD}` is not there");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let [user_key, host_key] =
            [(); 2].map(|()| PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap());
        write_private(&path.join("host_key"), &host_key.to_openssh(LineEnding::LF).unwrap());
        fs::create_dir(path.join("files")).unwrap();
        let rsa_key = PrivateKey::from(RsaKeypair::random(&mut safe_rng(), 2048).unwrap());
        // The server's RSA key lets the user in, too: for servers that know nothing newer.
        let authorized = [&user_key, &rsa_key].map(|key| key.public_key().to_openssh().unwrap());
        write_private(&path.join("authorized_keys"), &authorized.join("\n"));
        write_private(&path.join("rsa_key"), &rsa_key.to_openssh(LineEnding::LF).unwrap());
        if fs::create_dir_all("/run/sshd").is_err() {
            eprintln!("`/run/sshd` could not be made; OpenSSH wants it when it runs as root");
        }
        let (process, port) = run(path, lines).await;
        Some(Self { process, port, user: user_name(), user_key, host_key, rsa_key, folder })
    }

    fn transporter(&self, changes: &Value) -> Value {
        let mut config = json!({
            "sftp_host": "127.0.0.1",
            "sftp_port": self.port,
            "sftp_user": self.user,
            "sftp_private_key": self.user_key.to_openssh(LineEnding::LF).unwrap().as_str(),
            "sftp_host_keys": [self.host_key.public_key().to_openssh().unwrap()],
            "sftp_path": self.folder.path().join("files/in/daily").to_str().unwrap(),
        });
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        json!({ "type": "sftp", "config": config })
    }

    /// Delivers the file twice, and expects exactly it and the outcome `expected` both times.
    async fn check_twice(&self, changes: Value, expected: Result<u32, ErrorName>) {
        for _ in 0..2 {
            let result = deliver_to(self.transporter(&changes), &Memory::new(file())).await;
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert_eq!(summary(&result), expected, "{result:?}\n{}", log());
            let files = files_below(&self.folder.path().join("files"));
            match expected {
                Ok(_) => assert!(
                    files == [("in/daily/report.zip".to_owned(), file())].into(),
                    "{:?}",
                    files.keys()
                ),
                Err(_) => assert_eq!(files.keys().collect::<Vec<_>>(), Vec::<&String>::new()),
            }
        }
    }
}

/// Runs the server at a free port. Another process may take a port between its choice and its
/// use; then the server ends, and another port is tried.
async fn run(folder: &Path, lines: &str) -> (Child, u16) {
    let log = folder.join("log");
    for _ in 0..5 {
        let port = free_port();
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host_key\nHostKey {0}/rsa_key\nAuthorizedKeysFile {0}/authorized_keys\n\
             PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n\
             PermitRootLogin prohibit-password\n{lines}\n",
            folder.display()
        );
        fs::write(folder.join("sshd_config"), configuration).unwrap();
        let mut process = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
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
    reason = "the switch that turns a skipped test into a failed one is for CI only"
)]
fn servers_are_required() -> bool {
    std::env::var("ATHENA_WORKFLOW_REQUIRE_SERVERS").is_ok_and(|value| value == "1")
}

fn user_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn openssh_takes_a_delivery_by_key() {
    let Some(server) = OpenSsh::start(SFTP).await else {
        return;
    };
    server.check_twice(json!({}), Ok(1)).await;
    server.check_twice(json!({ "sftp_verify": "readback" }), Ok(1)).await;
    let receipt = deliver_to(server.transporter(&json!({})), &Memory::new(file())).await.unwrap();
    let fingerprint = server.host_key.public_key().fingerprint(HashAlg::Sha256);
    assert_eq!(
        (receipt.host_key, receipt.host_key_verified),
        (Some(format!("ssh-ed25519 {fingerprint}")), Some(true))
    );
}

#[tokio::test]
async fn openssh_without_some_of_its_requests_takes_it_too() {
    for refused in ["posix-rename", "posix-rename,fsync,limits", "stat,lstat,fsync"] {
        let Some(server) = OpenSsh::start(&format!("{SFTP} -P {refused}")).await else {
            return;
        };
        server.check_twice(json!({}), Ok(1)).await;
    }
}

#[tokio::test]
async fn openssh_that_forbids_renaming_is_reported_and_served_in_place() {
    let Some(server) = OpenSsh::start(&format!("{SFTP} -P rename,posix-rename")).await else {
        return;
    };
    server.check_twice(json!({}), Err(ErrorName::TransportPermission)).await;
    server.check_twice(json!({ "sftp_write_mode": "direct" }), Ok(1)).await;
}

#[tokio::test]
async fn openssh_with_another_key_or_user_is_told_apart() {
    let Some(server) = OpenSsh::start(SFTP).await else {
        return;
    };
    let stranger = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let text = stranger.to_openssh(LineEnding::LF).unwrap();
    server
        .check_twice(json!({ "sftp_private_key": text.as_str() }), Err(ErrorName::TransportAuth))
        .await;
    let pin = stranger.public_key().to_openssh().unwrap();
    server.check_twice(json!({ "sftp_host_keys": [pin] }), Err(ErrorName::TransportHostKey)).await;
}

#[tokio::test]
async fn an_old_server_is_served_only_with_algorithms_that_are_asked_for() {
    let Some(server) = OpenSsh::start(&format!("{OLD}{SFTP}")).await else {
        return;
    };
    let pin = server.rsa_key.public_key().to_openssh().unwrap();
    let key = server.rsa_key.to_openssh(LineEnding::LF).unwrap();
    let changes = |legacy: bool, pins: &[&str]| {
        json!({
            "sftp_legacy_algorithms": legacy, "sftp_host_keys": pins, "sftp_private_key": key.as_str(),
        })
    };
    let refused = deliver_to(server.transporter(&changes(false, &[])), &Memory::new(file())).await;
    assert_eq!(summary(&refused), Err(ErrorName::TransportConfig));
    let message = refused.unwrap_err().to_string();
    assert!(message.ends_with("`sftp_legacy_algorithms` offers more"), "{message}");
    server.check_twice(changes(true, &[]), Ok(1)).await;
    server.check_twice(changes(true, &[&pin]), Ok(1)).await;
}

#[tokio::test]
async fn a_pinned_rsa_key_is_asked_for_though_the_server_prefers_another() {
    let Some(server) = OpenSsh::start(SFTP).await else {
        return;
    };
    let pin = server.rsa_key.public_key().to_openssh().unwrap();
    let changes = json!({ "sftp_host_keys": [pin] });
    let receipt = deliver_to(server.transporter(&changes), &Memory::new(file())).await.unwrap();
    let fingerprint = server.rsa_key.public_key().fingerprint(HashAlg::Sha256);
    assert_eq!(
        (receipt.host_key, receipt.host_key_verified),
        (Some(format!("ssh-rsa {fingerprint}")), Some(true))
    );
}
