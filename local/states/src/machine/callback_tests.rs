//! Callback tasks: the histories that AWS recorded, and what holds in every order of events.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::simulation::{Reply, Transcript, World, identity, token_in, trouble};
use super::{Action, Event, Machine, Outcome, Signal, Token};
use crate::check::examine;
use crate::history::Trouble;
use crate::payload::Payload;
use crate::task_token::TaskToken;

fn success(output: Value) -> Signal {
    Signal::Settled(Ok(Payload::from(output)))
}

fn failure(error: &str) -> Signal {
    Signal::Settled(Err(trouble(error)))
}

/// A machine that starts with a callback task `A`, with other fields added.
fn machine(fields: &Value) -> Value {
    let mut state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Arguments": {
            "FunctionName": "f",
            "Payload": {"token": "{% $states.context.Task.Token %}"},
        },
        "End": true,
    });
    for (name, value) in fields.as_object().expect("an object") {
        state[name] = value.clone();
    }
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": state, "Caught": {"Type": "Succeed"}},
    })
}

fn caught(names: &[&str]) -> Value {
    json!([{"ErrorEquals": names, "Output": "{% $states.errorOutput %}", "Next": "Caught"}])
}

/// The definition without the state that nothing leads to.
fn reachable(mut definition: Value) -> Value {
    let states = definition["States"].as_object_mut().expect("an object");
    if states["A"].get("Catch").is_none() {
        states.shift_remove("Caught");
    }
    definition
}

fn run(world: World, fields: &Value) -> Transcript {
    world.run(&reachable(machine(fields)), json!({}))
}

fn answering() -> World {
    World::default().function("f", [Reply::Value(0, json!("sent"))])
}

/// The tokens of all calls, in their order.
fn tokens(run: &Transcript) -> Vec<TaskToken> {
    run.calls.iter().map(token_in).collect()
}

/// Compares a history from `TaskScheduled` on with what AWS recorded: types, links and details.
#[track_caller]
fn recorded(run: &Transcript, scheduled: &Value, expected: &[(&str, Value)]) {
    let resource = json!({"resource": "invoke.waitForTaskToken", "resourceType": "lambda"});
    let with_resource = |details: &Value| {
        let mut details = details.clone();
        for (name, value) in resource.as_object().expect("an object") {
            details[name] = value.clone();
        }
        details
    };
    let mut scheduled = with_resource(scheduled);
    scheduled["region"] = json!("us-east-1");
    let token = tokens(run)[0].text().to_string();
    let parameters = json!({"FunctionName": "f", "Payload": {"token": token}});
    scheduled["parameters"] = json!(parameters.to_string());
    let mut rows = vec![("TaskScheduled", scheduled), ("TaskStarted", with_resource(&json!({})))];
    rows.extend(expected.iter().map(|(name, details)| {
        let is_task = name.starts_with("Task") && *name != "TaskStateExited";
        (*name, if is_task { with_resource(details) } else { details.clone() })
    }));
    let expected = rows.into_iter().zip(3..).map(|((name, details), id)| {
        let mut field = match name {
            "TaskStateExited" => "stateExited".to_string(),
            name => name.to_string(),
        };
        field[..1].make_ascii_lowercase();
        json!({
            "id": id,
            "previousEventId": id - 1,
            "type": name,
            format!("{field}EventDetails"): details,
        })
    });
    let mut found = run.history();
    for event in &mut found {
        event.as_object_mut().expect("an object").shift_remove("timestamp");
    }
    assert_eq!(found[2..], expected.collect::<Vec<_>>());
}

fn output(text: &str) -> Value {
    json!({"output": text, "outputDetails": {"truncated": false}})
}

#[test]
fn a_task_succeeds_with_the_output_that_was_sent_with_its_token() {
    let run = run(
        answering().signals([(5, success(json!("test_message_txt")))]),
        &json!({"Output": "{% $states.result %}"}),
    );
    let exited = json!({
        "name": "A",
        "output": "\"test_message_txt\"",
        "outputDetails": {"truncated": false},
    });
    recorded(
        &run,
        &json!({}),
        &[
            ("TaskSubmitted", output("\"sent\"")),
            ("TaskSucceeded", output("\"test_message_txt\"")),
            ("TaskStateExited", exited),
            ("ExecutionSucceeded", output("\"test_message_txt\"")),
        ],
    );
    assert_eq!(run.taken, [true]);
}

#[test]
fn a_task_fails_with_the_error_that_was_sent_with_its_token() {
    let trouble =
        Trouble { error: Some("Failure error".into()), cause: Some("Failure cause".into()) };
    let run = run(answering().signals([(5, Signal::Settled(Err(trouble)))]), &json!({}));
    let failed = json!({"error": "Failure error", "cause": "Failure cause"});
    recorded(
        &run,
        &json!({}),
        &[
            ("TaskSubmitted", output("\"sent\"")),
            ("TaskFailed", failed.clone()),
            ("ExecutionFailed", failed),
        ],
    );
}

