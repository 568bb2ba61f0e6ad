//! A file that needs several invocations, or several connections.

use std::{fs, time::Duration};

use aws_io::Failure;
use file_transporter::{Checkpoint, Outcome, Receipt};
use job::ErrorName::{TransportAuth, TransportHostKey, TransportRemote, TransportUnavailable};
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use crate::{
    line::{Line, Way, Weather},
    partner::{
        Memory, PLACE, Partner, Watcher, deliver_to, file, files_below, invoke, outcome_of, summary,
    },
};

/// The SHA-256 of [`file`], computed by Python's `hashlib`.
const SHA256: &str = "f5eba6673da692f99261c7ff8092f412c608082ee144f8b0c6d9f9c74b194969";
const WRITE_BYTES: usize = 8192;
const SHORT: Duration = Duration::from_secs(1);
/// Enough to clear away at the end.
const LESS_SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(870);

fn with(changes: &Value) -> Value {
    let mut all = json!({ "sftp_write_size": WRITE_BYTES, "sftp_max_in_flight": 2 });
    for (field, value) in changes.as_object().unwrap() {
        all[field] = value.clone();
    }
    all
}

/// Has the time run out after some bytes of the file, and gives the checkpoint.
async fn interrupted(
    transporter: Value,
    after: usize,
    checkpoint: Option<Checkpoint>,
) -> Checkpoint {
    let source = Memory { stalls_after: Some(after), ..Memory::new(file()) };
    match invoke(transporter, &source, checkpoint, SHORT).await {
        Ok(Outcome::InProgress { checkpoint }) => checkpoint,
        other => panic!("{other:?}"),
    }
}

/// Goes on to the end, and gives the receipt and where the source was opened.
async fn finished(transporter: Value, checkpoint: Checkpoint) -> (Receipt, Vec<u64>) {
    let source = Memory::new(file());
    match invoke(transporter, &source, Some(checkpoint), LONG).await {
        Ok(Outcome::Delivered(receipt)) => (receipt, source.opened()),
        other => panic!("{other:?}"),
    }
}

/// A file whose time runs out twice arrives whole, and nothing is read or sent twice.
async fn check_three_invocations(changes: Value, hidden: bool) {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&with(&changes));
    let place = partner.path().join(PLACE);
    let watcher = hidden.then(|| Watcher::start(place, vec![file()]));
    let mut checkpoint = None;
    for (after, whole_writes, invocations) in [(100_000, 12, 1), (222_222, 27, 2)] {
        let found = interrupted(transporter.clone(), after, checkpoint).await;
        let acknowledged = (whole_writes * WRITE_BYTES) as u64;
        assert_eq!(
            (found.acknowledged_bytes, found.invocations),
            (acknowledged, invocations),
            "{changes}"
        );
        checkpoint = Some(found);
    }
    let (receipt, opened) = finished(transporter, checkpoint.unwrap()).await;
    assert_eq!(receipt.sha256.as_deref(), Some(SHA256), "{changes}");
    assert_eq!((receipt.bytes, opened), (300_001, vec![27 * WRITE_BYTES as u64]), "{changes}");
    assert_eq!(watcher.map(Watcher::stop).unwrap_or_default(), Vec::<usize>::new(), "{changes}");
    assert!(partner.files() == [(PLACE.to_owned(), file())].into(), "{:?}", partner.files().keys());
}

#[tokio::test]
async fn a_file_larger_than_an_invocation_goes_on_in_the_next() {
    check_three_invocations(json!({}), true).await;
    check_three_invocations(json!({ "sftp_connections": 3 }), true).await;
    check_three_invocations(json!({ "sftp_verify": "readback" }), true).await;
    check_three_invocations(json!({ "sftp_overwrite": "fail" }), true).await;
    // Written in place, a part of it is seen.
    let direct = json!({ "sftp_write_mode": "direct", "sftp_overwrite": "fail" });
    check_three_invocations(direct, false).await;
}

#[tokio::test]
async fn a_checkpoint_holds_nothing_of_the_file() {
    let partner = Partner::start(Faults::default()).await;
    let checkpoint = interrupted(partner.transporter(&with(&json!({}))), 100_000, None).await;
    let state = checkpoint.sha256_state.unwrap();
    // Behind the eight words of the hash and the count of its blocks, its buffer is empty.
    assert!(state[80..].bytes().all(|digit| digit == b'0'), "{state}");
}

