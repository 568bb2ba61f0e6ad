//! What the configuration decides: names, overwriting, checks, writing in place.

use std::time::Duration;

use file_transporter::{Outcome, Receipt, Verified};
use job::ErrorName;
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use tokio::time::sleep;

use crate::{
    line::{Line, Weather},
    partner::{Memory, PLACE, Partner, deliver_to, file, outcome_of, summary},
};

/// The SHA-256 of [`file`], computed by Python's `hashlib`.
const SHA256: &str = "f5eba6673da692f99261c7ff8092f412c608082ee144f8b0c6d9f9c74b194969";

#[tokio::test]
async fn the_receipt_tells_everything_about_the_delivery() {
    let partner = Partner::start(Faults::default()).await;
    let outcome = outcome_of(partner.transporter(&json!({})), &Memory::new(file())).await.unwrap();
    let json = serde_json::to_value(&outcome).unwrap();
    let Outcome::Delivered(receipt) = outcome else { panic!("{outcome:?}") };
    let expected = Receipt {
        transport: "sftp",
        remote_path: "/in/daily/report.zip".to_owned(),
        bytes: 300_001,
        sha256: Some(SHA256.to_owned()),
        verified: Verified::Size,
        host_key: Some(format!("ssh-ed25519 {}", partner.server.host_key_fingerprint())),
        host_key_verified: Some(true),
        md5: None,
        item_id: None,
        duration_ms: receipt.duration_ms,
        attempts: 1,
    };
    assert_eq!(receipt, expected);
    assert_eq!((&json["status"], &json["verified"]), (&json!("delivered"), &json!("size")));
}

#[tokio::test]
async fn the_same_run_delivered_twice_leaves_one_complete_file() {
    for overwrite in ["replace", "fail", "skip_if_same_size"] {
        let partner = Partner::start(Faults::default()).await;
        let transporter = partner.transporter(&json!({ "sftp_overwrite": overwrite }));
        for _ in 0..2 {
            let result = deliver_to(transporter.clone(), &Memory::new(file())).await;
            assert_eq!(summary(&result), Ok(1), "{overwrite}");
            assert_eq!(partner.files(), [(PLACE.to_owned(), file())].into());
        }
    }
}