#[test]
fn a_task_times_out_without_a_cause() {
    let run = run(answering(), &json!({"TimeoutSeconds": "{% 2 + 3 %}"}));
    let timed_out = json!({"error": "States.Timeout"});
    recorded(
        &run,
        &json!({"timeoutInSeconds": 5}),
        &[
            ("TaskSubmitted", output("\"sent\"")),
            ("TaskTimedOut", timed_out.clone()),
            ("ExecutionFailed", timed_out),
        ],
    );
    assert_eq!(run.took.as_secs(), 5);
}

#[test]
fn a_missed_heartbeat_is_recorded_as_a_time_out() {
    let run = run(answering(), &json!({"TimeoutSeconds": 600, "HeartbeatSeconds": 5}));
    let timed_out = json!({"error": "States.Timeout"});
    recorded(
        &run,
        &json!({"timeoutInSeconds": 600, "heartbeatInSeconds": 5}),
        &[
            ("TaskSubmitted", output("\"sent\"")),
            ("TaskTimedOut", timed_out.clone()),
            ("ExecutionFailed", timed_out),
        ],
    );
    assert_eq!(run.took.as_secs(), 5);
}

#[test]
fn heartbeats_keep_a_task_open_until_its_time_out_and_leave_no_event() {
    let beats = (1..10).map(|beat| (beat * 4, Signal::Heartbeat));
    let world = || answering().signals(beats.clone());
    let fields = json!({"HeartbeatSeconds": 5});
    let run_1 = run(world(), &fields);
    assert_eq!((run_1.took.as_secs(), run_1.taken.len()), (36 + 5, 9));
    assert_eq!(run_1.types()[4..6], ["TaskSubmitted", "TaskTimedOut"]);
    let run_2 = run(world(), &json!({"HeartbeatSeconds": 5, "TimeoutSeconds": 20}));
    assert_eq!(run_2.took.as_secs(), 20);
}

#[test]
fn a_missed_heartbeat_has_two_names_and_a_time_out_one() {
    #[track_caller]
    fn check(fields: &Value, names: &[&str], is_caught: bool) {
        let mut fields = fields.clone();
        fields["Catch"] = caught(names);
        let run = run(answering(), &fields);
        let expected = if is_caught {
            // AWS recorded an empty cause for the catcher, where the history has none.
            json!({"Error": "States.Timeout", "Cause": ""})
        } else {
            json!({"error": "States.Timeout", "cause": null})
        };
        assert_eq!(run.result(), expected);
    }
    let heartbeat = json!({"HeartbeatSeconds": 5});
    check(&heartbeat, &["States.HeartbeatTimeout"], true);
    check(&heartbeat, &["States.Timeout"], true);
    check(&heartbeat, &["States.ALL"], true);
    check(&heartbeat, &["States.TaskFailed"], false);
    let timeout = json!({"TimeoutSeconds": 5});
    check(&timeout, &["States.HeartbeatTimeout"], false);
    check(&timeout, &["States.Timeout"], true);
}

#[test]
fn a_failure_without_error_and_cause_is_caught_with_nulls() {
    let failed = Signal::Settled(Err(Trouble::default()));
    let run = run(answering().signals([(1, failed)]), &json!({"Catch": caught(&["States.ALL"])}));
    assert_eq!(run.result(), json!({"Error": null, "Cause": null}));
    let details = &run.history()[5]["taskFailedEventDetails"];
    assert_eq!(details, &json!({"resource": "invoke.waitForTaskToken", "resourceType": "lambda"}));
}

#[test]
fn an_error_of_the_function_fails_the_task_at_once() {
    let world = World::default().function("f", [Reply::Error("Query.Failed")]);
    let run = run(world.signals([(9, success(json!(1)))]), &json!({"TimeoutSeconds": 60}));
    assert_eq!(run.result()["error"], json!("Query.Failed"));
    assert_eq!(run.types()[3..5], ["TaskStarted", "TaskFailed"]);
    assert_eq!(run.took.as_secs(), 0);
}

#[test]
fn a_token_that_comes_back_before_the_answer_completes_the_task_at_once() {
    let end = World::default().function("f", [Reply::Value(60, json!("sent"))]);
    let run = run(
        end.signals([(2, success(json!("early"))), (3, success(json!("late")))]),
        &json!({"TimeoutSeconds": 600}),
    );
    assert_eq!(run.result(), json!("early"));
    assert_eq!(run.took.as_secs(), 2);
    assert_eq!(
        run.types()[2..6],
        ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]
    );
}

