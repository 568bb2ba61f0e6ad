//! A file that needs several invocations, or several connections.

use std::{fs, time::Duration};

use aws_io::Failure;
use delivery::{Ended, MemoryJournal};
use job::{
    ErrorName::{
        StorageUnavailable, TransportAuth, TransportHostKey, TransportRemote, TransportUnavailable,
    },
    delivery::{DeliverySummary, Intent, JournalStage, Receipt, Settled, Verified},
};
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use crate::{
    line::{Line, Way, Weather},
    partner::{
        LONG, Memory, PLACE, Partner, SEAM_BYTES, Watcher, change_journal, checkpoint, deliver_to,
        delivered, file, files_below, invoke, summary,
    },
};

/// The SHA-256 of [`file`], computed by Python's `hashlib`.
const SHA256: &str = "f5eba6673da692f99261c7ff8092f412c608082ee144f8b0c6d9f9c74b194969";
const WRITE_BYTES: usize = 8192;
const SHORT: Duration = Duration::from_secs(10);
/// Enough for a clean-up at the end.
const LESS_SHORT: Duration = Duration::from_secs(20);

fn with(changes: &Value) -> Value {
    let mut all = json!({ "sftp_write_size": WRITE_BYTES, "sftp_max_in_flight": 2 });
    for (field, value) in changes.as_object().unwrap() {
        all[field] = value.clone();
    }
    all
}

/// Makes an invocation whose time runs out after some bytes of the file.
async fn run_out_of_time(journal: &MemoryJournal, config: Value, after: usize) {
    let source = Memory { stalls_after: Some(after), ..Memory::new(file()) };
    let ended = invoke(journal, config, &source, SHORT).await;
    assert!(matches!(ended, Ok(Ended::InProgress)), "{ended:?}");
}

/// A delivery that was interrupted after some bytes of the file.
async fn interrupted(config: Value, after: usize) -> MemoryJournal {
    let journal = MemoryJournal::default();
    let source = Memory { breaks_after: Some(after), ..Memory::new(file()) };
    let ended = invoke(&journal, config, &source, LONG).await;
    assert!(matches!(ended, Ok(Ended::InProgress)), "{ended:?}");
    journal
}

/// Resumes to the end, and returns the receipt and where the source was opened.
async fn finished(journal: &MemoryJournal, config: Value) -> (Receipt, Vec<u64>) {
    let source = Memory::new(file());
    (delivered(invoke(journal, config, &source, LONG).await).1, source.opened())
}

/// A file whose time runs out twice arrives whole, and nothing is read or sent twice.
async fn check_three_invocations(changes: Value, hidden: bool) {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&with(&changes));
    let place = partner.path().join(PLACE);
    let watcher = hidden.then(|| Watcher::start(place, vec![file()]));
    let journal = MemoryJournal::default();
    for (after, whole_writes, invocations) in [(100_000, 12, 1), (222_222, 27, 2)] {
        run_out_of_time(&journal, config.clone(), after).await;
        let acknowledged = (whole_writes * WRITE_BYTES) as u64;
        let found = (checkpoint(&journal).acknowledged_bytes, journal.get().unwrap().invocations);
        assert_eq!(found, (acknowledged, invocations), "{changes}");
    }
    let (receipt, opened) = finished(&journal, config).await;
    assert_eq!(receipt.sha256.as_deref(), Some(SHA256), "{changes}");
    let is_read_back = changes["sftp_verify"] == "readback";
    let verified = if is_read_back { Verified::Readback } else { Verified::Seams };
    assert_eq!((receipt.bytes, receipt.verified), (300_001, verified), "{changes}");
    assert_eq!(opened, [27 * WRITE_BYTES as u64 - SEAM_BYTES], "{changes}");
    assert_eq!(watcher.map(Watcher::stop).unwrap_or_default(), Vec::<usize>::new(), "{changes}");
    assert!(partner.files() == [(PLACE.to_owned(), file())].into(), "{:?}", partner.files().keys());
    assert_eq!(journal.get().unwrap().progress.leftovers, Vec::<String>::new(), "{changes}");
}

