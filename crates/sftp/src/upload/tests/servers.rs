//! Uploads to servers as they are, over SSH and over pipes.

use std::{net::SocketAddr, path::Path, sync::Arc};

use local_sftp::{Config, Faults, Server};
use russh::{ChannelMsg, client, keys::PublicKeyOrCertificate};
use tempfile::TempDir;

use super::*;
use crate::session::{Access, tests::start_openssh};

/// A client that trusts the server that the test started.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Starts a server over a directory, by `russh-sftp`.
async fn start_server(folder: &Path) -> Server {
    let config = Config {
        root: folder.to_owned(),
        user: "acme".to_owned(),
        password: "secret".to_owned().into(),
        authorized_keys: Vec::new(),
        host_key_file: None,
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        faults: Faults::default(),
    };
    Server::start(config).await.unwrap()
}

/// Starts a session on a connection of its own.
async fn connect(server: &Server) -> (Session, client::Handle<Trusting>) {
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut connection = client::connect(config, server.address(), Trusting).await.unwrap();
    assert!(connection.authenticate_password("acme", "secret").await.unwrap().success());
    let mut channel = connection.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    while !matches!(channel.wait().await.unwrap(), ChannelMsg::Success) {}
    (Session::start(channel.into_stream(), LIMIT).await.unwrap(), connection)
}

/// Opens one file in so many sessions.
async fn lanes(sessions: Vec<Session>, path: &str) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for session in sessions {
        let handle = if lanes.is_empty() {
            session.create_new(path, Access::ReadWrite).await.unwrap()
        } else {
            session.open_for_writing(path).await.unwrap()
        };
        lanes.push(Lane { session, handle });
    }
    lanes
}

/// Uploads a file, checks it in every way there is, and closes it.
async fn check_upload(lanes: Vec<Lane>, folder: &TempDir, file: &[u8], config: &SftpConfig) {
    let closing = lanes.clone();
    let start = HashedOffset::default();
    let mut upload = Upload::new(lanes, start, config, source(file, 50_000));
    let acknowledged = nothing();
    assert!(upload.probe(&acknowledged).await.unwrap());
    assert_eq!(upload.run(later(), &acknowledged).await.unwrap(), Ending::Complete);
    let size_bytes = upload.end().offset();
    assert_eq!(upload.end().sha256(), hashed(file).sha256());
    let Lane { session, handle } = upload.first_lane();
    let checked = check_seams(upload.first_lane(), size_bytes, &upload.seams()).await;
    assert_eq!(checked, Ok(true));
    let read = crate::readback::sha256(session, handle, size_bytes).await;
    assert_eq!(read, Ok(upload.end().sha256()));
    for Lane { session, handle } in closing {
        session.close(handle).await.unwrap();
    }
    let written = std::fs::read(folder.path().join("file")).unwrap();
    assert!(written == file, "{} of {} bytes are there", written.len(), file.len());
}

#[tokio::test]
async fn an_upload_over_ssh_arrives() {
    for (count, write_bytes) in [(1, 261_120), (1, 32_768), (3, 100_000)] {
        let folder = tempfile::tempdir().unwrap();
        let server = start_server(folder.path()).await;
        let (mut sessions, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (session, connection) = connect(&server).await;
            assert!(session.features().posix_rename && session.features().fsync);
            sessions.push(session);
            connections.push(connection);
        }
        let lanes = lanes(sessions, "file").await;
        check_upload(lanes, &folder, &text(3_000_001), &config(write_bytes, 64)).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn an_upload_to_openssh_arrives() {
    for (count, write_bytes) in [(1, 261_120), (1, 1024), (4, 32_768)] {
        let (mut sessions, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let Some((session, server)) = start_openssh().await else { return };
            sessions.push(session);
            servers.push(server);
        }
        let folder = tempfile::tempdir().unwrap();
        let lanes = lanes(sessions, folder.path().join("file").to_str().unwrap()).await;
        check_upload(lanes, &folder, &text(3_000_001), &config(write_bytes, 64)).await;
    }
}
