//! Faults at every stage of an upload, with and without replacing: the folder never gets the file
//! twice where it can tell, a run that has ended publishes nothing, and receipts are true.

use std::time::Duration;

use aws_io::Failure;
use delivery::{Ended, MemoryJournal};
use futures_util::{
    StreamExt,
    future::{join, join_all},
    stream,
};
use job::{
    ErrorName::{RunEnded, TransportUnavailable},
    delivery::{DeliveryStatus, DeliverySummary, JournalStage, Receipt, Settled, Verified},
};
use local_sharefile::{Call, Fault, Faults};
use serde_json::{Value, json};
use sharefile::Error;
use tokio::time::{sleep, timeout};

use crate::account::{LONG, Memory, PLACE, Partner, details, file, invoke};

/// Longer than a lease.
const EXPIRED: Duration = Duration::from_secs(61);

/// Idle timeout. It is long enough for a machine that is busy with other tests.
const IDLE_SECONDS: u32 = 3;

/// A way of uploading, the request that carries bytes, and the one that ends it.
type Way = (&'static str, Call, Call);

const WAYS: [Way; 3] = [
    ("standard", Call::Standard, Call::Standard),
    ("streamed", Call::Chunk, Call::Finish),
    ("threaded", Call::Chunk, Call::Finish),
];

/// The file under the final name at the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    /// Another file. It is replaced.
    Other,
    /// A file of the same content, such as last week's. It is replaced, too.
    Same,
}

/// One row: an old file, and the configuration's policy.
type Row = (Before, bool);

const ROWS: [Row; 4] = [
    (Before::Nothing, true),
    (Before::Nothing, false),
    (Before::Other, true),
    (Before::Same, true),
];

struct Scene {
    partner: Partner,
    faults: Faults,
    journal: MemoryJournal,
    config: Value,
    what: String,
}

impl Scene {
    async fn start(way: Way, (before, overwrite): Row, what: &str) -> Self {
        let faults = Faults::default();
        let partner = Partner::start(faults.clone()).await;
        match before {
            Before::Nothing => {}
            Before::Other => partner.put_old(b"last week's report"),
            Before::Same => partner.put_old(&file()),
        }
        let config = partner.config(&json!({
            "sharefile_overwrite": overwrite, "sharefile_idle_timeout_s": IDLE_SECONDS,
        }));
        let what = format!("{} {before:?}, overwrite: {overwrite}, {what}", way.0);
        let scene = Self { partner, faults, journal: MemoryJournal::default(), config, what };
        scene.plan(way, |faults| faults);
        scene
    }

    fn plan(&self, way: Way, plan: impl Fn(Faults) -> Faults) {
        self.faults.clear();
        drop(plan(self.faults.clone().always(Call::Specification, Fault::Method(way.0))));
    }

    async fn invoke(&self) -> Result<Ended, Error> {
        invoke(&self.config, &Memory::new(file()), &self.journal, LONG).await
    }

    /// Runs an invocation until the server has seen `count` requests of this kind, and kills it.
    async fn kill_at(&self, call: Call, is_done: bool) {
        let seen = async {
            while self.partner.count(call) == 0 || (is_done && self.published() == 0) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            ended = self.invoke() => panic!("{}: {ended:?}", self.what),
            () = seen => {}
        }
        self.journal.age(EXPIRED);
    }

    fn published(&self) -> usize {
        self.partner.server.published().len()
    }

    /// Expects that another invocation is wanted.
    #[track_caller]
    fn check_unfinished(&self, ended: &Result<Ended, Error>) {
        match ended {
            Ok(Ended::InProgress) => {}
            Err(error) if error.name() == TransportUnavailable => {}
            _ => panic!("{}: {ended:?}", self.what),
        }
    }

