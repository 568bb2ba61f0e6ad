//! What happens when a state fails: retry, catch, or the end of the thread around it.

use std::time::Duration;

use rand::RngExt;
use serde_json::json;

use super::children::Children;
use super::{Current, Machine, Outcome, Parent, Phase, Thread, ThreadId};
use crate::definition::{Kind, Next, Retrier};
use crate::expression::EvaluationError;
use crate::history::{Detail, Trouble};
use crate::payload::Payload;
use crate::scope::Surroundings;

/// The name of every error that comes of waiting too long.
const TIMEOUT: &str = "States.Timeout";

/// An error that a state ended with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) trouble: Trouble,
    /// No `Retry` and no `Catch` takes the error.
    pub(crate) is_terminal: bool,
    /// A second name by which `Retry` and `Catch` know the error.
    also_named: Option<&'static str>,
}

impl Failure {
    pub(crate) fn catchable(trouble: Trouble) -> Self {
        Self { trouble, is_terminal: false, also_named: None }
    }

    pub(crate) fn named(error: &str, cause: impl Into<String>) -> Self {
        Self::catchable(Trouble { error: Some(error.to_string()), cause: Some(cause.into()) })
    }

    /// A Task that took longer than its `TimeoutSeconds`. AWS records no cause.
    pub(super) fn timeout() -> Self {
        Self::catchable(Trouble { error: Some(TIMEOUT.to_string()), cause: None })
    }

    /// A Task that was not heard of within its `HeartbeatSeconds`.
    ///
    /// AWS records it as `States.Timeout`. Its page "Handling errors in Step Functions workflows"
    /// says that `Catch` and `Retry` know the error as `States.HeartbeatTimeout`. Nobody recorded
    /// which of the two matches there, so both do.
    pub(super) fn heartbeat_timeout() -> Self {
        Self { also_named: Some("States.HeartbeatTimeout"), ..Self::timeout() }
    }

    /// AWS: `States.Runtime` can be neither retried nor caught, not even by name.
    pub(crate) fn runtime(cause: impl Into<String>) -> Self {
        Self { is_terminal: true, ..Self::named("States.Runtime", cause) }
    }

    /// What a state made is larger than a state may hand on.
    pub(crate) fn output_too_large(state: &str) -> Self {
        let cause = format!(
            "The state/task '{state}' returned a result with a size exceeding the maximum number \
             of bytes service limit."
        );
        Self { is_terminal: true, ..Self::named("States.DataLimitExceeded", cause) }
    }

    /// `$states.errorOutput`. As AWS recorded it, both fields are always there: what is missing is
    /// `null`, but for the cause of a time-out, which is empty.
    fn output(&self) -> Payload {
        let Trouble { error, cause } = &self.trouble;
        let is_timeout = error.as_deref() == Some(TIMEOUT);
        let cause = cause.as_deref().or(is_timeout.then_some(""));
        Payload::from(json!({"Error": error, "Cause": cause}))
    }

    /// Whether a `Retry` or `Catch` with these names takes the error.
    fn is_named_by(&self, names: &[String]) -> bool {
        if self.is_terminal {
            return false;
        }
        let error = self.trouble.error.as_deref().unwrap_or_default();
        names.iter().any(|name| match name.as_str() {
            "States.ALL" => true,
            "States.TaskFailed" => error != TIMEOUT,
            name => name == error || Some(name) == self.also_named,
        })
    }
}

impl Retrier {
    /// The longest the given retry may wait; the first is 1.
    fn delay_seconds(&self, retry: u32) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds in a definition have at most 27 bits"
        )]
        let (first, most) =
            (self.interval_seconds as f64, self.max_delay_seconds.map(|seconds| seconds as f64));
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = first * self.backoff_rate.powi(exponent);
        delay.min(most.unwrap_or(f64::MAX))
    }
}

/// Some three hundred years, so that no product of a long retry overflows a duration.
const DELAY_SECONDS_LONGEST: f64 = 1.0e10;

impl Machine {
    /// Prefixes a cause with the state it happened in, as AWS does.
    pub(super) fn located(current: &Current, message: &str) -> String {
        format!(
            "An error occurred while executing the state '{}' (entered at the event id #{}). \
             {message}",
            current.state.name, current.entered_event
        )
    }

    /// Records that an expression could not be evaluated.
    pub(super) fn evaluation_failed(
        &mut self,
        thread: &mut Thread,
        error: EvaluationError,
    ) -> Failure {
        // AWS links the event to the one before the state where nothing came in between.
        let previous = match &thread.current {
            Some(current) if current.entered_event == thread.last_event => current.before_event,
            _ => thread.last_event,
        };
        self.value_refused(thread, previous, Some(error.location), &error.message)
    }

    /// Records that a value a state was given cannot be used.
    pub(super) fn value_refused(
        &mut self,
        thread: &mut Thread,
        previous: u64,
        location: Option<String>,
        message: &str,
    ) -> Failure {
        let Some(current) = &thread.current else {
            return Failure::runtime(message);
        };
        let cause = Self::located(current, message);
        let failure = Failure::named("States.QueryEvaluationError", cause);
        let detail = Detail::EvaluationFailed {
            state: current.state.name.clone(),
            location,
            trouble: failure.trouble.clone(),
        };
        thread.last_event = self.record(previous, detail);
        failure
    }

