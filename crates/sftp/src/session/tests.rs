use std::{process::Stdio, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncWriteExt, duplex, join},
    time::timeout,
};

use super::{
    script::{
        ATTRS, CLOSE, DATA, EXTENDED, EXTENDED_REPLY, FSTAT, HANDLE, LIMIT, OPEN, READ, STATUS,
        Script, WRITE, packet, start, start_with, status, string, version,
    },
    *,
};
use crate::protocol::{Attributes, FileType};

const SHORT: Duration = Duration::from_millis(300);

fn lost<T>(place: &str) -> Result<T, RequestError> {
    Err(RequestError::Lost(Loss::Protocol { place: place.to_owned() }))
}

fn refused<T>(code: StatusCode, message: &str) -> Result<T, RequestError> {
    Err(RequestError::Refused { code, message: message.to_owned() })
}

/// Starts a session with a server that prints `greeting`, and then closes unless it `stays`.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "rows are values")]
fn check_start(greeting: Vec<u8>, stays: bool, expected: Result<Features, StartError>) {
    let shown = String::from_utf8_lossy(&greeting).into_owned();
    let result = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (client, mut server) = duplex(64 * 1024);
        server.write_all(&greeting).await.unwrap();
        let server = stays.then_some(server);
        // Only who waits for nothing should not wait for long.
        let waits = matches!(expected, Err(StartError::TimedOut { .. } | StartError::Text(_)));
        let result = Session::start(client, if waits { SHORT } else { LIMIT }).await;
        drop(server);
        result
    });
    assert_eq!(result.map(|session| *session.features()), expected, "{shown}");
}

#[test]
fn a_start_tells_what_the_server_is() {
    let posix_rename = ("posix-rename@openssh.com", "1");
    let fsync = ("fsync@openssh.com", "1");
    let other = ("newline@vandyke.com", "\n");
    let features = |posix_rename, fsync| Features { posix_rename, fsync, ..Features::default() };
    check_start(version(3, &[]), true, Ok(features(false, false)));
    check_start(version(3, &[other, posix_rename]), true, Ok(features(true, false)));
    check_start(version(3, &[fsync, posix_rename]), true, Ok(features(true, true)));
    // The draft of another extension of the same name.
    check_start(version(3, &[("fsync@openssh.com", "2")]), true, Ok(features(false, false)));
    for number in [0, 2, 4, 5, 6, u32::MAX] {
        // What follows the version has another meaning.
        let greeting = packet(2, number, b"\xff\xff\xff\xff");
        check_start(greeting, true, Err(StartError::Version(number)));
    }
    check_start(vec![], false, Err(StartError::Closed));
    check_start(vec![0, 0], false, Err(StartError::Closed));
    check_start(vec![], true, Err(StartError::TimedOut { seconds: 0 }));
    check_start(vec![0, 0, 0, 9, 2], true, Err(StartError::TimedOut { seconds: 0 }));
}

#[test]
fn text_instead_of_sftp_is_shown() {
    let text = |text: &str| Err(StartError::Text(text.to_owned()));
    let sentence = "This account is currently not available.";
    check_start(format!("{sentence}\r\n").into(), false, text(sentence));
    check_start(format!("{sentence}\r\n").into(), true, text(sentence));
    check_start(b"no\n".into(), false, text("no"));
    check_start(b"no\n".into(), true, text("no"));
    check_start(b"\x1b[31mred\x07 one\ntwo".into(), true, text("[31mred one two"));
    check_start("Zugriff gesperrt für Gäste".into(), true, text("Zugriff gesperrt für Gäste"));
    check_start(b"gesperrt f\xfcr alle".into(), true, text("gesperrt f\u{fffd}r alle"));
    check_start("a".repeat(10_000).into(), true, text(&"a".repeat(200)));
    check_start(vec![0xe9; 300], true, text(&"\u{fffd}".repeat(66)));
}

#[test]
fn the_text_of_a_server_that_refuses_to_begin_is_shown() {
    let text = "Proposed version (3) not in supported range: 6-6";
    let refused = [&8u32.to_be_bytes()[..], &string(text.as_bytes()), &string(b"")].concat();
    check_start(packet(101, 3, &refused), true, Err(StartError::Refused(text.to_owned())));
    check_start(status(0, 4), true, Err(StartError::Refused(String::new())));
}

