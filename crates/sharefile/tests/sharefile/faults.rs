//! The end of a delivery and of the old file when the server misbehaves.

use std::time::Duration;

use futures_util::future::{join, join_all};
use job::ErrorName::{
    self, StorageUnavailable, TransportAuth, TransportConfig, TransportPermission, TransportRemote,
    TransportUnavailable,
};
use job::delivery::Verified;
use local_sharefile::{Call, Fault, Faults};
use serde_json::{Value, json};

use crate::account::{Memory, PLACE, Partner, Watcher, details, file, summary};

/// The files that the partner finds at the end.
#[derive(Clone, Copy, Debug)]
enum Found {
    Old,
    New,
}

/// A way of uploading: its name, the request that carries bytes, and the one that ends it.
type Way = (&'static str, Call, Call);

const STANDARD: Way = ("standard", Call::Standard, Call::Standard);
const STREAMED: Way = ("streamed", Call::Chunk, Call::Finish);
const THREADED: Way = ("threaded", Call::Chunk, Call::Finish);
const WAYS: [Way; 3] = [STANDARD, STREAMED, THREADED];

/// Delivers over an old file and without one, and compares everything the partner finds.
async fn check(
    way: Way,
    plan: impl Fn(Faults) -> Faults,
    changes: Value,
    expected: Result<u32, ErrorName>,
    found: Found,
) {
    join(
        check_with_old(way, &plan, &changes, expected, found, true),
        check_with_old(way, &plan, &changes, expected, found, false),
    )
    .await;
}

async fn check_with_old(
    way: Way,
    plan: &impl Fn(Faults) -> Faults,
    changes: &Value,
    expected: Result<u32, ErrorName>,
    found: Found,
    with_old: bool,
) {
    let old = b"last week's report".to_vec();
    let forced = Faults::default().always(Call::Specification, Fault::Method(way.0));
    let faults = plan(forced);
    let what = format!("{} {faults:?}, old file: {with_old}", way.0);
    let partner = Partner::start(faults).await;
    if with_old {
        partner.put_old(&old);
    }
    let watcher = Watcher::start(partner.path().join(PLACE), vec![old.clone(), file()]);
    let result = partner.deliver(changes, &Memory::new(file())).await;
    assert_eq!(summary(&result), expected, "{what}: {result:?}");
    assert_eq!(watcher.stop(), Vec::<usize>::new(), "{what}: seen under the final name");
    let files = match found {
        Found::Old if with_old => vec![(PLACE.to_owned(), old)],
        Found::Old => vec![],
        Found::New => vec![(PLACE.to_owned(), file())],
    };
    // Whole contents would drown the message.
    let sizes = |files: &[(String, Vec<u8>)]| {
        files.iter().map(|(n, b)| (n.clone(), b.len())).collect::<Vec<_>>()
    };
    let there: Vec<_> = partner.files().into_iter().collect();
    assert!(there == files, "{what}: {:?} instead of {:?}", sizes(&there), sizes(&files));
}

/// A fault in every way of uploading: at the bytes, or at the end.
async fn check_all(
    call: fn(Way) -> Call,
    fault: Fault,
    once: Result<u32, ErrorName>,
    always: (Result<u32, ErrorName>, Found),
) {
    // Side by side, because most of the time is spent waiting between tries.
    join_all(WAYS.map(|way| async move {
        check(way, |faults| faults.once(call(way), fault), json!({}), once, Found::New).await;
        let plan = |faults: Faults| faults.always(call(way), fault);
        check(way, plan, json!({}), always.0, always.1).await;
    }))
    .await;
}

fn bytes(way: Way) -> Call {
    way.1
}

fn end(way: Way) -> Call {
    way.2
}

#[tokio::test]
async fn a_good_server_gets_the_file_in_every_way_of_uploading() {
    for way in WAYS {
        check(way, |faults| faults, json!({}), Ok(1), Found::New).await;
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() {
    let unavailable = (Err(TransportUnavailable), Found::Old);
    for fault in [Fault::Status(503), Fault::Reason(400, "Throttled")] {
        check_all(bytes, fault, Ok(1), unavailable).await;
    }
    check_all(end, Fault::Status(500), Ok(1), unavailable).await;
    for call in [Call::Token, Call::Look, Call::Specification] {
        for fault in [Fault::Status(500), Fault::Status(429)] {
            // The credentials are sent once per attempt.
            let attempts = if call == Call::Token { 2 } else { 1 };
            check(STANDARD, |f| f.once(call, fault), json!({}), Ok(attempts), Found::New).await;
            let always = Err(TransportUnavailable);
            check(STANDARD, |f| f.always(call, fault), json!({}), always, Found::Old).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_left_alone_until_then() {
    for wait in ["1", "date"] {
        for call in [Call::Specification, Call::Chunk] {
            let plan = |faults: Faults| faults.once(call, Fault::RetryAfter(429, wait));
            check(THREADED, plan, json!({}), Ok(1), Found::New).await;
        }
    }
    // So long a wait is for the state machine.
    let plan = |faults: Faults| faults.once(Call::Chunk, Fault::RetryAfter(503, "3600"));
    check(THREADED, plan, json!({}), Err(TransportUnavailable), Found::Old).await;
}

#[tokio::test]
async fn an_error_with_the_status_200_is_an_error() {
    let remote = (Err(TransportRemote), Found::Old);
    for fault in [Fault::ErrorObject(420), Fault::ErrorText("no room")] {
        check_all(bytes, fault, Ok(1), remote).await;
        check_all(end, fault, Ok(1), remote).await;
    }
    for (reason, name) in [("Forbidden", TransportPermission), ("QuotaExceeded", TransportRemote)] {
        for way in WAYS {
            let plan = |faults: Faults| faults.once(end(way), Fault::Reason(200, reason));
            check(way, plan, json!({}), Err(name), Found::Old).await;
        }
    }
}

#[tokio::test]
async fn an_upload_that_the_server_forgot_begins_again_once() {
    let lost = (Err(TransportUnavailable), Found::Old);
    for fault in [Fault::ErrorObject(605), Fault::ErrorText("Unrecognized Upload ID")] {
        check_all(bytes, fault, Ok(1), lost).await;
    }
    check_all(end, Fault::ForgetUpload, Ok(1), lost).await;
}

#[tokio::test]
async fn a_cut_connection_costs_another_try() {
    let unavailable = (Err(TransportUnavailable), Found::Old);
    check_all(bytes, Fault::CutRequest, Ok(1), unavailable).await;
    check_all(end, Fault::CutRequest, Ok(1), unavailable).await;
    let plan = |faults: Faults| faults.after(Call::Chunk, Fault::CutAnswer, 1, 1);
    check(THREADED, plan, json!({}), Ok(1), Found::New).await;
    check(STREAMED, plan, json!({}), Ok(1), Found::New).await;
}

#[tokio::test]
async fn a_lost_answer_to_the_end_of_an_upload_is_settled_by_looking() {
    check_all(end, Fault::CutAnswer, Ok(1), (Ok(1), Found::New)).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let changes = json!({ "sharefile_idle_timeout_s": 1, "sharefile_max_attempts": 1 });
    let calls = [Call::Token, Call::Look, Call::Specification, Call::Chunk, Call::Finish];
    join_all(calls.map(|call| {
        let plan = move |faults: Faults| faults.always(call, Fault::Mute);
        check(THREADED, plan, changes.clone(), Err(TransportUnavailable), Found::Old)
    }))
    .await;
    // Long enough for a busy machine to answer every other request.
    let again = json!({ "sharefile_idle_timeout_s": 4 });
    let plan = |faults: Faults| faults.once(Call::Chunk, Fault::Mute);
    check(THREADED, plan, again, Ok(1), Found::New).await;
}

#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let slow = Fault::Slow(Duration::from_millis(200));
    for way in WAYS {
        check(way, |f| f.always(bytes(way), slow), json!({}), Ok(1), Found::New).await;
    }
}

#[tokio::test]
async fn a_file_that_is_told_to_be_another_one_is_looked_at_in_the_folder() {
    // What is in the folder is right; the server says that it is not.
    for fault in [Fault::WrongMd5, Fault::WrongSize] {
        check_all(end, fault, Ok(2), (Ok(2), Found::New)).await;
    }
}

#[tokio::test]
async fn a_server_that_tells_less_is_believed_less() {
    let can_look = Faults::default;
    // The first look is for the folder.
    let can_not_look = || can_look().after(Call::Look, Fault::Status(403), 1, usize::MAX);
    for (fault, faults, verified) in [
        (None, can_not_look(), Verified::Md5),
        (Some(Fault::NoMd5), can_look(), Verified::Md5),
        (Some(Fault::NoDetails), can_look(), Verified::Md5),
        (Some(Fault::NoMd5), can_not_look(), Verified::Size),
        (Some(Fault::NoDetails), can_not_look(), Verified::None),
    ] {
        let faults = match fault {
            Some(fault) => faults.always(Call::Standard, fault),
            None => faults,
        };
        let may_look = format!("{faults:?}").matches("Status(403)").count() == 0;
        let partner = Partner::start(faults).await;
        let changes = json!({ "sharefile_path": "" });
        let receipt = partner.deliver(&changes, &Memory::new(file())).await.unwrap();
        assert_eq!((receipt.verified, partner.files().len()), (verified, 1));
        assert_eq!(receipt.seen, may_look.then_some(true));
        assert_eq!(details(&receipt).1.is_some(), verified != Verified::None);
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_final() {
    for (call, fault, name) in [
        (Call::Token, Fault::Status(404), TransportConfig),
        (Call::Look, Fault::Reason(403, "NotAuthorized"), TransportPermission),
        (Call::Specification, Fault::Reason(403, "Forbidden"), TransportPermission),
        (Call::Specification, Fault::Reason(400, "FileTooLarge"), TransportRemote),
        (Call::Specification, Fault::Reason(404, "NotFound"), TransportConfig),
        (Call::Specification, Fault::Reason(409, "Conflict"), TransportRemote),
        (Call::Specification, Fault::Reason(401, "NotAuthenticated"), TransportAuth),
        (Call::Specification, Fault::Method("carrier pigeon"), TransportConfig),
        (Call::Specification, Fault::OtherHost, TransportConfig),
        (Call::Chunk, Fault::Reason(403, "DlpViolation"), TransportPermission),
        (Call::Finish, Fault::Status(403), TransportPermission),
    ] {
        let plan = |faults: Faults| faults.always(call, fault);
        check(THREADED, plan, json!({}), Err(name), Found::Old).await;
    }
}

#[tokio::test]
async fn something_to_be_prepared_is_requested_first() {
    let plan = |faults: Faults| {
        faults
            .always(Call::Specification, Fault::WantsPrepare)
            .once(Call::Prepare, Fault::Status(503))
    };
    check(THREADED, plan, json!({}), Ok(1), Found::New).await;
}

#[tokio::test]
async fn a_source_that_breaks_off_leaves_nothing_at_the_recipient() {
    for way in WAYS {
        let forced = Faults::default().always(Call::Specification, Fault::Method(way.0));
        let partner = Partner::start(forced).await;
        let source = Memory { breaks_after: Some(100_000), ..Memory::new(file()) };
        let result = partner.deliver(&json!({}), &source).await;
        assert_eq!(summary(&result), Err(StorageUnavailable), "{}: {result:?}", way.0);
        assert_eq!(partner.files().len(), 0);
    }
}

#[tokio::test]
async fn a_server_that_does_not_listen_may_listen_later() {
    let partner = Partner::start(Faults::default()).await;
    let config = partner.config(&json!({}));
    partner.server.stop().await;
    let result = crate::account::deliver_to(&config, &Memory::new(file())).await;
    assert_eq!(summary(&result), Err(TransportUnavailable));
}
