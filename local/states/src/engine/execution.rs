//! What is kept of an execution while it runs and after.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{lock, now_in_milliseconds};
use crate::history::{Detail, HistoryEvent, Trouble};
use crate::machine::{Event, Outcome, Signal};
use crate::payload::Payload;
use crate::scope::Identity;
use crate::status::{Status, StatusChange, StatusListener};
use crate::task_token::TaskToken;

/// One execution, running or over.
pub(crate) struct Execution {
    pub(crate) identity: Arc<Identity>,
    pub(crate) map_run_arn: Option<String>,
    record: Mutex<Record>,
    mailbox: mpsc::UnboundedSender<Mail>,
    listener: Option<Arc<dyn StatusListener>>,
}

/// An event from outside, for the runner of an execution.
pub(super) struct Mail {
    pub(super) event: Event,
    /// Gets whether a callback found its task open; dropped if the execution is over.
    pub(super) reply: Option<oneshot::Sender<bool>>,
}

impl From<Event> for Mail {
    fn from(event: Event) -> Self {
        Self { event, reply: None }
    }
}

struct Record {
    status: Status,
    stopped: Option<Timestamp>,
    output: Option<Payload>,
    trouble: Trouble,
    events: Vec<HistoryEvent>,
}

/// How an execution stands at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) stopped: Option<Timestamp>,
    pub(crate) output: Option<Payload>,
    pub(crate) trouble: Trouble,
}

impl Execution {
    pub(super) fn new(
        identity: Identity,
        map_run_arn: Option<String>,
        listener: Option<Arc<dyn StatusListener>>,
    ) -> (Self, mpsc::UnboundedReceiver<Mail>) {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let record = Record {
            status: Status::Running,
            stopped: None,
            output: None,
            trouble: Trouble::default(),
            events: Vec::new(),
        };
        let record = Mutex::new(record);
        let identity = Arc::new(identity);
        (Self { identity, map_run_arn, record, mailbox, listener }, inbox)
    }

    /// Tells the listener of the status that the execution has now. To be called once for each,
    /// and not while a lock is held, which the listener may need.
    pub(super) fn announce(&self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let Snapshot { status, stopped, output, .. } = self.snapshot();
        listener.changed(StatusChange {
            id: uuid::Uuid::new_v4().to_string(),
            execution_arn: self.identity.execution_arn.clone(),
            state_machine_arn: self.identity.state_machine_arn.clone(),
            name: self.identity.execution_name.clone(),
            status,
            started: self.identity.started,
            stopped,
            input: Arc::clone(self.identity.input.text()),
            output: output.map(|output| Arc::clone(output.text())),
        });
    }

    /// Sends a token back; returns whether its task was open.
    pub(super) async fn signal(&self, token: TaskToken, signal: Signal) -> bool {
        let (reply, answer) = oneshot::channel();
        let mail = Mail { event: Event::Callback { token, signal }, reply: Some(reply) };
        // The runner decides, so that of a settlement and a time-out at the same moment exactly
        // one counts. A runner that is gone drops the reply: the execution is over.
        self.mailbox.send(mail).is_ok() && answer.await.unwrap_or(false)
    }

    pub(crate) fn status(&self) -> Status {
        lock(&self.record).status
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let record = lock(&self.record);
        Snapshot {
            status: record.status,
            stopped: record.stopped,
            output: record.output.clone(),
            trouble: record.trouble.clone(),
        }
    }

    /// The events at these places, oldest first, as far as they are there; and how many there are.
    pub(crate) fn events(&self, range: std::ops::Range<usize>) -> (Vec<HistoryEvent>, usize) {
        let record = lock(&self.record);
        let total = record.events.len();
        let range = range.start.min(total)..range.end.min(total);
        (record.events[range].to_vec(), total)
    }

    /// The start, every state that was entered, and every attempt of one beyond its first.
    pub(super) fn transitions(&self) -> u64 {
        let record = lock(&self.record);
        let mut entered = 0;
        let mut first_attempts: u64 = 0;
        let mut attempts: u64 = 0;
        for event in &record.events {
            match &event.detail {
                Detail::StateEntered { kind, .. } => {
                    entered += 1;
                    first_attempts += u64::from(matches!(*kind, "Task" | "Map" | "Parallel"));
                }
                Detail::Scheduled(_) | Detail::ChildrenStarted { .. } => attempts += 1,
                _ => {}
            }
        }
        1 + entered + attempts.saturating_sub(first_attempts)
    }

    /// Asks the execution to stop and says when; one that is over is left as it is.
    pub(crate) fn stop(&self, trouble: Trouble) -> Timestamp {
        let mut record = lock(&self.record);
        if record.status != Status::Running {
            return record.stopped.unwrap_or_else(now_in_milliseconds);
        }
        // The status is set at once, so that whoever asks next sees it; the runner then finds the
        // event in its mailbox and drops what runs.
        let stopped = record.abort(trouble.clone());
        drop(record);
        self.announce();
        // A runner that is already gone has nothing left to stop.
        let _ = self.mailbox.send(Event::Stop(trouble).into());
        stopped
    }

    /// Keeps the events of one step, and the end if it brought that.
    pub(super) fn append(&self, events: Vec<HistoryEvent>, outcome: Option<&Outcome>) {
        let mut record = lock(&self.record);
        if record.status != Status::Running {
            return;
        }
        record.events.extend(events);
        let Some(outcome) = outcome else {
            return;
        };
        record.stopped = Some(now_in_milliseconds());
        match outcome {
            Outcome::Succeeded(output) => {
                record.status = Status::Succeeded;
                record.output = Some(output.clone());
            }
            Outcome::Failed(failure) => {
                record.status = Status::Failed;
                record.trouble = failure.trouble.clone();
            }
            Outcome::TimedOut => record.status = Status::TimedOut,
            Outcome::Aborted(trouble) => {
                record.status = Status::Aborted;
                record.trouble = trouble.clone();
            }
        }
        drop(record);
        self.announce();
    }

    /// Marks an execution whose runner was dropped.
    pub(super) fn abandon(&self) {
        let mut record = lock(&self.record);
        if record.status == Status::Running {
            record.abort(Trouble::default());
            drop(record);
            self.announce();
        }
    }
}

impl Record {
    fn abort(&mut self, trouble: Trouble) -> Timestamp {
        let now = now_in_milliseconds();
        let previous = self.events.last().map_or(0, |event| event.id);
        self.events.push(HistoryEvent {
            id: previous + 1,
            previous,
            time: now,
            detail: Detail::ExecutionAborted(trouble.clone()),
        });
        self.status = Status::Aborted;
        self.trouble = trouble;
        self.stopped = Some(now);
        now
    }
}
