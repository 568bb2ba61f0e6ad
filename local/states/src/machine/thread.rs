//! Lines of states, and what each of them waits for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Token;
use super::children::Children;
use crate::definition::{Flow, Next, State};
use crate::history::Service;
use crate::payload::Payload;
use crate::scope::{Item, Scope};
use crate::task_token::TaskToken;

/// Names one branch, iteration or the top level of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ThreadId(pub(super) u64);

/// A line of states that run one after another.
pub(super) struct Thread {
    pub(super) parent: Option<Parent>,
    pub(super) flow: Arc<Flow>,
    pub(super) scope: Arc<Scope>,
    pub(super) item: Option<Arc<Item>>,
    /// The event before the next one of this thread.
    pub(super) last_event: u64,
    pub(super) current: Option<Current>,
}

#[derive(Clone, Copy)]
pub(super) struct Parent {
    pub(super) thread: ThreadId,
    pub(super) index: usize,
}

/// The state a thread is in.
pub(super) struct Current {
    pub(super) state: Arc<State>,
    pub(super) input: Payload,
    pub(super) entered_event: u64,
    /// The event before the state was entered.
    pub(super) before_event: u64,
    pub(super) entered: Timestamp,
    /// The token of the newest attempt, where the state is a callback task.
    pub(super) task_token: Option<TaskToken>,
    /// Retries so far, by retrier.
    pub(super) retries: Vec<u32>,
    pub(super) phase: Phase,
}

impl Current {
    pub(super) fn retry_count(&self) -> u32 {
        self.retries.iter().sum()
    }
}

/// What a state waits for.
pub(super) enum Phase {
    Entered,
    Task(RunningTask),
    Waiting { timer: Token },
    Retrying { timer: Token },
    Children(Children),
    MapRun { run: Token },
}

/// An attempt of a Task: a call that runs, or a callback that is waited for.
pub(super) struct RunningTask {
    pub(super) service: Service,
    /// The call of the function, until it has answered.
    pub(super) call: Option<Token>,
    pub(super) timeout: Option<Token>,
    pub(super) heartbeat: Option<Heartbeat>,
    /// The token that settles a callback task.
    pub(super) callback: Option<TaskToken>,
}

/// The time within which a callback task must be heard of.
pub(super) struct Heartbeat {
    pub(super) timer: Token,
    pub(super) within: Duration,
}

/// What is to be done inside the machine before it waits again.
pub(super) struct Work {
    pub(super) thread: ThreadId,
    pub(super) enter: String,
    pub(super) input: Payload,
}

/// What running a state led to.
pub(super) enum Step {
    /// The state waits for an event.
    Blocked,
    /// The state is done, with a result if its type has one.
    Complete(Option<Payload>),
    /// The state is done by a rule of its own.
    Leave { next: Next, output: Payload, assigned: Vec<(String, Payload)> },
}
