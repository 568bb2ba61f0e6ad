//! Calls that come twice, together, late, or after the end of the run.

use std::sync::atomic::Ordering;

use aws_io::Failure;
use file_transporter::Outcome;
use job::ErrorName;
use local_sftp::Faults;
use serde_json::json;

use crate::world::{FILE, World};

#[tokio::test]
async fn a_second_call_answers_the_receipt_and_sends_nothing() {
    for policy in ["replace", "fail", "skip_if_same_size"] {
        let world = World::new(Faults::default()).await;
        let changes = json!({ "sftp_overwrite": policy });
        let first = world.call(&changes).await.unwrap();
        assert!(matches!(first.outcome, Outcome::Delivered(_)), "{first:?}");
        let connections = world.server.connections();
        assert_eq!(world.call(&changes).await.unwrap(), first);
        assert_eq!(world.server.connections(), connections, "{policy}");
    }
}

#[tokio::test]
async fn of_two_calls_at_once_one_sends_and_both_answer_the_receipt() {
    let world = World::new(Faults::default()).await;
    let changes = json!({});
    let (a, b) = tokio::join!(world.call(&changes), world.call(&changes));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(world.server.connections(), 1);
    assert_eq!(world.files(), [("report.csv".to_owned(), FILE.to_vec())].into());
}

#[tokio::test]
async fn nothing_is_sent_for_a_run_that_has_ended() {
    let world = World::new(Faults::default()).await;
    world.has_run_ended.store(true, Ordering::Relaxed);
    let error = world.call(&json!({})).await.unwrap_err();
    assert_eq!((error.name(), world.server.connections()), (ErrorName::RunEnded, 0));
}

#[tokio::test]
async fn a_closed_journal_publishes_nothing() {
    let world = World::new(Faults::default()).await;
    world.has_run_ended.store(true, Ordering::Relaxed);
    world.call(&json!({})).await.unwrap_err();
    world.has_run_ended.store(false, Ordering::Relaxed);
    delivery::close(&world.journal).await.unwrap();
    let error = world.call(&json!({})).await.unwrap_err();
    assert_eq!((error.name(), world.server.connections()), (ErrorName::RunEnded, 0));
}

#[tokio::test]
async fn an_answer_tells_the_status_the_journal_and_the_receipt() {
    let world = World::new(Faults::default()).await;
    let answer = serde_json::to_value(world.call(&json!({})).await.unwrap()).unwrap();
    assert_eq!((&answer["status"], &answer["transport"]), (&json!("delivered"), &json!("sftp")));
    let journal = answer["journal"].as_str().unwrap();
    assert!(journal.starts_with("s3://bucket/by-hand/run-1-"), "{journal}");
    assert!(journal.ends_with("/deliveries/1/1.json"), "{journal}");
}
