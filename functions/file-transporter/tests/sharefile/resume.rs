//! Files that take longer than one invocation.

use std::time::Duration;

use file_transporter::{Checkpoint, Error, Outcome};
use futures_util::future::join_all;
use local_sharefile::{Call, Fault, Faults};
use serde_json::{Value, json};

use crate::account::{Memory, PLACE, Partner, large_file, outcome_of};

/// Time in which a chunk can be sent, however busy the machine is.
const SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(870);

fn chunks(partner: &Partner) -> usize {
    count(partner, Call::Chunk)
}

fn count(partner: &Partner, wanted: Call) -> usize {
    partner.server.requests().iter().filter(|(call, _)| *call == wanted).count()
}

struct Recipient {
    partner: Partner,
    faults: Faults,
    method: &'static str,
}

impl Recipient {
    /// A server that answers `answered` chunks and then nothing.
    async fn start(method: &'static str, answered: usize) -> Self {
        let faults = Faults::default();
        let partner = Partner::start(faults.clone()).await;
        let recipient = Self { partner, faults, method };
        recipient.plan(|faults| faults.after(Call::Chunk, Fault::Mute, answered, usize::MAX));
        recipient
    }

    fn plan(&self, plan: impl Fn(Faults) -> Faults) {
        self.faults.clear();
        let faults = self.faults.clone().always(Call::Specification, Fault::Method(self.method));
        drop(plan(faults));
    }

    async fn invoke(
        &self,
        threads: u32,
        checkpoint: Option<Checkpoint>,
        time: Duration,
    ) -> Result<Outcome, Error> {
        let changes: Value =
            json!({ "sharefile_chunk_size": 1_000_000, "sharefile_threads": threads });
        let source = Memory::new(large_file());
        outcome_of(self.partner.transporter(&changes), &source, checkpoint, time).await
    }

    #[track_caller]
    fn check_delivered(&self, outcome: &Outcome) {
        assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
        assert!(self.partner.files() == [(PLACE.to_owned(), large_file())].into());
    }
}

fn at(acknowledged_bytes: u64, invocations: u32) -> Checkpoint {
    Checkpoint {
        version: "\"9000001\"".to_owned(),
        acknowledged_bytes,
        invocations,
        sha256_state: None,
        sent: None,
    }
}

#[tokio::test]
async fn a_file_that_takes_too_long_goes_on_in_the_next_invocation() {
    for method in ["threaded", "streamed"] {
        let recipient = Recipient::start(method, 3).await;
        let outcome = recipient.invoke(1, None, SHORT).await.unwrap();
        assert_eq!(outcome, Outcome::InProgress { checkpoint: at(3_000_000, 1) });
        assert!(recipient.partner.files().is_empty());

        recipient.plan(|faults| faults.after(Call::Chunk, Fault::Mute, 4, usize::MAX));
        let outcome = recipient.invoke(1, Some(at(3_000_000, 1)), SHORT).await.unwrap();
        assert_eq!(outcome, Outcome::InProgress { checkpoint: at(7_000_000, 2) });
        let before = chunks(&recipient.partner);

        recipient.plan(|faults| faults);
        let outcome = recipient.invoke(1, Some(at(7_000_000, 2)), LONG).await.unwrap();
        recipient.check_delivered(&outcome);
        // The last chunk of a streamed upload is its end.
        let left = if method == "threaded" { 3 } else { 2 };
        assert_eq!(chunks(&recipient.partner) - before, left, "{method}");
    }
}

#[tokio::test]
async fn bytes_after_a_gap_do_not_count_as_arrived() {
    let recipient = Recipient::start("threaded", usize::MAX).await;
    recipient.plan(|faults| faults.after(Call::Chunk, Fault::Mute, 1, 1));
    let outcome = recipient.invoke(2, None, SHORT).await.unwrap();
    let Outcome::InProgress { checkpoint } = outcome else { panic!("{outcome:?}") };
    // One of the first two chunks was never answered; all others were.
    assert!(checkpoint.acknowledged_bytes <= 1_000_000, "{checkpoint:?}");
    recipient.plan(|faults| faults);
    let outcome = recipient.invoke(2, Some(checkpoint), LONG).await.unwrap();
    recipient.check_delivered(&outcome);
}

#[tokio::test]
async fn an_upload_of_which_only_the_end_is_missing_sends_nothing_again() {
    let recipient = Recipient::start("threaded", usize::MAX).await;
    recipient.plan(|faults| faults.always(Call::Finish, Fault::Mute));
    let outcome = recipient.invoke(4, None, SHORT).await.unwrap();
    assert_eq!(outcome, Outcome::InProgress { checkpoint: at(9_000_001, 1) });
    let before = chunks(&recipient.partner);
    let error = recipient.invoke(4, Some(at(9_000_001, 1)), SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimeUp { acknowledged: 9_000_001, .. }), "{error:?}");
    recipient.plan(|faults| faults);
    let outcome = recipient.invoke(4, Some(at(9_000_001, 1)), LONG).await.unwrap();
    recipient.check_delivered(&outcome);
    assert_eq!(chunks(&recipient.partner), before);
}

