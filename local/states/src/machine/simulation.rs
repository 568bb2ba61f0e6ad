//! A world for the machine in which time passes at once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Action, Event, Failure, Invocation, Machine, Outcome, Signal, Token};
use crate::check::examine;
use crate::history::{HistoryEvent, Trouble};
use crate::map_run::MapRunOrder;
use crate::payload::Payload;
use crate::scope::Identity;
use crate::task_token::TaskToken;

/// What a function of the simulated world does when it is called.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Answers after so many seconds.
    Value(u64, Value),
    /// Fails at once with the error.
    Error(&'static str),
}

/// Functions by name; each call takes the next reply, and the last one stays.
#[derive(Default)]
pub(super) struct World {
    replies: HashMap<String, VecDeque<Reply>>,
    signals: VecDeque<Vec<(u64, Signal)>>,
    map_runs: VecDeque<Result<Value, Failure>>,
    stop_after: Option<Duration>,
}

impl World {
    /// What is said about the token of the next call, each after so many seconds.
    pub(super) fn signals(mut self, signals: impl IntoIterator<Item = (u64, Signal)>) -> Self {
        self.signals.push_back(signals.into_iter().collect());
        self
    }

    pub(super) fn function(mut self, name: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = replies.into_iter().collect();
        self.replies.insert(name.to_string(), replies);
        self
    }

    /// What the next map run ends with.
    pub(super) fn map_run(mut self, result: Result<Value, Failure>) -> Self {
        self.map_runs.push_back(result);
        self
    }

    pub(super) fn stop_after(mut self, after: Duration) -> Self {
        self.stop_after = Some(after);
        self
    }

    fn reply(&mut self, function: &str) -> Reply {
        let replies = self.replies.get_mut(function);
        let replies = replies.unwrap_or_else(|| panic!("there is no function `{function}`"));
        if replies.len() > 1 {
            replies.pop_front().expect("there is more than one")
        } else {
            replies[0].clone()
        }
    }

    /// Runs a state machine to its end.
    pub(super) fn run(mut self, definition: &Value, input: Value) -> Transcript {
        let (definition, diagnostics) = examine(&definition.to_string());
        let definition = definition.unwrap_or_else(|| panic!("{diagnostics:?}"));
        let start = Timestamp::UNIX_EPOCH;
        let mut machine = Machine::new(Arc::new(definition), Arc::new(identity(input)), 7);
        let mut transcript = Transcript::default();
        // What will happen, by when and then by order of asking.
        let mut future: BTreeMap<(Duration, usize), (Option<Token>, Event)> = BTreeMap::new();
        let mut asked = 0;
        if let Some(after) = self.stop_after {
            let stop = Event::Stop(Trouble::default());
            future.insert((after, 0), (None, stop));
        }
        let mut clock = Duration::ZERO;
        let mut event = Event::Start;
        loop {
            let now = start + clock;
            let is_callback = matches!(event, Event::Callback { .. });
            let actions = machine.step(now, event);
            if is_callback {
                let is_taken = |action: &Action| matches!(action, Action::CallbackTaken);
                transcript.taken.push(actions.iter().any(is_taken));
            }
            for action in actions {
                asked += 1;
                match action {
                    Action::Finish(outcome) => {
                        transcript.events.extend(machine.take_events());
                        transcript.outcome = Some(outcome);
                        transcript.took = clock;
                        for (_, late) in future.into_values() {
                            assert!(machine.step(now, late).is_empty(), "it is over");
                        }
                        assert_eq!(machine.take_events(), [], "it is over");
                        return transcript;
                    }
                    Action::CallbackTaken => {}
                    Action::Cancel(token) => {
                        future.retain(|_, (found, _)| *found != Some(token));
                    }
                    Action::StartTimer { timer, after } => {
                        let fired = Event::TimerFired { timer };
                        future.insert((clock + after, asked), (Some(timer), fired));
                    }
                    Action::Invoke { call, invocation } => {
                        let (after, result) = match self.reply(&invocation.function) {
                            Reply::Value(seconds, value) => (seconds, Ok(value)),
                            Reply::Error(error) => (0, Err(trouble(error))),
                        };
                        let at = clock + Duration::from_secs(after);
                        let finished = Event::TaskFinished { call, result };
                        future.insert((at, asked), (Some(call), finished));
                        for (after, signal) in self.signals.pop_front().unwrap_or_default() {
                            asked += 1;
                            let at = clock + Duration::from_secs(after);
                            let token = token_in(&invocation);
                            future.insert((at, asked), (None, Event::Callback { token, signal }));
                        }
                        transcript.calls.push(invocation);
                    }
                    Action::StartMapRun { run, order } => {
                        let result = self.map_runs.pop_front().expect("a map run is foreseen");
                        let result = result.map(Payload::from);
                        let finished = Event::MapRunFinished { run, result };
                        future.insert((clock, asked), (Some(run), finished));
                        transcript.orders.push(*order);
                    }
                }
            }
            transcript.events.extend(machine.take_events());
            let ((at, _), (_, next)) = future.pop_first().expect("something is to happen");
            transcript.steps.push(at.saturating_sub(clock));
            clock = at;
            event = next;
        }
    }
}

