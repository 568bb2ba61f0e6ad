//! What a thread does when that which it waited for happens.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Action, Failure, Machine, Outcome, Phase, RunningTask, Signal, Thread, ThreadId, Token,
};
use crate::history::{Detail, Service, Trouble};
use crate::payload::Payload;
use crate::task_token::TaskToken;

impl Machine {
    pub(super) fn task_finished(&mut self, call: Token, result: Result<Value, Trouble>) {
        let Some((id, mut thread)) = self.woken(call) else {
            return;
        };
        let Some(mut task) = take_task(&mut thread) else {
            return;
        };
        task.call = None;
        let result = result.map(Payload::from).and_then(|result| {
            if result.is_too_large() {
                let state = thread.current.as_ref().map_or("", |current| &current.state.name);
                return Err(Failure::output_too_large(state).trouble);
            }
            Ok(result)
        });
        match result {
            Ok(answer) if task.callback.is_some() => {
                let (service, output) = (task.service.clone(), Some(Arc::clone(answer.text())));
                self.record_in(&mut thread, Detail::Submitted { service, output });
                self.wait_on(id, thread, task);
            }
            result => {
                self.close(&task);
                self.task_ended(id, thread, task.service, result);
            }
        }
    }

    /// A token came back. Nothing happens if its task is over.
    pub(super) fn callback(&mut self, token: &TaskToken, signal: Signal) {
        let Some(id) = self.callbacks.get(token).copied() else {
            return;
        };
        let Some(mut thread) = self.threads.remove(&id) else {
            return;
        };
        let Some(mut task) = take_task(&mut thread) else {
            return;
        };
        self.actions.push(Action::CallbackTaken);
        match signal {
            Signal::Heartbeat => {
                if let Some(heartbeat) = &mut task.heartbeat {
                    self.cancel(heartbeat.timer);
                    heartbeat.timer = self.start_timer(id, heartbeat.within);
                }
                self.wait_on(id, thread, task);
            }
            Signal::Settled(result) => {
                // A function may settle its own token before it answers, or another may be faster
                // than the answer. AWS does not document the order. Here the settlement counts at
                // once, so that it cannot be lost to an error of the call; the call runs on and
                // its answer is ignored. The history keeps its usual events, without the answer.
                if let Some(call) = task.call.take() {
                    self.waiting.remove(&call);
                    let detail = Detail::Submitted { service: task.service.clone(), output: None };
                    self.record_in(&mut thread, detail);
                }
                self.close(&task);
                self.task_ended(id, thread, task.service, result);
            }
        }
    }

    fn wait_on(&mut self, id: ThreadId, mut thread: Thread, task: RunningTask) {
        if let Some(current) = &mut thread.current {
            current.phase = Phase::Task(task);
        }
        self.threads.insert(id, thread);
    }

    /// Drops the call and the timers of a task, and closes its token.
    pub(super) fn close(&mut self, task: &RunningTask) {
        let heartbeat = task.heartbeat.as_ref().map(|heartbeat| heartbeat.timer);
        for token in [task.call, task.timeout, heartbeat].into_iter().flatten() {
            self.cancel(token);
        }
        if let Some(token) = &task.callback {
            self.callbacks.remove(token);
        }
    }

    fn task_ended(
        &mut self,
        id: ThreadId,
        mut thread: Thread,
        service: Service,
        result: Result<Payload, Trouble>,
    ) {
        match result {
            Ok(result) => {
                let output = Arc::clone(result.text());
                self.record_in(&mut thread, Detail::Succeeded { service, output });
                self.complete(id, thread, Some(result));
            }
            Err(trouble) => {
                let detail = Detail::Failed { service, trouble: trouble.clone() };
                self.record_in(&mut thread, detail);
                self.fail(id, thread, Failure::catchable(trouble));
            }
        }
    }

    /// The thread that waits for the token.
    pub(super) fn woken(&mut self, token: Token) -> Option<(ThreadId, Thread)> {
        let id = self.waiting.remove(&token)?;
        Some((id, self.threads.remove(&id)?))
    }

    pub(super) fn timer_fired(&mut self, timer: Token) {
        if self.deadline == Some(timer) {
            return self.finish(self.event_count, Outcome::TimedOut);
        }
        let Some((id, mut thread)) = self.woken(timer) else {
            return;
        };
        let Some(current) = &mut thread.current else {
            return;
        };
        match std::mem::replace(&mut current.phase, Phase::Entered) {
            Phase::Task(task) => {
                self.close(&task);
                let failure = match &task.heartbeat {
                    Some(heartbeat) if heartbeat.timer == timer => Failure::heartbeat_timeout(),
                    _ => Failure::timeout(),
                };
                let (service, trouble) = (task.service, failure.trouble.clone());
                self.record_in(&mut thread, Detail::TimedOut { service, trouble });
                self.fail(id, thread, failure);
            }
            Phase::Waiting { .. } => self.complete(id, thread, None),
            Phase::Retrying { .. } => self.run(id, thread),
            Phase::Entered | Phase::Children(_) | Phase::MapRun { .. } => {}
        }
    }
}

/// The task that a thread waits on, which the caller ends or puts back.
fn take_task(thread: &mut Thread) -> Option<RunningTask> {
    let current = thread.current.as_mut()?;
    match std::mem::replace(&mut current.phase, Phase::Entered) {
        Phase::Task(task) => Some(task),
        other => {
            current.phase = other;
            None
        }
    }
}
