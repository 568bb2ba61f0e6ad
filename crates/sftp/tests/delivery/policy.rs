//! Decisions of the configuration: names, overwriting, checks, writing in place.

use std::time::Duration;

use aws_io::Failure;
use delivery::{Journals, MemoryJournal};
use job::{
    ErrorName,
    delivery::{DeliveryStatus, Receipt, ReceiptDetails, Verified},
};
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use tokio::time::sleep;

use crate::{
    line::{Line, Weather},
    partner::{
        LONG, Memory, PLACE, Partner, deliver_to, delivered, file, fresh_journal, invoke,
        outcome_of, summary,
    },
};

/// The SHA-256 of [`file`], computed by Python's `hashlib`.
const SHA256: &str = "f5eba6673da692f99261c7ff8092f412c608082ee144f8b0c6d9f9c74b194969";

#[tokio::test]
async fn the_receipt_tells_everything_about_the_delivery() {
    let partner = Partner::start(Faults::default()).await;
    let ended = outcome_of(partner.config(&json!({})), &Memory::new(file())).await;
    let (status, receipt) = delivered(ended);
    let host_key = format!("ssh-ed25519 {}", partner.server.host_key_fingerprint());
    let expected = Receipt {
        remote_path: "/in/daily/report.zip".to_owned(),
        bytes: 300_001,
        sha256: Some(SHA256.to_owned()),
        verified: Verified::Size,
        settled: None,
        seen: Some(true),
        duration_ms: receipt.duration_ms,
        attempts: 1,
        details: ReceiptDetails::Sftp { host_key, host_key_verified: true },
    };
    assert_eq!((status, receipt), (DeliveryStatus::Delivered, expected));
}

#[tokio::test]
async fn the_same_run_delivered_twice_leaves_one_complete_file() {
    for overwrite in ["replace", "fail", "skip_if_same_size"] {
        let partner = Partner::start(Faults::default()).await;
        let config = partner.config(&json!({ "sftp_overwrite": overwrite }));
        for _ in 0..2 {
            let result = deliver_to(config.clone(), &Memory::new(file())).await;
            assert_eq!(summary(&result), Ok(1), "{overwrite}");
            assert_eq!(partner.files(), [(PLACE.to_owned(), file())].into());
        }
    }
}

#[tokio::test]
async fn a_second_call_after_a_delivery_answers_the_receipt_without_a_connection() {
    for overwrite in ["replace", "fail", "skip_if_same_size"] {
        let partner = Partner::start(Faults::default()).await;
        let config = partner.config(&json!({ "sftp_overwrite": overwrite }));
        let journal = MemoryJournal::default();
        let first = delivered(invoke(&journal, config.clone(), &Memory::new(file()), LONG).await);
        let source = Memory::new(file());
        let second = delivered(invoke(&journal, config, &source, LONG).await);
        assert_eq!(second, first, "{overwrite}");
        assert_eq!((partner.server.connections(), source.opened()), (1, vec![]), "{overwrite}");
    }
}

