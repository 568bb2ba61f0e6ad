//! The same deliveries against OpenSSH's own server, where it is installed.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use aws_io::Failure as _;
use delivery::{Ended, MemoryJournal};
use job::{ErrorName, delivery::ReceiptDetails};
use russh::keys::{Algorithm, HashAlg, PrivateKey, key::safe_rng, ssh_key::LineEnding};
use serde_json::{Value, json};

use crate::{
    line::{Line, Way, Weather},
    partner::{
        LONG, Memory, SEAM_BYTES, checkpoint, deliver_to, delivered, file, files_below, invoke,
        summary,
    },
    sshd::{Account, OpenSsh, is_root, missing},
};

const SFTP: &str = "Subsystem sftp internal-sftp";
/// Algorithms of servers of 2010.
const OLD: &str = "KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1\n\
                   HostKeyAlgorithms ssh-rsa\nPubkeyAcceptedAlgorithms +ssh-rsa\n";

fn pinned(host_key: String) -> ReceiptDetails {
    ReceiptDetails::Sftp { host_key, host_key_verified: true }
}

#[tokio::test]
async fn openssh_takes_a_delivery_by_key() {
    let Some(server) = OpenSsh::start(SFTP).await else {
        return;
    };
    server.check_twice(json!({}), Ok(1)).await;
    server.check_twice(json!({ "sftp_verify": "readback" }), Ok(1)).await;
    let receipt = deliver_to(server.config(&json!({})), &Memory::new(file())).await.unwrap();
    let fingerprint = server.host_key.public_key().fingerprint(HashAlg::Sha256);
    assert_eq!(receipt.details, pinned(format!("ssh-ed25519 {fingerprint}")));
}

#[tokio::test]
async fn openssh_without_some_of_its_requests_takes_it_too() {
    for refused in [
        "posix-rename",
        "posix-rename,fsync,limits",
        "stat,lstat,fsync",
        "read,readdir,opendir,stat,lstat,fstat",
    ] {
        let Some(server) = OpenSsh::start(&format!("{SFTP} -P {refused}")).await else {
            return;
        };
        server.check_twice(json!({}), Ok(1)).await;
        server
            .check_twice(
                json!({ "sftp_connections": 4, "sftp_write_size": 8192, "sftp_max_in_flight": 2 }),
                Ok(1),
            )
            .await;
    }
    // Without `mkdir` the directory has to be there.
    let Some(server) =
        OpenSsh::start(&format!("{SFTP} -P stat,lstat,mkdir,posix-rename,fsync")).await
    else {
        return;
    };
    server.check_twice(json!({}), Err(ErrorName::TransportPermission)).await;
    fs::create_dir_all(server.files().join("in/daily")).unwrap();
    server.check_twice(json!({}), Ok(1)).await;
}

#[tokio::test]
async fn openssh_that_locks_its_users_in_takes_absolute_and_relative_paths() {
    if !is_root() {
        return missing("root, to lock users in").unwrap_or(());
    }
    let Some(server) = OpenSsh::start(&format!("{SFTP}\nChrootDirectory {{files}}")).await else {
        return;
    };
    for path in ["/in/daily", "in/daily/", "~/in/daily"] {
        server.check_twice(json!({ "sftp_path": path }), Ok(1)).await;
    }
}

#[tokio::test]
async fn openssh_without_room_for_the_file_keeps_the_old_one() {
    // Blocks are of 512 bytes in some shells and of 1024 in others: less than the file in both.
    let limited = "trap '' XFSZ; ulimit -f 250; exec";
    let Some(server) = OpenSsh::start_as(limited, SFTP).await else {
        return;
    };
    let place = server.files().join("report.zip");
    fs::write(&place, "last week's report").unwrap();
    let changes = json!({ "sftp_path": server.files().to_str().unwrap() });
    for write_bytes in [32_768, 261_120] {
        let mut changes = changes.clone();
        changes["sftp_write_size"] = json!(write_bytes);
        let result = deliver_to(server.config(&changes), &Memory::new(file())).await;
        assert_eq!(
            summary(&result),
            Err(ErrorName::TransportRemote),
            "{result:?}\n{}",
            server.log()
        );
        let kept = [("report.zip".to_owned(), b"last week's report".to_vec())];
        assert!(files_below(&server.files()) == kept.into(), "{write_bytes}");
    }
}

#[tokio::test]
async fn openssh_without_sftp_or_with_a_text_before_it_is_reported() {
    for subsystem in
        ["Subsystem other internal-sftp", "Subsystem sftp /bin/echo Welcome to this server"]
    {
        let Some(server) = OpenSsh::start(subsystem).await else {
            return;
        };
        server.check_twice(json!({}), Err(ErrorName::TransportConfig)).await;
    }
}

#[tokio::test]
async fn openssh_takes_a_file_in_several_invocations_and_by_several_connections() {
    let Some(server) = OpenSsh::start(SFTP).await else {
        return;
    };
    for connections in [1, 4] {
        let changes = json!({
            "sftp_connections": connections, "sftp_write_size": 8192, "sftp_max_in_flight": 2, "sftp_verify": "readback",
        });
        server.check_twice(changes.clone(), Ok(1)).await;
        let source = Memory { stalls_after: Some(200_000), ..Memory::new(file()) };
        let config = server.config(&changes);
        let journal = MemoryJournal::default();
        let first = invoke(&journal, config.clone(), &source, Duration::from_secs(8)).await;
        assert!(matches!(first, Ok(Ended::InProgress)), "{first:?}");
        assert_eq!(checkpoint(&journal).acknowledged_bytes, 196_608);
        let rest = Memory::new(file());
        delivered(invoke(&journal, config, &rest, LONG).await);
        assert_eq!(rest.opened(), [196_608 - SEAM_BYTES]);
        let files = files_below(&server.files());
        assert!(files == [("in/daily/report.zip".to_owned(), file())].into());
    }
}

