//! Servers that move, rename, scan or refuse by name, and servers that are not a file system.

use std::{fs, os::unix::fs::symlink, time::Duration};

use delivery::MemoryJournal;
use futures_util::future::join_all;
use job::{
    ErrorName::{self, TransportConfig, TransportPermission, TransportRemote},
    delivery::{Receipt, Verified},
};
use local_sftp::{Fault, Faults, ObjectStore};
use serde_json::{Value, json};

use crate::{
    line::{Line, Way, Weather},
    partner::{LONG, Memory, PLACE, Partner, Watcher, deliver_to, delivered, file, invoke},
};

/// A file in the partner's folder.
const OLD: &[u8] = b"last week's report";

/// A partner with an old file or without, and the end of a delivery.
struct Tried {
    partner: Partner,
    result: Result<Receipt, sftp::Error>,
}

async fn try_with(faults: &Faults, changes: &Value, with_old: bool) -> Tried {
    let partner = Partner::start(faults.clone()).await;
    fs::create_dir_all(partner.path().join("in/daily")).unwrap();
    if with_old {
        partner.put_old(OLD);
    }
    let allowed = vec![OLD.to_vec(), file()];
    let watcher = Watcher::start(partner.path().join(PLACE), allowed);
    let journal = MemoryJournal::default();
    let ended = invoke(&journal, partner.config(changes), &Memory::new(file()), LONG).await;
    let result = ended.map(|ended| delivered(Ok(ended)).1);
    let others = watcher.stop();
    let is_direct = changes["sftp_write_mode"] == "direct";
    assert!(others.is_empty() || is_direct, "{faults:?}: {others:?} seen under the final name");
    let leftovers = journal.get().unwrap().progress.leftovers;
    assert_eq!(leftovers, Vec::<String>::new(), "{faults:?} {changes}");
    Tried { partner, result }
}

/// Delivers over an old file and without one, after so many attempts.
async fn check(faults: impl IntoIterator<Item = Fault>, changes: Value, attempts: u32) {
    let faults = Faults::of(faults);
    join_all([true, false].map(async |with_old| {
        let Tried { partner, result } = try_with(&faults, &changes, with_old).await;
        let receipt = result.unwrap_or_else(|error| panic!("{faults:?} {changes}: {error}"));
        assert_eq!((receipt.attempts, receipt.seen), (attempts, Some(true)), "{faults:?}");
        let found = partner.files();
        let is_right = found == [(PLACE.to_owned(), file())].into();
        assert!(is_right, "{faults:?} {changes}: {:?}", found.keys());
    }))
    .await;
}

/// Fails after one attempt with this text, and leaves the partner's files as they were.
async fn check_refused(
    faults: impl IntoIterator<Item = Fault>,
    changes: Value,
    name: ErrorName,
    text: &str,
) {
    let faults = Faults::of(faults);
    join_all([true, false].map(async |with_old| {
        let Tried { partner, result } = try_with(&faults, &changes, with_old).await;
        let error = result.unwrap_err();
        assert_eq!(aws_io::Failure::name(&error), name, "{faults:?}: {error}");
        assert!(error.to_string().contains(text), "{faults:?}: {error}");
        let expected = with_old.then(|| (PLACE.to_owned(), OLD.to_vec()));
        assert_eq!(partner.files(), expected.into_iter().collect(), "{faults:?} {changes}");
        // One for the attempt, and one for a clean-up that had something to do.
        assert!(partner.server.connections() <= 2, "{faults:?}");
    }))
    .await;
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test]
async fn a_file_that_a_scanner_holds_for_seconds_is_renamed_later() {
    let mut rows = Vec::new();
    for code in [3, 4] {
        for time in [ms(300), ms(2000)] {
            let locked = Fault::LockedAfterClose(time, code);
            rows.push(check(vec![locked], json!({}), 1));
            rows.push(check(vec![locked, Fault::NoPosixRename], json!({}), 1));
        }
    }
    join_all(rows).await;
}

#[tokio::test]
async fn a_rename_that_is_refused_with_any_code_moves_the_old_file_aside() {
    for code in [2, 3, 4, 8] {
        let onto = Fault::RefuseRenameOnto(code);
        tokio::join!(
            check([onto, Fault::NoPosixRename], json!({}), 1),
            check([onto], json!({}), 1),
            check([Fault::RefusePosixRename(code)], json!({}), 1),
        );
    }
}

