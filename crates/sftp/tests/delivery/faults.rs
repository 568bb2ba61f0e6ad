//! The end of a delivery, of the old file and of the temporary one when the server misbehaves.

use std::time::Duration;

use aws_io::Failure;
use delivery::{Ended, MemoryJournal};
use futures_util::future::join_all;
use job::{
    ErrorName::{
        self, TransportAuth, TransportConfig, TransportPermission, TransportRemote,
        TransportUnavailable,
    },
    delivery::Settled,
};
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use crate::partner::{
    LONG, Memory, PLACE, Partner, Watcher, deliver_to, delivered, file, invoke, summary,
};

/// The partner's files at the end.
#[derive(Clone, Copy, Debug)]
enum Found {
    Nothing,
    Old,
    New,
}

/// Time of an invocation in which a server that refuses the same request again and again is left.
const SHORT: Duration = Duration::from_secs(15);

/// Delivers over an old file and without one, and compares everything the partner finds.
async fn check(faults: Faults, changes: Value, expected: Result<u32, ErrorName>, found: Found) {
    check_within(LONG, faults, changes, expected, found).await;
}

async fn check_within(
    time: Duration,
    faults: Faults,
    changes: Value,
    expected: Result<u32, ErrorName>,
    found: Found,
) {
    let found_alone = if matches!(found, Found::Old) { Found::Nothing } else { found };
    tokio::join!(
        check_with_old(time, &faults, &changes, expected, found, true),
        check_with_old(time, &faults, &changes, expected, found_alone, false),
    );
}

async fn check_with_old(
    time: Duration,
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
    let journal = MemoryJournal::default();
    let ended = invoke(&journal, partner.config(changes), &Memory::new(file()), time).await;
    let result = ended.map(|ended| delivered(Ok(ended)).1);
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
    let leftovers = journal.get().unwrap().progress.leftovers;
    assert_eq!(leftovers, Vec::<String>::new(), "{faults:?}, old file: {with_old}");
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
}

#[tokio::test]
async fn a_connection_that_is_always_lost_leaves_the_old_file_and_nothing_else() {
    check(one(Fault::DropAfterBytes(100_000)), json!({}), Err(TransportUnavailable), Found::Old)
        .await;
}

