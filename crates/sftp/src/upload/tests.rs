mod servers;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::stream;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::{
    protocol::StatusCode,
    session::{
        Loss,
        model::{Flaw, Model, State},
        script::{HANDLE, LIMIT, OPEN, Script, WRITE, packet, start_with, status, string},
    },
};

type Chunks = BoxStream<'static, Result<Bytes, StorageError>>;

/// A file in which no two blocks are alike.
fn text(bytes: usize) -> Vec<u8> {
    (0u32..).flat_map(|number| number.wrapping_mul(0x9e37_79b1).to_be_bytes()).take(bytes).collect()
}

fn source(file: &[u8], chunk_bytes: usize) -> Chunks {
    let chunks = file.chunks(chunk_bytes).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
    stream::iter(chunks.collect::<Vec<_>>()).boxed()
}

fn model(flaw: Flaw) -> Model {
    Model { flaw, stream_bytes: 4096, ..Model::default() }
}

fn nothing() -> watch::Sender<HashedOffset> {
    watch::Sender::new(HashedOffset::default())
}

fn later() -> Instant {
    Instant::now() + LIMIT
}

fn config(write_bytes: usize, in_flight_max: usize) -> SftpConfig {
    let config = json!({
        "sftp_host": "sftp.partner.example",
        "sftp_user": "acme",
        "sftp_password": "x",
        "sftp_path": "in",
        "sftp_write_size": write_bytes,
        "sftp_max_in_flight": in_flight_max,
    });
    serde_json::from_value(config).unwrap()
}

fn hashed(bytes: &[u8]) -> HashedOffset {
    let mut end = HashedOffset::default();
    end.advance(bytes);
    end
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(work)
}

/// The parts of an upload that may be anything.
#[derive(Clone, Debug)]
struct Case {
    file_bytes: usize,
    chunk_bytes: usize,
    write_bytes: usize,
    in_flight_max: usize,
    lanes: usize,
    order: u64,
    stream_bytes: usize,
}

prop_compose! {
    fn any_case(lanes_max: usize)(
        file_bytes in 0..6000usize,
        chunk_bytes in 1..700usize,
        write_bytes in 1..1000usize,
        in_flight_max in 1..20usize,
        lanes in 1..=lanes_max,
        order in any::<u64>(),
        stream_bytes in prop_oneof![Just(16), 17..5000usize],
    ) -> Case {
        Case { file_bytes, chunk_bytes, write_bytes, in_flight_max, lanes, order, stream_bytes }
    }
}

impl Case {
    fn server(&self, flaw: Flaw) -> Model {
        let (order, stream_bytes) = (self.order, self.stream_bytes);
        let write_bytes_max = Some(self.pace().write_bytes);
        Model { flaw, write_bytes_max, order, stream_bytes, ..Model::default() }
    }

    fn pace(&self) -> Pace {
        Pace::with(self.write_bytes, self.in_flight_max)
    }

    /// The last offset that can be kept, if everything before `answered` is answered: the end of
    /// the file or the beginning of a piece, between two blocks.
    fn kept(&self, answered: usize) -> usize {
        let begins = (0..=answered).step_by(self.pace().write_bytes).chain([answered]);
        begins.filter(|offset| offset % HashedOffset::BLOCK_BYTES == 0).max().unwrap_or(0)
    }

