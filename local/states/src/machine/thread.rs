//! Lines of states, and what each of them waits for.

use std::sync::Arc;

use jiff::Timestamp;

use super::Token;
use super::children::Children;
use crate::definition::{Flow, Next, State};
use crate::history::Service;
use crate::payload::Payload;
use crate::scope::{Item, Scope};

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
    Task { call: Token, timeout: Option<Token>, service: Service },
    Waiting { timer: Token },
    Retrying { timer: Token },
    Children(Children),
    MapRun { run: Token },
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
