//! What becomes of a delivery, of the old file and of the temporary one when the server misbehaves.

use std::time::Duration;

use aws_io::Failure;
use file_transporter::Outcome;
use job::ErrorName::{
    self, TransportConfig, TransportPermission, TransportRemote, TransportUnavailable,
};
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use crate::partner::{Memory, PLACE, Partner, Watcher, deliver_to, file, invoke, summary};

/// What the partner finds at the end.
#[derive(Clone, Copy, Debug)]
enum Found {
    Nothing,
    Old,
    New,
}

/// Delivers over an old file and without one, and compares everything the partner finds.
async fn check(faults: Faults, changes: Value, expected: Result<u32, ErrorName>, found: Found) {
    check_with_old(&faults, &changes, expected, found, true).await;
    let found = if matches!(found, Found::Old) { Found::Nothing } else { found };
    check_with_old(&faults, &changes, expected, found, false).await;
}

async fn check_with_old(
    faults: &Faults,
    changes: &Value,
    expected: Result<u32, ErrorName>,
    found: Found,
    with_old: bool,
) {
    let old = b"last week's report".to_vec();
    let partner = Partner::start(faults.clone()).await;
    if with_old {
        partner.put_old(&old);
    }
    let watcher = Watcher::start(partner.path().join(PLACE), vec![old.clone(), file()]);
    let result = deliver_to(partner.transporter(changes), &Memory::new(file())).await;
    assert_eq!(summary(&result), expected, "{faults:?}, old file: {with_old}: {result:?}");
    assert_eq!(watcher.stop(), Vec::<usize>::new(), "{faults:?}: seen under the final name");
    let files = match found {
        Found::Nothing => vec![],
        Found::Old => vec![(PLACE.to_owned(), old)],
        Found::New => vec![(PLACE.to_owned(), file())],
    };
    // Whole contents would drown the message.
    let sizes = |files: Vec<(String, Vec<u8>)>| {
        files.into_iter().map(|(n, b)| (n, b.len())).collect::<Vec<_>>()
    };
    let there: Vec<_> = partner.files().into_iter().collect();
    let equal = there == files;
    assert!(
        equal,
        "{faults:?}, old file: {with_old}: {:?} instead of {:?}",
        sizes(there),
        sizes(files)
    );
}

fn one(fault: Fault) -> Faults {
    Faults::of([fault])
}

#[tokio::test]
async fn a_good_server_gets_the_file_at_the_first_attempt() {
    check(Faults::default(), json!({}), Ok(1), Found::New).await;
    check(one(Fault::NoExtensions), json!({}), Ok(1), Found::New).await;
    check(one(Fault::NoPosixRename), json!({}), Ok(1), Found::New).await;
}

#[tokio::test]
async fn a_connection_lost_once_costs_an_attempt_and_nothing_else() {
    for after in [0, 1, 100_000, 300_000] {
        check(
            one(Fault::DropAfterBytes(after)).on_first_connections(1),
            json!({}),
            Ok(2),
            Found::New,
        )
        .await;
    }
    check(one(Fault::DropAtLogin).on_first_connections(2), json!({}), Ok(3), Found::New).await;
}

#[tokio::test]
async fn a_connection_that_is_always_lost_leaves_the_old_file_and_nothing_else() {
    check(one(Fault::DropAfterBytes(100_000)), json!({}), Err(TransportUnavailable), Found::Old)
        .await;
    check(one(Fault::DropAtLogin), json!({}), Err(TransportUnavailable), Found::Old).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    for fault in [Fault::Silent, Fault::SilentSftp, Fault::SilentAfterBytes(100_000)] {
        let changes = json!({ "sftp_connect_timeout_s": 1, "sftp_idle_timeout_s": 1, "sftp_max_attempts": 1 });
        check(one(fault), changes.clone(), Err(TransportUnavailable), Found::Old).await;
        let partner = Partner::start(one(fault)).await;
        let error =
            deliver_to(partner.transporter(&changes), &Memory::new(file())).await.unwrap_err();
        assert!(error.to_string().ends_with("no answer for 1 s"), "{error}");
    }
    let once = one(Fault::SilentAfterBytes(100_000)).on_first_connections(1);
    check(once, json!({ "sftp_idle_timeout_s": 1 }), Ok(2), Found::New).await;
}

