//! What a thread does when that which it waited for happens.

use std::sync::Arc;

use serde_json::Value;

use super::{Failure, Machine, Outcome, Phase, Thread, ThreadId, Token};
use crate::history::{Detail, Trouble};
use crate::payload::Payload;

impl Machine {
    pub(super) fn task_finished(&mut self, call: Token, result: Result<Value, Trouble>) {
        let Some((id, mut thread)) = self.woken(call) else {
            return;
        };
        let Some(current) = &mut thread.current else {
            return;
        };
        let state_name = current.state.name.clone();
        let Phase::Task { timeout, service, .. } =
            std::mem::replace(&mut current.phase, Phase::Entered)
        else {
            return;
        };
        if let Some(timeout) = timeout {
            self.cancel(timeout);
        }
        let result = result.map(Payload::from).and_then(|result| {
            if result.is_too_large() {
                return Err(Failure::output_too_large(&state_name).trouble);
            }
            Ok(result)
        });
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
            Phase::Task { call, service, .. } => {
                self.cancel(call);
                let trouble = Trouble { error: Some("States.Timeout".to_string()), cause: None };
                let detail = Detail::TimedOut { service, trouble: trouble.clone() };
                self.record_in(&mut thread, detail);
                self.fail(id, thread, Failure::catchable(trouble));
            }
            Phase::Waiting { .. } => self.complete(id, thread, None),
            Phase::Retrying { .. } => self.run(id, thread),
            Phase::Entered | Phase::Children(_) | Phase::MapRun { .. } => {}
        }
    }
}
