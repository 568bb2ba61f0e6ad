//! OpenSSH's `sftp` command against this server.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
};

use local_sftp::{Config, Faults, Server};
use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

/// Runs a batch of `sftp`'s commands; nothing if there is no `sftp` and none is required.
async fn sftp(server: &Server, folder: &Path, user: &str, batch: &str) -> Option<Output> {
    let started = Command::new("sftp")
        .args(["-b", "-", "-P", &server.address().port().to_string(), "-i"])
        .arg(folder.join("key"))
        .args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-F", "/dev/null"])
        .arg(format!("{user}@127.0.0.1"))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = match started {
        Ok(process) => process,
        Err(error) => {
            assert!(!servers_are_required(), "`sftp` can not be run: {error}");
            eprintln!("skipped: `sftp` can not be run: {error}");
            return None;
        }
    };
    let mut input = process.stdin.take().unwrap();
    input.write_all(batch.as_bytes()).await.unwrap();
    drop(input);
    Some(process.wait_with_output().await.unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the switch that turns a skipped test into a failed one is for CI only"
)]
fn servers_are_required() -> bool {
    std::env::var("ATHENA_WORKFLOW_REQUIRE_SERVERS").is_ok_and(|value| value == "1")
}

/// A server that knows the key in the folder's file `key`; its root is the folder's `root`.
async fn start() -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let file = folder.path().join("key");
    fs::write(&file, key.to_openssh(LineEnding::LF).unwrap()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = Config {
        root: folder.path().join("root"),
        user: "acme".to_owned(),
        password: "not used".into(),
        authorized_keys: vec![key.public_key().to_openssh().unwrap()],
        host_key_file: Some(folder.path().join("host_key")),
        address: ([127, 0, 0, 1], 0).into(),
        faults: Faults::default(),
    };
    (Server::start(config).await.unwrap(), folder)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_sftp_command_can_do_everything_a_partner_does() {
    let (server, folder) = start().await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    fs::write(folder.path().join("up"), &bytes).unwrap();
    let batch = "pwd\nmkdir in\nmkdir in/daily\ncd in/daily\nput up report.part\nrename report.part report.zip\n\
                 put up again.zip\nrename again.zip report.zip\nchmod 600 report.zip\nls -l\nget report.zip down\n\
                 put up doomed\nrm doomed\ncd ..\nmkdir empty\nrmdir empty\n";
    let Some(output) = sftp(&server, folder.path(), "acme", batch).await else {
        return;
    };
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("Remote working directory: /\n"), "{out}");
    assert!(
        out.lines().any(|line| line.starts_with("-rw-------") && line.ends_with("report.zip")),
        "{out}"
    );
    assert!(fs::read(folder.path().join("down")).unwrap() == bytes, "what came back differs");
    let listed: Vec<_> = fs::read_dir(folder.path().join("root/in/daily"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(listed, ["report.zip"]);
    assert!(!folder.path().join("root/in/empty").exists());
    server.stop().await;
}

#[tokio::test]
async fn a_stranger_is_not_let_in() {
    let (server, folder) = start().await;
    let Some(output) = sftp(&server, folder.path(), "mallory", "pwd\n").await else {
        return;
    };
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("Permission denied"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_stopped_server_lets_go_of_its_clients_and_its_port() {
    let (server, folder) = start().await;
    let address = server.address();
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    server.stop().await;
    let mut rest = Vec::new();
    // What matters is that this ends; the way, an end or a reset, is up to the system.
    drop(tokio::io::AsyncReadExt::read_to_end(&mut client, &mut rest).await);
    // The server of another test may have been given the port in the meantime, for as long as it lasts.
    let free = async {
        while tokio::net::TcpListener::bind(address).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_mins(1), free).await.is_ok());
    drop(folder);
}