#[tokio::test]
async fn an_end_that_stays_in_doubt_is_looked_for_before_anything_is_sent_again() {
    let ended =
        ["standard", "threaded", "streamed"].map(|method| async move {
            let undisturbed = Recipient::start(method, usize::MAX).await;
            undisturbed.check_delivered(&undisturbed.invoke(2, None, LONG).await.unwrap());
            let looks = count(&undisturbed.partner, Call::Look);

            let recipient = Recipient::start(method, usize::MAX).await;
            // The upload is ended, but the file can not be seen yet.
            recipient.plan(|faults| {
                let end = if method == "standard" { Call::Standard } else { Call::Finish };
                faults
                    .once(end, Fault::CutAnswer)
                    .after(end, Fault::Status(504), 1, usize::MAX)
                    .after(Call::Look, Fault::Status(504), looks, usize::MAX)
            });
            let outcome = recipient.invoke(2, None, LONG).await.unwrap();
            assert_eq!(outcome, Outcome::InProgress { checkpoint: at(9_000_001, 1) }, "{method}");

            recipient.plan(|faults| faults);
            let outcome = recipient.invoke(2, Some(at(9_000_001, 1)), LONG).await.unwrap();
            recipient.check_delivered(&outcome);
            assert_eq!(count(&recipient.partner, Call::Specification), 1, "{method}");
        });
    join_all(ended).await;
}

#[tokio::test]
async fn an_end_in_doubt_that_nobody_may_look_for_is_settled_by_uploading_again() {
    let faults = Faults::default();
    let partner = Partner::start(faults.clone()).await;
    let transporter = partner.transporter(&json!({ "sharefile_path": "" }));
    let source = Memory::new(large_file());
    // Only the first look of an invocation, which is for the folder, is answered.
    let plan = || {
        faults.clear();
        let faults = faults.clone().always(Call::Specification, Fault::Method("threaded"));
        faults.after(Call::Look, Fault::Status(403), 1, usize::MAX)
    };
    drop(plan().once(Call::Finish, Fault::CutAnswer));
    let outcome = outcome_of(transporter.clone(), &source, None, LONG).await.unwrap();
    assert_eq!(outcome, Outcome::InProgress { checkpoint: at(9_000_001, 1) });

    drop(plan());
    let checkpoint = Some(at(9_000_001, 1));
    let outcome = outcome_of(transporter, &source, checkpoint, LONG).await.unwrap();
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    assert!(partner.files() == [("home/report.zip".to_owned(), large_file())].into());
}

#[tokio::test]
async fn an_upload_that_was_ended_without_an_answer_in_time_is_not_repeated() {
    let ended = ["threaded", "streamed"].map(|method| async move {
        let recipient = Recipient::start(method, usize::MAX).await;
        recipient.plan(|faults| faults.always(Call::Finish, Fault::MuteAnswer));
        let outcome = recipient.invoke(1, None, 3 * SHORT).await.unwrap();
        // The last chunk of a streamed upload is its end.
        let acknowledged = if method == "threaded" { 9_000_001 } else { 9_000_000 };
        assert_eq!(outcome, Outcome::InProgress { checkpoint: at(acknowledged, 1) });
        assert_eq!(recipient.partner.files().len(), 1);
        let before = chunks(&recipient.partner);

        recipient.plan(|faults| faults);
        let outcome = recipient.invoke(1, Some(at(acknowledged, 1)), LONG).await.unwrap();
        recipient.check_delivered(&outcome);
        assert_eq!(chunks(&recipient.partner), before, "{method}");

        // Another version of the file is another file.
        let other = Checkpoint { version: "\"1\"".to_owned(), ..at(acknowledged, 1) };
        let outcome = recipient.invoke(1, Some(other), LONG).await.unwrap();
        recipient.check_delivered(&outcome);
        assert!(chunks(&recipient.partner) > before, "{method}");
    });
    join_all(ended).await;
}

#[tokio::test]
async fn what_is_not_the_beginning_of_the_file_is_not_gone_on_with() {
    for method in ["threaded", "streamed"] {
        let recipient = Recipient::start(method, 3).await;
        recipient.invoke(1, None, SHORT).await.unwrap();
        let before = chunks(&recipient.partner);
        recipient.plan(|faults| faults.always(Call::Specification, Fault::WrongResumeHash));
        let outcome = recipient.invoke(1, Some(at(3_000_000, 1)), LONG).await.unwrap();
        recipient.check_delivered(&outcome);
        let all = if method == "threaded" { 10 } else { 9 };
        assert_eq!(chunks(&recipient.partner) - before, all, "{method}");
    }
}

#[tokio::test]
async fn an_invocation_that_gets_no_further_than_the_last_is_an_error() {
    let recipient = Recipient::start("threaded", 0).await;
    let error = recipient.invoke(1, None, SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimeUp { acknowledged: 0, .. }), "{error:?}");

    // A server that always begins again would be sent the same bytes for ever.
    let recipient = Recipient::start("threaded", 3).await;
    recipient.invoke(1, None, SHORT).await.unwrap();
    recipient.plan(|faults| {
        faults.always(Call::Specification, Fault::ForgetsResume).after(
            Call::Chunk,
            Fault::Mute,
            3,
            usize::MAX,
        )
    });
    let error = recipient.invoke(1, Some(at(3_000_000, 1)), SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimeUp { acknowledged: 3_000_000, .. }), "{error:?}");
    assert!(recipient.partner.files().is_empty());
}

#[tokio::test]
async fn time_that_is_up_before_anything_was_sent_is_an_error() {
    for call in [Call::Token, Call::Look, Call::Specification] {
        let recipient = Recipient::start("threaded", 0).await;
        recipient.plan(|faults| faults.always(call, Fault::Mute));
        let error = recipient.invoke(1, None, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, Error::OutOfTime { .. }), "{call:?}: {error:?}");
    }
}
