//! What goes into the machine and what comes out of it.

use std::time::Duration;

use serde_json::Value;

use super::Failure;
use crate::history::{Service, Trouble};
use crate::map_run::MapRunOrder;
use crate::payload::Payload;
use crate::task_token::TaskToken;

/// Names one thing the machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(pub(super) u64);

/// What happened outside the machine.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The execution begins. The first event, and only the first.
    Start,
    /// A function answered, or could not be called.
    TaskFinished { call: Token, result: Result<Value, Trouble> },
    /// The time of an [`Action::StartTimer`] is over.
    TimerFired { timer: Token },
    /// Somebody sent a task token back.
    Callback { token: TaskToken, signal: Signal },
    /// All executions of a distributed map are done.
    MapRunFinished { run: Token, result: Result<Payload, Failure> },
    /// Somebody stops the execution.
    Stop(Trouble),
}

/// What is said about the task that a token belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    Heartbeat,
    Settled(Result<Payload, Trouble>),
}

/// What the machine wants done.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Invoke {
        call: Token,
        invocation: Invocation,
    },
    StartTimer {
        timer: Token,
        after: Duration,
    },
    StartMapRun {
        run: Token,
        order: Box<MapRunOrder>,
    },
    /// The [`Event::Callback`] of this step found its task open. Without it, the token is closed.
    CallbackTaken,
    /// Nobody waits for this any more; what runs for it is to be dropped.
    Cancel(Token),
    /// The execution is over, and everything that still runs for it is to be dropped.
    Finish(Outcome),
}

/// A call of a Lambda function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Invocation {
    /// A name, an ARN or part of one.
    pub(crate) function: String,
    pub(crate) qualifier: Option<String>,
    pub(crate) body: String,
    /// `InvocationType`: `RequestResponse`, `Event` or `DryRun`.
    pub(crate) kind: Option<String>,
    pub(crate) log_type: Option<String>,
    pub(crate) client_context: Option<String>,
    /// Whether the result is the function's answer alone or `lambda:invoke`'s envelope of it.
    pub(crate) service: Service,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Succeeded(Payload),
    Failed(Failure),
    TimedOut,
    Aborted(Trouble),
}