#[tokio::test]
async fn what_was_written_and_is_gone_is_written_anew() {
    for damage in [(|path| fs::remove_file(path).unwrap()) as fn(&std::path::Path), |path| {
        fs::write(path, "short").unwrap();
    }] {
        let partner = Partner::start(Faults::default()).await;
        let transporter = partner.transporter(&with(&json!({})));
        let checkpoint = interrupted(transporter.clone(), 100_000, None).await;
        let left = partner.files().into_keys().next().unwrap();
        damage(&partner.path().join(left));
        let (receipt, opened) = finished(transporter, checkpoint).await;
        assert_eq!((receipt.sha256.as_deref(), opened), (Some(SHA256), vec![0]));
        assert!(partner.files() == [(PLACE.to_owned(), file())].into());
    }
}

#[tokio::test]
async fn what_is_longer_than_the_file_is_not_taken_for_it() {
    for verify in ["size", "readback"] {
        let partner = Partner::start(Faults::default()).await;
        let transporter = partner.transporter(&with(&json!({ "sftp_verify": verify })));
        let checkpoint = interrupted(transporter.clone(), 100_000, None).await;
        let left = partner.files().into_keys().next().unwrap();
        fs::write(partner.path().join(left), vec![7; file().len() + 1]).unwrap();
        let outcome = invoke(transporter, &Memory::new(file()), Some(checkpoint), LONG).await;
        assert!(matches!(outcome, Ok(Outcome::Delivered(_))), "{verify}: {outcome:?}");
        assert!(partner.files() == [(PLACE.to_owned(), file())].into(), "{verify}");
    }
}

#[tokio::test]
async fn a_server_that_always_loses_what_was_written_is_not_served_forever() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&with(&json!({})));
    let checkpoint = interrupted(transporter.clone(), 100_000, None).await;
    let left = partner.files().into_keys().next().unwrap();
    fs::remove_file(partner.path().join(left)).unwrap();
    // As much as before, which is no progress.
    let source = Memory { stalls_after: Some(100_000), ..Memory::new(file()) };
    let error = invoke(transporter, &source, Some(checkpoint), LESS_SHORT).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), source.opened()),
        (
            "delivering `/in/daily/report.zip`: the time of the call was up with 98304 bytes acknowledged, \
             no more than at its beginning",
            vec![0]
        )
    );
    // It holds again what the checkpoint says, so another try can go on there.
    assert_eq!(partner.files().len(), 1);
}

/// An invocation whose rename nobody answers, and that can not look afterwards.
async fn unanswered(
    weather: impl Fn(usize) -> Weather + Send + 'static,
) -> (Partner, Line, Checkpoint) {
    let faults = Faults::of([Fault::LoseRenameAnswer]).on_first_connections(1);
    let partner = Partner::start(faults).await;
    let line = Line::to(partner.server.address(), weather).await;
    let changes = with(&json!({ "sftp_max_attempts": 2 }));
    let outcome = outcome_of(partner.transporter_by(&line, &changes), &Memory::new(file())).await;
    let Ok(Outcome::InProgress { checkpoint }) = outcome else { panic!("{outcome:?}") };
    let sent = checkpoint.sent.as_ref().map(|sent| (sent.size_bytes, sent.sha256.as_str()));
    assert_eq!(sent, Some((300_001, SHA256)));
    (partner, line, checkpoint)
}