/// The task token in the payload of a call, under `token`.
pub(super) fn token_in(invocation: &Invocation) -> TaskToken {
    let payload: Value = serde_json::from_str(&invocation.body).expect("a payload that is JSON");
    let token = payload["token"].as_str().and_then(TaskToken::parse);
    token.unwrap_or_else(|| panic!("there is no token in {payload}"))
}

pub(super) fn trouble(error: &str) -> Trouble {
    Trouble { error: Some(error.to_string()), cause: Some(format!("{error} happened")) }
}

pub(super) fn identity(input: Value) -> Identity {
    Identity {
        execution_arn: "arn:aws:states:us-east-1:000000000000:execution:machine:run".to_string(),
        execution_name: "run".to_string(),
        role_arn: "arn:aws:iam::000000000000:role/role".to_string(),
        state_machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:machine".to_string(),
        state_machine_name: "machine".to_string(),
        region: "us-east-1".to_string(),
        account: "000000000000".to_string(),
        started: Timestamp::UNIX_EPOCH,
        input: Payload::from(input),
    }
}

/// Everything that was seen of a run.
#[derive(Default)]
pub(super) struct Transcript {
    pub(super) events: Vec<HistoryEvent>,
    pub(super) outcome: Option<Outcome>,
    pub(super) calls: Vec<Invocation>,
    pub(super) orders: Vec<MapRunOrder>,
    /// Whether each callback found its task open.
    pub(super) taken: Vec<bool>,
    /// The time between one event and the next.
    pub(super) steps: Vec<Duration>,
    pub(super) took: Duration,
}

impl Transcript {
    /// The events as the API answers them.
    pub(super) fn history(&self) -> Vec<Value> {
        self.events.iter().map(|event| event.to_json(true)).collect()
    }

    /// The types of the events.
    pub(super) fn types(&self) -> Vec<String> {
        let types = self.history().into_iter();
        types.map(|event| event["type"].as_str().expect("a type").to_string()).collect()
    }

    /// The output, or `{"error", "cause"}`, or the name of another end.
    pub(super) fn result(&self) -> Value {
        match self.outcome.as_ref().expect("an outcome") {
            Outcome::Succeeded(output) => output.value().clone(),
            Outcome::Failed(failure) => {
                json!({"error": failure.trouble.error, "cause": failure.trouble.cause})
            }
            Outcome::TimedOut => json!("timed out"),
            Outcome::Aborted(_) => json!("aborted"),
        }
    }

    /// The waits that took any time, in seconds.
    pub(super) fn waits(&self) -> Vec<f64> {
        let steps = self.steps.iter().map(Duration::as_secs_f64);
        steps.filter(|seconds| *seconds > 0.0).collect()
    }
}