#[tokio::test]
async fn a_size_of_zero_right_after_closing_is_looked_at_again() {
    check([Fault::NoSizeAfterClose(ms(600))], json!({}), 1).await;
}

#[tokio::test]
async fn a_close_that_takes_too_long_is_settled_by_looking_at_the_size() {
    let slow = Fault::SlowClose(Duration::from_secs(4));
    for changes in [json!({}), json!({ "sftp_verify": "readback" })] {
        let partner = Partner::start(Faults::of([slow])).await;
        let mut changes = changes;
        changes["sftp_idle_timeout_s"] = json!(2);
        let source = Memory::new(file());
        let receipt = deliver_to(partner.config(&changes), &source).await.unwrap();
        assert_eq!(receipt.attempts, 2);
        let requests = partner.server.requests();
        let opened = requests.iter().filter(|line| line.starts_with("open ")).count();
        // The first one finds that the directory is missing.
        assert_eq!(opened, 2, "{requests:?}");
        assert_eq!(partner.files(), [(PLACE.to_owned(), file())].into());
    }
}

#[tokio::test]
async fn a_server_that_takes_a_file_on_closing_names_the_setting_that_helps() {
    for verify in ["size", "none", "readback"] {
        let changes = json!({ "sftp_verify": verify });
        let text = "set `sftp_write_mode` to `direct`";
        check_refused([Fault::TakeOnClose], changes, TransportConfig, text).await;
    }
    let direct = json!({ "sftp_write_mode": "direct" });
    let tried = try_with(&Faults::of([Fault::TakeOnClose]), &direct, false).await;
    let receipt = tried.result.unwrap();
    assert_eq!((receipt.attempts, receipt.seen), (1, Some(false)));
    assert_eq!((receipt.verified, tried.partner.files()), (Verified::None, [].into()));
}

#[tokio::test]
async fn a_file_that_can_be_read_once_names_the_setting_that_helps() {
    let readback = json!({ "sftp_verify": "readback" });
    let text = "set `sftp_verify` to `size`";
    check_refused([Fault::TakeOnceRead], readback, TransportConfig, text).await;
    check([Fault::TakeOnceRead], json!({}), 1).await;
}

#[tokio::test]
async fn a_refused_name_names_the_setting_that_helps_after_one_attempt() {
    for (code, name) in [(3, TransportPermission), (4, TransportRemote)] {
        let (dot, extension) = (Fault::RefuseDotNames(code), Fault::OnlyExtension("zip", code));
        let prefix = "set `sftp_temp_prefix` to \"\"";
        let suffix = "let `sftp_temp_suffix` end with";
        check_refused([dot], json!({}), name, prefix).await;
        check([dot], json!({ "sftp_temp_prefix": "" }), 1).await;
        check_refused([extension], json!({}), name, suffix).await;
        check([extension], json!({ "sftp_temp_suffix": ".zip" }), 1).await;
        check_refused([dot, extension], json!({}), name, prefix).await;
        check_refused([dot, extension], json!({}), name, "takes only certain names").await;
        let both = json!({ "sftp_temp_prefix": "", "sftp_temp_suffix": ".zip" });
        check([dot, extension], both, 1).await;
    }
}

#[tokio::test]
async fn a_directory_or_a_link_at_the_final_name_is_told_and_not_touched() {
    for is_link in [false, true] {
        for faults in [vec![], vec![Fault::NoPosixRename], vec![Fault::RefusePosixRename(8)]] {
            let partner = Partner::start(Faults::of(faults.clone())).await;
            let place = partner.path().join(PLACE);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            if is_link {
                fs::write(partner.path().join("in/target"), OLD).unwrap();
                symlink("../target", &place).unwrap();
            } else {
                fs::create_dir(&place).unwrap();
            }
            let source = Memory::new(file());
            let error = deliver_to(partner.config(&json!({})), &source).await.unwrap_err();
            let (there, hint) = if is_link {
                ("a symbolic link has this name", "set `sftp_write_mode` to `direct`")
            } else {
                ("a directory has this name", "`sftp_filename`")
            };
            let text = error.to_string();
            assert!(text.contains(there) && text.contains(hint), "{faults:?}: {text}");
            assert_eq!(place.is_symlink(), is_link);
            assert_eq!(place.is_dir(), !is_link);
            let others = fs::read_dir(place.parent().unwrap()).unwrap().count();
            assert_eq!((others, partner.server.connections()), (1, 1), "{faults:?}");
        }
    }
}