    /// Retries the state, hands the error to a catcher, or ends the thread.
    pub(super) fn fail(&mut self, id: ThreadId, mut thread: Thread, failure: Failure) {
        if self.retry(id, &mut thread, &failure) {
            self.threads.insert(id, thread);
            return;
        }
        let Some((state, surroundings)) = self.surroundings(&thread) else {
            return;
        };
        let kind = state.kind.name();
        if matches!(state.kind, Kind::Map(_) | Kind::Parallel { .. }) {
            self.record_in(&mut thread, Detail::ChildrenFailed { kind });
        }
        let catcher = state
            .catch
            .iter()
            .enumerate()
            .find(|(_, catcher)| failure.is_named_by(&catcher.error_equals));
        let Some((index, catcher)) = catcher else {
            return self.end_thread(thread, failure);
        };
        let output = failure.output();
        let surroundings = Surroundings { error_output: Some(output.clone()), ..surroundings };
        let settled = self.settle(
            &mut thread,
            &surroundings,
            &format!("Catch[{index}]/"),
            catcher.output.as_ref(),
            &catcher.assign,
            output,
        );
        match settled {
            Ok((output, assigned)) => {
                let next = Next::State(catcher.next.clone());
                self.leave(id, thread, next, output, assigned);
            }
            Err(failure) => self.end_thread(thread, failure),
        }
    }

    /// Starts the wait before another attempt, if a retrier still has one.
    fn retry(&mut self, id: ThreadId, thread: &mut Thread, failure: &Failure) -> bool {
        let Some(current) = &mut thread.current else {
            return false;
        };
        let retriers = current.state.retry.iter().zip(&mut current.retries);
        let first =
            retriers.into_iter().find(|(retrier, _)| failure.is_named_by(&retrier.error_equals));
        let Some((retrier, done)) = first else {
            return false;
        };
        if *done >= retrier.max_attempts {
            return false;
        }
        *done += 1;
        let longest = retrier.delay_seconds(*done).min(DELAY_SECONDS_LONGEST);
        let seconds =
            if retrier.jitter { self.random.random_range(0.0..=longest) } else { longest };
        let timer = self.start_timer(id, Duration::from_secs_f64(seconds));
        if let Some(current) = &mut thread.current {
            current.phase = Phase::Retrying { timer };
        }
        true
    }

    fn end_thread(&mut self, mut thread: Thread, failure: Failure) {
        match thread.parent {
            None => self.finish(thread.last_event, Outcome::Failed(failure)),
            Some(parent) => self.child_failed(parent, &mut thread, failure),
        }
    }

    /// A branch or iteration failed: its siblings are aborted and the state around it fails.
    fn child_failed(&mut self, parent: Parent, child: &mut Thread, failure: Failure) {
        let Some(mut thread) = self.threads.remove(&parent.thread) else {
            return;
        };
        let Some(current) = &mut thread.current else {
            return;
        };
        let Phase::Children(mut children) = std::mem::replace(&mut current.phase, Phase::Entered)
        else {
            return;
        };
        children.forget(parent.index);
        let map = matches!(current.state.kind, Kind::Map(_)).then(|| current.state.name.clone());
        thread.last_event = child.last_event;
        let child_state = child.current.as_ref().map(|current| &current.state.kind);
        if let Some(map) = &map {
            let detail = Detail::IterationFailed { map: map.clone(), index: parent.index };
            self.record(child.last_event, detail);
        } else if matches!(child_state, Some(Kind::Task(_))) {
            // A Parallel, unlike a Map, aborts the very task that failed.
            self.record_in(child, Detail::StateAborted { kind: "Task" });
            thread.last_event = child.last_event;
        }
        self.abort_children(&children, map.as_deref());
        self.fail(parent.thread, thread, failure);
    }

    fn abort_children(&mut self, children: &Children, map: Option<&str>) {
        for (index, child) in children.active() {
            let last_event = self.abort(child);
            if let (Some(map), Some(last_event)) = (map, last_event) {
                let detail = Detail::IterationAborted { map: map.to_string(), index };
                self.record(last_event, detail);
            }
        }
    }

    /// Drops a thread and everything that runs for it; the last event of it, if it was there.
    fn abort(&mut self, id: ThreadId) -> Option<u64> {
        let mut thread = self.threads.remove(&id)?;
        let Some(current) = thread.current.take() else {
            return Some(thread.last_event);
        };
        match current.phase {
            Phase::Entered => {}
            Phase::Task(task) => self.close(&task),
            Phase::Waiting { timer } | Phase::Retrying { timer } => self.cancel(timer),
            Phase::Children(children) => {
                let map = matches!(current.state.kind, Kind::Map(_));
                self.abort_children(&children, map.then_some(current.state.name.as_str()));
            }
            Phase::MapRun { run } => {
                self.cancel(run);
                self.record_in(&mut thread, Detail::MapRunAborted);
            }
        }
        let kind = current.state.kind.name();
        if matches!(kind, "Task" | "Wait" | "Map" | "Parallel") {
            self.record_in(&mut thread, Detail::StateAborted { kind });
        }
        Some(thread.last_event)
    }
}
