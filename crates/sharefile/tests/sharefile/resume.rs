//! Files that take longer than one invocation.

use std::time::Duration;

use delivery::{Ended, MemoryJournal};
use futures_util::future::join_all;
use job::delivery::{DeliveryStatus, DeliverySummary, Receipt, Settled};
use local_sharefile::{Call, Fault, Faults};
use serde_json::json;
use sharefile::Error;

use crate::account::{LONG, Memory, PLACE, Partner, invoke, large_file};

/// Time in which a chunk can be sent, however busy the machine is.
const SHORT: Duration = Duration::from_secs(5);

struct Recipient {
    partner: Partner,
    faults: Faults,
    journal: MemoryJournal,
    method: &'static str,
}

impl Recipient {
    /// A server that answers `answered` chunks and then nothing.
    async fn start(method: &'static str, answered: usize) -> Self {
        let faults = Faults::default();
        let partner = Partner::start(faults.clone()).await;
        let recipient = Self { partner, faults, journal: MemoryJournal::default(), method };
        recipient.plan(|faults| faults.after(Call::Chunk, Fault::Mute, answered, usize::MAX));
        recipient
    }

    fn plan(&self, plan: impl Fn(Faults) -> Faults) {
        self.faults.clear();
        let faults = self.faults.clone().always(Call::Specification, Fault::Method(self.method));
        drop(plan(faults));
    }

    async fn invoke(&self, threads: u32, time: Duration) -> Result<Ended, Error> {
        let changes = json!({ "sharefile_chunk_size": 1_000_000, "sharefile_threads": threads });
        let source = Memory::new(large_file());
        invoke(&self.partner.config(&changes), &source, &self.journal, time).await
    }

    fn chunks(&self) -> usize {
        self.partner.count(Call::Chunk)
    }

    /// Number of acknowledged bytes that the next invocation finds in the journal.
    fn acknowledged(&self) -> Option<u64> {
        let checkpoint = self.journal.get().unwrap().progress.checkpoint?;
        assert_eq!(checkpoint.version, "\"9000001\"");
        assert_eq!(checkpoint.sha256_state, None);
        Some(checkpoint.acknowledged_bytes)
    }

    #[track_caller]
    fn check_delivered(&self, ended: &Ended) -> Receipt {
        let Ended::Delivered(DeliverySummary { status: DeliveryStatus::Delivered, receipt }) =
            ended
        else {
            panic!("{ended:?}")
        };
        assert!(self.partner.files() == [(PLACE.to_owned(), large_file())].into());
        receipt.clone()
    }
}

#[tokio::test]
async fn a_file_that_takes_too_long_is_resumed_in_the_next_invocation() {
    for method in ["threaded", "streamed"] {
        let recipient = Recipient::start(method, 3).await;
        assert_eq!(recipient.invoke(1, SHORT).await.unwrap(), Ended::InProgress);
        assert_eq!(recipient.acknowledged(), Some(3_000_000));
        assert!(recipient.partner.files().is_empty());

        recipient.plan(|faults| faults.after(Call::Chunk, Fault::Mute, 4, usize::MAX));
        assert_eq!(recipient.invoke(1, SHORT).await.unwrap(), Ended::InProgress);
        assert_eq!(recipient.acknowledged(), Some(7_000_000));
        let before = recipient.chunks();

        recipient.plan(|faults| faults);
        let ended = recipient.invoke(1, LONG).await.unwrap();
        assert_eq!(recipient.check_delivered(&ended).attempts, 3);
        // The last chunk of a streamed upload is its end.
        let left = if method == "threaded" { 3 } else { 2 };
        assert_eq!(recipient.chunks() - before, left, "{method}");
    }
}

