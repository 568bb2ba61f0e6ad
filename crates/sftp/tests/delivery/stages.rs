//! A fault at every stage of a delivery, under every policy, with and without `posix-rename`.
//!
//! The partner never sees half a file, and gets the file once.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use delivery::{Ended, MemoryJournal};
use futures_util::future::join_all;
use job::{
    ErrorName,
    delivery::{JournalStage, Receipt, Settled},
};
use local_sftp::{Fault, Faults};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::partner::{LONG, Memory, PLACE, Partner, Watcher, delivered, file, invoke};

/// Deliveries that are tried at the same time. Most of each is waiting.
const AT_ONCE: u32 = 8;
/// The lease of a killed invocation has expired after this.
const EXPIRY: Duration = Duration::from_secs(70);

/// A fault at the message with a number. Numbers count from 1, which is the greeting.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The invocation is killed before the server gets the request, which it does later.
    Killed,
    /// The invocation is killed before it gets the answer.
    KilledBeforeAnswer,
    /// The connection is cut before the request.
    Cut,
    /// The request is done, and the connection is cut before the answer.
    AnswerLost,
    /// The request is done, and the answer does not come.
    AnswerHeld,
    /// Two invocations begin at once, and the connection is cut.
    Doubled,
    /// Two invocations begin at once, and the first one is killed.
    DoubledAndKilled,
}

impl Trouble {
    const ALL: [Self; 7] = [
        Self::Killed,
        Self::KilledBeforeAnswer,
        Self::Cut,
        Self::AnswerLost,
        Self::AnswerHeld,
        Self::Doubled,
        Self::DoubledAndKilled,
    ];

    fn fault(self, number: u32) -> Fault {
        match self {
            Self::Killed | Self::DoubledAndKilled => Fault::HoldRequest(number),
            Self::KilledBeforeAnswer => Fault::HoldAnswer(number),
            Self::Cut | Self::Doubled => Fault::DropBeforeRequest(number),
            Self::AnswerLost => Fault::DropBeforeAnswer(number),
            Self::AnswerHeld => Fault::SilentFromAnswer(number),
        }
    }

    /// The first message of interest. A greeting that is not answered is waited for for 20 seconds,
    /// which other tests do.
    fn first(self) -> u32 {
        if matches!(self, Self::AnswerHeld) { 3 } else { 1 }
    }
}

/// A delivery to a partner that has an old file, unless that must not be replaced.
struct Scene {
    partner: Partner,
    config: Value,
    journal: MemoryJournal,
    old: Option<Vec<u8>>,
    watcher: Watcher,
}

impl Scene {
    async fn start(fault: Fault, overwrite: &str, plain: bool) -> Self {
        // Only a server that falls silent is to be left soon.
        let seconds = if matches!(fault, Fault::SilentFromAnswer(_)) { 3 } else { 60 };
        let faults = [fault].into_iter().chain(plain.then_some(Fault::NoPosixRename));
        let partner = Partner::start(Faults::of(faults).on_first_connections(1)).await;
        let config = partner.config(&json!({
            "sftp_overwrite": overwrite, "sftp_idle_timeout_s": seconds,
            "sftp_connect_timeout_s": 60,
        }));
        let old = (overwrite != "fail").then(|| b"last week's report".to_vec());
        let place = partner.path().join(PLACE);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        if let Some(old) = &old {
            partner.put_old(old);
        }
        let allowed = [Some(file()), old.clone()].into_iter().flatten().collect();
        let watcher = Watcher::start(place, allowed);
        Self { partner, config, journal: MemoryJournal::default(), old, watcher }
    }

    async fn invoke(&self) -> Result<Ended, sftp::Error> {
        invoke(&self.journal, self.config.clone(), &Memory::new(file()), LONG).await
    }

    /// Makes an invocation that is killed once the server holds a message. Returns how it ended if
    /// it came to its end before.
    async fn invoke_until_held(&self) -> Option<Result<Ended, sftp::Error>> {
        tokio::select! {
            ended = self.invoke() => Some(ended),
            () = self.is_held() => None,
        }
    }