    async fn upload(&self, server: &Arc<Model>, limit: Duration) -> Upload {
        let chunks = source(&text(self.file_bytes), self.chunk_bytes);
        let lanes = server.lanes(self.lanes, limit).await;
        Upload::with_pace(lanes, HashedOffset::default(), self.pace(), chunks)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn one_lane_sends_every_byte_behind_the_one_before(case in any_case(1)) {
        let server = Arc::new(case.server(Flaw::OnlyNextByte));
        let (ending, end, seams) = block_on(async {
            let mut upload = case.upload(&server, LIMIT).await;
            let ending = upload.run(later(), &nothing()).await.unwrap();
            (ending, upload.end().clone(), upload.seams())
        });
        let file = text(case.file_bytes);
        let state = server.state.lock().unwrap();
        prop_assert_eq!(&state.file, &file);
        prop_assert_eq!((ending, end.sha256()), (Ending::Complete, hashed(&file).sha256()));
        prop_assert_eq!(seams, vec![]);
        let sizes: Vec<_> = state.writes.iter().map(|(_, _, bytes)| *bytes).collect();
        let expected = file.chunks(case.pace().write_bytes).map(<[u8]>::len);
        prop_assert_eq!(sizes, expected.collect::<Vec<_>>());
    }

    #[test]
    fn any_lanes_write_the_source_and_each_in_ascending_order(case in any_case(4)) {
        let server = Arc::new(case.server(Flaw::None));
        let file = text(case.file_bytes);
        let acknowledged = nothing();
        let (end, met, seams) = block_on(async {
            let mut upload = case.upload(&server, LIMIT).await;
            assert_eq!(upload.run(later(), &acknowledged).await.unwrap(), Ending::Complete);
            let size_bytes = upload.end().offset();
            let met = check_seams(upload.first_lane(), size_bytes, &upload.seams()).await;
            (upload.end().clone(), met, upload.seams())
        });
        let state = server.state.lock().unwrap();
        prop_assert_eq!(&state.file, &file);
        prop_assert_eq!((end.offset(), end.sha256()), (file.len() as u64, hashed(&file).sha256()));
        prop_assert_eq!(met, Ok(true));
        let mut lasts = Vec::new();
        for lane in 0..case.lanes {
            let writes = state.writes.iter().filter(|write| write.0 == lane).map(|write| write.1);
            let writes: Vec<_> = writes.collect();
            prop_assert!(writes.is_sorted_by(|a, b| a < b), "{:?}", writes);
            lasts.extend(writes.last().copied().filter(|_| lane > 0));
        }
        prop_assert_eq!(seams.iter().map(|seam| seam.offset).collect::<Vec<_>>(), lasts);
        let acknowledged = acknowledged.borrow();
        let offset = usize::try_from(acknowledged.offset()).unwrap();
        prop_assert_eq!(offset, case.kept(file.len()));
        prop_assert_eq!(acknowledged.sha256(), hashed(&file[..offset]).sha256());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn acknowledged_is_what_was_answered_without_a_gap_also_after_a_drop(
        case in any_case(4),
        answers in 0..12usize,
    ) {
        // A server that stops to answer. Pieces of whole blocks make the offset exact.
        let case = Case { write_bytes: case.write_bytes.max(64), ..case };
        let server = Arc::new(Model { answers_max: Some(answers), ..case.server(Flaw::None) });
        let acknowledged = nothing();
        let ending = block_on(async {
            let mut upload = case.upload(&server, LIMIT).await;
            tokio::select! {
                ending = upload.run(later(), &acknowledged) => Some(ending.unwrap()),
                () = server.falls_silent() => None,
            }
        });
        let state = server.state.lock().unwrap();
        let pieces = case.file_bytes.div_ceil(case.pace().write_bytes);
        if pieces > answers {
            prop_assert_eq!(ending, None);
        }
        let answered = usize::try_from(state.answered_to(0)).unwrap();
        let acknowledged = acknowledged.borrow();
        let offset = usize::try_from(acknowledged.offset()).unwrap();
        prop_assert_eq!(offset, case.kept(answered));
        prop_assert_eq!(acknowledged.sha256(), hashed(&text(case.file_bytes)[..offset]).sha256());
    }
}

#[test]
fn the_pace_is_what_the_configuration_and_every_server_take() {
    let announced = |write_bytes| Limits { write_bytes, ..Limits::default() };
    let many = announced(Some(261_120));
    for (limits, size, in_flight, write_bytes, in_flight_max) in [
        // The window of 4 MiB is the limit of all.
        (vec![many], 261_120, 64, 261_120, 16),
        (vec![many], 261_120, 3, 261_120, 3),
        (vec![announced(None)], 261_120, 64, 32_768, 64),
        (vec![announced(None)], 261_120, 1024, 32_768, 128),
        (vec![many, announced(None)], 261_120, 64, 32_768, 64),
        (vec![many, announced(Some(8192))], 261_120, 64, 8192, 64),
        (vec![many], 10_000, 64, 9984, 64),
        (vec![announced(Some(20_000))], 261_120, 64, 19_968, 64),
        (vec![announced(Some(60))], 261_120, 64, 32, 64),
        (vec![announced(Some(u64::MAX))], 261_120, 1, 261_120, 1),
    ] {
        let config = config(size, in_flight);
        let pace = Pace::new(&limits, &config);
        assert_eq!(pace, Pace { write_bytes, in_flight_max }, "{limits:?}");
        assert_eq!(pace.window_bytes(), write_bytes * in_flight_max);
    }
}

#[tokio::test]
async fn a_lane_has_no_more_in_flight_than_it_may() {
    let acknowledged = nothing();
    for in_flight_max in [1, 2, 7] {
        let server = Arc::new(Model { answers_max: Some(0), ..model(Flaw::None) });
        let lanes = server.lanes(2, LIMIT).await;
        let pace = Pace::with(64, in_flight_max);
        let chunks = source(&text(6400), 6400);
        let mut upload = Upload::with_pace(lanes, HashedOffset::default(), pace, chunks);
        tokio::select! {
            result = upload.run(later(), &acknowledged) => panic!("{result:?}"),
            () = server.falls_silent() => {}
        }
        let writes = server.state.lock().unwrap().writes.clone();
        for lane in 0..2 {
            assert_eq!(writes.iter().filter(|write| write.0 == lane).count(), in_flight_max);
        }
    }
}

#[tokio::test]
async fn a_refused_write_is_quoted_and_what_was_acknowledged_before_counts() {
    let server = Arc::new(model(Flaw::RefusesFrom(640)));
    let lanes = server.lanes(1, LIMIT).await;
    let acknowledged = nothing();
    let chunks = source(&text(6400), 100);
    let mut upload = Upload::with_pace(lanes, HashedOffset::default(), Pace::with(64, 4), chunks);
    match upload.run(later(), &acknowledged).await {
        Err(UploadError::Request { lane: 0, error: RequestError::Refused { code, .. } }) => {
            assert_eq!(code, StatusCode::Failure);
        }
        result => panic!("{result:?}"),
    }
    assert_eq!(acknowledged.borrow().offset(), 640);
}

#[tokio::test]
async fn a_failing_source_is_its_own_error() {
    let server = Arc::new(model(Flaw::None));
    let lanes = server.lanes(1, LIMIT).await;
    let location = serde_json::from_value(json!({ "bucket": "b", "key": "k" })).unwrap();
    let changed = StorageError::Changed { action: "reading", location };
    let chunks = stream::iter([Ok(Bytes::from(vec![7; 640])), Err(changed)]).boxed();
    let mut upload = Upload::with_pace(lanes, HashedOffset::default(), Pace::with(64, 4), chunks);
    let result = upload.run(later(), &nothing()).await;
    assert!(matches!(result, Err(UploadError::Source(StorageError::Changed { .. }))), "{result:?}");
}

#[tokio::test]
async fn when_the_time_is_up_what_was_sent_is_acknowledged_and_the_rest_can_follow() {
    let server = Arc::new(model(Flaw::OnlyNextByte));
    let lanes = server.lanes(1, LIMIT).await;
    let (acknowledged, file) = (nothing(), text(6400));
    // A source that stops for a while in the middle.
    let (first, rest) = file.split_at(1000);
    let rest = Bytes::copy_from_slice(rest);
    let rest = stream::once(async move {
        sleep(Duration::from_millis(1500)).await;
        Ok(rest)
    });
    let chunks = source(first, 100).chain(rest).boxed();
    let mut upload = Upload::with_pace(lanes, HashedOffset::default(), Pace::with(64, 4), chunks);
    let soon = Instant::now() + Duration::from_millis(500);
    assert_eq!(upload.run(soon, &acknowledged).await.unwrap(), Ending::TimeUp);
    assert_eq!((acknowledged.borrow().offset(), upload.end().offset()), (960, 960));
    assert_eq!(upload.run(later(), &acknowledged).await.unwrap(), Ending::Complete);
    assert_eq!(acknowledged.borrow().sha256(), hashed(&file).sha256());
    assert_eq!(server.state.lock().unwrap().file, file);
}

#[tokio::test]
async fn a_dropped_upload_keeps_what_was_acknowledged() {
    let server = Arc::new(Model { answers_max: Some(5), ..model(Flaw::None) });
    let lanes = server.lanes(1, LIMIT).await;
    let acknowledged = nothing();
    let chunks = source(&text(6400), 100);
    let mut upload = Upload::with_pace(lanes, HashedOffset::default(), Pace::with(64, 4), chunks);
    tokio::select! {
        result = upload.run(later(), &acknowledged) => panic!("{result:?}"),
        () = server.falls_silent() => {}
    }
    assert_eq!(acknowledged.borrow().offset(), 320);
}

/// Starts a lane whose server does what the test wants.
async fn scripted_lane(limit: Duration) -> (Lane, Script) {
    let (session, mut server) = start_with(limit, &[]).await;
    let (handle, ()) = tokio::join!(session.open_for_writing("f"), async {
        let id = server.expect(OPEN).await.id;
        server.send(packet(HANDLE, id, &string(b"h"))).await;
    });
    (Lane { session, handle: handle.unwrap() }, server)
}

#[tokio::test]
async fn the_time_limit_is_for_progress() {
    // Ten answers, each within the limit, all together far behind it.
    let (lane, mut server) = scripted_lane(Duration::from_millis(700)).await;
    let chunks = source(&text(640), 640);
    let pace = Pace::with(64, 10);
    let mut upload = Upload::with_pace(vec![lane], HashedOffset::default(), pace, chunks);
    let acknowledged = nothing();
    let (result, ()) = tokio::join!(upload.run(later(), &acknowledged), async {
        for _ in 0..10 {
            let id = server.expect(WRITE).await.id;
            sleep(Duration::from_millis(120)).await;
            server.send(status(id, 0)).await;
        }
    });
    assert_eq!(result.unwrap(), Ending::Complete);
}

#[tokio::test]
async fn the_progress_of_one_lane_does_not_excuse_another() {
    for silent in [0, 1] {
        let limit = Duration::from_millis(700);
        let (first, first_server) = scripted_lane(limit).await;
        let (second, second_server) = scripted_lane(limit).await;
        let mut servers = [first_server, second_server];
        let chunks = source(&text(640_000), 1000);
        let (pace, start) = (Pace::with(64, 1), HashedOffset::default());
        let mut upload = Upload::with_pace(vec![first, second], start, pace, chunks);
        let server = &mut servers[1 - silent];
        let acknowledged = nothing();
        let result = tokio::select! {
            result = upload.run(later(), &acknowledged) => result,
            () = async {
                loop {
                    let id = server.expect(WRITE).await.id;
                    sleep(Duration::from_millis(100)).await;
                    server.send(status(id, 0)).await;
                }
            } => unreachable!(),
        };
        match result {
            Err(UploadError::Request { lane, error: RequestError::Lost(loss) }) => {
                assert_eq!((lane, loss), (silent, Loss::TimedOut { seconds: 0 }));
            }
            result => panic!("{result:?}"),
        }
    }
}

/// Probes a server with two lanes, and expects what becomes of it.
async fn check_probe(flaw: Flaw, from: usize, there: usize, expected: bool) {
    let file = text(6400);
    let state = Mutex::new(State { file: file[..there].to_vec(), ..State::default() });
    let server = Arc::new(Model { state, ..model(flaw) });
    let chunks = source(&file[from..], 100);
    let lanes = server.lanes(2, LIMIT).await;
    let acknowledged = watch::Sender::new(hashed(&file[..from]));
    let mut upload = Upload::with_pace(lanes, hashed(&file[..from]), Pace::with(128, 4), chunks);
    let met = upload.probe(&acknowledged).await.unwrap();
    assert_eq!(met, expected, "{flaw:?} {from} {there}");
    let probed = if expected { from + 256 } else { from };
    assert_eq!(acknowledged.borrow().offset(), probed as u64, "{flaw:?}");
    if !expected {
        return;
    }
    assert_eq!(upload.run(later(), &acknowledged).await.unwrap(), Ending::Complete);
    assert_eq!(server.state.lock().unwrap().file, file, "{flaw:?}");
    let seams = upload.seams();
    assert_eq!(seams.iter().any(|seam| seam.offset == from as u64), from > 0, "{seams:?}");
    assert_eq!(check_seams(upload.first_lane(), 6400, &seams).await, Ok(true));
}

#[tokio::test]
async fn handles_of_one_file_meet() {
    check_probe(Flaw::None, 0, 0, true).await;
    // Behind what was acknowledged there may be more.
    for there in [640, 700, 896, 1000] {
        check_probe(Flaw::None, 640, there, true).await;
    }
}

#[tokio::test]
async fn handles_that_do_not_meet_or_cannot_show_it_are_told() {
    for flaw in [
        Flaw::OwnFiles,
        Flaw::SecondIsLost,
        Flaw::SecondIsIgnored,
        Flaw::RefusesFstat,
        Flaw::TellsNoSize,
        Flaw::RefusesRead,
        Flaw::RefusesSecondWrite,
    ] {
        check_probe(flaw, 0, 0, false).await;
    }
    check_probe(Flaw::Appends, 640, 1000, false).await;
    check_probe(Flaw::RefusesFstat, 640, 640, false).await;
}

#[tokio::test]
async fn a_probe_without_an_answer_is_a_loss() {
    let server = Arc::new(model(Flaw::IgnoresFstat));
    let lanes = server.lanes(2, Duration::from_millis(500)).await;
    let chunks = source(&text(640), 640);
    let mut upload = Upload::with_pace(lanes, HashedOffset::default(), Pace::with(64, 4), chunks);
    match upload.probe(&nothing()).await {
        Err(UploadError::Request { lane: 0, error: RequestError::Lost(loss) }) => {
            assert_eq!(loss, Loss::TimedOut { seconds: 0 });
        }
        result => panic!("{result:?}"),
    }
}

#[tokio::test]
async fn a_probe_of_less_than_two_pieces_needs_no_second_lane() {
    for bytes in [0, 1, 64] {
        let file = text(bytes);
        let server = Arc::new(model(Flaw::OwnFiles));
        let lanes = server.lanes(2, LIMIT).await;
        let chunks = source(&file, 640);
        let mut upload =
            Upload::with_pace(lanes, HashedOffset::default(), Pace::with(64, 4), chunks);
        assert!(upload.probe(&nothing()).await.unwrap(), "{bytes}");
        assert_eq!(upload.run(later(), &nothing()).await.unwrap(), Ending::Complete);
        assert_eq!(upload.end().sha256(), hashed(&file).sha256());
    }
}

#[tokio::test]
async fn a_seam_that_is_not_as_it_was_written_is_found() {
    let file = text(640);
    let state = Mutex::new(State { file: file.clone(), ..State::default() });
    let server = Arc::new(Model { state, ..model(Flaw::None) });
    let lane = server.lanes(1, LIMIT).await.remove(0);
    let seam = |offset: usize, bytes: &[u8]| {
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        let bytes = [first, rest].map(Bytes::copy_from_slice).to_vec();
        Seam { offset: offset as u64, bytes }
    };
    let mut changed = file[100..200].to_vec();
    changed[99] ^= 1;
    let good = seam(0, &file[..64]);
    for (size_bytes, seams, expected) in [
        (640, vec![], true),
        (640, vec![good.clone(), seam(600, &file[600..])], true),
        (641, vec![], false),
        (639, vec![good.clone()], false),
        (640, vec![good.clone(), seam(100, &changed)], false),
        (640, vec![seam(600, &[&file[600..], b"x"].concat()), good], false),
    ] {
        assert_eq!(check_seams(&lane, size_bytes, &seams).await, Ok(expected), "{seams:?}");
    }
}