#[tokio::test]
async fn a_file_larger_than_an_invocation_goes_on_in_the_next() {
    // Written in place, a part of it is seen.
    let direct = json!({ "sftp_write_mode": "direct", "sftp_overwrite": "fail" });
    tokio::join!(
        check_three_invocations(json!({}), true),
        check_three_invocations(json!({ "sftp_connections": 3 }), true),
        check_three_invocations(json!({ "sftp_verify": "readback" }), true),
        check_three_invocations(json!({ "sftp_overwrite": "fail" }), true),
        check_three_invocations(direct, false),
    );
}

#[tokio::test]
async fn a_checkpoint_holds_nothing_of_the_file() {
    let partner = Partner::start(Faults::default()).await;
    let journal = interrupted(partner.config(&with(&json!({}))), 100_000).await;
    let state = checkpoint(&journal).sha256_state.unwrap();
    // Behind the eight words of the hash and the count of its blocks, its buffer is empty.
    assert!(state[80..].bytes().all(|digit| digit == b'0'), "{state}");
}

#[tokio::test]
async fn a_resumed_file_that_is_not_as_it_was_left_is_sent_anew() {
    let right = |length: usize| file()[..length].to_vec();
    let longer = [right(98_304), vec![7; file().len()]].concat();
    let other_seam = [right(98_303), vec![7, 7]].concat();
    for (damaged, verify) in [
        (None, "size"),
        (Some(b"short".to_vec()), "size"),
        (Some(vec![7; file().len() + 1]), "size"),
        (Some(other_seam), "size"),
        (Some(longer.clone()), "size"),
        (Some(longer), "readback"),
    ] {
        let what = format!("{:?} {verify}", damaged.as_ref().map(Vec::len));
        let partner = Partner::start(Faults::default()).await;
        let config = partner.config(&with(&json!({ "sftp_verify": verify })));
        let journal = interrupted(config.clone(), 100_000).await;
        let left = partner.path().join(partner.files().into_keys().next().unwrap());
        match damaged {
            Some(bytes) => fs::write(left, bytes).unwrap(),
            None => fs::remove_file(left).unwrap(),
        }
        let (receipt, opened) = finished(&journal, config).await;
        let last = (receipt.sha256.as_deref(), opened.last().copied());
        assert_eq!(last, (Some(SHA256), Some(0)), "{what}");
        assert!(partner.files() == [(PLACE.to_owned(), file())].into(), "{what}");
    }
}

#[tokio::test]
async fn a_server_that_always_loses_what_was_written_is_not_served_forever() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&with(&json!({})));
    let journal = interrupted(config.clone(), 100_000).await;
    let left = partner.files().into_keys().next().unwrap();
    fs::remove_file(partner.path().join(left)).unwrap();
    // As much as before, which is no progress.
    let source = Memory { breaks_after: Some(100_000), ..Memory::new(file()) };
    let error = invoke(&journal, config, &source, LONG).await.unwrap_err();
    let found = (error.name(), source.opened());
    assert_eq!(found, (StorageUnavailable, vec![98_304 - SEAM_BYTES, 0]));
    // Another try can resume there.
    assert_eq!(partner.files().len(), 1);
    assert_eq!(checkpoint(&journal).acknowledged_bytes, 98_304);
}

/// A delivery whose rename was not answered, in an invocation that could not look afterwards.
async fn unanswered(
    weather: impl Fn(usize) -> Weather + Send + 'static,
) -> (Partner, Line, MemoryJournal) {
    let faults = Faults::of([Fault::LoseRenameAnswer]).on_first_connections(1);
    let partner = Partner::start(faults).await;
    let line = Line::to(partner.server.address(), weather).await;
    let changes = with(&json!({ "sftp_max_attempts": 2 }));
    let journal = MemoryJournal::default();
    let config = partner.config_by(&line, &changes);
    let ended = invoke(&journal, config, &Memory::new(file()), LONG).await;
    assert!(matches!(ended, Ok(Ended::InProgress)), "{ended:?}");
    let intent = intent(&journal).unwrap();
    assert_eq!((intent.size_bytes, intent.sha256.as_str()), (300_001, SHA256));
    (partner, line, journal)
}