#[test]
fn an_error_of_the_function_after_its_token_came_back_changes_nothing() {
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {
            "A": machine(&json!({}))["States"]["A"],
            "B": {"Type": "Wait", "Seconds": 100, "End": true},
        },
    });
    let mut definition = definition;
    let state = definition["States"]["A"].as_object_mut().expect("an object");
    state.shift_remove("End");
    state.insert("Next".to_string(), json!("B"));
    let world = World::default().function("f", [Reply::Value(50, json!("answer"))]);
    let run = world
        .signals([(1, success(json!("done"))), (2, failure("Late")), (3, Signal::Heartbeat)])
        .run(&definition, json!({}));
    assert_eq!(run.result(), json!("done"));
    assert_eq!(run.taken, [true, false, false]);
    let types = run.types();
    assert_eq!(types.iter().filter(|name| *name == "TaskSubmitted").count(), 1);
}

#[test]
fn every_attempt_has_a_new_token_and_the_old_one_is_closed() {
    let retry = json!([{
        "ErrorEquals": ["States.Timeout"],
        "IntervalSeconds": 1,
        "BackoffRate": 1,
        "MaxAttempts": 5,
    }]);
    let run = run(
        answering()
            // It comes when its task has timed out and been retried.
            .signals([(12, success(json!("old")))])
            .signals([(4, success(json!("new")))]),
        &json!({"TimeoutSeconds": 10, "Retry": retry}),
    );
    assert_eq!(run.result(), json!("new"));
    assert_eq!(run.taken, [false, true]);
    let tokens = tokens(&run);
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 2);
    // A further look costs four events.
    assert_eq!(
        run.types()[2..],
        [
            "TaskScheduled",
            "TaskStarted",
            "TaskSubmitted",
            "TaskTimedOut",
            "TaskScheduled",
            "TaskStarted",
            "TaskSubmitted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded",
        ]
    );
}

#[test]
fn a_state_without_a_callback_has_no_token() {
    let mut definition = machine(&json!({}));
    definition["States"] = json!({"A": {
        "Type": "Pass",
        "Output": "{% $states.context.Task.Token %}",
        "End": true,
    }});
    let run = World::default().run(&definition, json!({}));
    assert_eq!(run.result()["error"], json!("States.QueryEvaluationError"));
}

#[test]
fn a_stopped_execution_closes_its_tokens() {
    let world = answering().signals([(9, success(json!(1)))]);
    let run = run(world.stop_after(std::time::Duration::from_secs(5)), &json!({}));
    // The simulation holds that nothing happens after the end.
    assert_eq!((run.result(), run.taken.len()), (json!("aborted"), 0));
}

/// A map of callback tasks that are retried, and whose last errors may be caught.
fn fleet(items: usize, catches: bool) -> Value {
    let mut task = machine(&json!({
        "TimeoutSeconds": 1200,
        "HeartbeatSeconds": 600,
        "Retry": [{"ErrorEquals": ["States.Timeout", "Boom"], "MaxAttempts": 2}],
    }))["States"]["A"]
        .take();
    task["Arguments"]["Payload"]["item"] = json!("{% $states.input %}");
    let mut states = json!({"T": task});
    if catches {
        states["T"]["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]);
        states["Caught"] = json!({"Type": "Pass", "End": true});
    }
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "A",
        "States": {"A": {
            "Type": "Map",
            "Items": (0..items).collect::<Vec<_>>(),
            "ItemProcessor": {"StartAt": "T", "States": states},
            "End": true,
        }},
    })
}

/// The world of the property test: everything that may still happen, in any order.
#[derive(Default)]
struct Chaos {
    pending: BTreeMap<Token, Event>,
    tokens: Vec<TaskToken>,
    /// Number of settlements of each token that counted.
    settled: HashMap<TaskToken, usize>,
    function_errors: usize,
    finished: Option<Outcome>,
}

impl Chaos {
    fn take(&mut self, actions: Vec<Action>) -> bool {
        let mut is_taken = false;
        for action in actions {
            match action {
                Action::Invoke { call, invocation } => {
                    self.tokens.push(token_in(&invocation));
                    let result = Ok(json!("sent"));
                    self.pending.insert(call, Event::TaskFinished { call, result });
                }
                Action::StartTimer { timer, .. } => {
                    self.pending.insert(timer, Event::TimerFired { timer });
                }
                Action::Cancel(token) => {
                    self.pending.remove(&token);
                }
                Action::CallbackTaken => is_taken = true,
                Action::Finish(outcome) => {
                    assert_eq!(self.finished, None, "an execution ends once");
                    self.finished = Some(outcome);
                }
                Action::StartMapRun { .. } => unreachable!("the map is inline"),
            }
        }
        is_taken
    }