#[tokio::test]
async fn a_file_that_may_have_its_final_name_is_never_taken_for_sent_if_it_was_not() {
    let weather = |number| match number {
        1 | 3 => Weather::Cut(Way::ToClient, 0),
        _ => Weather::Fine,
    };
    let (partner, line, given) = unanswered(weather).await;
    // As if it was not renamed, and its end did not reach the disk.
    let place = partner.path().join(PLACE);
    fs::remove_file(&place).unwrap();
    let temporary = {
        let other = interrupted(partner.transporter(&with(&json!({}))), 100_000, None).await;
        assert_eq!(other.version, given.version);
        partner.files().into_keys().next().unwrap()
    };
    let transporter = partner.transporter_by(&line, &with(&json!({ "sftp_max_attempts": 1 })));

    // The invocation finds that out, touches nothing, and says so to the state machine.
    let source = Memory::new(file());
    let outcome = invoke(transporter.clone(), &source, Some(given.clone()), LONG).await.unwrap();
    let Outcome::InProgress { checkpoint } = outcome else { panic!("{outcome:?}") };
    assert_eq!((checkpoint.sent.clone(), source.opened()), (None, vec![]));
    assert_eq!(partner.files().into_keys().collect::<Vec<_>>(), [temporary.as_str()]);

    // Whatever becomes of the next one, it is not taken for delivered.
    let error =
        invoke(transporter.clone(), &source, Some(checkpoint.clone()), LONG).await.unwrap_err();
    assert_eq!(error.name(), TransportUnavailable);
    let (receipt, opened) = finished(transporter, checkpoint).await;
    assert_eq!((receipt.sha256.as_deref(), opened), (Some(SHA256), vec![0]));
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn a_rejected_login_leaves_what_is_to_be_found_out() {
    let weather = |number| match number {
        1 => Weather::Cut(Way::ToClient, 0),
        _ => Weather::Fine,
    };
    let (partner, _line, given) = unanswered(weather).await;
    let logins = partner.server.connections();
    let wrong = partner.transporter(&with(&json!({ "sftp_password": "wrong" })));
    let error = invoke(wrong, &Memory::new(file()), Some(given.clone()), LONG).await.unwrap_err();
    assert_eq!((error.name(), partner.server.connections()), (TransportAuth, logins + 1));
    let (_, opened) = finished(partner.transporter(&with(&json!({}))), given).await;
    assert_eq!(opened, Vec::<u64>::new());
}

#[tokio::test]
async fn a_password_that_is_rejected_half_way_is_not_tried_again_to_clear_away() {
    let partner = Partner::start(Faults::default()).await;
    let given = interrupted(partner.transporter(&with(&json!({}))), 100_000, None).await;
    let logins = partner.server.connections();
    let wrong = partner.transporter(&with(&json!({ "sftp_password": "wrong" })));
    let error = invoke(wrong, &Memory::new(file()), Some(given), LONG).await.unwrap_err();
    assert_eq!((error.name(), partner.server.connections()), (TransportAuth, logins + 1));
}

#[tokio::test]
async fn a_file_that_takes_longer_than_an_execution_is_given_up_and_cleared_away() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&with(&json!({})));
    let given = interrupted(transporter.clone(), 100_000, None).await;
    let source = Memory { stalls_after: Some(200_000), ..Memory::new(file()) };
    let last = Checkpoint { invocations: 89, ..given };
    let error = invoke(transporter, &source, Some(last), LESS_SHORT).await.unwrap_err();
    assert_eq!((error.name(), partner.files().len()), (TransportRemote, 0), "{error}");
}

#[tokio::test]
async fn a_checkpoint_without_the_state_of_the_hash_begins_anew() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&with(&json!({})));
    let checkpoint = interrupted(transporter.clone(), 100_000, None).await;
    let (receipt, opened) =
        finished(transporter, Checkpoint { sha256_state: None, ..checkpoint }).await;
    assert_eq!((receipt.sha256.as_deref(), opened), (Some(SHA256), vec![0]));
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn another_version_of_the_file_begins_anew_and_leaves_nothing_of_the_old_one() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&with(&json!({})));
    let checkpoint = interrupted(transporter.clone(), 100_000, None).await;
    let mut bytes = file();
    bytes.reverse();
    let source = Memory { version: "\"new\"".to_owned(), ..Memory::new(bytes.clone()) };
    let outcome = invoke(transporter, &source, Some(checkpoint), LONG).await.unwrap();
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    assert!(partner.files() == [(PLACE.to_owned(), bytes)].into());
}

#[tokio::test]
async fn an_invocation_that_gets_nowhere_is_an_error_and_leaves_only_what_it_found() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&with(&json!({})));
    for acknowledged in [0, 98_304] {
        let checkpoint = match acknowledged {
            0 => None,
            _ => Some(interrupted(transporter.clone(), 100_000, None).await),
        };
        // Less than a whole write comes.
        let source = Memory { stalls_after: Some(acknowledged + 100), ..Memory::new(file()) };
        let error = invoke(transporter.clone(), &source, checkpoint, LESS_SHORT).await.unwrap_err();
        let expected = format!(
            "delivering `/in/daily/report.zip`: the time of the call was up with {acknowledged} bytes acknowledged, \
             no more than at its beginning"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(partner.files().len(), usize::from(acknowledged > 0));
    }
}

#[tokio::test]
async fn a_server_that_is_silent_at_the_end_of_the_time_loses_only_what_it_did_not_acknowledge() {
    let partner = Partner::start(Faults::of([Fault::SilentAfterBytes(100_000)])).await;
    let transporter = partner.transporter(&with(&json!({ "sftp_max_in_flight": 1 })));
    let source = Memory::new(file());
    let outcome = invoke(transporter.clone(), &source, None, SHORT).await.unwrap();
    let Outcome::InProgress { checkpoint } = outcome else { panic!("{outcome:?}") };
    assert_eq!(checkpoint.acknowledged_bytes, 98_304);

    // The same server is as silent again, but every invocation gets further.
    let mut checkpoint = Some(checkpoint);
    for _ in 0..10 {
        match invoke(transporter.clone(), &source, checkpoint.take(), SHORT).await.unwrap() {
            Outcome::InProgress { checkpoint: next } => checkpoint = Some(next),
            Outcome::Delivered(receipt) => {
                assert_eq!(receipt.sha256.as_deref(), Some(SHA256));
                assert!(partner.files() == [(PLACE.to_owned(), file())].into());
                return;
            }
            other @ Outcome::AlreadyThere(_) => panic!("{other:?}"),
        }
    }
    panic!("it does not come to an end");
}

