use serde_json::json;

use super::*;
use crate::error::Error;

/// What stands for a value that no error may show.
const VALUE: &str = "hunter2";

fn filled(transporter: Value, secret: &str) -> Result<Transporter, Error> {
    let transporter: Transporter = serde_json::from_value(transporter).unwrap();
    let reference = reference(&transporter).unwrap().unwrap();
    fill(&transporter, &reference, &secret.into())
}

fn sftp_job(config: &Value) -> Value {
    let mut job = json!({ "type": "sftp", "config": config });
    job["config"]["sftp_secret"] = "acme".into();
    job
}

fn sharefile_job(config: &Value) -> Value {
    let mut job = json!({
        "type": "sharefile",
        "config": { "host": "acme.sharefile.com", "sharefile_folder": "home" },
    });
    for (field, value) in config.as_object().unwrap() {
        job["config"][field] = value.clone();
    }
    job["config"]["sharefile_secret"] = "acme".into();
    job
}

/// All that a secret may fill, as the filled configuration has it.
fn shown(transporter: &Transporter) -> Value {
    let expose = |secret: &Option<SecretString>| {
        secret.as_ref().map(|secret| secret.expose_secret().to_owned())
    };
    match transporter {
        Transporter::Sftp(config) => json!({
            "host": config.sftp_host, "port": config.sftp_port.map(Port::get),
            "user": config.sftp_user, "path": config.sftp_path,
            "password": expose(&config.sftp_password), "key": expose(&config.sftp_private_key),
            "passphrase": expose(&config.sftp_private_key_passphrase),
            "host_keys": config.sftp_host_keys, "secret": config.sftp_secret,
        }),
        Transporter::ShareFile(config) => json!({
            "client_id": config.client_id, "client_secret": expose(&config.client_secret),
            "username": config.username, "password": expose(&config.password),
            "secret": config.sharefile_secret,
        }),
    }
}

#[track_caller]
fn check(transporter: Value, secret: &Value, expected: &Value) {
    let filled = filled(transporter, &secret.to_string()).unwrap();
    assert_eq!(shown(&filled), *expected);
}

#[track_caller]
fn check_refused(transporter: Value, secret: &str, expected: &str) {
    let error = filled(transporter, secret).unwrap_err();
    assert_eq!(error.to_string(), format!("reading the secret `acme`: {expected}"));
    assert!(!format!("{error:?}").contains(VALUE), "{error:?}");
}

fn pin(letter: &str) -> String {
    format!("SHA256:{}", letter.repeat(43))
}

#[test]
fn a_secret_of_transfer_family_fills_user_password_and_key() {
    check(
        sftp_job(&json!({ "sftp_host": "sftp.example", "sftp_path": "/in" })),
        &json!({ "Username": "acme", "Password": "p", "PrivateKey": "k" }),
        &json!({
            "host": "sftp.example", "port": null, "user": "acme", "path": "/in", "password": "p",
            "key": "k", "passphrase": null, "host_keys": [], "secret": null,
        }),
    );
}

#[test]
fn a_secret_may_hold_everything_about_the_server() {
    let expected = json!({
        "host": "sftp.example", "port": 2222, "user": "acme", "path": "/in", "password": "p",
        "key": "k", "passphrase": "q", "host_keys": [pin("a")], "secret": null,
    });
    let ours = json!({
        "Host": "sftp.example", "Port": 2222, "Username": "acme", "Path": "/in", "Password": "p",
        "PrivateKey": "k", "PrivateKeyPassphrase": "q", "HostKeys": [pin("a")],
    });
    let published = json!({
        "sftp_host": "sftp.example", "sftp_port": "2222", "sftp_user": "acme", "sftp_path": "/in",
        "sftp_password": "p", "sftp_private_key": "k", "sftp_private_key_passphrase": "q",
        "sftp_host_keys": pin("a"),
    });
    let aws_managed = json!({
        "host": "sftp.example", "port": "2222", "username": "acme", "path": "/in", "password": "p",
        "private_key": "k", "private_key_passphrase": "q", "host_keys": pin("a"),
        "engine": "mysql", "dbClusterIdentifier": VALUE,
    });
    for secret in [ours, published, aws_managed] {
        check(sftp_job(&json!({})), &secret, &expected);
    }
}

#[test]
fn what_the_job_says_counts_before_the_secret() {
    check(
        sftp_job(&json!({
            "sftp_host": "other.example", "sftp_port": 22, "sftp_user": "me", "sftp_path": "/mine",
            "sftp_password": "mine", "sftp_host_keys": [pin("b")],
        })),
        &json!({
            "Host": "sftp.example", "Port": 2222, "Username": "acme", "Path": "/in",
            "Password": "p", "PrivateKey": "k", "HostKeys": [pin("a")],
        }),
        &json!({
            "host": "other.example", "port": 22, "user": "me", "path": "/mine", "password": "mine",
            "key": "k", "passphrase": null, "host_keys": [pin("b")], "secret": null,
        }),
    );
    check(
        sharefile_job(&json!({ "username": "me" })),
        &json!({ "client_id": "i", "client_secret": "s", "username": "acme", "password": "p" }),
        &json!({
            "client_id": "i", "client_secret": "s", "username": "me", "password": "p",
            "secret": null,
        }),
    );
}

