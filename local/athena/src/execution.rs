//! Query executions: what was asked, how far it is, and how it ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::columns::Column;
use crate::failure::Failure;
use crate::page::Form;
use crate::state_change::{StateChange, StateListener};
use crate::statement::StatementType;

/// Where a query execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    pub(crate) fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) query: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) work_group: String,
    pub(crate) output_location: Option<String>,
}

/// An object in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Location {
    /// Parses `s3://bucket/key`; the key may be empty.
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        let (bucket, key) = uri.strip_prefix("s3://")?.split_once('/').or_else(|| {
            let bucket = uri.strip_prefix("s3://")?;
            Some((bucket, ""))
        })?;
        (!bucket.is_empty()).then(|| Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The object of that name below this prefix.
    pub(crate) fn below(&self, name: &str) -> Self {
        let slash = if self.key.is_empty() || self.key.ends_with('/') { "" } else { "/" };
        Self { bucket: self.bucket.clone(), key: format!("{}{slash}{name}", self.key) }
    }

    pub(crate) fn with_suffix(&self, suffix: &str) -> Self {
        Self { bucket: self.bucket.clone(), key: format!("{}{suffix}", self.key) }
    }

    pub(crate) fn uri(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

/// Times and amounts of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) bytes_scanned: u64,
    pub(crate) queue_millis: i64,
    pub(crate) planning_millis: i64,
    pub(crate) engine_millis: i64,
    pub(crate) total_millis: i64,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Succeeded,
    Failed(Failure),
    Cancelled(String),
}

/// How far a query execution is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) failure: Option<Failure>,
    pub(crate) completed: Option<Timestamp>,
    pub(crate) columns: Vec<Column>,
    pub(crate) statistics: Statistics,
    running_since: Option<Timestamp>,
    /// The number of the last change of state.
    sequence_number: u64,
}

/// One query execution.
pub(crate) struct Execution {
    pub(crate) id: String,
    /// The access key id that started it, if the request was signed.
    pub(crate) caller: Option<String>,
    pub(crate) request: Request,
    pub(crate) statement: StatementType,
    pub(crate) output: Location,
    pub(crate) bytes_scanned_max: Option<u64>,
    pub(crate) submitted: Timestamp,
    progress: Mutex<Progress>,
    listener: Option<Arc<dyn StateListener>>,
    stop: watch::Sender<bool>,
}

/// What an execution is made of.
#[derive(Debug)]
pub(crate) struct NewExecution {
    pub(crate) request: Request,
    pub(crate) statement: StatementType,
    /// The prefix under which results go.
    pub(crate) prefix: Location,
    pub(crate) bytes_scanned_max: Option<u64>,
    pub(crate) caller: Option<String>,
}

impl Execution {
    /// Makes an execution in `QUEUED`, and tells so.
    pub(crate) fn new(new: NewExecution, listener: Option<Arc<dyn StateListener>>) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let extension = match new.statement.form() {
            Form::Csv => "csv",
            Form::Lines => "txt",
        };
        let submitted = Timestamp::now();
        let execution = Self {
            output: new.prefix.below(&format!("{id}.{extension}")),
            id,
            caller: new.caller,
            request: new.request,
            statement: new.statement,
            bytes_scanned_max: new.bytes_scanned_max,
            submitted,
            progress: Mutex::new(Progress {
                state: State::Queued,
                reason: None,
                failure: None,
                completed: None,
                columns: Vec::new(),
                statistics: Statistics::default(),
                running_since: None,
                sequence_number: 1,
            }),
            listener,
            stop: watch::Sender::new(false),
        };
        execution.tell(None, &execution.progress(), submitted);
        execution
    }

    pub(crate) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    pub(crate) fn state(&self) -> State {
        self.lock().state
    }

    /// `QUEUED` to `RUNNING`.
    pub(crate) fn set_running(&self) {
        self.change(|progress, now| {
            if progress.state == State::Queued {
                progress.state = State::Running;
                progress.running_since = Some(now);
                progress.statistics.queue_millis = millis_between(self.submitted, now);
            }
        });
    }

    /// `RUNNING` back to `QUEUED`.
    pub(crate) fn set_queued(&self) {
        self.change(|progress, _| {
            if progress.state == State::Running {
                progress.state = State::Queued;
                progress.running_since = None;
            }
        });
    }

    pub(crate) fn set_columns(&self, columns: Vec<Column>) {
        self.lock().columns = columns;
    }

    pub(crate) fn set_planning_millis(&self, millis: i64) {
        self.lock().statistics.planning_millis = millis;
    }

    pub(crate) fn set_bytes_scanned(&self, bytes: u64) {
        self.lock().statistics.bytes_scanned = bytes;
    }

    /// Ends the execution, unless it has ended already.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.change(|progress, now| {
            if progress.state.is_final() {
                return;
            }
            let since = progress.running_since.unwrap_or(now);
            progress.completed = Some(now);
            progress.statistics.total_millis = millis_between(self.submitted, now);
            progress.statistics.engine_millis = millis_between(since, now);
            match outcome {
                Outcome::Succeeded => progress.state = State::Succeeded,
                Outcome::Cancelled(reason) => {
                    progress.state = State::Cancelled;
                    progress.reason = Some(reason);
                }
                Outcome::Failed(failure) => {
                    progress.state = State::Failed;
                    progress.reason = Some(failure.message.clone());
                    progress.failure = Some(failure);
                }
            }
        });
    }

    /// Changes the progress, and tells it if the state is another one then.
    fn change(&self, change: impl FnOnce(&mut Progress, Timestamp)) {
        let now = Timestamp::now();
        let mut progress = self.lock();
        let previous = progress.state;
        change(&mut progress, now);
        if progress.state == previous {
            return;
        }
        progress.sequence_number += 1;
        let changed = progress.clone();
        drop(progress);
        self.tell(Some(previous), &changed, now);
    }

    fn tell(&self, previous: Option<State>, progress: &Progress, at: Timestamp) {
        let Some(listener) = &self.listener else { return };
        listener.changed(StateChange {
            query_execution_id: self.id.clone(),
            work_group: self.request.work_group.clone(),
            statement_type: self.statement.name,
            previous_state: previous.map(State::name),
            current_state: progress.state.name(),
            sequence_number: progress.sequence_number,
            at,
            failure: progress.failure.clone(),
        });
    }

    /// Cancels the execution, unless it has ended already.
    pub(crate) fn stop(&self) {
        self.finish(Outcome::Cancelled("Query cancelled by user".to_owned()));
        self.stop.send_replace(true);
    }

    /// Waits until [`stop`](Self::stop) is called.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as this execution does, so that waiting can not fail.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole milliseconds from one time to another.
pub(crate) fn millis_between(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}
