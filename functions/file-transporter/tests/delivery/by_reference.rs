//! Credentials by reference: the right ones are used, and new ones when they were rotated.

use aws_io::Failure;
use job::ErrorName;
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use crate::world::{FILE, PASSWORD, USER, Vault, World};

fn secret(password: &str) -> String {
    json!({ "Username": USER, "Password": password }).to_string()
}

/// Delivers by reference, and compares the error's name, the number of reads of the secret and that
/// of rejected logins.
async fn check(
    faults: Faults,
    cached: String,
    now: Option<String>,
    changes: Value,
    expected: (Option<ErrorName>, usize, usize),
) {
    let mut world = World::new(faults).await;
    world.vault = Vault { cached: Some(cached), now, ..Vault::default() };
    let mut all = json!({ "sftp_secret": "sftp/acme", "sftp_user": null, "sftp_password": null });
    for (field, value) in changes.as_object().unwrap() {
        all[field] = value.clone();
    }
    let result = world.call(&all).await;
    let name = result.as_ref().err().map(Failure::name);
    let reads = world.vault.reads.lock().unwrap().len();
    assert_eq!((name, reads, world.server.logins_rejected()), expected, "{result:?}");
    let files = if name.is_none() { vec![FILE.to_vec()] } else { Vec::new() };
    assert_eq!(world.files().into_values().collect::<Vec<_>>(), files);
    assert_eq!(world.journal.get().unwrap().lease, None, "the lease is given back");
}

#[tokio::test]
async fn the_credentials_of_the_secret_are_used() {
    check(Faults::default(), secret(PASSWORD), None, json!({}), (None, 1, 0)).await;
}

#[tokio::test]
async fn a_rotated_secret_is_read_anew_and_the_file_is_delivered() {
    let now = Some(secret(PASSWORD));
    check(Faults::default(), secret("old"), now.clone(), json!({}), (None, 2, 1)).await;
    for broken in ["{", "{\"engine\": \"x\"}", "{\"Username\": \"acme\", \"PrivateKey\": \"x\"}"] {
        let broken = broken.to_owned();
        check(Faults::default(), broken, now.clone(), json!({}), (None, 2, 0)).await;
    }
}

#[tokio::test]
async fn rejected_credentials_are_sent_once_unless_they_have_changed() {
    let wrong = || secret("wrong");
    for (now, rejected) in [(Some(wrong()), 1), (None, 1), (Some(secret("wrong too")), 2)] {
        let expected = (Some(ErrorName::TransportAuth), 2, rejected);
        check(Faults::default(), wrong(), now, json!({}), expected).await;
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_fails_the_delivery() {
    let other = json!({ "sftp_secret": "sftp/other" });
    let expected = (Some(ErrorName::SecretNotFound), 1, 0);
    check(Faults::default(), secret(PASSWORD), None, other, expected).await;
}

#[tokio::test]
async fn another_failure_than_of_the_credentials_does_not_read_the_secret_again() {
    let mut world = World::new(Faults::of([Fault::RefuseRename])).await;
    let now = Some(secret("new"));
    world.vault = Vault { cached: Some(secret(PASSWORD)), now, ..Vault::default() };
    let by_reference =
        json!({ "sftp_secret": "sftp/acme", "sftp_user": null, "sftp_password": null });
    world.call(&by_reference).await.unwrap_err();
    assert_eq!(world.vault.reads.lock().unwrap().len(), 1);
}