    /// Chooses what happens next.
    fn next(&mut self, choice: (u8, usize)) -> Event {
        let (kind, which) = choice;
        let token = |chaos: &Self| chaos.tokens[which % chaos.tokens.len()].clone();
        let signal = match kind {
            0 if !self.tokens.is_empty() => Some(success(json!(which))),
            1 if !self.tokens.is_empty() => Some(failure("Boom")),
            2 if !self.tokens.is_empty() => Some(failure("Other")),
            3 if !self.tokens.is_empty() => Some(Signal::Heartbeat),
            _ => None,
        };
        if let Some(signal) = signal {
            return Event::Callback { token: token(self), signal };
        }
        let Some(key) = self.pending.keys().nth(which % self.pending.len().max(1)).copied() else {
            return Event::Callback { token: token(self), signal: success(json!("late")) };
        };
        match self.pending.remove(&key) {
            Some(Event::TaskFinished { call, .. }) if kind == 4 => {
                Event::TaskFinished { call, result: Err(trouble("Boom")) }
            }
            Some(event) => event,
            None => unreachable!("the key is there"),
        }
    }
}

proptest! {
    #[test]
    fn in_any_order_of_events_a_token_counts_once_and_an_execution_ends_once(
        items in 1_usize..5,
        catches: bool,
        seed: u64,
        choices in prop::collection::vec((0_u8..9, 0_usize..64), 1..120),
    ) {
        let (definition, faults) = examine(&fleet(items, catches).to_string());
        let definition = definition.unwrap_or_else(|| panic!("{faults:?}"));
        let mut machine =
            Machine::new(Arc::new(definition), Arc::new(identity(json!({}))), seed);
        let mut chaos = Chaos::default();
        let now = Timestamp::UNIX_EPOCH;
        chaos.take(machine.step(now, Event::Start));
        let mut events = machine.take_events();
        let mut answered = 0;
        for choice in choices {
            let event = chaos.next(choice);
            let settles = match &event {
                Event::Callback { token, signal: Signal::Settled(_) } => Some(token.clone()),
                _ => None,
            };
            if let Event::TaskFinished { result: Err(_), .. } = &event {
                chaos.function_errors += 1;
            }
            let was_over = chaos.finished.is_some();
            let actions = machine.step(now, event);
            let more = machine.take_events();
            if was_over {
                prop_assert!(actions.is_empty() && more.is_empty(), "nothing follows the end");
            }
            events.extend(more);
            if chaos.take(actions) && let Some(token) = settles {
                *chaos.settled.entry(token).or_default() += 1;
                answered += 1;
            }
            let is_over = chaos.finished.is_some();
            prop_assert!(is_over || !chaos.pending.is_empty(), "something is waited for");
        }
        if chaos.finished.is_none() {
            chaos.take(machine.step(now, Event::Stop(Trouble::default())));
            events.extend(machine.take_events());
        }
        prop_assert!(chaos.finished.is_some());
        for token in chaos.tokens.clone() {
            let event = Event::Callback { token, signal: success(json!("late")) };
            prop_assert!(machine.step(now, event).is_empty());
        }
        prop_assert!(chaos.settled.values().all(|count| *count == 1));
        let distinct: HashSet<_> = chaos.tokens.iter().collect();
        prop_assert_eq!(distinct.len(), chaos.tokens.len(), "no two attempts share a token");
        // The history counts from 1, links backwards and ends with the end.
        let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
        prop_assert_eq!(ids, (1..=events.len() as u64).collect::<Vec<_>>());
        prop_assert!(events.iter().all(|event| event.previous < event.id));
        let types: Vec<String> = events
            .iter()
            .map(|event| event.to_json(false)["type"].as_str().expect("a type").to_string())
            .collect();
        let count = |names: &[&str]| {
            types.iter().filter(|found| names.contains(&found.as_str())).count()
        };
        prop_assert_eq!(count(&["ExecutionStarted"]), 1);
        prop_assert_eq!(
            count(&["ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted"]),
            1
        );
        prop_assert!(types.last().is_some_and(|last| last.starts_with("Execution")));
        // Every settlement that counted, and every error of a function that was waited for, ended
        // exactly one attempt. An error may come after its token was settled.
        let ended = count(&["TaskSucceeded", "TaskFailed"]);
        prop_assert!((answered..=answered + chaos.function_errors).contains(&ended));
        let attempts = count(&["TaskScheduled"]);
        prop_assert!(ended + count(&["TaskTimedOut"]) <= attempts);
        prop_assert!(count(&["TaskSubmitted"]) <= attempts);
    }
}