#[tokio::test]
async fn of_two_invocations_at_once_one_sends_and_both_answer_its_receipt() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&json!({}));
    let (one, two) = (Memory::new(file()), Memory::new(file()));
    let journal = MemoryJournal::default();
    let (first, second) = tokio::join!(
        invoke(&journal, config.clone(), &one, LONG),
        invoke(&journal, config, &two, LONG)
    );
    assert_eq!(delivered(first), delivered(second));
    assert_eq!(partner.server.connections(), 1);
    assert_eq!([one.opened(), two.opened()].concat(), [0]);
    assert_eq!(partner.files(), [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn a_temporary_file_of_an_earlier_attempt_is_removed_by_the_next_invocation() {
    let faults = Faults::of([Fault::DropAfterBytes(1000)]).on_first_connections(2);
    let partner = Partner::start(faults).await;
    let config = partner.config(&json!({ "sftp_max_attempts": 1 }));
    let journal = MemoryJournal::default();
    let result = invoke(&journal, config.clone(), &Memory::new(file()), LONG).await;
    assert_eq!(result.unwrap_err().name(), ErrorName::TransportUnavailable);
    // The clean-up has a connection of its own, which is the second one.
    let left: Vec<_> = partner.files().into_keys().collect();
    assert_eq!(left, Vec::<String>::new());

    let faults = Faults::of([Fault::DropAfterBytes(1000), Fault::RefuseRemove]);
    let partner = Partner::start(faults.on_first_connections(2)).await;
    let config = partner.config(&json!({ "sftp_max_attempts": 1 }));
    let journal = MemoryJournal::default();
    let result = invoke(&journal, config.clone(), &Memory::new(file()), LONG).await;
    assert_eq!(result.unwrap_err().name(), ErrorName::TransportUnavailable);
    let left: Vec<_> = partner.files().into_keys().map(|name| format!("/{name}")).collect();
    assert_eq!(journal.get().unwrap().progress.leftovers, left);
    assert!(
        left[0].starts_with("/in/daily/.report.zip.") && left[0].rsplit('.').next() == Some("part")
    );
    let receipt = delivered(invoke(&journal, config, &Memory::new(file()), LONG).await).1;
    assert_eq!((receipt.attempts, receipt.settled), (2, None));
    assert_eq!(partner.files(), [(PLACE.to_owned(), file())].into());
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
        let config = partner.config(&json!({ "sftp_overwrite": "fail" }));
        let error = deliver_to(config, &Memory::new(file())).await.unwrap_err();
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
        let config = partner.config(&json!({ "sftp_overwrite": "skip_if_same_size" }));
        let (status, _) = delivered(outcome_of(config, &Memory::new(file())).await);
        assert_eq!(status == DeliveryStatus::AlreadyThere, skipped);
        check_one_file(&partner, PLACE, &now);
    }
}

/// The checksum beside a file is never that of another file.
#[tokio::test]
async fn with_a_checksum_wanted_the_size_alone_does_not_tell_that_a_file_is_there() {
    let partner = Partner::start(Faults::default()).await;
    partner.put_old(&vec![7; file().len()]);
    let changes = json!({ "sftp_overwrite": "skip_if_same_size", "sftp_sidecar": ".sha256" });
    let (status, _) = delivered(outcome_of(partner.config(&changes), &Memory::new(file())).await);
    assert_eq!(status, DeliveryStatus::Delivered);
    let checksum = format!("{SHA256}  report.zip\n").into_bytes();
    let expected = [(PLACE.to_owned(), file()), (format!("{PLACE}.sha256"), checksum)];
    assert!(partner.files() == expected.into(), "{:?}", partner.files().keys());
}

/// An invocation was killed and left a temporary file. Meanwhile the file came by another way.
#[tokio::test]
async fn a_leftover_is_removed_beside_a_file_that_needs_no_delivery() {
    for overwrite in ["skip_if_same_size", "fail"] {
        let partner = Partner::start(Faults::default()).await;
        partner.put_old(&file());
        let left = "in/daily/.report.zip.604f799e.part";
        std::fs::write(partner.path().join(left), "a part").unwrap();
        let journal = MemoryJournal::default();
        let mut begun = fresh_journal();
        begun.progress.leftovers.push(format!("/{left}"));
        journal.create(&begun).await.unwrap();
        let config = partner.config(&json!({ "sftp_overwrite": overwrite }));
        let ended = invoke(&journal, config, &Memory::new(file()), LONG).await;
        assert_eq!(delivered(ended).0, DeliveryStatus::AlreadyThere);
        check_one_file(&partner, PLACE, &file());
    }
}

#[tokio::test]
async fn a_file_that_arrives_meanwhile_is_kept_where_it_must_not_be_replaced() {
    let partner = Partner::start(Faults::default()).await;
    let slow = Weather::Slow(10_000, Duration::from_millis(20));
    let line = Line::to(partner.server.address(), move |_| slow).await;
    let config = partner.config_by(&line, &json!({ "sftp_overwrite": "fail" }));
    let source = Memory::new(file());
    let arrival = async {
        while partner.files().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        partner.put_old(b"another");
    };
    let (result, ()) = tokio::join!(deliver_to(config, &source), arrival);
    assert_eq!(summary(&result), Err(ErrorName::TransportRemote));
    check_one_file(&partner, PLACE, b"another");
}

/// A file that was broken off in place may have the whole size: several connections write at once.
#[tokio::test]
async fn written_in_place_the_size_alone_does_not_tell_that_a_file_is_there() {
    let same_size = vec![7; file().len()];
    for (old, skipped) in [(same_size, false), (file(), true)] {
        let partner = Partner::start(Faults::default()).await;
        partner.put_old(&old);
        let changes = json!({ "sftp_overwrite": "skip_if_same_size", "sftp_write_mode": "direct" });
        let ended = outcome_of(partner.config(&changes), &Memory::new(file())).await;
        let (status, _) = delivered(ended);
        assert_eq!(status == DeliveryStatus::AlreadyThere, skipped);
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
    let result = deliver_to(partner.config(&changes), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportRemote));
    assert_eq!(partner.files(), [].into());
}

#[tokio::test]
async fn a_connection_that_breaks_while_a_file_is_opened_in_place_leaves_no_part_of_it() {
    // The greeting, a question for limits, a look, and the opening that empties the old file: its
    // answer is lost.
    let faults = Faults::of([Fault::DropBeforeAnswer(4)]).on_first_connections(1);
    let partner = Partner::start(faults).await;
    partner.put_old(b"old");
    let changes = json!({ "sftp_write_mode": "direct", "sftp_max_attempts": 1 });
    let result = deliver_to(partner.config(&changes), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportUnavailable));
    assert_eq!(partner.files(), [].into());

    let refuses = Partner::start(Faults::of([Fault::RefuseWriting])).await;
    refuses.put_old(b"old");
    let result = deliver_to(refuses.config(&changes), &Memory::new(file())).await;
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
    let receipt = deliver_to(partner.config(&changes), &Memory::new(bytes.clone())).await.unwrap();
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
    let result = deliver_to(partner.config(&direct), &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(ErrorName::TransportUnavailable));
    assert_eq!(partner.files().len(), 0, "half a file is cleared away");

    let partner = Partner::start(Faults::of([Fault::RefuseWriting])).await;
    partner.put_old(b"old");
    let result = deliver_to(partner.config(&direct), &Memory::new(file())).await;
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
            let mut config = partner.config(&changes);
            config["sftp_sidecar"] = json!(sidecar);
            for _ in 0..2 {
                assert_eq!(summary(&deliver_to(config.clone(), &Memory::new(file())).await), Ok(1));
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
    let result = deliver_to(partner.config(&json!({ "sftp_sidecar": ".done" })), &source).await;
    assert_eq!((summary(&result), source.opened()), (Ok(3), vec![0]));
    let expected = [(PLACE.to_owned(), file()), (format!("{PLACE}.done"), Vec::new())];
    assert!(partner.files() == expected.into(), "{:?}", partner.files().keys());
}

#[tokio::test]
async fn a_second_file_that_fails_once_is_tried_again_without_the_first() {
    // The disk is full after the first file.
    let full = Faults::of([Fault::DiskFullAfterBytes(300_001)]).on_first_connections(1);
    let partner = Partner::start(full).await;
    let source = Memory::new(file());
    let result = deliver_to(partner.config(&json!({ "sftp_sidecar": ".sha256" })), &source).await;
    assert_eq!((summary(&result), source.opened()), (Ok(2), vec![0]));
    let checksum = format!("{SHA256}  report.zip\n").into_bytes();
    let expected = [(PLACE.to_owned(), file()), (format!("{PLACE}.sha256"), checksum)];
    assert!(partner.files() == expected.into(), "{:?}", partner.files().keys());
}

#[tokio::test]
async fn a_second_file_that_cannot_be_written_leaves_the_first_one_delivered() {
    for mode in ["temp", "direct"] {
        let partner = Partner::start(Faults::default()).await;
        std::fs::create_dir_all(partner.path().join(format!("{PLACE}.done"))).unwrap();
        let source = Memory::new(file());
        let changes = json!({ "sftp_sidecar": ".done", "sftp_write_mode": mode });
        let result = deliver_to(partner.config(&changes), &source).await;
        assert_eq!(summary(&result), Err(ErrorName::TransportRemote), "{mode}: {result:?}");
        assert_eq!(
            result.unwrap_err().to_string(),
            "delivering `/in/daily/report.zip`: the file is delivered, but its second file could not be written"
        );
        assert_eq!(source.opened(), [0], "{mode}");
        check_one_file(&partner, PLACE, &file());
    }
}
