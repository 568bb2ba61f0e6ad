//! Encryption. The double does not do it, so what is in front of it here does.

use std::{net::SocketAddr, sync::Arc};

use job::ErrorName::{TransportConfig, TransportUnavailable};
use local_sharefile::Faults;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::account::{Memory, Partner, file, summary};

/// Passes on to `server` what comes encrypted, with a certificate that nobody has signed.
async fn encrypt(server: SocketAddr) -> SocketAddr {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that does not trust us ends here.
            let Ok(mut client) = acceptor.accept(client).await else { continue };
            let mut server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_sent_nothing() {
    let partner = Partner::start(Faults::default()).await;
    let port = encrypt(partner.server.address()).await.port();
    let changes = json!({ "sharefile_endpoint": format!("https://localhost:{port}") });
    let result = partner.deliver(&changes, &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(TransportConfig), "{result:?}");
    let expected = format!("connecting to `localhost:{port}`: its certificate is not trusted");
    assert_eq!(result.unwrap_err().to_string(), expected);
    assert_eq!(partner.server.requests(), []);
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_sent_nothing_if_it_should() {
    let partner = Partner::start(Faults::default()).await;
    let port = partner.server.address().port();
    let changes = json!({ "sharefile_endpoint": format!("https://localhost:{port}") });
    let result = partner.deliver(&changes, &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(TransportUnavailable), "{result:?}");
    assert_eq!(partner.server.requests(), []);
}