    /// Compares the end with the folder: the file was published so many times, and the receipt says
    /// how a lost answer was settled.
    #[track_caller]
    fn check(&self, ended: &Result<Ended, Error>, settled: &[Option<Settled>], published: usize) {
        let Ok(Ended::Delivered(DeliverySummary { status: DeliveryStatus::Delivered, receipt })) =
            ended
        else {
            panic!("{}: {ended:?}, {:?}", self.what, self.journal.get())
        };
        assert!(settled.contains(&receipt.settled), "{}: {receipt:?}", self.what);
        assert_eq!(self.published(), published, "{}: {receipt:?}", self.what);
        self.check_receipt(receipt);
    }

    #[track_caller]
    fn check_receipt(&self, receipt: &Receipt) {
        assert!(self.partner.files() == [(PLACE.to_owned(), file())].into(), "{}", self.what);
        let (_, md5) = self.partner.server.published().pop().unwrap();
        let told = (receipt.remote_path.as_str(), receipt.verified, receipt.seen);
        assert_eq!(told, (PLACE, Verified::Md5, Some(true)), "{}", self.what);
        assert_eq!(details(receipt).0, md5, "{}", self.what);
        let journal = self.journal.get().unwrap();
        assert_eq!(
            journal.summary().map(|kept| kept.receipt).as_ref(),
            Some(receipt),
            "{}",
            self.what
        );
    }
}

/// Runs every way of uploading over every row.
async fn each<F: Future<Output = ()>>(run: impl Fn(Way, Row) -> F) {
    each_of(|_| vec![()], |way, row, ()| run(way, row)).await;
}

/// Runs every way of uploading over every row and every item of the way. Most of the time is spent
/// waiting, so many run at the same time.
async fn each_of<T, F: Future<Output = ()>>(
    items: impl Fn(Way) -> Vec<T>,
    run: impl Fn(Way, Row, T) -> F,
) {
    let items = &items;
    let of_row = |(way, row)| items(way).into_iter().map(move |item| (way, row, item));
    let cells = WAYS.into_iter().flat_map(|way| ROWS.map(|row| (way, row))).flat_map(of_row);
    stream::iter(cells).for_each_concurrent(30, |(way, row, item)| run(way, row, item)).await;
}

/// The stages of an upload.
fn stages(way: Way) -> Vec<Call> {
    let mut stages = vec![Call::Token, Call::Look, Call::Specification, way.1, way.2];
    stages.dedup();
    stages
}

#[tokio::test]
async fn an_invocation_that_is_killed_at_any_stage_is_taken_over() {
    each_of(stages, async |way, row, call| {
        let scene = Scene::start(way, row, &format!("killed at {call:?}")).await;
        scene.plan(way, |faults| faults.always(call, Fault::Mute));
        scene.kill_at(call, false).await;
        scene.plan(way, |faults| faults);
        // The server may still do what it was asked for at the end.
        let settled = if call == way.2 { Some(Settled::SentAgain) } else { None };
        scene.check(&scene.invoke().await, &[settled], 1);
    })
    .await;
}