#[test]
fn null_and_empty_texts_count_as_left_out() {
    check(
        sftp_job(&json!({ "sftp_host": "sftp.example" })),
        &json!({ "Username": "acme", "Password": "p", "PrivateKey": "", "Port": null }),
        &json!({
            "host": "sftp.example", "port": null, "user": "acme", "path": "", "password": "p",
            "key": null, "passphrase": null, "host_keys": [], "secret": null,
        }),
    );
}

#[test]
fn host_keys_are_a_list_or_a_text_with_line_breaks_or_commas() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF/JEOihbVcAjVU7X8HjD7vE902pJxbFWUXg1557ng4W";
    for (given, expected) in [
        (json!([pin("a"), key]), vec![pin("a"), key.to_owned()]),
        (json!(format!("{}\n{key}\n", pin("a"))), vec![pin("a"), key.to_owned()]),
        (json!(format!("{},{}", pin("a"), pin("b"))), vec![pin("a"), pin("b")]),
        (json!(format!("{key}, {}", pin("b"))), vec![key.to_owned(), pin("b")]),
        (json!(format!("h1,[h2]:22 {key}")), vec![format!("h1,[h2]:22 {key}")]),
    ] {
        let secret = json!({ "Username": "u", "Password": "p", "HostKeys": given });
        let job = sftp_job(&json!({ "sftp_host": "h" }));
        let filled = filled(job, &secret.to_string()).unwrap();
        assert_eq!(shown(&filled)["host_keys"], json!(expected), "{given}");
    }
}

#[test]
fn a_secret_that_can_not_be_used_is_refused_without_showing_a_value() {
    let job = || sftp_job(&json!({ "sftp_host": "sftp.example" }));
    for text in [VALUE, "", "[\"hunter2\"]", "\"hunter2\"", r#"{"Password": "hunter2""#] {
        check_refused(job(), text, "it is not a JSON object");
    }
    check_refused(
        job(),
        r#"{"hunter2": "hunter2"}"#,
        "none of `Username`, `Password`, `PrivateKey`, `PrivateKeyPassphrase`, `HostKeys`, `Host`, \
         `Port`, `Path` is in it",
    );
    check_refused(
        sharefile_job(&json!({})),
        "{}",
        "none of `client_id`, `client_secret`, `username`, `password` is in it",
    );
    let one = |name: &str, value: Value| json!({ name: value }).to_string();
    check_refused(job(), &one("Password", json!(["hunter2"])), "its `Password` is not a text");
    check_refused(job(), &one("Username", json!(1)), "its `Username` is not a text");
    check_refused(job(), &one("Port", json!(VALUE)), "its `Port` is not a port from 1 to 65535");
    check_refused(
        job(),
        &one("HostKeys", json!([{ VALUE: 1 }])),
        "its `HostKeys` is neither a text nor a list of texts",
    );
    check_refused(
        job(),
        r#"{"Username": "hunter2", "sftp_user": "hunter2"}"#,
        "it has `Username` twice, in two spellings",
    );
}

#[test]
fn what_neither_the_job_nor_the_secret_has_is_asked_for() {
    check_refused(
        sftp_job(&json!({})),
        r#"{"Password": "hunter2", "Path": "/in/../etc", "HostKeys": "hunter2"}"#,
        "with what it holds, `config.sftp_host` is needed unless `sftp_secret` holds it; \
         `config.sftp_user` a user name is needed unless `sftp_secret` holds it; \
         `config.sftp_path` `..` may not be in the path; \
         `config.sftp_host_keys[0]` is neither a fingerprint `SHA256:…` (43 characters of base64) \
         nor a public key `ssh-… AAAA…`",
    );
    check_refused(
        sharefile_job(&json!({ "client_id": "i" })),
        r#"{"client_secret": "hunter2", "username": "hunter2"}"#,
        "with what it holds, `config.password` is needed unless `sharefile_secret` holds it",
    );
}

#[test]
fn credentials_in_the_job_are_noticed() {
    for (transporter, expected) in [
        (sftp_job(&json!({})), None),
        (sftp_job(&json!({ "sftp_password": VALUE })), Some("sftp_secret")),
        (sftp_job(&json!({ "sftp_private_key": VALUE })), Some("sftp_secret")),
        (sharefile_job(&json!({ "username": "u" })), None),
        (sharefile_job(&json!({ "password": VALUE })), Some("sharefile_secret")),
    ] {
        let transporter: Transporter = serde_json::from_value(transporter).unwrap();
        assert_eq!(inline(&transporter), expected);
    }
}