#[tokio::test]
async fn bytes_after_a_gap_do_not_count_as_arrived() {
    let recipient = Recipient::start("threaded", usize::MAX).await;
    recipient.plan(|faults| faults.after(Call::Chunk, Fault::Mute, 2, 1));
    assert_eq!(recipient.invoke(2, SHORT).await.unwrap(), Ended::InProgress);
    // One of the first four chunks was never answered, because two are on their way at the same
    // time. All others were.
    let acknowledged = recipient.acknowledged().unwrap();
    assert!((1_000_000..=3_000_000).contains(&acknowledged), "{acknowledged}");
    recipient.plan(|faults| faults);
    let ended = recipient.invoke(2, LONG).await.unwrap();
    recipient.check_delivered(&ended);
}

#[tokio::test]
async fn an_upload_without_its_end_sends_no_byte_again() {
    let recipient = Recipient::start("threaded", usize::MAX).await;
    recipient.plan(|faults| faults.always(Call::Finish, Fault::Mute));
    assert_eq!(recipient.invoke(4, SHORT).await.unwrap(), Ended::InProgress);
    assert_eq!(recipient.acknowledged(), Some(9_000_001));
    let before = recipient.chunks();
    let error = recipient.invoke(4, SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimeUp { .. }), "{error:?}");
    recipient.plan(|faults| faults);
    let ended = recipient.invoke(4, LONG).await.unwrap();
    // The server may still end the first upload.
    assert_eq!(recipient.check_delivered(&ended).settled, Some(Settled::SentAgain));
    assert_eq!(recipient.chunks(), before);
}

#[tokio::test]
async fn a_lost_end_is_looked_for_in_the_next_invocation_before_anything_is_sent_again() {
    let ended =
        ["standard", "threaded", "streamed"].map(|method| async move {
            let recipient = Recipient::start(method, usize::MAX).await;
            // The upload is ended, but the folder cannot be read: of the looks, those for the folder and
            // for the old file are answered.
            let looks = Recipient::start(method, usize::MAX).await;
            looks.check_delivered(&looks.invoke(2, LONG).await.unwrap());
            let looks = looks.partner.count(Call::Look) - 1;
            recipient.plan(|faults| {
                let end = if method == "standard" { Call::Standard } else { Call::Finish };
                faults
                    .once(end, Fault::CutAnswer)
                    .after(end, Fault::Status(504), 1, usize::MAX)
                    .after(Call::Look, Fault::Status(504), looks, usize::MAX)
            });
            let first = recipient.invoke(2, LONG).await;
            match method {
                "standard" => assert!(matches!(first, Err(Error::Busy { .. })), "{first:?}"),
                _ => assert_eq!(first.unwrap(), Ended::InProgress),
            }
            let received = recipient.partner.server.bytes_received();

            recipient.plan(|faults| faults);
            let ended = recipient.invoke(2, LONG).await.unwrap();
            assert_eq!(recipient.check_delivered(&ended).settled, Some(Settled::Found));
            assert_eq!(recipient.partner.count(Call::Specification), 1, "{method}");
            assert_eq!(recipient.partner.server.bytes_received(), received, "{method}");
            assert_eq!(recipient.partner.server.published().len(), 1, "{method}");
        });
    join_all(ended).await;
}