#[tokio::test]
async fn two_deliveries_of_the_same_run_at_once_leave_one_complete_file() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&json!({}));
    let (one, two) = (Memory::new(file()), Memory::new(file()));
    let results =
        tokio::join!(deliver_to(transporter.clone(), &one), deliver_to(transporter, &two));
    assert!(results.0.is_ok() || results.1.is_ok(), "{results:?}");
    assert_eq!(partner.files(), [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn what_a_dead_attempt_left_behind_is_used_up() {
    let partner =
        Partner::start(Faults::of([Fault::DropAfterBytes(1000), Fault::RefuseRemove])).await;
    let result = deliver_to(partner.transporter(&json!({})), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportUnavailable));
    let left: Vec<_> = partner.files().into_keys().collect();
    // The digits stand for the run and the version of the file.
    assert_eq!(left, ["in/daily/.report.zip.604f799e.part"]);

    let healthy = Partner::start(Faults::default()).await;
    std::fs::create_dir_all(healthy.path().join("in/daily")).unwrap();
    std::fs::write(healthy.path().join(&left[0]), "a part").unwrap();
    let result = deliver_to(healthy.transporter(&json!({})), &Memory::new(file())).await;
    assert_eq!(summary(&result), Ok(1));
    assert_eq!(healthy.files(), [(PLACE.to_owned(), file())].into());
}

#[track_caller]
fn check_one_file(partner: &Partner, place: &str, bytes: &[u8]) {
    let files = partner.files();
    assert_eq!(files.keys().collect::<Vec<_>>(), [place]);
    assert!(files[place] == bytes, "{place} has {} bytes", files[place].len());
}

#[tokio::test]
async fn another_file_is_kept_where_it_must_not_be_replaced() {
    let same_size = vec![7; file().len()];
    for old in [&b"old"[..], &same_size] {
        let partner = Partner::start(Faults::default()).await;
        partner.put_old(old);
        let transporter = partner.transporter(&json!({ "sftp_overwrite": "fail" }));
        let error = deliver_to(transporter, &Memory::new(file())).await.unwrap_err();
        let expected = "delivering `/in/daily/report.zip`: another file is there, and `sftp_overwrite` is `fail`";
        assert_eq!(error.to_string(), expected);
        check_one_file(&partner, PLACE, old);
    }
}

#[tokio::test]
async fn a_file_of_the_same_size_is_skipped_only_when_asked_for() {
    let same_size = vec![7; file().len()];
    for (old, skipped, now) in
        [(same_size.clone(), true, same_size), (b"old".to_vec(), false, file())]
    {
        let partner = Partner::start(Faults::default()).await;
        partner.put_old(&old);
        let transporter = partner.transporter(&json!({ "sftp_overwrite": "skip_if_same_size" }));
        let outcome = outcome_of(transporter, &Memory::new(file())).await.unwrap();
        assert_eq!(matches!(outcome, Outcome::AlreadyThere(_)), skipped);
        check_one_file(&partner, PLACE, &now);
    }
}

/// The checksum beside a file is never that of another file.
#[tokio::test]
async fn with_a_checksum_wanted_the_size_alone_does_not_tell_that_a_file_is_there() {
    let partner = Partner::start(Faults::default()).await;
    partner.put_old(&vec![7; file().len()]);
    let changes = json!({ "sftp_overwrite": "skip_if_same_size", "sftp_sidecar": ".sha256" });
    let outcome = outcome_of(partner.transporter(&changes), &Memory::new(file())).await.unwrap();
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    let checksum = format!("{SHA256}  report.zip\n").into_bytes();
    let expected = [(PLACE.to_owned(), file()), (format!("{PLACE}.sha256"), checksum)];
    assert!(partner.files() == expected.into(), "{:?}", partner.files().keys());
}

/// What an invocation that was killed may have left, beside a file that needs no delivery.
#[tokio::test]
async fn nothing_is_left_beside_a_file_that_is_there_already() {
    for overwrite in ["skip_if_same_size", "fail"] {
        let partner = Partner::start(Faults::default()).await;
        partner.put_old(&file());
        std::fs::write(partner.path().join("in/daily/.report.zip.604f799e.part"), "a part")
            .unwrap();
        let transporter = partner.transporter(&json!({ "sftp_overwrite": overwrite }));
        let outcome = outcome_of(transporter, &Memory::new(file())).await.unwrap();
        assert!(matches!(outcome, Outcome::AlreadyThere(_)), "{outcome:?}");
        check_one_file(&partner, PLACE, &file());
    }
}

#[tokio::test]
async fn a_file_that_arrives_meanwhile_is_kept_where_it_must_not_be_replaced() {
    let partner = Partner::start(Faults::default()).await;
    let slow = Weather::Slow(10_000, Duration::from_millis(20));
    let line = Line::to(partner.server.address(), move |_| slow).await;
    let transporter = partner.transporter_by(&line, &json!({ "sftp_overwrite": "fail" }));
    let source = Memory::new(file());
    let arrival = async {
        while partner.files().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        partner.put_old(b"another");
    };
    let (result, ()) = tokio::join!(deliver_to(transporter, &source), arrival);
    assert_eq!(summary(&result), Err(ErrorName::TransportRemote));
    check_one_file(&partner, PLACE, b"another");
}

/// What was broken off in place may have the whole size: several connections write at once.
#[tokio::test]
async fn written_in_place_the_size_alone_does_not_tell_that_a_file_is_there() {
    let same_size = vec![7; file().len()];
    for (old, skipped) in [(same_size, false), (file(), true)] {
        let partner = Partner::start(Faults::default()).await;
        partner.put_old(&old);
        let changes = json!({ "sftp_overwrite": "skip_if_same_size", "sftp_write_mode": "direct" });
        let outcome =
            outcome_of(partner.transporter(&changes), &Memory::new(file())).await.unwrap();
        assert_eq!(matches!(outcome, Outcome::AlreadyThere(_)), skipped);
        check_one_file(&partner, PLACE, &file());
    }
}

#[tokio::test]
async fn written_in_place_no_old_second_file_says_that_the_first_is_complete() {
    let full = Faults::of([Fault::DiskFullAfterBytes(100_000)]);
    let partner = Partner::start(full).await;
    partner.put_old(b"old");
    std::fs::write(partner.path().join(format!("{PLACE}.done")), "").unwrap();
    let changes = json!({ "sftp_sidecar": ".done", "sftp_write_mode": "direct" });
    let result = deliver_to(partner.transporter(&changes), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportRemote));
    assert_eq!(partner.files(), [].into());
}