fn intent(journal: &MemoryJournal) -> Option<Intent> {
    match journal.get().unwrap().stage {
        JournalStage::Publishing { intent } => Some(intent),
        _ => None,
    }
}

#[tokio::test]
async fn a_file_that_may_have_its_final_name_is_never_taken_for_sent_if_it_was_not() {
    let weather = |number| match number {
        1 | 3 => Weather::Cut(Way::ToClient, 0),
        _ => Weather::Fine,
    };
    // As if it was not renamed, and its end did not reach the disk.
    let half = file()[..100_000].to_vec();
    for (left, settled) in [(Some(half), None), (None, Some(Settled::SentAgain))] {
        let (partner, line, journal) = unanswered(weather).await;
        fs::remove_file(partner.path().join(PLACE)).unwrap();
        let temporary = intent(&journal).unwrap().temporary_path.unwrap();
        if let Some(left) = left {
            fs::write(partner.path().join(&temporary[1..]), left).unwrap();
        }
        let watcher = Watcher::start(partner.path().join(PLACE), vec![file()]);
        let config = partner.config_by(&line, &with(&json!({ "sftp_max_attempts": 1 })));
        let (receipt, opened) = finished(&journal, config).await;
        assert_eq!((receipt.sha256.as_deref(), receipt.settled), (Some(SHA256), settled));
        assert_eq!(opened.last(), Some(&0));
        assert_eq!(watcher.stop(), Vec::<usize>::new());
        assert!(partner.files() == [(PLACE.to_owned(), file())].into());
    }
}

#[tokio::test]
async fn a_rejected_login_leaves_an_unanswered_rename_to_be_settled_later() {
    let weather = |number| match number {
        1 => Weather::Cut(Way::ToClient, 0),
        _ => Weather::Fine,
    };
    let (partner, _line, journal) = unanswered(weather).await;
    let logins = partner.server.connections();
    let wrong = partner.config(&with(&json!({ "sftp_password": "wrong" })));
    let error = invoke(&journal, wrong, &Memory::new(file()), LONG).await.unwrap_err();
    assert_eq!((error.name(), partner.server.connections()), (TransportAuth, logins + 1));
    let (receipt, opened) = finished(&journal, partner.config(&with(&json!({})))).await;
    assert_eq!((receipt.settled, opened), (Some(Settled::Found), vec![]));
}

#[tokio::test]
async fn a_rejected_password_is_not_sent_again_to_clean_up() {
    let partner = Partner::start(Faults::default()).await;
    let journal = interrupted(partner.config(&with(&json!({}))), 100_000).await;
    let logins = partner.server.connections();
    let wrong = partner.config(&with(&json!({ "sftp_password": "wrong" })));
    let error = invoke(&journal, wrong, &Memory::new(file()), LONG).await.unwrap_err();
    assert_eq!((error.name(), partner.server.connections()), (TransportAuth, logins + 1));
}

#[tokio::test]
async fn a_file_that_takes_longer_than_an_execution_is_given_up_and_removed() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&with(&json!({})));
    let journal = interrupted(config.clone(), 100_000).await;
    change_journal(&journal, |journal| journal.invocations = 89).await;
    let source = Memory { breaks_after: Some(200_000), ..Memory::new(file()) };
    let error = invoke(&journal, config, &source, LONG).await.unwrap_err();
    assert_eq!((error.name(), partner.files().len()), (TransportRemote, 0), "{error}");
}

#[tokio::test]
async fn a_checkpoint_without_the_state_of_the_hash_begins_anew() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&with(&json!({})));
    let journal = interrupted(config.clone(), 100_000).await;
    change_journal(&journal, |journal| {
        journal.progress.checkpoint.as_mut().unwrap().sha256_state = None;
    })
    .await;
    let (receipt, opened) = finished(&journal, config).await;
    assert_eq!((receipt.sha256.as_deref(), opened.last()), (Some(SHA256), Some(&0)));
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn another_version_of_the_file_begins_anew_and_leaves_nothing_of_the_old_one() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&with(&json!({})));
    let journal = interrupted(config.clone(), 100_000).await;
    let mut bytes = file();
    bytes.reverse();
    let source = Memory { version: "\"new\"".to_owned(), ..Memory::new(bytes.clone()) };
    delivered(invoke(&journal, config, &source, LONG).await);
    assert!(partner.files() == [(PLACE.to_owned(), bytes)].into());
}