#[tokio::test]
async fn a_lost_answer_to_the_rename_is_settled_by_looking() {
    let lost = one(Fault::LoseRenameAnswer).on_first_connections(1);
    check(lost, json!({}), Ok(2), Found::New).await;
    let without_posix_rename = Faults::of([Fault::LoseRenameAnswer, Fault::NoPosixRename]);
    check(without_posix_rename.on_first_connections(1), json!({}), Ok(2), Found::New).await;
    let blind = Faults::of([Fault::LoseRenameAnswer, Fault::RefuseStat]);
    check(blind.on_first_connections(1), json!({}), Ok(2), Found::New).await;
}

#[tokio::test]
async fn a_file_that_was_taken_away_while_the_answer_was_lost_is_not_sent_again() {
    let partner = Partner::start(Faults::of([Fault::LoseRenameAnswer, Fault::CollectAtOnce])).await;
    let source = Memory::new(file());
    let result = deliver_to(partner.transporter(&json!({})), &source).await;
    assert_eq!((summary(&result), source.opened()), (Ok(2), vec![0]));
    assert_eq!(partner.files().len(), 0);
}

#[tokio::test]
async fn a_file_that_is_taken_away_at_once_is_delivered() {
    check(one(Fault::CollectAtOnce), json!({}), Ok(1), Found::Nothing).await;
}

#[tokio::test]
async fn a_full_disk_fails_after_a_second_try() {
    check(one(Fault::DiskFullAfterBytes(100_000)), json!({}), Err(TransportRemote), Found::Old)
        .await;
    let once = one(Fault::DiskFullAfterBytes(100_000)).on_first_connections(1);
    check(once, json!({}), Ok(2), Found::New).await;
}

#[tokio::test]
async fn a_file_that_arrives_short_never_gets_the_final_name() {
    check(one(Fault::LoseBytesAfter(100_000)), json!({}), Err(TransportUnavailable), Found::Old)
        .await;
    let read_back = json!({ "sftp_verify": "readback" });
    check(one(Fault::LoseBytesAfter(100_000)), read_back, Err(TransportUnavailable), Found::Old)
        .await;
}

#[tokio::test]
async fn a_file_that_is_stored_in_another_size_is_delivered_once_and_said_to_be() {
    for (faults, connections) in [
        (one(Fault::GrowWhenRenamed(16)), 1),
        (Faults::of([Fault::GrowWhenRenamed(16), Fault::LoseRenameAnswer]), 2),
    ] {
        let partner = Partner::start(faults).await;
        let source = Memory::new(file());
        let error = deliver_to(partner.transporter(&json!({})), &source).await.unwrap_err();
        assert_eq!(
            (error.name(), error.to_string().as_str()),
            (
                TransportRemote,
                "checking `/in/daily/report.zip`: the file is delivered, but under its final name the server tells 300017 \
                 bytes instead of 300001; if it stores files in another form, `sftp_verify` can be `none`"
            )
        );
        assert_eq!(source.opened(), [0]);
        assert_eq!(partner.server.connections(), connections);
        let there: Vec<_> = partner.files().into_iter().map(|(n, b)| (n, b.len())).collect();
        assert_eq!(there, [(PLACE.to_owned(), 300_017)]);
    }
    // Who wants no check gets none, before the rename and after it.
    let partner = Partner::start(one(Fault::GrowWhenRenamed(16))).await;
    let unchecked = partner.transporter(&json!({ "sftp_verify": "none" }));
    assert_eq!(summary(&deliver_to(unchecked, &Memory::new(file())).await), Ok(1));
}

#[tokio::test]
async fn a_server_that_forbids_renaming_keeps_the_old_file() {
    check(one(Fault::RefuseRename), json!({}), Err(TransportPermission), Found::Old).await;
    let plain = Faults::of([Fault::RefuseRename, Fault::NoPosixRename]);
    check(plain, json!({}), Err(TransportPermission), Found::Old).await;
}

#[tokio::test]
async fn an_old_file_that_was_moved_aside_is_put_back_when_the_new_one_can_not_take_its_place() {
    // The first rename finds the name taken, the second moves the old file aside, the third fails.
    let faults = Faults::of([Fault::NoPosixRename, Fault::FailRename(3)]);
    let changes = json!({ "sftp_max_attempts": 1 });
    check_with_old(&faults, &changes, Err(TransportRemote), Found::Old, true).await;
}