/// The credentials may have been rejected, and more of the same would lock the account.
#[tokio::test]
async fn a_connection_that_ends_once_it_has_the_credentials_is_not_made_again() {
    check(one(Fault::DropAtLogin), json!({}), Err(TransportAuth), Found::Old).await;
    let partner = Partner::start(one(Fault::DropAtLogin)).await;
    let result = deliver_to(partner.config(&json!({})), &Memory::new(file())).await;
    assert_eq!((summary(&result), partner.server.connections()), (Err(TransportAuth), 1));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let short = json!({ "sftp_idle_timeout_s": 1, "sftp_max_attempts": 1 });
    let unconnected = json!({ "sftp_connect_timeout_s": 1, "sftp_max_attempts": 1 });
    // The greeting has 20 seconds at least.
    let rows = [
        (Fault::Silent, &unconnected, " 1 s"),
        (Fault::SilentSftp, &short, "no answer for 20 s"),
        (Fault::SilentAfterBytes(100_000), &short, "no answer for 1 s"),
    ];
    let rows = rows.map(async |(fault, changes, expected)| {
        let partner = Partner::start(one(fault)).await;
        let silent = async {
            let config = partner.config(changes);
            let error = deliver_to(config, &Memory::new(file())).await.unwrap_err();
            assert!(error.to_string().ends_with(expected), "{fault:?}: {error}");
        };
        let checked = check(one(fault), changes.clone(), Err(TransportUnavailable), Found::Old);
        tokio::join!(silent, checked);
    });
    join_all(rows).await;
    let once = one(Fault::SilentAfterBytes(100_000)).on_first_connections(1);
    // Long enough for a busy machine to answer every other request.
    check(once, json!({ "sftp_idle_timeout_s": 4 }), Ok(2), Found::New).await;
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
async fn a_file_that_is_gone_after_a_lost_answer_is_sent_again_unless_the_partner_takes_files() {
    let faults = Faults::of([Fault::LoseRenameAnswer, Fault::CollectAtOnce]);
    for (takes_files, settled, opened) in
        [(true, Settled::Taken, vec![0]), (false, Settled::SentAgain, vec![0, 295_905, 0])]
    {
        let partner = Partner::start(faults.clone().on_first_connections(1)).await;
        let source = Memory::new(file());
        let config = partner.config(&json!({ "partner_takes_files": takes_files }));
        let receipt = deliver_to(config, &source).await.unwrap();
        assert_eq!((receipt.attempts, receipt.settled), (2, Some(settled)));
        assert_eq!((receipt.seen, source.opened()), (Some(!takes_files), opened));
        assert_eq!(partner.files().len(), usize::from(!takes_files));
    }
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
    let short = || one(Fault::LoseBytesAfter(100_000));
    let read_back = json!({ "sftp_verify": "readback" });
    tokio::join!(
        check(short(), json!({}), Err(TransportUnavailable), Found::Old),
        check(short(), read_back, Err(TransportUnavailable), Found::Old),
    );
}

#[tokio::test]
async fn a_file_that_is_stored_in_another_size_is_delivered_once_and_the_error_says_so() {
    for (faults, connections) in [
        (one(Fault::GrowWhenRenamed(16)), 1),
        (Faults::of([Fault::GrowWhenRenamed(16), Fault::LoseRenameAnswer]), 2),
    ] {
        let partner = Partner::start(faults).await;
        let source = Memory::new(file());
        let error = deliver_to(partner.config(&json!({})), &source).await.unwrap_err();
        assert_eq!(
            (error.name(), error.to_string().as_str()),
            (
                TransportRemote,
                "checking `/in/daily/report.zip`: the file is delivered, but the server tells 300017 bytes \
                 instead of 300001 under its final name; if it stores files in another form, set `sftp_verify` to \
                 `none`"
            )
        );
        assert_eq!(source.opened(), [0]);
        assert_eq!(partner.server.connections(), connections);
        let there: Vec<_> = partner.files().into_iter().map(|(n, b)| (n, b.len())).collect();
        assert_eq!(there, [(PLACE.to_owned(), 300_017)]);
    }
    // Who wants no check gets none, before the rename and after it.
    let partner = Partner::start(one(Fault::GrowWhenRenamed(16))).await;
    let unchecked = partner.config(&json!({ "sftp_verify": "none" }));
    assert_eq!(summary(&deliver_to(unchecked, &Memory::new(file())).await), Ok(1));
}

#[tokio::test]
async fn a_server_that_forbids_renaming_keeps_the_old_file() {
    let plain = Faults::of([Fault::RefuseRename, Fault::NoPosixRename]);
    let denied = Err(TransportPermission);
    tokio::join!(
        check_within(SHORT, one(Fault::RefuseRename), json!({}), denied, Found::Old),
        check_within(SHORT, plain, json!({}), denied, Found::Old),
    );
}

#[tokio::test]
async fn an_old_file_that_was_moved_aside_is_put_back_when_the_new_one_cannot_take_its_place() {
    // Of each four renames the first finds the name taken, the second moves the old file aside, the
    // third fails, and the fourth puts the old file back.
    let failing = (0..10).map(|round| Fault::FailRename(4 * round + 3));
    let faults = Faults::of([Fault::NoPosixRename].into_iter().chain(failing));
    let once = json!({ "sftp_max_attempts": 1 });
    let failed = Err(TransportRemote);
    // A scanner may hold the file: the rename alone is repeated.
    let locked = Faults::of([Fault::NoPosixRename, Fault::FailRename(3)]);
    tokio::join!(
        check_with_old(SHORT, &faults, &once, failed, Found::Old, true),
        check_with_old(LONG, &locked, &once, Ok(1), Found::New, true),
    );
}

#[tokio::test]
async fn an_old_file_that_cannot_be_put_back_is_kept_and_named() {
    let old = b"last week's report".to_vec();
    let faults = Faults::of([
        Fault::NoPosixRename,
        Fault::FailRename(3),
        Fault::FailRename(4),
        Fault::FailRename(5),
    ]);
    let partner = Partner::start(faults).await;
    partner.put_old(&old);
    let config = partner.config(&json!({ "sftp_max_attempts": 1 }));
    let error = deliver_to(config.clone(), &Memory::new(file())).await.unwrap_err();
    let kept: Vec<_> = partner.files().into_iter().collect();
    let [(name, bytes)] = kept.as_slice() else { panic!("one file, not {}", kept.len()) };
    assert_eq!(bytes, &old);
    assert!(
        error.to_string().contains(&format!("and the old file is kept as `/{name}`")),
        "{error}"
    );

    // The next delivery finds the name free, and the old file stays where the error says.
    assert_eq!(summary(&deliver_to(config, &Memory::new(file())).await), Ok(1));
    assert!(partner.files() == [(PLACE.to_owned(), file()), (name.clone(), old.clone())].into());
}

#[tokio::test]
async fn an_old_file_that_is_aside_when_the_connection_is_lost_is_replaced_by_the_next_invocation()
{
    // Every connection is good for one rename: the old file's, and then the new one's.
    let faults = Faults::of([Fault::NoPosixRename, Fault::LoseRenameAnswer]);
    let partner = Partner::start(faults).await;
    partner.put_old(b"last week's report");
    let config = partner.config(&json!({ "sftp_max_attempts": 1 }));
    let (journal, mut opened) = (MemoryJournal::default(), Vec::new());
    for invocation in 1..=3 {
        let source = Memory::new(file());
        let ended = invoke(&journal, config.clone(), &source, LONG).await;
        opened.extend(source.opened());
        match ended {
            Ok(Ended::InProgress) => assert_eq!(invocation, 1),
            // The state machine tries again.
            Err(error) if error.name() == TransportUnavailable => assert_eq!(invocation, 2),
            ended => {
                assert_eq!(delivered(ended).1.settled, Some(Settled::Found));
                assert_eq!(invocation, 3);
            }
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
async fn a_directory_that_cannot_be_made_is_named() {
    let partner = Partner::start(one(Fault::RefuseMkdir)).await;
    let error = deliver_to(partner.config(&json!({})), &Memory::new(file())).await.unwrap_err();
    let expected = "making the directory `/in/daily`: permission denied (Permission denied)";
    assert_eq!(error.to_string(), expected);

    let partner = Partner::start(Faults::default()).await;
    let changes = json!({ "sftp_create_dirs": false });
    let error = deliver_to(partner.config(&changes), &Memory::new(file())).await.unwrap_err();
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
    let result = deliver_to(partner.config(&json!({})), &source).await;
    assert_eq!(summary(&result), Err(ErrorName::StorageUnavailable));
    assert_eq!(partner.files().len(), 0);
}

#[tokio::test]
async fn a_server_that_nobody_reaches_is_tried_again() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&json!({}));
    partner.server.stop().await;
    assert_eq!(summary(&deliver_to(config, &Memory::new(file())).await), Err(TransportUnavailable));
}