#[test]
fn what_is_no_version_is_a_protocol_fault_with_its_place() {
    let fault =
        |place: &str| Err(StartError::Protocol { place: format!("reply to INIT: {place}") });
    check_start(packet(103, 0, &[0; 4]), true, fault("a packet of type 103"));
    check_start(vec![0, 0, 0, 0], true, fault("a packet of 0 bytes ends before its type"));
    check_start(vec![0, 0, 0, 2, 2, 0], true, fault("a packet of 2 bytes ends before a version"));
    check_start(vec![0, 0x10, 0, 0, 2], true, fault("a packet of 1048576 bytes, more than 263168"));
    check_start(
        packet(2, 3, &300u32.to_be_bytes()),
        true,
        fault("the name of an extension of 300 bytes in a packet of 9"),
    );
}

#[tokio::test]
async fn limits_are_asked_for_where_they_are_announced() {
    let said = Limits {
        packet_bytes: Some(262_144),
        read_bytes: Some(261_120),
        write_bytes: Some(261_120),
        open_handles: Some(1019),
    };
    let unsaid = Limits::default();
    let numbers = |numbers: [u64; 4]| numbers.map(u64::to_be_bytes).concat();
    let reply = |body: &[u8]| packet(EXTENDED_REPLY, 0, body);
    let fault = |place: &str| Err(StartError::Protocol { place: place.to_owned() });
    let place = "reply to limits@openssh.com: ";
    for (answer, expected) in [
        (reply(&numbers([262_144, 261_120, 261_120, 1019])), Ok(said)),
        (reply(&numbers([0; 4])), Ok(unsaid)),
        (
            reply(&numbers([0, 0, 8192, 0])),
            Ok(Limits { write_bytes: Some(8192), ..Limits::default() }),
        ),
        (status(0, 8), Ok(unsaid)),
        (status(0, 4), Ok(unsaid)),
        (reply(&[0; 31]), fault(&format!("{place}31 bytes of limits"))),
        (status(0, 0), fault(&format!("{place}success"))),
        (packet(HANDLE, 0, &string(b"h")), fault(&format!("{place}a handle"))),
        (packet(0, 0, b""), fault(&format!("{place}a packet of type 0"))),
    ] {
        let (client, server) = duplex(1024);
        let mut server = Script(server);
        let (session, ()) = tokio::join!(Session::start(client, LIMIT), async {
            server.greet(&[("limits@openssh.com", "1")]).await;
            let request = server.expect(EXTENDED).await;
            assert_eq!(request.body, string(b"limits@openssh.com"));
            server.send(&answer).await;
        });
        assert_eq!(session.map(|session| session.features().limits), expected, "{answer:?}");
    }
}

#[test]
fn the_limit_of_a_packet_is_one_of_its_data() {
    for (packet_bytes, write_bytes, expected) in [
        (None, None, None),
        (None, Some(8192), Some(8192)),
        (Some(34_000), None, Some(32_976)),
        (Some(34_000), Some(32_768), Some(32_768)),
        (Some(34_000), Some(65_536), Some(32_976)),
        (Some(100), Some(65_536), Some(1)),
        (None, Some(u64::MAX), Some(261_120)),
    ] {
        let limits = Limits { packet_bytes, write_bytes, ..Limits::default() };
        assert_eq!(limits.write_bytes_max(), expected, "{limits:?}");
        let limits = Limits { packet_bytes, read_bytes: write_bytes, ..Limits::default() };
        assert_eq!(limits.read_bytes_max(), expected, "{limits:?}");
    }
}

