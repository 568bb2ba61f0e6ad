//! The connection is lost, or the server falls silent, at every single point of a delivery.

use std::{fs, time::Duration};

use aws_io::Failure;
use delivery::{Ended, MemoryJournal};
use futures_util::{StreamExt, future::join_all, stream};
use job::ErrorName::TransportUnavailable;
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};

use crate::{
    line::{Line, Way, Weather},
    partner::{LONG, Memory, PLACE, Partner, Watcher, deliver_to, file, invoke, summary},
};

/// Deliveries that are tried at the same time; most of each is waiting.
const AT_ONCE: u32 = 8;

/// A configuration with several writes and the second file.
fn with(changes: &Value) -> Value {
    let mut all = json!({
        "sftp_write_size": 65_536, "sftp_max_in_flight": 2, "sftp_sidecar": ".done", "sftp_idle_timeout_s": 60,
        "sftp_connect_timeout_s": 60,
    });
    for (field, value) in changes.as_object().unwrap() {
        all[field] = value.clone();
    }
    all
}

/// Delivers once, and expects that the file and the second one are there at the end, that nothing
/// else is, and that nothing else was ever seen. Returns the number of attempts.
async fn check_delivered(partner: &Partner, config: Value, with_old: bool, what: &str) -> u32 {
    let old = b"last week's report".to_vec();
    if with_old {
        partner.put_old(&old);
    }
    let watcher = Watcher::start(partner.path().join(PLACE), vec![old, file()]);
    let result = deliver_to(config, &Memory::new(file())).await;
    assert_eq!(watcher.stop(), Vec::<usize>::new(), "{what}: seen under the final name");
    let Ok(receipt) = result else { panic!("{what}: {result:?}") };
    let expected = [(PLACE.to_owned(), file()), (format!("{PLACE}.done"), Vec::new())];
    let found = partner.files();
    assert!(found == expected.into(), "{what}: {:?}", found.keys());
    receipt.attempts
}

/// Has `fault` happen at every `step`th message of a first connection, until none is left to
/// happen at.
async fn check_messages(fault: fn(u32) -> Fault, extra: Option<Fault>, changes: Value, step: u32) {
    let with_old = changes["sftp_overwrite"] != "fail";
    let changes = with(&changes);
    let mut number = 1;
    loop {
        let numbers = (0..AT_ONCE).map(|place| number + place * step);
        let deliveries = numbers.map(async |number| {
            let faults = Faults::of([fault(number)].into_iter().chain(extra));
            let what = format!("{faults:?} {changes}");
            let partner = Partner::start(faults.on_first_connections(1)).await;
            check_delivered(&partner, partner.config(&changes), with_old, &what).await
        });
        let attempts = join_all(deliveries).await;
        if attempts.contains(&1) {
            assert!(number + step * AT_ONCE > 15, "only some {number} messages: {changes}");
            return;
        }
        number += step * AT_ONCE;
    }
}

#[tokio::test]
async fn a_connection_lost_before_any_request_costs_an_attempt_and_nothing_else() {
    check_messages(Fault::DropBeforeRequest, None, json!({}), 1).await;
    check_messages(Fault::DropBeforeRequest, None, json!({ "sftp_connections": 3 }), 1).await;
    check_messages(Fault::DropBeforeRequest, None, json!({ "sftp_overwrite": "fail" }), 1).await;
}

#[tokio::test]
async fn a_connection_lost_before_any_answer_costs_an_attempt_and_nothing_else() {
    check_messages(Fault::DropBeforeAnswer, None, json!({}), 1).await;
    check_messages(Fault::DropBeforeAnswer, None, json!({ "sftp_connections": 3 }), 1).await;
    check_messages(Fault::DropBeforeAnswer, None, json!({ "sftp_verify": "readback" }), 1).await;
}

#[tokio::test]
async fn a_connection_lost_anywhere_is_mended_without_posix_rename_too() {
    let plain = Some(Fault::NoPosixRename);
    check_messages(Fault::DropBeforeRequest, plain, json!({}), 1).await;
    check_messages(Fault::DropBeforeAnswer, plain, json!({}), 1).await;
}