#[tokio::test]
async fn a_connection_that_breaks_while_a_file_is_opened_in_place_leaves_no_part_of_it() {
    // The greeting, a question for limits, and the opening that empties the old file; its answer is lost.
    let faults = Faults::of([Fault::DropBeforeAnswer(3)]).on_first_connections(1);
    let partner = Partner::start(faults).await;
    partner.put_old(b"old");
    let changes = json!({ "sftp_write_mode": "direct", "sftp_max_attempts": 1 });
    let result = deliver_to(partner.transporter(&changes), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportUnavailable));
    assert_eq!(partner.files(), [].into());

    let refuses = Partner::start(Faults::of([Fault::RefuseWriting])).await;
    refuses.put_old(b"old");
    let result = deliver_to(refuses.transporter(&changes), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportPermission));
    check_one_file(&refuses, PLACE, b"old");
}

async fn check_delivered(
    faults: Faults,
    bytes: Vec<u8>,
    changes: Value,
    place: &str,
    verified: Verified,
) {
    let partner = Partner::start(faults).await;
    let receipt =
        deliver_to(partner.transporter(&changes), &Memory::new(bytes.clone())).await.unwrap();
    assert_eq!((receipt.bytes, receipt.verified), (bytes.len() as u64, verified), "{changes}");
    check_one_file(&partner, place, &bytes);
}

#[tokio::test]
async fn directory_and_name_are_what_the_configuration_says() {
    for (path, name, place) in [
        ("", "{basename}", "report.zip"),
        ("/", "{basename}", "report.zip"),
        ("~/in", "{basename}", "in/report.zip"),
        ("a b/ü//c/", "{run_id} {basename}", "a b/ü/c/run-1 report.zip"),
    ] {
        let changes = json!({ "sftp_path": path, "sftp_filename": name });
        check_delivered(Faults::default(), file(), changes, place, Verified::Size).await;
    }
}

#[tokio::test]
async fn every_size_of_file_and_of_write_arrives_whole() {
    for (size, write_size, in_flight) in [
        (0, 32_768, 64),
        (1, 32_768, 64),
        (32_768, 32_768, 1),
        (65_537, 1024, 3),
        (300_001, 261_120, 64),
    ] {
        let changes = json!({ "sftp_write_size": write_size, "sftp_max_in_flight": in_flight });
        let bytes = file()[..size].to_vec();
        check_delivered(Faults::default(), bytes.clone(), changes.clone(), PLACE, Verified::Size)
            .await;
        check_delivered(Faults::of([Fault::NoExtensions]), bytes, changes, PLACE, Verified::Size)
            .await;
    }
}

#[tokio::test]
async fn the_receipt_says_which_check_was_possible() {
    let readback = json!({ "sftp_verify": "readback" });
    check_delivered(Faults::default(), file(), readback, PLACE, Verified::Readback).await;
    check_delivered(
        Faults::default(),
        file(),
        json!({ "sftp_verify": "none" }),
        PLACE,
        Verified::None,
    )
    .await;
    check_delivered(Faults::of([Fault::RefuseStat]), file(), json!({}), PLACE, Verified::None)
        .await;
}

#[tokio::test]
async fn writing_in_place_serves_servers_that_forbid_renaming() {
    let direct = json!({ "sftp_write_mode": "direct" });
    check_delivered(
        Faults::of([Fault::RefuseRename]),
        file(),
        direct.clone(),
        PLACE,
        Verified::Size,
    )
    .await;

    let partner = Partner::start(Faults::of([Fault::DropAfterBytes(100_000)])).await;
    let result = deliver_to(partner.transporter(&direct), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportUnavailable));
    assert_eq!(partner.files().len(), 0, "half a file is cleared away");

    let partner = Partner::start(Faults::of([Fault::RefuseWriting])).await;
    partner.put_old(b"old");
    let result = deliver_to(partner.transporter(&direct), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportPermission));
    check_one_file(&partner, PLACE, b"old");
}

