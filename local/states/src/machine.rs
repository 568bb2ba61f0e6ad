//! An execution as a pure machine: an event goes in, actions come out.
//!
//! The machine waits for nothing and knows no clock: every event comes with the time it happened
//! at, and what is to happen later is an [`Action::StartTimer`]. The shell around it does the
//! actions and brings their outcomes back as events. Only `$now`, `$millis`, `$random` and `$uuid`
//! in an expression ask the world directly.

#[cfg(test)]
mod callback_tests;
mod children;
mod distributed;
mod enter;
mod failure;
mod message;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod thread;
mod wake;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::definition::{Assign, Definition, Next, State};
use crate::expression::{Bindings, Template};
use crate::history::{Detail, HISTORY_EVENTS_MAX, HistoryEvent, Trouble};
use crate::payload::{PAYLOAD_BYTES_MAX, Payload};
use crate::scope::{Identity, Surroundings};
use crate::task_token::TaskToken;
pub(crate) use children::select;
pub(crate) use failure::Failure;
pub(crate) use message::{Action, Event, Invocation, Outcome, Signal, Token};
use thread::{Current, Heartbeat, Parent, Phase, RunningTask, Step, Thread, ThreadId, Work};

/// AWS: the variables of an execution may have 10 MiB together.
const VARIABLES_BYTES_MAX: usize = 10 * 1024 * 1024;

/// One execution.
pub(crate) struct Machine {
    definition: Arc<Definition>,
    identity: Arc<Identity>,
    threads: HashMap<ThreadId, Thread>,
    waiting: HashMap<Token, ThreadId>,
    /// The callback tasks that are open.
    callbacks: HashMap<TaskToken, ThreadId>,
    deadline: Option<Token>,
    work: VecDeque<Work>,
    actions: Vec<Action>,
    events: Vec<HistoryEvent>,
    event_count: u64,
    is_history_full: bool,
    next_number: u64,
    random: StdRng,
    now: Timestamp,
    is_finished: bool,
}

impl Machine {
    /// An execution that has not begun. The seed decides jitter, task tokens and the ids of map runs.
    pub(crate) fn new(definition: Arc<Definition>, identity: Arc<Identity>, seed: u64) -> Self {
        Self {
            now: identity.started,
            definition,
            identity,
            threads: HashMap::new(),
            waiting: HashMap::new(),
            callbacks: HashMap::new(),
            deadline: None,
            work: VecDeque::new(),
            actions: Vec::new(),
            events: Vec::new(),
            event_count: 0,
            is_history_full: false,
            next_number: 0,
            random: StdRng::seed_from_u64(seed),
            is_finished: false,
        }
    }

    /// Takes one event and says what is to be done about it.
    ///
    /// An event that nobody waits for, such as a timer which fired while it was cancelled, does
    /// nothing.
    pub(crate) fn step(&mut self, now: Timestamp, event: Event) -> Vec<Action> {
        if self.is_finished {
            return Vec::new();
        }
        self.now = now;
        match event {
            Event::Start => self.start(),
            Event::TaskFinished { call, result } => self.task_finished(call, result),
            Event::TimerFired { timer } => self.timer_fired(timer),
            Event::Callback { token, signal } => self.callback(&token, signal),
            Event::MapRunFinished { run, result } => self.map_run_finished(run, result),
            Event::Stop(trouble) => self.stop(trouble),
        }
        while !self.is_finished {
            if self.is_history_full {
                self.history_is_full();
                break;
            }
            let Some(work) = self.work.pop_front() else {
                break;
            };
            self.perform(work);
        }
        std::mem::take(&mut self.actions)
    }