/// Delivers as the state machine does, to a recipient that takes each file away. An invocation's
/// first connection has `fault`, and its other ones do not come about, so the next invocation goes on.
///
/// Says whether the fault happened at all.
async fn check_taken_once(fault: Fault, changes: &Value) -> bool {
    let partner = Partner::start(Faults::of([fault]).on_first_connections(1)).await;
    let weather = |number| match number {
        1 | 2 => Weather::Cut(Way::ToClient, 0),
        _ => Weather::Fine,
    };
    let line = Line::to(partner.server.address(), weather).await;
    let mut changes = with(changes);
    changes["sftp_sidecar"] = Value::Null;
    changes["partner_takes_files"] = json!(true);
    let config = partner.config_by(&line, &changes);
    let place = partner.path().join(PLACE);
    let (journal, mut taken, mut invocations) = (MemoryJournal::default(), Vec::new(), 0);
    loop {
        let source = Memory::new(file());
        let ended = invoke(&journal, config.clone(), &source, LONG).await;
        invocations += 1;
        if let Ok(bytes) = fs::read(&place) {
            fs::remove_file(&place).unwrap();
            taken.push(bytes == file());
        }
        match ended {
            Ok(Ended::Delivered(..)) => break,
            Ok(Ended::InProgress) => {}
            Err(error) if error.name() == TransportUnavailable => {}
            other => panic!("{fault:?} {changes}: {other:?}"),
        }
        assert!(invocations < 4, "{fault:?} {changes}: it does not come to an end");
    }
    let left: Vec<_> = partner.files().into_keys().collect();
    assert_eq!((taken, left), (vec![true], vec![]), "{fault:?} {changes}");
    invocations > 1
}

#[tokio::test]
async fn a_recipient_that_takes_files_away_gets_one_whatever_an_invocation_ends_at() {
    for fault in [Fault::DropBeforeRequest, Fault::DropBeforeAnswer] {
        for changes in [json!({}), json!({ "sftp_verify": "none" })] {
            let mut number = 1;
            loop {
                let faults = (number..number + AT_ONCE).map(fault);
                let happened =
                    join_all(faults.map(|fault| check_taken_once(fault, &changes))).await;
                if happened.contains(&false) {
                    assert!(number + AT_ONCE > 12, "only some {number} messages: {changes}");
                    break;
                }
                number += AT_ONCE;
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_anywhere_is_left_in_time() {
    let soon = json!({ "sftp_idle_timeout_s": 3 });
    check_messages(Fault::SilentFromAnswer, None, soon, 1).await;
    let soon = json!({ "sftp_idle_timeout_s": 3, "sftp_connections": 3 });
    check_messages(Fault::SilentFromAnswer, None, soon, 3).await;
}

#[tokio::test]
async fn a_line_that_breaks_or_falls_silent_at_any_byte_costs_an_attempt_and_nothing_else() {
    // The beginning holds the key exchange and the login, in small steps; then the file.
    let begin = (0..5000).step_by(500);
    let to_server = begin.clone().chain((5000..330_000).step_by(40_000));
    let cuts = to_server.map(|at| Weather::Cut(Way::ToServer, at));
    let cuts = cuts.chain(begin.map(|at| Weather::Cut(Way::ToClient, at)));
    let silences = [0, 21, 500, 1500, 2500, 4000, 100_000]
        .into_iter()
        .map(|at| Weather::Mute(Way::ToServer, at));
    let lines: Vec<_> = cuts.chain(silences).collect();
    let deliveries = stream::iter(lines).map(async |weather| {
        let partner = Partner::start(Faults::default()).await;
        let address = partner.server.address();
        let first = move |number| if number == 0 { weather } else { Weather::Fine };
        let line = Line::to(address, first).await;
        // Only silence needs to be short.
        let limit = if matches!(weather, Weather::Mute(..)) { 3 } else { 30 };
        let changes = json!({ "sftp_idle_timeout_s": limit, "sftp_connect_timeout_s": limit });
        let config = partner.config_by(&line, &with(&changes));
        let attempts = check_delivered(&partner, config, false, &format!("{weather:?}")).await;
        assert!((1..=2).contains(&attempts), "{weather:?}: {attempts} attempts");
    });
    deliveries.buffer_unordered(AT_ONCE as usize).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn a_line_that_always_breaks_ends_the_delivery_and_keeps_the_old_file() {
    let old = b"last week's report".to_vec();
    for weather in [
        Weather::Cut(Way::ToServer, 0),
        Weather::Cut(Way::ToClient, 21),
        Weather::Cut(Way::ToServer, 2000),
        Weather::Cut(Way::ToServer, 20_000),
    ] {
        let partner = Partner::start(Faults::default()).await;
        partner.put_old(&old);
        let line = Line::to(partner.server.address(), move |_| weather).await;
        let config = partner.config_by(&line, &json!({}));
        let result = deliver_to(config, &Memory::new(file())).await;
        assert_eq!(summary(&result), Err(TransportUnavailable), "{weather:?}: {result:?}");
        assert!(partner.files()[PLACE] == old, "{weather:?}");
    }
}

#[tokio::test]
async fn a_slow_line_is_not_taken_for_a_dead_one() {
    let partner = Partner::start(Faults::default()).await;
    let slow = Weather::Slow(10_000, Duration::from_millis(50));
    let line = Line::to(partner.server.address(), move |_| slow).await;
    // The whole takes longer than the limit, but every write comes in time.
    let changes = json!({
        "sftp_sidecar": ".done", "sftp_idle_timeout_s": 1, "sftp_write_size": 32_768,
    });
    let config = partner.config_by(&line, &changes);
    assert_eq!(check_delivered(&partner, config, true, "a slow line").await, 1);
}