#[tokio::test]
async fn an_old_file_that_can_not_be_put_back_is_kept_and_named() {
    let old = b"last week's report".to_vec();
    let faults = Faults::of([
        Fault::NoPosixRename,
        Fault::FailRename(3),
        Fault::FailRename(4),
        Fault::FailRename(5),
    ]);
    let partner = Partner::start(faults).await;
    partner.put_old(&old);
    let transporter = partner.transporter(&json!({ "sftp_max_attempts": 1 }));
    let error = deliver_to(transporter.clone(), &Memory::new(file())).await.unwrap_err();
    let kept: Vec<_> = partner.files().into_iter().collect();
    let [(name, bytes)] = kept.as_slice() else { panic!("one file, not {}", kept.len()) };
    assert_eq!(bytes, &old);
    assert!(error.to_string().contains(&format!("with the old file kept as `/{name}`")), "{error}");

    // The next delivery finds the name free, and nothing of the old one remains.
    assert_eq!(summary(&deliver_to(transporter, &Memory::new(file())).await), Ok(1));
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn an_old_file_that_is_aside_when_the_connection_is_lost_is_replaced_by_the_next_invocation()
{
    // Every connection is good for one rename: the old file's, and then the new one's.
    let faults = Faults::of([Fault::NoPosixRename, Fault::LoseRenameAnswer]);
    let partner = Partner::start(faults).await;
    partner.put_old(b"last week's report");
    let transporter = partner.transporter(&json!({ "sftp_max_attempts": 1 }));
    let (mut checkpoint, mut opened) = (None, Vec::new());
    for invocation in 1..=3 {
        let source = Memory::new(file());
        let given = checkpoint.clone();
        let outcome = invoke(transporter.clone(), &source, given, Duration::from_secs(870)).await;
        opened.extend(source.opened());
        match outcome {
            Ok(Outcome::InProgress { checkpoint: next }) => checkpoint = Some(next),
            // The state machine tries again with what it has.
            Err(error) if error.name() == TransportUnavailable => assert_eq!(invocation, 2),
            Ok(Outcome::Delivered(_)) => assert_eq!(invocation, 3),
            other => panic!("{invocation}: {other:?}"),
        }
    }
    assert_eq!(opened, [0]);
    assert!(partner.files() == [(PLACE.to_owned(), file())].into(), "{:?}", partner.files().keys());
}

#[tokio::test]
async fn a_server_that_lets_nobody_look_gets_the_file() {
    check(one(Fault::RefuseStat), json!({}), Ok(1), Found::New).await;
}

#[tokio::test]
async fn a_directory_that_can_not_be_made_is_named() {
    let partner = Partner::start(one(Fault::RefuseMkdir)).await;
    let error =
        deliver_to(partner.transporter(&json!({})), &Memory::new(file())).await.unwrap_err();
    let expected = "making the directory `/in/daily`: permission denied (Permission denied)";
    assert_eq!(error.to_string(), expected);

    let partner = Partner::start(Faults::default()).await;
    let changes = json!({ "sftp_create_dirs": false });
    let error = deliver_to(partner.transporter(&changes), &Memory::new(file())).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("its directory does not exist, and `sftp_create_dirs` is false"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_without_sftp_is_told_from_one_that_is_down() {
    check(one(Fault::NoSftp), json!({}), Err(TransportConfig), Found::Old).await;
    check(one(Fault::NoisySftp), json!({}), Err(TransportConfig), Found::Old).await;
}

#[tokio::test]
async fn a_source_that_breaks_off_leaves_nothing_at_the_recipient() {
    let partner = Partner::start(Faults::default()).await;
    let source = Memory { breaks_after: Some(100_000), ..Memory::new(file()) };
    let result = deliver_to(partner.transporter(&json!({})), &source).await;
    assert_eq!(summary(&result), Err(ErrorName::StorageUnavailable));
    assert_eq!(partner.files().len(), 0);
}

#[tokio::test]
async fn nobody_listening_is_worth_a_retry() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&json!({}));
    partner.server.stop().await;
    assert_eq!(
        summary(&deliver_to(transporter, &Memory::new(file())).await),
        Err(TransportUnavailable)
    );
}