#[tokio::test]
async fn a_quota_that_closes_the_channel_leaves_nothing() {
    for changes in [json!({}), json!({ "sftp_write_size": 8192 })] {
        let faults = Faults::of([Fault::QuotaAfterBytes(100_000)]);
        let Tried { partner, result } = try_with(&faults, &changes, true).await;
        let error = result.unwrap_err();
        assert_eq!(aws_io::Failure::name(&error), TransportRemote, "{error}");
        assert!(error.to_string().contains("quota"), "{error}");
        assert_eq!(partner.files(), [(PLACE.to_owned(), OLD.to_vec())].into());
        // Two attempts, and the clean-up.
        assert!(partner.server.connections() <= 3);
    }
}

/// A user without the right to overwrite cannot write to the file of a broken attempt either.
#[tokio::test]
async fn without_the_right_to_overwrite_a_broken_attempt_is_sent_anew() {
    let small = json!({ "sftp_write_size": 8192, "sftp_max_in_flight": 2 });
    for at in [1000, 100_000, 250_000] {
        let partner = Partner::start(Faults::of([Fault::RefuseExisting])).await;
        let first = move |number| match number {
            0 => Weather::Cut(Way::ToServer, at),
            _ => Weather::Fine,
        };
        let line = Line::to(partner.server.address(), first).await;
        let receipt =
            deliver_to(partner.config_by(&line, &small), &Memory::new(file())).await.unwrap();
        assert_eq!((receipt.attempts, receipt.verified), (2, Verified::Size), "{at}");
        assert_eq!(partner.files(), [(PLACE.to_owned(), file())].into(), "{at}");
    }
}

/// Delivers by one, two and four connections, the first of which is cut or not.
async fn check_handles(fault: Fault, cuts: &[Option<usize>]) {
    let mut rows = Vec::new();
    for connections in [1, 2, 4] {
        for cut in cuts.iter().copied() {
            rows.push(check_handle(fault, connections, cut));
        }
    }
    join_all(rows).await;
}

async fn check_handle(fault: Fault, connections: u32, cut: Option<usize>) {
    let what = format!("{fault:?}, {connections} connections, cut at {cut:?}");
    let partner = Partner::start(Faults::of([fault])).await;
    let first = move |number| match (number, cut) {
        (0, Some(at)) => Weather::Cut(Way::ToServer, at),
        _ => Weather::Fine,
    };
    let line = Line::to(partner.server.address(), first).await;
    let changes = json!({
        "sftp_connections": connections, "sftp_write_size": 8192, "sftp_max_in_flight": 2,
    });
    let watcher = Watcher::start(partner.path().join(PLACE), vec![file()]);
    let source = Memory::new(file());
    let receipt = deliver_to(partner.config_by(&line, &changes), &source).await;
    let receipt = receipt.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(watcher.stop(), Vec::<usize>::new(), "{what}");
    let found = partner.files();
    let is_right = found == [(PLACE.to_owned(), file())].into();
    assert!(is_right, "{what}: {receipt:?} {:?}", found.keys());
    // The size of a file of one handle proves it; that of several handles does not.
    assert_eq!(receipt.verified, Verified::Size, "{what}");
}

#[tokio::test]
async fn handles_that_are_uploads_of_their_own_never_make_a_wrong_file() {
    for tells_size in [false, true] {
        for keeps_broken in [false, true] {
            let store = Fault::ObjectStore(ObjectStore { tells_size, keeps_broken });
            check_handles(store, &[None, Some(20_000), Some(100_000), Some(250_000)]).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_takes_bytes_only_in_order_gets_them_in_order() {
    check_handles(Fault::OnlyInOrder, &[None, Some(100_000)]).await;
}

#[tokio::test]
async fn a_server_that_ignores_offsets_never_gets_a_wrong_file() {
    check_handles(Fault::IgnoreOffsets, &[None, Some(100_000)]).await;
}

#[tokio::test]
async fn a_file_that_is_stored_under_another_name_is_not_said_to_be_seen() {
    let tried = try_with(&Faults::of([Fault::OtherName]), &json!({}), false).await;
    let receipt = tried.result.unwrap();
    assert_eq!((receipt.attempts, receipt.seen, receipt.settled), (1, Some(false), None));
    let found: Vec<_> = tried.partner.files().into_keys().collect();
    assert_eq!(found, [format!("{PLACE}.20260101")]);
}