#[tokio::test]
async fn a_refusal_keeps_the_code_and_the_text_of_the_server() {
    use StatusCode::{
        BadMessage, ConnectionLost, Failure, NoConnection, NoSuchFile, Other, PermissionDenied,
        Unsupported,
    };
    let (session, mut server) = start().await;
    let text = string(b"disk full");
    let latin1 = string(b"acc\xe8s refus\xe9");
    let cut_off = [&900u32.to_be_bytes()[..], b"disk fu"].concat();
    for (code, rest, expected) in [
        (2, &b""[..], refused(NoSuchFile, "")),
        (3, b"", refused(PermissionDenied, "")),
        (4, &text, refused(Failure, "disk full")),
        (4, &[&text[..], &string(b"en")].concat(), refused(Failure, "disk full")),
        (4, &[&text[..], &string(b"\xff\xff")].concat(), refused(Failure, "disk full")),
        (5, &latin1, refused(BadMessage, "acc\u{fffd}s refus\u{fffd}")),
        (6, b"", refused(NoConnection, "")),
        (7, &text, refused(ConnectionLost, "disk full")),
        (8, b"", refused(Unsupported, "")),
        (4, &cut_off, refused(Failure, "disk fu")),
        (4, b"\0\0", refused(Failure, "")),
        (15, &text, refused(Other(15), "disk full")),
        (u32::MAX, &text, refused(Other(u32::MAX), "disk full")),
        (1, &text, refused(Other(1), "disk full")),
        (0, b"", Ok(())),
        (0, &text, Ok(())),
    ] {
        let (result, ()) = tokio::join!(session.mkdir("in"), async {
            let id = server.next().await.unwrap().id;
            server.send(packet(STATUS, id, &[&u32::to_be_bytes(code)[..], rest].concat())).await;
        });
        assert_eq!(result, expected, "{code} {rest:?}");
    }
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_is_a_protocol_fault_with_its_place() {
    let open = "reply to OPEN: ";
    let long = [&300u32.to_be_bytes()[..], b"twelve more"].concat();
    for (answer, expected) in [
        (packet(HANDLE, 0, &long), format!("{open}a handle of 300 bytes in a packet of 20")),
        (packet(HANDLE, 0, b"\0"), format!("{open}a packet of 6 bytes ends before a handle")),
        (
            packet(STATUS, 0, b"\0\0\0"),
            format!("{open}a packet of 8 bytes ends before a status code"),
        ),
        (packet(104, 0, b""), format!("{open}a packet of type 104")),
        (
            packet(ATTRS, 0, b"\0\0\0\x01\0"),
            format!("{open}a packet of 10 bytes ends before a size"),
        ),
        (status(0, 0), format!("{open}success")),
        (packet(ATTRS, 0, &[0; 4]), format!("{open}attributes")),
        (packet(DATA, 0, &string(b"x")), format!("{open}data")),
        (status(7, 0), "a reply to request 7, which is not open".to_owned()),
        (b"\0\0\0\x03\x65\0\0".into(), "a packet of 3 bytes ends before its id".to_owned()),
        (b"text".into(), "a packet of 1952807028 bytes, more than 263168".to_owned()),
    ] {
        let (session, mut server) = start().await;
        let (result, ()) = tokio::join!(session.open_for_reading("f"), async {
            server.expect(OPEN).await;
            server.send(&answer).await;
        });
        assert_eq!(result, lost(&expected), "{answer:?}");
    }
}

#[tokio::test]
async fn after_a_fault_every_request_ends_with_it() {
    let (session, mut server) = start().await;
    let (first, second, ()) = tokio::join!(session.mkdir("a"), session.mkdir("b"), async {
        server.next().await.unwrap();
        server.next().await.unwrap();
        server.send(status(9, 0)).await;
    });
    let expected = lost("a reply to request 9, which is not open");
    assert_eq!((&first, &second), (&expected, &expected));
    assert_eq!(session.mkdir("c").await, expected);
}

#[tokio::test]
async fn a_closed_stream_ends_every_request() {
    let (session, mut server) = start().await;
    let closed = Err(RequestError::Lost(Loss::Closed));
    let (result, ()) = tokio::join!(session.mkdir("a"), async {
        let id = server.next().await.unwrap().id;
        // The stream may end inside a packet.
        server.send(&status(id, 0)[..7]).await;
        drop(server);
    });
    assert_eq!(result, closed);
    assert_eq!(timeout(LIMIT, session.mkdir("b")).await, Ok(closed));
}

#[tokio::test]
async fn a_refusal_before_the_end_of_the_stream_is_not_lost() {
    let (session, mut server) = start().await;
    let handle = Handle(Bytes::from_static(b"h"));
    // More than the stream holds, so that the writer fails while the answer is under way.
    let write = session.write(&handle, 0, vec![Bytes::from(vec![0; 200_000])]);
    let (result, ()) = tokio::join!(write, async {
        server
            .send(packet(STATUS, 0, &[&4u32.to_be_bytes()[..], &string(b"quota")].concat()))
            .await;
        drop(server);
    });
    assert_eq!(result, refused(StatusCode::Failure, "quota"));
}

#[tokio::test]
async fn requests_run_side_by_side_and_replies_come_in_any_order() {
    let (session, mut server) = start().await;
    let paths: Vec<_> = (0..20).map(|number| format!("file {number}")).collect();
    let stats = futures_util::future::join_all(paths.iter().map(|path| session.stat(path)));
    let (results, ()) = tokio::join!(stats, async {
        let mut requests = Vec::new();
        for _ in &paths {
            let mut request = server.next().await.unwrap();
            let path = String::from_utf8(request.string().to_vec()).unwrap();
            requests.push((request.id, path.strip_prefix("file ").unwrap().parse().unwrap()));
        }
        requests.sort_by_key(|(id, _)| id.reverse_bits());
        for (id, number) in requests {
            server
                .send(packet(ATTRS, id, &[&[0, 0, 0, 1][..], &u64::to_be_bytes(number)].concat()))
                .await;
        }
    });
    let sizes: Vec<_> = results.into_iter().map(|result| result.unwrap().size_bytes).collect();
    assert_eq!(sizes, (0..20).map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_request_without_an_answer_ends_at_the_time_limit_and_its_late_answer_is_ignored() {
    let (session, mut server) = start_with(SHORT, &[]).await;
    assert_eq!(
        session.mkdir("a").await,
        Err(RequestError::Lost(Loss::TimedOut { seconds: SHORT.as_secs() }))
    );
    let late = server.next().await.unwrap().id;
    let (result, ()) = tokio::join!(session.mkdir("b"), async {
        let id = server.next().await.unwrap().id;
        server.send([status(late, 4), status(id, 0)].concat()).await;
    });
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn the_handle_of_a_dropped_open_is_closed() {
    // Dropped before the reply comes, or after it came and before anybody looked.
    for reply_first in [false, true] {
        let (session, mut server) = start().await;
        let mut open = Box::pin(session.open_for_writing("f"));
        assert!(futures_util::poll!(&mut open).is_pending());
        let id = server.expect(OPEN).await.id;
        let reply = packet(HANDLE, id, &string(b"unwanted"));
        if reply_first {
            server.send(&reply).await;
            // The answer to a later request shows that the earlier one was received.
            let (result, ()) = tokio::join!(session.mkdir("d"), async {
                let id = server.next().await.unwrap().id;
                server.send(status(id, 0)).await;
            });
            assert_eq!(result, Ok(()));
            drop(open);
        } else {
            drop(open);
            server.send(&reply).await;
        }
        let mut close = timeout(LIMIT, server.expect(CLOSE)).await.unwrap();
        assert_eq!(close.string(), "unwanted");
        server.send(status(close.id, 0)).await;
        // The session goes on.
        let (result, ()) = tokio::join!(session.mkdir("d"), async {
            let id = server.next().await.unwrap().id;
            server.send(status(id, 0)).await;
        });
        assert_eq!(result, Ok(()), "{reply_first}");
    }
}

#[tokio::test]
async fn the_handle_of_an_awaited_open_is_not_closed() {
    let (session, mut server) = start().await;
    let (handle, ()) = tokio::join!(session.open_for_writing("f"), async {
        let id = server.expect(OPEN).await.id;
        server.send(packet(HANDLE, id, &string(b"wanted"))).await;
    });
    assert_eq!(handle, Ok(Handle(Bytes::from_static(b"wanted"))));
    let (_, request) = tokio::join!(timeout(SHORT, session.mkdir("d")), server.next());
    assert_ne!(request.unwrap().kind, CLOSE);
}

#[tokio::test]
async fn writes_go_out_in_the_order_of_their_calls_with_all_their_bytes() {
    let (session, mut server) = start().await;
    let handle = Handle(Bytes::from_static(b"h"));
    let data = [
        vec![Bytes::from(vec![1; 100_000]), Bytes::new(), Bytes::from(vec![2; 10])],
        vec![],
        vec![Bytes::from_static(b"end")],
    ];
    let mut offset = 0;
    let mut answers = Vec::new();
    let mut expected = Vec::new();
    for data in data {
        let bytes = data.concat();
        answers.push(session.begin_write(&handle, offset, data));
        expected.push((offset, bytes.clone()));
        offset += bytes.len() as u64;
    }
    let mut received = Vec::new();
    for _ in &expected {
        let mut write = server.expect(WRITE).await;
        assert_eq!(write.string(), "h");
        let offset = bytes::Buf::get_u64(&mut write.body);
        received.push((offset, write.string().to_vec()));
        assert!(write.body.is_empty());
        server.send(status(write.id, 0)).await;
    }
    assert_eq!(received, expected);
    for answer in answers {
        assert_eq!(answer.await, Ok(()));
    }
}

#[tokio::test]
async fn requests_that_are_given_up_do_not_fill_the_queue() {
    let (client, server) = duplex(64);
    let mut server = Script(server);
    let (session, ()) = tokio::join!(Session::start(client, LIMIT), server.greet(&[]));
    let session = session.unwrap();
    let mut requests: Vec<_> = (0..1000).map(|_| Box::pin(session.mkdir("directory"))).collect();
    for request in &mut requests {
        assert!(futures_util::poll!(request).is_pending());
    }
    let waiting = QUEUE_MAX - session.link.room.available_permits();
    assert_eq!(waiting, QUEUE_MAX);
    drop(requests);
    let mut sent = 0;
    while let Ok(Some(_)) = timeout(SHORT, server.next()).await {
        sent += 1;
    }
    assert_eq!(sent, QUEUE_MAX);
    assert_eq!(session.link.room.available_permits(), QUEUE_MAX);
}

#[tokio::test]
async fn a_read_ends_behind_the_last_byte_and_takes_no_more_than_it_asked_for() {
    let (session, mut server) = start().await;
    let handle = Handle(Bytes::from_static(b"h"));
    let data = |bytes: &'static [u8]| packet(DATA, 0, &string(bytes));
    for (answer, expected) in [
        (data(b"1234"), Ok(Bytes::from_static(b"1234"))),
        (data(b"1"), Ok(Bytes::from_static(b"1"))),
        (data(b""), Ok(Bytes::new())),
        (status(0, 1), Ok(Bytes::new())),
        (status(0, 4), refused(StatusCode::Failure, "")),
        (data(b"12345"), lost("reply to READ of 4 bytes: 5 bytes")),
        (status(0, 0), lost("reply to READ: success")),
    ] {
        let (result, ()) = tokio::join!(session.read(&handle, 70_000, 4), async {
            let mut read = server.expect(READ).await;
            assert_eq!(read.string(), "h");
            assert_eq!(read.body, [0, 0, 0, 0, 0, 1, 0x11, 0x70, 0, 0, 0, 4][..]);
            let mut answer = answer.clone();
            answer[5..9].copy_from_slice(&read.id.to_be_bytes());
            server.send(answer).await;
        });
        assert_eq!(result, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn attributes_are_those_that_the_server_tells() {
    let (session, mut server) = start().await;
    let handle = Handle(Bytes::from_static(b"h"));
    let all = [
        &0x8000_000f_u32.to_be_bytes()[..],
        &5u64.to_be_bytes(),
        &[0; 8],
        &0o100_644_u32.to_be_bytes(),
        &[0; 4],
        &77u32.to_be_bytes(),
        &2u32.to_be_bytes(),
        &string(b"a@b"),
        &string(b"1"),
        &string(b"c@d"),
        &string(b""),
    ]
    .concat();
    let mode = |mode: u32| [&4u32.to_be_bytes()[..], &mode.to_be_bytes()].concat();
    for (body, size_bytes, modified, file_type) in [
        (all, Some(5), Some(77), FileType::Regular),
        (vec![0; 4], None, None, FileType::Unknown),
        (mode(0o755), None, None, FileType::Unknown),
        (mode(0o040_755), None, None, FileType::Directory),
        (mode(0o120_777), None, None, FileType::Symlink),
        (mode(0o010_644), None, None, FileType::Other),
    ] {
        let (result, ()) = tokio::join!(session.fstat(&handle), async {
            let id = server.expect(FSTAT).await.id;
            server.send(packet(ATTRS, id, &body)).await;
        });
        let found = result.unwrap();
        assert_eq!(
            (found.size_bytes, found.modified, found.file_type()),
            (size_bytes, modified, file_type),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn the_stream_is_closed_with_the_last_clone() {
    let (session, mut server) = start().await;
    let clone = session.clone();
    drop(session);
    assert!(timeout(SHORT, server.next()).await.is_err());
    drop(clone);
    assert_eq!(timeout(LIMIT, server.next()).await, Ok(None));
}

#[expect(clippy::disallowed_methods, reason = "the environment tells what a machine has to have")]
fn servers_are_required() -> bool {
    std::env::var("ATHENA_WORKFLOW_REQUIRE_SERVERS").is_ok_and(|value| value == "1")
}

/// Starts a session with OpenSSH's server; nothing if there is none and none is required.
pub(crate) async fn start_openssh() -> Option<(Session, tokio::process::Child)> {
    const SERVER: &str = "/usr/lib/openssh/sftp-server";
    if !std::path::Path::new(SERVER).exists() {
        assert!(!servers_are_required(), "`{SERVER}` is missing, and it is required");
        eprintln!("skipped: `{SERVER}` is missing");
        return None;
    }
    let mut server = tokio::process::Command::new(SERVER);
    let server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = server.spawn().unwrap();
    let stream = join(server.stdout.take().unwrap(), server.stdin.take().unwrap());
    Some((Session::start(stream, LIMIT).await.unwrap(), server))
}

#[tokio::test]
async fn openssh_takes_every_request() {
    let Some((session, _server)) = start_openssh().await else { return };
    let features = *session.features();
    assert!(features.posix_rename && features.fsync, "{features:?}");
    assert_eq!(features.limits.write_bytes_max(), Some(261_120));
    assert_eq!(features.limits.read_bytes_max(), Some(261_120));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (new, last) = (path("dir/nöw"), path("dir/last"));

    session.mkdir(&path("dir")).await.unwrap();
    assert_eq!(session.mkdir(&path("dir")).await, refused(StatusCode::Failure, "Failure"));
    let no_file = refused(StatusCode::NoSuchFile, "No such file");
    assert_eq!(session.open_for_writing(&new).await, no_file);
    let handle = session.create_new(&new, Access::ReadWrite).await.unwrap();
    let again = session.create_new(&new, Access::Write).await;
    assert_eq!(again, refused(StatusCode::Failure, "Failure"));
    session
        .write(&handle, 3, vec![Bytes::from_static(b"45"), Bytes::from_static(b"6")])
        .await
        .unwrap();
    session.write(&handle, 0, vec![Bytes::from_static(b"123")]).await.unwrap();
    session.fsync(&handle).await.unwrap();
    assert_eq!(session.read(&handle, 1, 100).await.unwrap(), "23456");
    assert_eq!(session.read(&handle, 6, 100).await.unwrap(), "");
    let attributes = session.fstat(&handle).await.unwrap();
    assert_eq!((attributes.size_bytes, attributes.file_type()), (Some(6), FileType::Regular));
    session.close(handle.clone()).await.unwrap();
    assert!(matches!(session.close(handle).await, Err(RequestError::Refused { .. })));

    session.set_permissions(&new, 0o604).await.unwrap();
    let permissions = session.stat(&new).await.unwrap().permissions;
    assert_eq!(permissions, Some(0o100_604));
    std::fs::write(&last, "old").unwrap();
    assert_eq!(session.rename(&new, &last).await, refused(StatusCode::Failure, "Failure"));
    session.posix_rename(&new, &last).await.unwrap();
    assert_eq!(std::fs::read(&last).unwrap(), b"123456");
    std::os::unix::fs::symlink(&last, &new).unwrap();
    assert_eq!(session.lstat(&new).await.unwrap().file_type(), FileType::Symlink);
    assert_eq!(session.stat(&new).await.unwrap().size_bytes, Some(6));
    session.remove(&new).await.unwrap();
    session.rename(&last, &new).await.unwrap();
    let handle = session.open_for_writing(&new).await.unwrap();
    session.write(&handle, 1, vec![Bytes::from_static(b"_")]).await.unwrap();
    session.close(handle).await.unwrap();
    assert_eq!(std::fs::read(&new).unwrap(), b"1_3456");
    let handle = session.open_for_reading(&new).await.unwrap();
    assert_eq!(session.read(&handle, 0, 3).await.unwrap(), "1_3");
    session.close(handle).await.unwrap();
    let handle = session.create_or_truncate(&new).await.unwrap();
    assert_eq!(session.fstat(&handle).await.unwrap().size_bytes, Some(0));
    session.close(handle).await.unwrap();
    let missing: Result<Attributes, _> = session.lstat(&last).await;
    assert_eq!(missing, refused(StatusCode::NoSuchFile, "No such file"));
}
