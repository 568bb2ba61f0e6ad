//! Credentials by reference: the right ones are used, and new ones when they were rotated.

use std::sync::Mutex;

use async_trait::async_trait;
use aws_io::secrets::{Freshness, SecretError};
use file_transporter::{Error, SecretReader};
use job::{ErrorName, SecretReference};
use local_sftp::{Fault, Faults};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::partner::{Memory, PASSWORD, PLACE, Partner, USER, deliver_with, file, summary};

/// A store with one secret, `sftp/acme`, whose value is another when it is read anew.
struct Vault {
    cached: String,
    now: Option<String>,
    reads: Mutex<Vec<Freshness>>,
}

#[async_trait]
impl SecretReader for Vault {
    async fn read(
        &self,
        reference: &SecretReference,
        freshness: Freshness,
    ) -> Result<SecretString, SecretError> {
        self.reads.lock().unwrap().push(freshness);
        let reference = reference.clone();
        let text = match freshness {
            Freshness::Cached if reference.id() == "sftp/acme" => Some(self.cached.clone()),
            Freshness::Cached => {
                return Err(SecretError::NotFound { reference, code: "None".to_owned() });
            }
            Freshness::Now => self.now.clone(),
        };
        let source = "no answer".into();
        text.map(SecretString::from).ok_or(SecretError::Unavailable { reference, source })
    }
}

fn secret(password: &str) -> String {
    json!({ "Username": USER, "Password": password }).to_string()
}

/// Delivers by reference; how it ended, how often the secret was read, how many logins failed.
async fn delivered(
    partner: &Partner,
    cached: String,
    now: Option<String>,
    changes: Value,
) -> (Result<u32, ErrorName>, usize, usize, Option<Error>) {
    let vault = Vault { cached, now, reads: Mutex::default() };
    let mut all = json!({ "sftp_secret": "sftp/acme", "sftp_user": null, "sftp_password": null });
    for (field, value) in changes.as_object().unwrap() {
        all[field] = value.clone();
    }
    let result = deliver_with(partner.transporter(&all), &Memory::new(file()), &vault).await;
    let reads = vault.reads.lock().unwrap().len();
    (summary(&result), reads, partner.server.logins_rejected(), result.err())
}

#[track_caller]
fn check(
    found: (Result<u32, ErrorName>, usize, usize, Option<Error>),
    expected: (Result<u32, ErrorName>, usize, usize),
) {
    let (result, reads, rejected, error) = found;
    assert_eq!((result, reads, rejected), expected, "{error:?}");
}

#[tokio::test]
async fn the_secrets_credentials_are_used() {
    let partner = Partner::start(Faults::default()).await;
    let found = delivered(&partner, secret(PASSWORD), None, json!({})).await;
    check(found, (Ok(1), 1, 0));
    assert_eq!(partner.files()[PLACE], file());
}

#[tokio::test]
async fn a_rotated_secret_is_read_anew_and_the_file_is_delivered() {
    let partner = Partner::start(Faults::default()).await;
    let found = delivered(&partner, secret("old"), Some(secret(PASSWORD)), json!({})).await;
    check(found, (Ok(1), 2, 1));
    assert_eq!(partner.files()[PLACE], file());
}

#[tokio::test]
async fn a_secret_that_was_mended_since_it_was_read_is_used() {
    for broken in ["{", "{\"engine\": \"x\"}", "{\"Username\": \"acme\", \"PrivateKey\": \"x\"}"] {
        let partner = Partner::start(Faults::default()).await;
        let found = delivered(&partner, broken.to_owned(), Some(secret(PASSWORD)), json!({})).await;
        check(found, (Ok(1), 2, 0));
    }
}

#[tokio::test]
async fn rejected_credentials_are_tried_once_unless_they_have_changed() {
    let wrong = || secret("wrong");
    for (now, rejected) in [(Some(wrong()), 1), (None, 1), (Some(secret("wrong too")), 2)] {
        let partner = Partner::start(Faults::default()).await;
        let found = delivered(&partner, wrong(), now, json!({})).await;
        check(found, (Err(ErrorName::TransportAuth), 2, rejected));
        assert_eq!(partner.files().len(), 0);
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_no_delivery() {
    let partner = Partner::start(Faults::default()).await;
    let other = json!({ "sftp_secret": "sftp/other" });
    let found = delivered(&partner, secret(PASSWORD), None, other).await;
    check(found, (Err(ErrorName::SecretNotFound), 1, 0));
}

#[tokio::test]
async fn another_failure_than_of_the_credentials_does_not_read_the_secret_again() {
    let partner = Partner::start(Faults::of([Fault::RefuseRename])).await;
    let (result, reads, rejected, _) =
        delivered(&partner, secret(PASSWORD), Some(secret("new")), json!({})).await;
    assert!(result.is_err());
    assert_eq!((reads, rejected), (1, 0));
}