#[tokio::test]
async fn a_line_to_openssh_that_breaks_or_falls_silent_costs_an_attempt() {
    let Some(server) = OpenSsh::start(SFTP).await else {
        return;
    };
    for weather in [
        Weather::Cut(Way::ToServer, 1000),
        Weather::Cut(Way::ToClient, 3000),
        Weather::Cut(Way::ToServer, 50_000),
        Weather::Cut(Way::ToServer, 200_000),
        Weather::Cut(Way::ToServer, 304_000),
        Weather::Mute(Way::ToServer, 200_000),
        Weather::Mute(Way::ToClient, 3000),
    ] {
        let first = move |number| if number == 0 { weather } else { Weather::Fine };
        let line = Line::to(([127, 0, 0, 1], server.port).into(), first).await;
        let changes = json!({
            "sftp_port": line.port, "sftp_idle_timeout_s": 5, "sftp_connect_timeout_s": 10, "sftp_write_size": 32_768,
        });
        let result = deliver_to(server.config(&changes), &Memory::new(file())).await;
        assert!(matches!(summary(&result), Ok(1..=2)), "{weather:?}: {result:?}\n{}", server.log());
        let files = files_below(&server.files());
        assert!(files == [("in/daily/report.zip".to_owned(), file())].into(), "{weather:?}");
    }
}

/// Logs in to a server for the account, with the methods that `authentication` asks for.
async fn check_account(authentication: &str, changes: Value, expected: Result<u32, ErrorName>) {
    let Some(account) = Account::find() else {
        return;
    };
    let lines = format!("{SFTP}\nUsePAM yes\n{authentication}");
    let Some(server) = OpenSsh::start(&lines).await else {
        return;
    };
    let place = server.files().join("in/daily");
    fs::create_dir_all(&place).unwrap();
    // Whoever may not list a folder may still put something into it.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o733)).unwrap();
    let mut all = json!({
        "sftp_user": account.name, "sftp_password": account.password, "sftp_private_key": null,
    });
    for (field, value) in changes.as_object().unwrap() {
        all[field] = if value == "the user's" {
            json!(server.user_key.to_openssh(LineEnding::LF).unwrap().as_str())
        } else {
            value.clone()
        };
    }
    server.check_twice(all, expected).await;
}

/// OpenSSH hangs up instead of saying which other ways to log in there are.
#[tokio::test]
async fn a_rejection_that_ends_the_connection_is_a_rejection() {
    let Some(server) = OpenSsh::start(&format!("{SFTP}\nMaxAuthTries 1")).await else {
        return;
    };
    let other = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let other = other.to_openssh(LineEnding::LF).unwrap();
    let changes = json!({ "sftp_private_key": other.as_str() });
    let error = deliver_to(server.config(&changes), &Memory::new(file())).await.unwrap_err();
    assert_eq!(error.name(), ErrorName::TransportAuth, "{error}");
    let expected =
        "the server got `publickey`, then the connection ended (the server said goodbye: ";
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(server.log().matches("Failed publickey").count(), 1, "{}", server.log());
    server.check_twice(json!({}), Ok(1)).await;

    let password = "PasswordAuthentication yes\nAuthenticationMethods password\nMaxAuthTries 1";
    check_account(password, json!({ "sftp_password": "hunter2" }), Err(ErrorName::TransportAuth))
        .await;
}

#[tokio::test]
async fn a_real_account_logs_in_with_its_password_and_by_answering() {
    let password = "PasswordAuthentication yes\nAuthenticationMethods password";
    check_account(password, json!({}), Ok(1)).await;
    check_account(password, json!({ "sftp_password": "hunter2" }), Err(ErrorName::TransportAuth))
        .await;
    let interactive =
        "KbdInteractiveAuthentication yes\nAuthenticationMethods keyboard-interactive";
    check_account(interactive, json!({}), Ok(1)).await;
    check_account(
        interactive,
        json!({ "sftp_password": "hunter2" }),
        Err(ErrorName::TransportAuth),
    )
    .await;
}

#[tokio::test]
async fn a_real_account_logs_in_with_a_key_and_then_its_password() {
    let key = json!({ "sftp_private_key": "the user's" });
    let password = "PasswordAuthentication yes\nAuthenticationMethods publickey,password";
    check_account(password, key.clone(), Ok(1)).await;
    check_account(password, json!({}), Err(ErrorName::TransportAuth)).await;
    let interactive =
        "KbdInteractiveAuthentication yes\nAuthenticationMethods publickey,keyboard-interactive";
    check_account(interactive, key, Ok(1)).await;
}

#[tokio::test]
async fn openssh_that_forbids_renaming_is_reported_and_served_in_place() {
    let Some(server) = OpenSsh::start(&format!("{SFTP} -P rename,posix-rename")).await else {
        return;
    };
    // A file that a scanner holds is refused in the same way: the rename is repeated meanwhile.
    let (journal, config) = (MemoryJournal::default(), server.config(&json!({})));
    let error = invoke(&journal, config, &Memory::new(file()), Duration::from_secs(15)).await;
    assert_eq!(error.unwrap_err().name(), ErrorName::TransportPermission);
    assert_eq!(files_below(&server.files()), [].into());
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
    let refused = deliver_to(server.config(&changes(false, &[])), &Memory::new(file())).await;
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
    let receipt = deliver_to(server.config(&changes), &Memory::new(file())).await.unwrap();
    let fingerprint = server.rsa_key.public_key().fingerprint(HashAlg::Sha256);
    assert_eq!(receipt.details, pinned(format!("ssh-rsa {fingerprint}")));
}