    async fn is_held(&self) {
        while self.partner.server.held() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Closes the journal once the server holds a message. Returns the number of publications before
    /// it; nothing if the invocation is over and nothing was held.
    async fn close_when_held(&self, is_over: &AtomicBool) -> Option<usize> {
        while self.partner.server.held() == 0 {
            if is_over.load(Ordering::SeqCst) {
                return None;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let closed = delivery::close(&self.journal).await.unwrap();
        let publications = self.publications();
        let is_publishing = closed.is_some_and(|journal| {
            matches!(journal.stage, JournalStage::Closed { intent: Some(_), .. })
        });
        // A publication that is under way is given up before the server does what it holds.
        if !is_publishing {
            self.partner.server.release();
        }
        Some(publications)
    }

    /// Number of times that the whole file got its final name.
    fn publications(&self) -> usize {
        let suffix = format!(" /{PLACE} {}", file().len());
        let requests = self.partner.server.requests();
        requests
            .iter()
            .filter(|line| line.starts_with("rename ") && line.ends_with(&suffix))
            .count()
    }

    /// Compares everything that the partner has with the one file.
    fn check_delivered(self, receipt: &Receipt, what: &str) {
        let found = self.partner.files();
        let is_right = found == [(PLACE.to_owned(), file())].into();
        assert!(is_right, "{what}: {:?}", found.keys());
        assert_eq!(self.publications(), 1, "{what}: {:?}", self.partner.server.requests());
        let is_known = matches!(receipt.settled, None | Some(Settled::Found | Settled::Published));
        assert!(is_known, "{what}: {receipt:?}");
        assert_eq!(self.journal.get().unwrap().progress.leftovers, Vec::<String>::new(), "{what}");
        assert_eq!(self.watcher.stop(), Vec::<usize>::new(), "{what}: seen under the final name");
    }
}

/// Delivers with trouble, and returns whether it happened.
async fn check(trouble: Trouble, number: u32, overwrite: &str, plain: bool) -> bool {
    let what = format!("{trouble:?} at {number}, {overwrite}, plain: {plain}");
    let scene = Scene::start(trouble.fault(number), overwrite, plain).await;
    let (receipt, happened) = match trouble {
        Trouble::Killed | Trouble::KilledBeforeAnswer => {
            let first = scene.invoke_until_held().await;
            scene.journal.age(EXPIRY);
            scene.partner.server.release();
            // The server does what it held.
            sleep(Duration::from_millis(50)).await;
            let is_killed = first.is_none();
            let ended = if let Some(ended) = first { ended } else { scene.invoke().await };
            (delivered(ended).1, is_killed)
        }
        Trouble::Cut | Trouble::AnswerLost | Trouble::AnswerHeld => {
            let receipt = delivered(scene.invoke().await).1;
            let happened = receipt.attempts > 1;
            (receipt, happened)
        }
        Trouble::Doubled => {
            let (first, second) = tokio::join!(scene.invoke(), scene.invoke());
            let (first, second) = (delivered(first).1, delivered(second).1);
            assert_eq!(first, second, "{what}");
            let happened = first.attempts > 1;
            (first, happened)
        }
        Trouble::DoubledAndKilled => {
            let killed = async {
                let first = scene.invoke_until_held().await;
                scene.journal.age(EXPIRY);
                scene.partner.server.release();
                first
            };
            // The second one begins while the first one has the lease.
            let second = async {
                while scene.journal.get().is_none() {
                    sleep(Duration::from_millis(1)).await;
                }
                scene.invoke().await
            };
            let (first, second) = tokio::join!(killed, second);
            (delivered(second).1, first.is_none())
        }
    };
    scene.check_delivered(&receipt, &what);
    happened
}

/// Has a trouble happen at every message, until there is none left.
async fn check_all(overwrite: &str, plain: bool) {
    for trouble in Trouble::ALL {
        let mut number = trouble.first();
        loop {
            let numbers = number..number + AT_ONCE;
            let rows = numbers.map(|number| check(trouble, number, overwrite, plain));
            let happened = join_all(rows).await;
            number += AT_ONCE;
            if happened.contains(&false) {
                break;
            }
        }
        assert!(number > 11, "{trouble:?}: only some {number} messages");
    }
}

#[tokio::test]
async fn a_file_that_replaces_another_arrives_once_whatever_happens_at_any_stage() {
    check_all("replace", false).await;
}

#[tokio::test]
async fn without_posix_rename_a_file_arrives_once_whatever_happens_at_any_stage() {
    check_all("replace", true).await;
}

#[tokio::test]
async fn a_file_that_must_not_replace_another_arrives_once_whatever_happens_at_any_stage() {
    check_all("fail", false).await;
    check_all("fail", true).await;
}

#[tokio::test]
async fn a_file_of_another_size_is_replaced_once_whatever_happens_at_any_stage() {
    check_all("skip_if_same_size", false).await;
    check_all("skip_if_same_size", true).await;
}

/// Closes the journal while the server holds a message, and returns whether it held one.
async fn check_closed(number: u32, plain: bool) -> bool {
    let what = format!("closed at {number}, plain: {plain}");
    let scene = Scene::start(Fault::HoldRequest(number), "replace", plain).await;
    let is_over = AtomicBool::new(false);
    let invoked = async {
        let ended = scene.invoke().await;
        is_over.store(true, Ordering::SeqCst);
        ended
    };
    let (ended, publications) = tokio::join!(invoked, scene.close_when_held(&is_over));
    let Some(publications) = publications else {
        drop(delivered(ended));
        return false;
    };
    let error = aws_io::Failure::name(&ended.unwrap_err());
    assert_eq!(error, ErrorName::RunEnded, "{what}");
    scene.partner.server.release();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.publications(), publications, "{what}");
    let mut found = scene.partner.files();
    let place = found.remove(PLACE);
    let is_aside = plain && place.is_none();
    if is_aside {
        // The server did the rename of the old file when nobody was there to put it back.
        let (name, bytes) = found.pop_first().unwrap();
        assert!(
            name.rsplit('.').next() == Some("bak") && Some(bytes) == scene.old,
            "{what}: {name}"
        );
    } else {
        let expected = if publications > 0 { Some(file()) } else { scene.old.clone() };
        assert!(place == expected, "{what}");
    }
    assert_eq!(found.into_keys().collect::<Vec<_>>(), Vec::<String>::new(), "{what}");
    assert_eq!(scene.watcher.stop(), Vec::<usize>::new(), "{what}");
    true
}

#[tokio::test]
async fn a_journal_that_is_closed_at_any_moment_publishes_nothing_afterwards() {
    for plain in [false, true] {
        let mut number = 2;
        loop {
            let rows = (number..number + AT_ONCE).map(|number| check_closed(number, plain));
            let was_held = join_all(rows).await;
            number += AT_ONCE;
            if was_held.contains(&false) {
                break;
            }
        }
        assert!(number > 11, "only some {number} messages");
    }
}
