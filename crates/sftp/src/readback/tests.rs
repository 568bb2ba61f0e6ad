use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::*;
use crate::{
    protocol::StatusCode,
    session::{
        Loss,
        model::{Flaw, Model, State},
    },
};

fn text(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(bytes).map(|byte| byte.wrapping_mul(31)).collect()
}

fn model(file: &[u8]) -> Model {
    let state = Mutex::new(State { file: file.to_vec(), ..State::default() });
    Model { state, stream_bytes: 4096, ..Model::default() }
}

fn hash(bytes: &[u8]) -> String {
    let mut whole = HashedOffset::default();
    whole.advance(bytes);
    whole.sha256()
}

#[tokio::test]
async fn the_hash_is_that_of_the_file_whatever_the_server_answers_at_once() {
    for bytes in [0, 1, 1000, 40_000, 300_000] {
        for (read_bytes_max, reads_are_short, order) in [
            (None, false, 0),
            (Some(1000), false, 3),
            (Some(999), true, 5),
            (Some(300_000), false, 7),
        ] {
            let file = text(bytes);
            let server = Model { read_bytes_max, reads_are_short, order, ..model(&file) };
            let (session, handle) = Arc::new(server).lane().await;
            let read = sha256(&session, &handle, file.len() as u64).await;
            assert_eq!(read, Ok(hash(&file)), "{bytes} {read_bytes_max:?} {reads_are_short}");
        }
    }
}

#[tokio::test]
async fn a_file_of_another_size_has_another_hash() {
    let file = text(5000);
    let (session, handle) = Arc::new(model(&file)).lane().await;
    for (size_bytes, expected) in
        [(4000, &file[..4001]), (4999, &file), (5001, &file), (100_000, &file)]
    {
        assert_eq!(sha256(&session, &handle, size_bytes).await, Ok(hash(expected)), "{size_bytes}");
    }
}

#[tokio::test]
async fn reads_are_in_flight_together() {
    let server = Arc::new(Model { read_bytes_max: Some(100), ..model(&text(10_000)) });
    let (session, handle) = server.lane().await;
    sha256(&session, &handle, 10_000).await.unwrap();
    assert_eq!(server.state.lock().unwrap().reads_in_flight_max, READS_IN_FLIGHT);
}

#[tokio::test]
async fn a_server_that_does_not_let_anybody_read_is_quoted() {
    let (session, handle) =
        Arc::new(Model { flaw: Flaw::RefusesRead, ..model(&text(100)) }).lane().await;
    let refused = RequestError::Refused { code: StatusCode::Failure, message: String::new() };
    assert_eq!(sha256(&session, &handle, 100).await, Err(refused.clone()));
    assert_eq!(read_range(&session, &handle, 0, 10).await, Err(refused));
}

#[tokio::test]
async fn a_read_without_an_answer_ends_at_the_time_limit() {
    let limit = Duration::from_millis(500);
    let (session, mut server) = crate::session::script::start_with(limit, &[]).await;
    let (handle, ()) = tokio::join!(session.open_for_reading("f"), async {
        let id = server.next().await.unwrap().id;
        let handle = crate::session::script::string(b"h");
        server.send(crate::session::script::packet(102, id, &handle)).await;
    });
    let handle = handle.unwrap();
    let late = RequestError::Lost(Loss::TimedOut { seconds: 0 });
    assert_eq!(sha256(&session, &handle, 100).await, Err(late.clone()));
    assert_eq!(read_range(&session, &handle, 0, 100).await, Err(late));
}

#[tokio::test]
async fn a_range_is_read_in_as_many_reads_as_it_needs() {
    let file = text(5000);
    let server = Model { read_bytes_max: Some(700), reads_are_short: true, ..model(&file) };
    let (session, handle) = Arc::new(server).lane().await;
    for (offset, length, expected) in [
        (0, 5000, &file[..]),
        (10, 3000, &file[10..3010]),
        (4000, 2000, &file[4000..]),
        (5000, 1, &[]),
        (6000, 10, &[]),
        (20, 0, &[]),
    ] {
        let offset_bytes = u64::try_from(offset).unwrap();
        let read = read_range(&session, &handle, offset_bytes, length).await.unwrap();
        assert_eq!(read.concat(), expected, "{offset} {length}");
    }
}