#[tokio::test]
async fn a_second_file_tells_that_the_first_is_complete() {
    let checksum = format!("{SHA256}  report.zip\n");
    for (sidecar, text) in [(".sha256", checksum.as_str()), (".done", "")] {
        for changes in [
            json!({}),
            json!({ "sftp_write_mode": "direct" }),
            json!({ "sftp_overwrite": "skip_if_same_size" }),
        ] {
            let partner = Partner::start(Faults::default()).await;
            let mut transporter = partner.transporter(&changes);
            transporter["config"]["sftp_sidecar"] = json!(sidecar);
            for _ in 0..2 {
                assert_eq!(
                    summary(&deliver_to(transporter.clone(), &Memory::new(file())).await),
                    Ok(1)
                );
                let expected =
                    [(PLACE.to_owned(), file()), (format!("{PLACE}{sidecar}"), text.into())];
                assert!(partner.files() == expected.into(), "{:?}", partner.files().keys());
            }
        }
    }
}

#[tokio::test]
async fn a_second_file_whose_answer_is_lost_is_written_without_sending_the_first_again() {
    // The first connection is lost after the first file, the second one after the second file.
    let partner =
        Partner::start(Faults::of([Fault::LoseRenameAnswer]).on_first_connections(2)).await;
    let source = Memory::new(file());
    let result =
        deliver_to(partner.transporter(&json!({ "sftp_sidecar": ".done" })), &source).await;
    assert_eq!((summary(&result), source.opened()), (Ok(3), vec![0]));
    let expected = [(PLACE.to_owned(), file()), (format!("{PLACE}.done"), Vec::new())];
    assert!(partner.files() == expected.into(), "{:?}", partner.files().keys());
}

#[tokio::test]
async fn a_second_file_that_fails_once_is_tried_again_without_the_first() {
    // The first rename is that of the file, the second one that of the second file.
    let partner = Partner::start(Faults::of([Fault::FailRename(2)]).on_first_connections(1)).await;
    let source = Memory::new(file());
    let result =
        deliver_to(partner.transporter(&json!({ "sftp_sidecar": ".done" })), &source).await;
    assert_eq!((summary(&result), source.opened()), (Ok(2), vec![0]));
    let expected = [(PLACE.to_owned(), file()), (format!("{PLACE}.done"), Vec::new())];
    assert!(partner.files() == expected.into(), "{:?}", partner.files().keys());
}

#[tokio::test]
async fn a_second_file_that_can_not_be_written_leaves_the_first_one_delivered() {
    for mode in ["temp", "direct"] {
        let partner = Partner::start(Faults::default()).await;
        std::fs::create_dir_all(partner.path().join(format!("{PLACE}.done"))).unwrap();
        let source = Memory::new(file());
        let changes = json!({ "sftp_sidecar": ".done", "sftp_write_mode": mode });
        let result = deliver_to(partner.transporter(&changes), &source).await;
        assert_eq!(summary(&result), Err(ErrorName::TransportRemote), "{mode}: {result:?}");
        assert_eq!(
            result.unwrap_err().to_string(),
            "delivering `/in/daily/report.zip`: the file is delivered, but its second file could not be written"
        );
        assert_eq!(source.opened(), [0], "{mode}");
        check_one_file(&partner, PLACE, &file());
    }
}

#[tokio::test]
async fn all_problems_of_a_configuration_are_told_at_once() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&json!({ "sftp_host": "", "sftp_path": "../up" }));
    let result = deliver_to(transporter, &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportConfig));
    assert_eq!(
        result.unwrap_err().to_string(),
        "the transporter's configuration has problems: `config.sftp_host` is needed unless `sftp_secret` holds it; `config.sftp_path` `..` may not \
         be in the path"
    );
}