#[tokio::test]
async fn an_invocation_that_gets_nowhere_is_an_error_and_leaves_only_what_it_found() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&with(&json!({})));
    for acknowledged in [0, 98_304] {
        let journal = match acknowledged {
            0 => MemoryJournal::default(),
            _ => interrupted(config.clone(), 100_000).await,
        };
        // Less than a whole write comes.
        let source = Memory { stalls_after: Some(acknowledged + 100), ..Memory::new(file()) };
        let error = invoke(&journal, config.clone(), &source, LESS_SHORT).await.unwrap_err();
        let expected = format!(
            "delivering `/in/daily/report.zip`: the time of the call was up with {acknowledged} bytes acknowledged"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(partner.files().len(), usize::from(acknowledged > 0));
    }
}

#[tokio::test]
async fn a_server_that_is_silent_at_the_end_of_the_time_loses_only_what_it_did_not_acknowledge() {
    let partner = Partner::start(Faults::of([Fault::SilentAfterBytes(100_000)])).await;
    let config = partner.config(&with(&json!({ "sftp_max_in_flight": 1 })));
    let (source, journal) = (Memory::new(file()), MemoryJournal::default());
    let ended = invoke(&journal, config.clone(), &source, SHORT).await;
    assert!(matches!(ended, Ok(Ended::InProgress)), "{ended:?}");
    assert_eq!(checkpoint(&journal).acknowledged_bytes, 98_304);

    // The same server is as silent again, but every invocation gets further.
    for _ in 0..10 {
        if let Ended::Delivered(DeliverySummary { receipt, .. }) =
            invoke(&journal, config.clone(), &source, SHORT).await.unwrap()
        {
            assert_eq!(receipt.sha256.as_deref(), Some(SHA256));
            assert!(partner.files() == [(PLACE.to_owned(), file())].into());
            return;
        }
    }
    panic!("it does not come to an end");
}

