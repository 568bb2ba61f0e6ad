//! Logging in, and knowing whom to log in to.

use job::{
    ErrorName::{self, TransportAuth, TransportConfig, TransportHostKey},
    delivery::ReceiptDetails,
};
use local_sftp::{Fault, Faults};
use russh::keys::{
    Algorithm, EcdsaCurve, PrivateKey,
    key::safe_rng,
    ssh_key::{LineEnding, private::RsaKeypair},
};
use serde_json::{Value, json};

use crate::partner::{Memory, PLACE, Partner, deliver_to, file, summary};

fn key(algorithm: Algorithm) -> (PrivateKey, String) {
    let key = PrivateKey::random(&mut safe_rng(), algorithm).unwrap();
    let public = key.public_key().to_openssh().unwrap();
    (key, public)
}

fn text(key: &PrivateKey) -> String {
    key.to_openssh(LineEnding::LF).unwrap().to_string()
}

/// Delivers, and compares the outcome, the number of rejected logins and whether the file came.
async fn check(
    partner: &Partner,
    changes: Value,
    expected: Result<u32, ErrorName>,
    rejected: usize,
) {
    let result = deliver_to(partner.config(&changes), &Memory::new(file())).await;
    assert_eq!(
        (summary(&result), partner.server.logins_rejected()),
        (expected, rejected),
        "{result:?}"
    );
    let files: Vec<_> = partner.files().into_keys().collect();
    assert_eq!(files, if expected.is_ok() { vec![PLACE] } else { vec![] });
}

#[tokio::test]
async fn a_rejected_password_is_sent_once() {
    let partner = Partner::start(Faults::default()).await;
    check(&partner, json!({ "sftp_password": "hunter2" }), Err(TransportAuth), 1).await;
    let partner = Partner::start(Faults::of([Fault::KeyboardInteractiveOnly])).await;
    check(&partner, json!({ "sftp_password": "hunter2" }), Err(TransportAuth), 1).await;
}

#[tokio::test]
async fn a_rejected_login_says_who_and_where_and_not_with_what() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&json!({ "sftp_password": "hunter2" }));
    let error = deliver_to(config, &Memory::new(file())).await.unwrap_err();
    let expected = format!(
        "logging in to `{}` as `acme`: the server rejected the password by `keyboard-interactive`; it takes `password`, `keyboard-interactive`",
        partner.server.address()
    );
    assert_eq!(error.to_string(), expected);
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_password_is_the_answer_to_an_interactive_question() {
    let partner = Partner::start(Faults::of([Fault::KeyboardInteractiveOnly])).await;
    check(&partner, json!({}), Ok(1), 0).await;
}

#[tokio::test]
async fn keys_of_every_kind_log_in() {
    let ecdsa = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
    // 2,048 bits, because making longer ones takes seconds.
    let rsa = PrivateKey::from(RsaKeypair::random(&mut safe_rng(), 2048).unwrap());
    for key in [key(Algorithm::Ed25519).0, key(ecdsa).0, rsa] {
        let public = key.public_key().to_openssh().unwrap();
        let partner = Partner::with_keys(Faults::default(), vec![public]).await;
        let changes = json!({ "sftp_password": null, "sftp_private_key": text(&key) });
        check(&partner, changes, Ok(1), 0).await;
    }
}

#[tokio::test]
async fn an_encrypted_key_logs_in_with_its_passphrase_only() {
    let (key, public) = key(Algorithm::Ed25519);
    let encrypted = text(&key.encrypt(&mut safe_rng(), "open sesame").unwrap());
    let partner = Partner::with_keys(Faults::default(), vec![public]).await;
    let with = |passphrase: &str| {
        json!({
            "sftp_password": null, "sftp_private_key": encrypted.as_str(), "sftp_private_key_passphrase": passphrase,
        })
    };
    check(&partner, json!({ "sftp_private_key": encrypted.as_str() }), Err(TransportConfig), 0)
        .await;
    check(&partner, with("guess"), Err(TransportConfig), 0).await;
    check(&partner, with("open sesame"), Ok(1), 0).await;
}

#[tokio::test]
async fn a_key_and_then_a_password_log_in_where_both_are_needed() {
    let (key, public) = key(Algorithm::Ed25519);
    let partner = Partner::with_keys(Faults::of([Fault::KeyThenPassword]), vec![public]).await;
    check(&partner, json!({}), Err(TransportAuth), 0).await;
    let only_key = json!({ "sftp_private_key": text(&key), "sftp_password": null });
    check(&partner, only_key, Err(TransportAuth), 0).await;
    check(&partner, json!({ "sftp_private_key": text(&key) }), Ok(1), 0).await;
}

#[tokio::test]
async fn a_rejected_key_does_not_keep_the_password_from_being_tried() {
    let (_, authorized) = key(Algorithm::Ed25519);
    let (other, _) = key(Algorithm::Ed25519);
    let partner = Partner::with_keys(Faults::default(), vec![authorized]).await;
    check(&partner, json!({ "sftp_private_key": text(&other) }), Ok(1), 1).await;
}

#[tokio::test]
async fn another_host_key_ends_the_delivery_before_the_login() {
    let (_, ed25519) = key(Algorithm::Ed25519);
    let (_, ecdsa) = key(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
    for pin in [format!("SHA256:{}", "A".repeat(43)), ed25519, ecdsa] {
        let partner = Partner::start(Faults::default()).await;
        check(&partner, json!({ "sftp_host_keys": [pin] }), Err(TransportHostKey), 0).await;
        // A fingerprint may be that of any of the server's keys: all of them are asked for.
        assert!(partner.server.connections() <= 2, "a changed host key is not tried again");
    }
}

#[tokio::test]
async fn a_changed_host_key_is_shown_beside_the_expected_one() {
    let partner = Partner::start(Faults::default()).await;
    let pin = format!("SHA256:{}", "A".repeat(43));
    let config = partner.config(&json!({ "sftp_host_keys": [pin] }));
    let error = deliver_to(config, &Memory::new(file())).await.unwrap_err();
    let expected = format!(
        "checking the host key of `{}`: it presented `ssh-ed25519 {}`, but expected is `{pin}`",
        partner.server.address(),
        partner.server.host_key_fingerprint()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn without_a_pin_the_receipt_has_the_fingerprint_to_pin() {
    let partner = Partner::start(Faults::default()).await;
    for (changes, verified) in [
        (json!({ "sftp_host_keys": [] }), false),
        (
            json!({ "sftp_host_keys": [format!("SHA256:{}", "A".repeat(43))], "sftp_host_key_check": "warn" }),
            false,
        ),
        (json!({}), true),
    ] {
        let receipt = deliver_to(partner.config(&changes), &Memory::new(file())).await.unwrap();
        let host_key = format!("ssh-ed25519 {}", partner.server.host_key_fingerprint());
        let expected = ReceiptDetails::Sftp { host_key, host_key_verified: verified };
        assert_eq!(receipt.details, expected);
    }
}