#[tokio::test]
async fn a_lost_end_that_nobody_may_look_for_is_settled_by_sending_again() {
    let faults = Faults::default();
    let partner = Partner::start(faults.clone()).await;
    let config = partner.config(&json!({ "sharefile_path": "" }));
    // Only the look for the folder is answered.
    drop(
        faults
            .always(Call::Specification, Fault::Method("threaded"))
            .after(Call::Look, Fault::Status(403), 1, usize::MAX)
            .once(Call::Finish, Fault::CutAnswer),
    );
    let (source, journal) = (Memory::new(large_file()), MemoryJournal::default());
    let ended = invoke(&config, &source, &journal, LONG).await.unwrap();
    let Ended::Delivered(DeliverySummary { receipt, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!((receipt.settled, receipt.seen), (Some(Settled::SentAgain), None));
    assert!(partner.files() == [("home/report.zip".to_owned(), large_file())].into());
}

#[tokio::test]
async fn an_upload_that_ended_without_an_answer_in_time_is_found() {
    let ended = ["threaded", "streamed"].map(|method| async move {
        let recipient = Recipient::start(method, usize::MAX).await;
        recipient.plan(|faults| faults.always(Call::Finish, Fault::MuteAnswer));
        assert_eq!(recipient.invoke(1, 2 * SHORT).await.unwrap(), Ended::InProgress);
        assert_eq!(recipient.partner.files().len(), 1);
        let before = recipient.chunks();

        recipient.plan(|faults| faults);
        let ended = recipient.invoke(1, LONG).await.unwrap();
        assert_eq!(recipient.check_delivered(&ended).settled, Some(Settled::Found));
        assert_eq!(recipient.chunks(), before, "{method}");
    });
    join_all(ended).await;
}

#[tokio::test]
async fn bytes_that_are_not_the_beginning_of_the_file_are_sent_again() {
    for method in ["threaded", "streamed"] {
        let recipient = Recipient::start(method, 3).await;
        recipient.invoke(1, SHORT).await.unwrap();
        let before = recipient.chunks();
        recipient.plan(|faults| faults.always(Call::Specification, Fault::WrongResumeHash));
        let ended = recipient.invoke(1, LONG).await.unwrap();
        recipient.check_delivered(&ended);
        let all = if method == "threaded" { 10 } else { 9 };
        assert_eq!(recipient.chunks() - before, all, "{method}");
    }
}

#[tokio::test]
async fn an_invocation_that_gets_no_further_than_the_last_is_an_error() {
    let recipient = Recipient::start("threaded", 0).await;
    let error = recipient.invoke(1, SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimeUp { .. }), "{error:?}");

    // A server that always forgets would be sent the same bytes for ever.
    let recipient = Recipient::start("threaded", 3).await;
    recipient.invoke(1, SHORT).await.unwrap();
    recipient.plan(|faults| {
        faults.always(Call::Specification, Fault::ForgetsResume).after(
            Call::Chunk,
            Fault::Mute,
            3,
            usize::MAX,
        )
    });
    let error = recipient.invoke(1, SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimeUp { .. }), "{error:?}");
    assert_eq!(recipient.acknowledged(), Some(3_000_000));
    assert!(recipient.partner.files().is_empty());
}

#[tokio::test]
async fn a_connection_that_breaks_is_resumed_by_the_next_attempt() {
    for method in ["threaded", "streamed"] {
        let recipient = Recipient::start(method, usize::MAX).await;
        // Every third request fails, and none is tried again.
        recipient.plan(|faults| {
            (0..3).fold(faults, |faults, nth| {
                faults.after(Call::Chunk, Fault::Status(503), 2 + 3 * nth, 1)
            })
        });
        let changes = json!({
            "sharefile_chunk_size": 1_000_000, "sharefile_threads": 1,
            "sharefile_max_attempts": 1,
        });
        let source = Memory::new(large_file());
        let config = recipient.partner.config(&changes);
        let ended = invoke(&config, &source, &recipient.journal, LONG).await.unwrap();
        assert_eq!(recipient.check_delivered(&ended).attempts, 4, "{method}");
        let all = if method == "threaded" { 10 } else { 9 };
        let limit = recipient.chunks();
        assert!(limit <= all + 3, "{method}: {limit}");
    }
}

#[tokio::test]
async fn time_that_is_up_before_anything_was_sent_is_an_error() {
    for call in [Call::Token, Call::Look, Call::Specification] {
        let recipient = Recipient::start("threaded", 0).await;
        recipient.plan(|faults| faults.always(call, Fault::Mute));
        let error = recipient.invoke(1, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, Error::TimeUp { .. }), "{call:?}: {error:?}");
    }
}