#[tokio::test]
async fn a_broken_connection_resumes_and_counts_only_when_it_gets_nowhere() {
    // Every connection is good for 12 writes; three in a row may fail, and five are needed.
    let partner = Partner::start(Faults::of([Fault::DropAfterBytes(100_000)])).await;
    let source = Memory::new(file());
    let one_by_one = json!({ "sftp_max_in_flight": 1, "sftp_max_attempts": 2 });
    let receipt = deliver_to(partner.config(&with(&one_by_one)), &source).await.unwrap();
    assert_eq!((receipt.attempts, receipt.sha256.as_deref()), (4, Some(SHA256)));
    assert_eq!(receipt.verified, Verified::Seams);
    let resumed = [98_304, 196_608, 294_912].map(|at| at - SEAM_BYTES);
    assert_eq!(source.opened(), [&[0], &resumed[..]].concat());
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn several_connections_write_one_file() {
    for connections in [2, 4, 8] {
        let partner = Partner::start(Faults::default()).await;
        let changes = with(&json!({ "sftp_connections": connections, "sftp_verify": "readback" }));
        for _ in 0..2 {
            let receipt = deliver_to(partner.config(&changes), &Memory::new(file())).await.unwrap();
            assert_eq!((receipt.attempts, receipt.sha256.as_deref()), (1, Some(SHA256)));
            assert!(partner.files() == [(PLACE.to_owned(), file())].into());
        }
        assert_eq!(partner.server.connections(), 2 * connections);
    }
}

#[tokio::test]
async fn a_small_file_does_not_open_connections_that_are_of_no_use() {
    for (size, connections) in [(0, 1), (2 * WRITE_BYTES, 1), (2 * WRITE_BYTES + 1, 2)] {
        let partner = Partner::start(Faults::default()).await;
        let config = partner.config(&with(&json!({ "sftp_connections": 8 })));
        deliver_to(config, &Memory::new(file()[..size].to_vec())).await.unwrap();
        assert_eq!(partner.server.connections(), connections, "{size} bytes");
    }
}

#[tokio::test]
async fn a_server_that_refuses_further_connections_is_served_by_those_it_took() {
    for taken in [1, 3] {
        let partner = Partner::start(Faults::of([Fault::RefuseConnectionsFrom(taken)])).await;
        let config = partner.config(&with(&json!({ "sftp_connections": 4 })));
        let receipt = deliver_to(config, &Memory::new(file())).await.unwrap();
        assert_eq!((receipt.attempts, receipt.sha256.as_deref()), (1, Some(SHA256)));
        assert!(partner.files() == [(PLACE.to_owned(), file())].into());
    }
}

#[tokio::test]
async fn another_host_key_on_a_further_connection_ends_the_delivery() {
    let partner = Partner::start(Faults::default()).await;
    let other = Partner::start(Faults::default()).await;
    let (ours, theirs) = (partner.server.address(), other.server.address());
    let line =
        Line::to_one_of(move |number| if number == 0 { ours } else { theirs }, |_| Weather::Fine)
            .await;
    let config = partner.config_by(&line, &with(&json!({ "sftp_connections": 2 })));
    let result = deliver_to(config, &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(TransportHostKey), "{result:?}");
    assert_eq!((partner.files().len(), files_below(other.path()).len()), (0, 0));
}

#[tokio::test]
async fn one_of_several_connections_that_breaks_or_falls_silent_costs_an_attempt() {
    for bad in [0, 1, 2] {
        for weather in [
            Weather::Cut(Way::ToServer, 20_000),
            Weather::Cut(Way::ToServer, 70_000),
            Weather::Mute(Way::ToServer, 70_000),
        ] {
            let partner = Partner::start(Faults::default()).await;
            let at = move |number| if number == bad { weather } else { Weather::Fine };
            let line = Line::to(partner.server.address(), at).await;
            let changes = with(&json!({ "sftp_connections": 3, "sftp_idle_timeout_s": 1 }));
            let watcher = Watcher::start(partner.path().join(PLACE), vec![file()]);
            let config = partner.config_by(&line, &changes);
            let receipt = deliver_to(config, &Memory::new(file())).await.unwrap();
            assert_eq!(watcher.stop(), Vec::<usize>::new(), "{bad} {weather:?}");
            assert_eq!(
                (receipt.attempts, receipt.sha256.as_deref()),
                (2, Some(SHA256)),
                "{bad} {weather:?}"
            );
            assert!(partner.files() == [(PLACE.to_owned(), file())].into(), "{bad} {weather:?}");
        }
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_is_resumed_in_the_next_invocation() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&with(&json!({})));
    let source = Memory { breaks_after: Some(100_000), ..Memory::new(file()) };
    let journal = MemoryJournal::default();
    let ended = invoke(&journal, config.clone(), &source, LONG).await;
    assert!(matches!(ended, Ok(Ended::InProgress)), "{ended:?}");
    let acknowledged = checkpoint(&journal).acknowledged_bytes;
    let (receipt, opened) = finished(&journal, config).await;
    assert_eq!(receipt.sha256.as_deref(), Some(SHA256));
    assert_eq!(opened, [acknowledged - SEAM_BYTES]);
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_again_keeps_the_old_file() {
    let old = b"last week's report".to_vec();
    let partner = Partner::start(Faults::default()).await;
    partner.put_old(&old);
    let weather = |number| match number {
        0 => Weather::Cut(Way::ToServer, 100_000),
        _ => Weather::Cut(Way::ToClient, 0),
    };
    let line = Line::to(partner.server.address(), weather).await;
    let config = partner.config_by(&line, &with(&json!({})));
    let journal = MemoryJournal::default();
    let ended = invoke(&journal, config.clone(), &Memory::new(file()), LONG).await;
    assert!(matches!(ended, Ok(Ended::InProgress)), "{ended:?}");
    // The next invocation gets nowhere, which is an error. The temporary file stays.
    let error = invoke(&journal, config, &Memory::new(file()), LONG).await.unwrap_err();
    assert_eq!(error.name(), TransportUnavailable);
    assert!(partner.files()[PLACE] == old);
    assert_eq!(partner.files().len(), 2);
}
