use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, string::string_regex};
use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, FileAttributes, Handle, Packet, Status, StatusCode as Code,
};

use super::*;

/// The packet that another implementation sends, without its length.
fn encoded(packet: Packet) -> Bytes {
    let packet = Bytes::try_from(packet).unwrap();
    let length = u32::from_be_bytes(packet[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), packet.len() - 4);
    packet.slice(4..)
}

/// The request as another implementation reads it, in its debug format.
fn read_by_peer(request: Request<'_>, data: &[u8]) -> String {
    let packet = [&request.encode(7)[..], data].concat();
    let length = u32::from_be_bytes(packet[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), packet.len() - 4, "{request:?}");
    let packet = Packet::try_from(&mut Bytes::from(packet).slice(4..)).unwrap();
    format!("{packet:?}")
}

#[test]
fn a_peer_reads_every_request_as_it_is_meant() {
    let (handle, path, from, to) = (&b"h1"[..], "in/q3 ü.zip", "a", "b");
    let length = 5;
    for (request, data, expected) in [
        (
            Request::Open { path, flags: flags::WRITE | flags::CREATE | flags::EXCLUSIVE },
            &b""[..],
            r#"Open(Open { id: 7, filename: "in/q3 ü.zip", pflags: OpenFlags(42)"#,
        ),
        (
            Request::Open { path, flags: flags::READ | flags::TRUNCATE },
            b"",
            r#"Open(Open { id: 7, filename: "in/q3 ü.zip", pflags: OpenFlags(17)"#,
        ),
        (Request::Close { handle }, b"", r#"Close(Close { id: 7, handle: "h1" })"#),
        (
            Request::Read { handle, offset: 1 << 40, length: 9 },
            b"",
            r#"Read(Read { id: 7, handle: "h1", offset: 1099511627776, len: 9 })"#,
        ),
        (
            Request::Write { handle, offset: 1 << 40, length },
            b"12345",
            r#"Write(Write { id: 7, handle: "h1", offset: 1099511627776, data: [49, 50, 51, 52, 53] })"#,
        ),
        (Request::Fstat { handle }, b"", r#"Fstat(Fstat { id: 7, handle: "h1" })"#),
        (Request::Stat { path }, b"", r#"Stat(Stat { id: 7, path: "in/q3 ü.zip" })"#),
        (Request::Lstat { path }, b"", r#"Lstat(Lstat { id: 7, path: "in/q3 ü.zip" })"#),
        (Request::Remove { path }, b"", r#"Remove(Remove { id: 7, filename: "in/q3 ü.zip" })"#),
        (Request::Mkdir { path }, b"", r#"MkDir(MkDir { id: 7, path: "in/q3 ü.zip", attrs: "#),
        (
            Request::SetPermissions { path, permissions: 0o640 },
            b"",
            r#"SetStat(SetStat { id: 7, path: "in/q3 ü.zip", attrs: FileAttributes { size: None, uid: None, user: None, gid: None, group: None, permissions: Some(416)"#,
        ),
        (
            Request::Rename { from, to },
            b"",
            r#"Rename(Rename { id: 7, oldpath: "a", newpath: "b" })"#,
        ),
        (
            Request::PosixRename { from, to },
            b"",
            r#"Extended(Extended { id: 7, request: "posix-rename@openssh.com", data: [0, 0, 0, 1, 97, 0, 0, 0, 1, 98] })"#,
        ),
        (
            Request::Fsync { handle },
            b"",
            r#"Extended(Extended { id: 7, request: "fsync@openssh.com", data: [0, 0, 0, 2, 104, 49] })"#,
        ),
        (
            Request::Limits,
            b"",
            r#"Extended(Extended { id: 7, request: "limits@openssh.com", data: [] })"#,
        ),
    ] {
        let read = read_by_peer(request, data);
        assert!(read.starts_with(expected), "{read}\n{expected}");
    }
    assert_eq!(encode_init(), [0, 0, 0, 5, 1, 0, 0, 0, 3][..]);
}

fn any_text() -> impl Strategy<Value = String> {
    string_regex("[a-zA-Z0-9 äß€/]{0,40}").unwrap()
}

/// A reply as a peer sends it, with what is to be read of it.
fn any_reply() -> impl Strategy<Value = (Packet, u32, Reply)> {
    let id = any::<u32>();
    let codes = [
        (Code::Ok, 0),
        (Code::Eof, 1),
        (Code::NoSuchFile, 2),
        (Code::PermissionDenied, 3),
        (Code::Failure, 4),
        (Code::BadMessage, 5),
        (Code::NoConnection, 6),
        (Code::ConnectionLost, 7),
        (Code::OpUnsupported, 8),
    ];
    let status = (id, proptest::sample::select(codes.to_vec()), any_text(), any_text());
    let status = status.prop_map(|(id, (status_code, number), message, language_tag)| {
        let error_message = message.clone();
        let packet = Packet::Status(Status { id, status_code, error_message, language_tag });
        let code = StatusCode::from(number);
        let refusal = Reply::Refusal { code, message };
        (packet, id, if number == 0 { Reply::Success } else { refusal })
    });
    let handle = (id, any_text()).prop_map(|(id, handle)| {
        let reply = Reply::Handle(handle.clone().into());
        (Packet::Handle(Handle { id, handle }), id, reply)
    });
    let data = (id, vec(any::<u8>(), 0..300)).prop_map(|(id, data)| {
        let reply = Reply::Data(data.clone().into());
        (Packet::Data(Data { id, data }), id, reply)
    });
    let extended = (id, vec(any::<u8>(), 0..60)).prop_map(|(id, data)| {
        let reply = Reply::Extended(data.clone().into());
        (Packet::ExtendedReply(ExtendedReply { id, data }), id, reply)
    });
    let number = || option::of(any::<u32>());
    let attributes = (id, option::of(any::<u64>()), number(), number(), number());
    let attributes = attributes.prop_map(|(id, size, user, permissions, time)| {
        let attrs = FileAttributes {
            size,
            uid: user,
            gid: user,
            permissions,
            atime: time,
            mtime: time,
            ..FileAttributes::empty()
        };
        let expected = Attributes { size_bytes: size, permissions, modified: time };
        (Packet::Attrs(Attrs { id, attrs }), id, Reply::Attributes(expected))
    });
    prop_oneof![status, handle, data, extended, attributes]
}

proptest! {
    #[test]
    fn replies_of_a_peer_are_read_as_they_are_meant((packet, id, expected) in any_reply()) {
        let packet = encoded(packet);
        prop_assert_eq!(head(&packet), Ok(id));
        prop_assert_eq!(decode(packet), Ok(expected));
    }

    #[test]
    fn a_reply_that_is_cut_off_or_changed_is_read_or_refused(
        (packet, _, _) in any_reply(),
        cut in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut packet = encoded(packet).to_vec();
        packet.truncate(cut.index(packet.len() + 1));
        for (place, byte) in changes {
            if !packet.is_empty() {
                let place = place.index(packet.len());
                packet[place] = byte;
            }
        }
        let packet = Bytes::from(packet);
        // A reply without an id is none, and what has an id is at least named by its fault.
        prop_assert_eq!(head(&packet).is_ok(), packet.len() >= 5);
        if let Err(Malformed(place)) = decode(packet) {
            prop_assert!(!place.is_empty());
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(packet in vec(any::<u8>(), 0..200)) {
        let packet = Bytes::from(packet);
        let outcomes = (
            decode(packet.clone()).err(),
            decode_version(packet.clone()).err(),
            head(&packet).err(),
        );
        let faults = [outcomes.0, outcomes.1, outcomes.2];
        prop_assert!(faults.into_iter().flatten().all(|Malformed(place)| !place.is_empty()));
    }
}

#[test]
fn a_false_count_of_extended_attributes_ends_with_the_packet() {
    let body = [&0x8000_0000_u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
    let packet = [&[105, 0, 0, 0, 1][..], &body].concat();
    let expected = "a packet of 13 bytes ends before the name of an extended attribute";
    assert_eq!(decode(packet.into()), Err(Malformed(expected.to_owned())));
}