    /// The events since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<HistoryEvent> {
        std::mem::take(&mut self.events)
    }

    fn start(&mut self) {
        let input = self.identity.input.clone();
        let detail = Detail::ExecutionStarted {
            input: Arc::clone(input.text()),
            role_arn: self.identity.role_arn.clone(),
        };
        self.record(0, detail);
        if let Some(seconds) = self.definition.timeout_seconds {
            let timer = self.token();
            self.deadline = Some(timer);
            let after = Duration::from_secs(seconds);
            self.actions.push(Action::StartTimer { timer, after });
        }
        let thread = Thread {
            parent: None,
            flow: Arc::clone(&self.definition.flow),
            scope: Arc::default(),
            item: None,
            last_event: 0,
            current: None,
        };
        self.spawn(thread, input);
    }

    /// Adds a thread, which will enter the first state of its flow.
    fn spawn(&mut self, thread: Thread, input: Payload) -> ThreadId {
        let id = ThreadId(self.number());
        let enter = thread.flow.start_at.clone();
        self.threads.insert(id, thread);
        self.work.push_back(Work { thread: id, enter, input });
        id
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn token(&mut self) -> Token {
        Token(self.number())
    }

    fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid().to_string()
    }

    /// A new token that `thread` waits for.
    fn wait_for(&mut self, thread: ThreadId) -> Token {
        let token = self.token();
        self.waiting.insert(token, thread);
        token
    }

    fn start_timer(&mut self, thread: ThreadId, after: Duration) -> Token {
        let timer = self.wait_for(thread);
        self.actions.push(Action::StartTimer { timer, after });
        timer
    }

    /// Drops what runs for the token, unless it has happened already.
    fn cancel(&mut self, token: Token) {
        if self.waiting.remove(&token).is_some() {
            self.actions.push(Action::Cancel(token));
        }
    }

    /// Adds an event and returns its number. One place is kept for the execution's last event.
    fn record(&mut self, previous: u64, detail: Detail) -> u64 {
        if self.event_count + 1 >= HISTORY_EVENTS_MAX as u64 && !self.is_finished {
            self.is_history_full = true;
            return self.event_count;
        }
        self.event_count += 1;
        self.events.push(HistoryEvent { id: self.event_count, previous, time: self.now, detail });
        self.event_count
    }

    /// Adds an event of a thread, after the one before it.
    fn record_in(&mut self, thread: &mut Thread, detail: Detail) {
        thread.last_event = self.record(thread.last_event, detail);
    }

    fn perform(&mut self, work: Work) {
        if let Some(mut thread) = self.threads.remove(&work.thread) {
            self.enter(&mut thread, &work.enter, work.input);
            self.run(work.thread, thread);
        }
    }

    fn enter(&mut self, thread: &mut Thread, name: &str, input: Payload) {
        let Some(state) = thread.flow.states.get(name).cloned() else {
            return;
        };
        let before_event = thread.last_event;
        let detail = Detail::StateEntered {
            kind: state.kind.name(),
            name: state.name.clone(),
            input: Arc::clone(input.text()),
        };
        // The first state of an execution is recorded as having nothing before it.
        self.record_in(thread, detail);
        thread.current = Some(Current {
            retries: vec![0; state.retry.len()],
            state,
            input,
            entered_event: thread.last_event,
            before_event,
            entered: self.now,
            task_token: None,
            phase: Phase::Entered,
        });
    }

    fn run(&mut self, id: ThreadId, mut thread: Thread) {
        match self.run_state(id, &mut thread) {
            Ok(Step::Blocked) => {
                self.threads.insert(id, thread);
            }
            Ok(Step::Complete(result)) => self.complete(id, thread, result),
            Ok(Step::Leave { next, output, assigned }) => {
                self.leave(id, thread, next, output, assigned);
            }
            Err(failure) => self.fail(id, thread, failure),
        }
    }

    /// Ends a state the ordinary way: `Output` and `Assign` see the same values.
    fn complete(&mut self, id: ThreadId, mut thread: Thread, result: Option<Payload>) {
        let Some((state, surroundings)) = self.surroundings(&thread) else {
            return;
        };
        let plain = result.clone().unwrap_or_else(|| surroundings.input.clone());
        let surroundings = Surroundings { result, ..surroundings };
        let settled = self.settle(
            &mut thread,
            &surroundings,
            "",
            state.output.as_ref(),
            &state.assign,
            plain,
        );
        match settled {
            Ok((output, assigned)) => self.leave(id, thread, state.next.clone(), output, assigned),
            Err(failure) => self.fail(id, thread, failure),
        }
    }

    /// The state the thread is in, and what its expressions see.
    fn surroundings(&self, thread: &Thread) -> Option<(Arc<State>, Surroundings)> {
        let current = thread.current.as_ref()?;
        let surroundings = Surroundings {
            identity: Arc::clone(&self.identity),
            scope: Arc::clone(&thread.scope),
            item: thread.item.clone(),
            state_name: current.state.name.clone(),
            state_entered: current.entered,
            retry_count: current.retry_count(),
            input: current.input.clone(),
            task_token: current.task_token.clone(),
            result: None,
            error_output: None,
        };
        Some((Arc::clone(&current.state), surroundings))
    }

    /// Evaluates an `Output` and an `Assign`, which stand below `field`.
    fn settle(
        &mut self,
        thread: &mut Thread,
        surroundings: &Surroundings,
        field: &str,
        output: Option<&Template>,
        assign: &Assign,
        plain: Payload,
    ) -> Result<(Payload, Vec<(String, Payload)>), Failure> {
        let evaluate = || {
            let bindings = Bindings::new(surroundings);
            let mut assigned = Vec::new();
            for (name, value) in assign {
                let value = value.evaluate(&format!("{field}Assign/{name}"), &bindings)?;
                assigned.push((name.clone(), Payload::from(value)));
            }
            let output = output
                .map(|output| output.evaluate(&format!("{field}Output"), &bindings))
                .transpose()?;
            Ok((output.map_or(plain, Payload::from), assigned))
        };
        let (output, assigned) =
            evaluate().map_err(|error| self.evaluation_failed(thread, error))?;
        let assigned_bytes: usize = assigned.iter().map(|(_, value)| value.size_bytes()).sum();
        if output.is_too_large()
            || assigned_bytes > PAYLOAD_BYTES_MAX
            || assigned_bytes + thread.scope.size_bytes() > VARIABLES_BYTES_MAX
        {
            return Err(Failure::output_too_large(&surroundings.state_name));
        }
        Ok((output, assigned))
    }

    /// Records the end of a state and goes on to the next, or ends the thread.
    fn leave(
        &mut self,
        id: ThreadId,
        mut thread: Thread,
        next: Next,
        output: Payload,
        assigned: Vec<(String, Payload)>,
    ) {
        let Some(current) = thread.current.take() else {
            return;
        };
        let texts = assigned.iter().map(|(name, value)| (name.clone(), Arc::clone(value.text())));
        let detail = Detail::StateExited {
            kind: current.state.kind.name(),
            name: current.state.name.clone(),
            output: Arc::clone(output.text()),
            assigned: texts.collect(),
        };
        self.record_in(&mut thread, detail);
        if !assigned.is_empty() {
            Arc::make_mut(&mut thread.scope).assign(assigned);
        }
        match next {
            Next::State(enter) => {
                self.threads.insert(id, thread);
                self.work.push_back(Work { thread: id, enter, input: output });
            }
            Next::End => match thread.parent {
                Some(parent) => self.child_succeeded(parent, thread.last_event, output),
                None => self.finish(thread.last_event, Outcome::Succeeded(output)),
            },
        }
    }

    /// Records the end of the execution.
    fn finish(&mut self, previous: u64, outcome: Outcome) {
        self.is_finished = true;
        let detail = match &outcome {
            Outcome::Succeeded(output) => {
                Detail::ExecutionSucceeded { output: Arc::clone(output.text()) }
            }
            Outcome::Failed(failure) => Detail::ExecutionFailed(failure.trouble.clone()),
            Outcome::TimedOut => Detail::ExecutionTimedOut,
            Outcome::Aborted(trouble) => Detail::ExecutionAborted(trouble.clone()),
        };
        self.record(previous, detail);
        self.threads.clear();
        self.waiting.clear();
        self.callbacks.clear();
        self.work.clear();
        self.actions.push(Action::Finish(outcome));
    }

    fn history_is_full(&mut self) {
        let cause = format!(
            "The execution reached the maximum number of history events ({HISTORY_EVENTS_MAX})."
        );
        let failure = Failure::runtime(cause);
        self.finish(self.event_count, Outcome::Failed(failure));
    }

    fn stop(&mut self, trouble: Trouble) {
        self.finish(self.event_count, Outcome::Aborted(trouble));
    }
}
