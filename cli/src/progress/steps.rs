//! The steps of a run, as somebody who waits for it sees them.

use std::fmt;

use indicatif::{BinaryBytes, HumanCount};
use job::{
    record::{QueryState, QuerySummary},
    view::{RunState, RunView},
};

use crate::run::Receipt;

/// The state that makes the archive.
const ZIP_STATE: &str = "ZipResults";

/// The state that delivers the file.
const TRANSPORT_STATE: &str = "TransportFile";

/// One thing that a run does: a query, the archive, the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is, alone in its run: `query q01`, `archive`.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// The same in words, with what came of it.
    pub text: String,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It has not begun.
    Waiting,
    /// It has begun.
    Running,
    /// It has ended well.
    Done,
    /// It has ended badly.
    Failed,
}

impl StepState {
    /// Whether nothing will change any more.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

/// All steps that are known of, in their order.
pub fn steps(view: &RunView) -> Vec<Step> {
    let queries = view.queries.iter().map(query);
    queries.chain(file(view)).chain(delivery(view)).collect()
}

/// The steps of `new` that are not as they are in `old`, without those that only wait.
///
/// Queries are in the order of the plan in both, which ends the search for most of them at once.
pub fn changed<'a>(old: &'a [Step], new: &'a [Step]) -> impl Iterator<Item = &'a Step> {
    new.iter().enumerate().filter_map(|(at, step)| {
        let same_place = old.get(at).filter(|before| before.name == step.name);
        let before = same_place.or_else(|| old.iter().find(|before| before.name == step.name));
        (step.state != StepState::Waiting && before != Some(step)).then_some(step)
    })
}

fn query(record: &QuerySummary) -> Step {
    let (state, word) = match record.state {
        QueryState::Queued => (StepState::Waiting, "QUEUED"),
        QueryState::Running => (StepState::Running, "RUNNING"),
        QueryState::Succeeded => (StepState::Done, "SUCCEEDED"),
        QueryState::Failed => (StepState::Failed, "FAILED"),
        QueryState::Cancelled => (StepState::Failed, "CANCELLED"),
    };
    let text = match (state, &record.csv, &record.failure) {
        (StepState::Done, Some(csv), _) => {
            let rows = if csv.rows == 1 { "row" } else { "rows" };
            format!("{word}, {} {rows}, {}", HumanCount(csv.rows), BinaryBytes(csv.size_bytes))
        }
        (StepState::Failed, _, Some(failure)) => {
            format!(
                "{word}, {}: {}",
                failure.error,
                failure.cause.lines().next().unwrap_or_default()
            )
        }
        (StepState::Waiting | StepState::Running | StepState::Done | StepState::Failed, _, _) => {
            word.to_owned()
        }
    };
    Step { name: format!("query {}", record.name), state, text }
}

/// The file that is made: an archive of several results, or the one result.
fn file(view: &RunView) -> Option<Step> {
    let name = if view.query_count == Some(1) { "file" } else { "archive" };
    let done = view.file.as_ref().map(|file| {
        (
            StepState::Done,
            format!("SUCCEEDED, {}, {}", file.file_name, BinaryBytes(file.size_bytes)),
        )
    });
    step(name, done.or_else(|| in_state(view, ZIP_STATE)))
}

fn delivery(view: &RunView) -> Option<Step> {
    let done = view.delivery.as_ref().map(|_| {
        let place = Receipt::of(view)
            .map(|receipt| format!(", {}", receipt.remote_path))
            .unwrap_or_default();
        (StepState::Done, format!("SUCCEEDED{place}"))
    });
    step("delivery", done.or_else(|| in_state(view, TRANSPORT_STATE)))
}

fn step(name: &str, standing: Option<(StepState, String)>) -> Option<Step> {
    standing.map(|(state, text)| Step { name: name.to_owned(), state, text })
}

/// How it stands with what a state of the state machine does, if the run is or has ended there.
fn in_state(view: &RunView, state: &str) -> Option<(StepState, String)> {
    if let Some(failure) = view.failure.as_ref().filter(|failure| failure.state == state) {
        return Some((StepState::Failed, format!("FAILED, {}", failure.error)));
    }
    let running = view.status == RunState::Running && view.stage.as_deref() == Some(state);
    running.then(|| (StepState::Running, "RUNNING".to_owned()))
}