#[tokio::test]
async fn an_invocation_that_is_killed_after_it_has_published_is_settled_by_looking() {
    each(async |way, row| {
        let scene = Scene::start(way, row, "killed after the end").await;
        scene.plan(way, |faults| faults.always(way.2, Fault::MuteAnswer));
        scene.kill_at(way.2, true).await;
        scene.plan(way, |faults| faults);
        let received = scene.partner.server.bytes_received();
        scene.check(&scene.invoke().await, &[Some(Settled::Found)], 1);
        assert_eq!(scene.partner.server.bytes_received(), received, "{}", scene.what);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_cut_at_any_stage_costs_another_try() {
    each_of(stages, async |way, row, call| {
        let scene = Scene::start(way, row, &format!("cut at {call:?}")).await;
        scene.plan(way, |faults| faults.once(call, Fault::CutRequest));
        // The connection may have taken the whole file of one request before it was cut.
        let settled = [None, Some(Settled::SentAgain)];
        let settled = if call == Call::Standard { &settled[..] } else { &settled[..1] };
        scene.check(&scene.invoke().await, settled, 1);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_at_any_stage_does_not_deliver_twice() {
    each_of(stages, async |way, row, call| {
        for fault in [Fault::CutAnswer, Fault::MuteAnswer] {
            let scene = Scene::start(way, row, &format!("{fault:?} at {call:?}")).await;
            scene.plan(way, |faults| faults.once(call, fault));
            let settled = if call == way.2 { Some(Settled::Found) } else { None };
            scene.check(&scene.invoke().await, &[settled], 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_held_for_long_is_waited_for_or_settled() {
    let held = Fault::Slow(Duration::from_millis(1_500));
    each_of(
        |way| stages(way).split_off(2),
        async |way, row, call| {
            let scene = Scene::start(way, row, &format!("held at {call:?}")).await;
            scene.plan(way, |faults| faults.once(call, held));
            // The end of an upload may take five times as long as another answer.
            scene.check(&scene.invoke().await, &[None], 1);
        },
    )
    .await;
}

#[tokio::test]
async fn two_invocations_at_the_same_time_deliver_once() {
    each(async |way, row| {
        let scene = Scene::start(way, row, "two at once").await;
        let (one, other) = join(scene.invoke(), scene.invoke()).await;
        assert_eq!(one.as_ref().unwrap(), other.as_ref().unwrap(), "{}", scene.what);
        scene.check(&one, &[None], 1);
        assert_eq!(scene.partner.count(Call::Token), 1, "{}", scene.what);
    })
    .await;
}

#[tokio::test]
async fn an_invocation_that_has_lost_its_lease_publishes_nothing() {
    each(async |way, row| {
        let scene = Scene::start(way, row, "an expired lease").await;
        let stage = if way.0 == "standard" { Call::Specification } else { Call::Chunk };
        scene.plan(way, |f| f.once(stage, Fault::Slow(Duration::from_millis(900))));
        let late = async {
            while scene.partner.count(stage) == 0 {
                sleep(Duration::from_millis(2)).await;
            }
            scene.journal.age(EXPIRED);
            scene.invoke().await
        };
        let (first, second) = join(scene.invoke(), late).await;
        // The journal refuses the first one: its lease is lost, or the other one has delivered.
        match first.as_ref().map_err(Failure::name) {
            Ok(Ended::InProgress) | Err(TransportUnavailable | RunEnded) => {}
            other => panic!("{}: {other:?}", scene.what),
        }
        scene.check(&second, &[None], 1);
    })
    .await;
}

#[tokio::test]
async fn a_run_that_has_ended_publishes_nothing() {
    // Held before the end, or at the end.
    let held = |way: Way| stages(way).split_off(2);
    each_of(held, async |way, row, call| {
        let scene = Scene::start(way, row, &format!("closed at {call:?}")).await;
        // Whoever has the whole file of one request may publish it, and nothing can stop that.
        let is_whole_file = call == Call::Standard;
        let slow = Fault::Slow(Duration::from_millis(2_500));
        let held = if is_whole_file { Fault::Mute } else { slow };
        scene.plan(way, |faults| faults.always(call, held));
        let closing = async {
            while scene.partner.count(call) == 0 {
                sleep(Duration::from_millis(2)).await;
            }
            delivery::close(&scene.journal).await.unwrap()
        };
        let before = scene.partner.files();
        let both = join(scene.invoke(), closing);
        let (ended, _) = timeout(Duration::from_secs(20), both).await.unwrap();
        let error = ended.unwrap_err();
        assert_eq!(error.name(), RunEnded, "{}: {error:?}", scene.what);
        let stage = scene.journal.get().unwrap().stage;
        let JournalStage::Closed { intent, receipt: None } = stage else {
            panic!("{}: {stage:?}", scene.what)
        };
        assert_eq!(intent.is_some(), call == way.2, "{}", scene.what);
        scene.plan(way, |faults| faults);
        let again = scene.invoke().await.unwrap_err();
        assert_eq!(again.name(), RunEnded, "{}", scene.what);
        sleep(Duration::from_millis(2_500)).await;
        assert_eq!(scene.published(), 0, "{}", scene.what);
        assert!(scene.partner.files() == before, "{}", scene.what);
    })
    .await;
}

#[tokio::test]
async fn nothing_goes_on_when_an_attempt_is_dropped() {
    for way in WAYS {
        let scene = Scene::start(way, ROWS[0], "dropped").await;
        scene.plan(way, |f| f.always(way.1, Fault::Slow(Duration::from_millis(300))));
        scene.kill_at(way.1, false).await;
        let requests = scene.partner.server.requests().len();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.partner.server.requests().len(), requests, "{}", scene.what);
        assert_eq!(scene.published(), 0, "{}", scene.what);
    }
}

#[tokio::test]
async fn an_upload_that_ends_late_is_found_or_the_receipt_says_that_it_was_sent_again() {
    each_of(
        |_| vec![100, 700, 3_000],
        async |way, row, late_ms| {
            let scene = Scene::start(way, row, &format!("ended {late_ms} ms late")).await;
            let late = Fault::DoneLater(Duration::from_millis(late_ms));
            scene.plan(way, |faults| faults.once(way.2, late));
            let ended = scene.invoke().await;
            sleep(Duration::from_millis(late_ms)).await;
            let Ok(Ended::Delivered(DeliverySummary { receipt, .. })) = &ended else {
                panic!("{}: {ended:?}", scene.what)
            };
            match (receipt.settled, scene.published()) {
                (Some(Settled::Found) | None, 1) | (Some(Settled::SentAgain), 1 | 2) => {}
                other => panic!("{}: {other:?}", scene.what),
            }
        },
    )
    .await;
}

#[tokio::test]
async fn an_upload_that_ends_while_it_is_sent_again_is_found_before_it_is_ended_again() {
    for way in &WAYS[1..] {
        for row in ROWS {
            let scene = Scene::start(*way, row, "ended while it is sent again").await;
            // The first end is lost and done late. Its upload is forgotten meanwhile.
            scene.plan(*way, |faults| {
                faults
                    .once(Call::Finish, Fault::DoneLater(Duration::from_secs(2)))
                    .after(Call::Finish, Fault::ErrorObject(605), 1, 1)
                    .after(Call::Chunk, Fault::Slow(Duration::from_millis(900)), 4, usize::MAX)
            });
            scene.check(&scene.invoke().await, &[Some(Settled::Found)], 1);
        }
    }
}

#[tokio::test]
async fn an_outcome_stays_unknown_while_the_folder_cannot_be_read() {
    let runs = WAYS.map(|way| async move {
        let scene = Scene::start(way, ROWS[2], "no look").await;
        let good = Scene::start(way, ROWS[2], "counts looks").await;
        good.invoke().await.unwrap();
        let looks = good.partner.count(Call::Look) - 1;
        scene.plan(way, |faults| {
            faults.always(way.2, Fault::MuteAnswer).after(
                Call::Look,
                Fault::Status(503),
                looks,
                usize::MAX,
            )
        });
        scene.check_unfinished(&scene.invoke().await);
        let journal = scene.journal.get().unwrap();
        let JournalStage::Publishing { intent } = journal.stage else { panic!("{journal:?}") };
        let (_, md5) = scene.partner.server.published().pop().unwrap();
        assert_eq!((intent.size_bytes, intent.md5), (file().len() as u64, Some(md5)));
        assert!(intent.old_mark.is_some());
        let received = scene.partner.server.bytes_received();
        scene.plan(way, |faults| faults);
        scene.check(&scene.invoke().await, &[Some(Settled::Found)], 1);
        assert_eq!(scene.partner.server.bytes_received(), received, "{}", scene.what);
    });
    join_all(runs).await;
}

#[tokio::test]
async fn a_refused_end_takes_the_intent_back() {
    for way in WAYS {
        let scene = Scene::start(way, ROWS[2], "refused").await;
        scene.plan(way, |faults| faults.always(way.2, Fault::Reason(403, "Forbidden")));
        scene.invoke().await.unwrap_err();
        assert_eq!(scene.journal.get().unwrap().stage, JournalStage::Open, "{}", scene.what);
    }
}