#[tokio::test]
async fn a_broken_connection_goes_on_where_it_was_and_counts_only_when_it_gets_nowhere() {
    // Every connection is good for 12 writes; three in a row may fail, and five are needed.
    let partner = Partner::start(Faults::of([Fault::DropAfterBytes(100_000)])).await;
    let source = Memory::new(file());
    let one_by_one = json!({ "sftp_max_in_flight": 1, "sftp_max_attempts": 2 });
    let outcome = outcome_of(partner.transporter(&with(&one_by_one)), &source).await.unwrap();
    let Outcome::Delivered(receipt) = outcome else { panic!("{outcome:?}") };
    assert_eq!((receipt.attempts, receipt.sha256.as_deref()), (4, Some(SHA256)));
    assert_eq!(source.opened(), [0, 98_304, 196_608, 294_912]);
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn several_connections_write_one_file() {
    for connections in [2, 4, 8] {
        let partner = Partner::start(Faults::default()).await;
        let changes = with(&json!({ "sftp_connections": connections, "sftp_verify": "readback" }));
        for _ in 0..2 {
            let receipt =
                deliver_to(partner.transporter(&changes), &Memory::new(file())).await.unwrap();
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
        let transporter = partner.transporter(&with(&json!({ "sftp_connections": 8 })));
        deliver_to(transporter, &Memory::new(file()[..size].to_vec())).await.unwrap();
        assert_eq!(partner.server.connections(), connections, "{size} bytes");
    }
}

#[tokio::test]
async fn a_server_that_refuses_further_connections_is_served_by_those_it_took() {
    for taken in [1, 3] {
        let partner = Partner::start(Faults::of([Fault::RefuseConnectionsFrom(taken)])).await;
        let transporter = partner.transporter(&with(&json!({ "sftp_connections": 4 })));
        let receipt = deliver_to(transporter, &Memory::new(file())).await.unwrap();
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
    let transporter = partner.transporter_by(&line, &with(&json!({ "sftp_connections": 2 })));
    let result = deliver_to(transporter, &Memory::new(file())).await;
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
            let transporter = partner.transporter_by(&line, &changes);
            let receipt = deliver_to(transporter, &Memory::new(file())).await.unwrap();
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
async fn a_source_that_breaks_off_is_gone_on_with_in_the_next_invocation() {
    let partner = Partner::start(Faults::default()).await;
    let transporter = partner.transporter(&with(&json!({})));
    let source = Memory { breaks_after: Some(100_000), ..Memory::new(file()) };
    let outcome = invoke(transporter.clone(), &source, None, LONG).await.unwrap();
    let Outcome::InProgress { checkpoint } = outcome else { panic!("{outcome:?}") };
    let (receipt, opened) = finished(transporter, checkpoint.clone()).await;
    assert_eq!(receipt.sha256.as_deref(), Some(SHA256));
    assert_eq!(opened, [checkpoint.acknowledged_bytes]);
    assert!(partner.files() == [(PLACE.to_owned(), file())].into());
}

#[tokio::test]
async fn a_server_that_can_not_be_reached_again_keeps_the_old_file() {
    let old = b"last week's report".to_vec();
    let partner = Partner::start(Faults::default()).await;
    partner.put_old(&old);
    let weather = |number| match number {
        0 => Weather::Cut(Way::ToServer, 100_000),
        _ => Weather::Cut(Way::ToClient, 0),
    };
    let line = Line::to(partner.server.address(), weather).await;
    let transporter = partner.transporter_by(&line, &with(&json!({})));
    let outcome = outcome_of(transporter.clone(), &Memory::new(file())).await.unwrap();
    let Outcome::InProgress { checkpoint } = outcome else { panic!("{outcome:?}") };
    // The next invocation gets nowhere, which is an error; what there is of the file stays.
    let source = Memory::new(file());
    let error = invoke(transporter, &source, Some(checkpoint), LONG).await.unwrap_err();
    assert_eq!(error.name(), TransportUnavailable);
    assert!(partner.files()[PLACE] == old);
    assert_eq!(partner.files().len(), 2);
}
