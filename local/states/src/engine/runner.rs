//! The shell around the machine: it calls functions, keeps timers and brings back what happened.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::{Execution, StepFunctions};
use crate::definition::Definition;
use crate::machine::{Action, Event, Outcome, Token};

/// What runs for one execution; dropping it stops all of it.
struct Running {
    tasks: JoinSet<Event>,
    by_token: HashMap<Token, AbortHandle>,
    execution: Arc<Execution>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.execution.abandon();
    }
}

impl StepFunctions {
    /// Runs an execution to its end.
    ///
    /// The future of a map's child holds that of its children, so it is boxed.
    pub(super) fn run(
        self,
        execution: Arc<Execution>,
        definition: Arc<Definition>,
        mut mailbox: mpsc::UnboundedReceiver<Event>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        let mut machine = Self::machine(&execution, definition);
        // It is made before the future is polled, so that an execution which is dropped before it
        // could begin counts as aborted, too.
        let mut running = Running { tasks: JoinSet::new(), by_token: HashMap::new(), execution };
        Box::pin(async move {
            let mut event = Event::Start;
            loop {
                let actions = machine.step(super::now_in_milliseconds(), event);
                let outcome = actions.iter().find_map(|action| match action {
                    Action::Finish(outcome) => Some(outcome.clone()),
                    _ => None,
                });
                running.execution.append(machine.take_events(), outcome.as_ref());
                if let Some(outcome) = outcome {
                    return outcome;
                }
                for action in actions {
                    self.perform(&mut running, action);
                }
                event = next_event(&mut running, &mut mailbox).await;
            }
        })
    }

    fn perform(&self, running: &mut Running, action: Action) {
        let engine = self.clone();
        let (token, task) = match action {
            Action::Finish(_) => return,
            Action::Cancel(token) => {
                if let Some(task) = running.by_token.remove(&token) {
                    task.abort();
                }
                return;
            }
            Action::Invoke { call, invocation } => {
                let role_arn = &running.execution.identity.role_arn;
                let authorization = self.inner.roles.authorization(role_arn);
                let task = running.tasks.spawn(async move {
                    let result = engine.inner.lambda.invoke(&invocation, authorization).await;
                    Event::TaskFinished { call, result }
                });
                (call, task)
            }
            Action::StartTimer { timer, after } => {
                let task = running.tasks.spawn(async move {
                    tokio::time::sleep(after).await;
                    Event::TimerFired { timer }
                });
                (timer, task)
            }
            Action::StartMapRun { run, order } => {
                let parent = running.execution.identity.execution_arn.clone();
                let task = running.tasks.spawn(async move {
                    let result = engine.run_map(*order, parent).await;
                    Event::MapRunFinished { run, result }
                });
                (run, task)
            }
        };
        running.by_token.insert(token, task);
    }
}

/// Waits for the next thing that happens to the execution.
async fn next_event(running: &mut Running, mailbox: &mut mpsc::UnboundedReceiver<Event>) -> Event {
    loop {
        tokio::select! {
            // Its sender lives as long as the execution, which `running` keeps.
            Some(event) = mailbox.recv() => return event,
            Some(done) = running.tasks.join_next() => match done {
                Ok(event) => {
                    if let Some(token) = token(&event) {
                        running.by_token.remove(&token);
                    }
                    return event;
                }
                Err(error) if error.is_panic() => {
                    let arn = &running.execution.identity.execution_arn;
                    tracing::error!(execution.arn = %arn, %error, "a task of an execution broke");
                }
                Err(_) => {}
            },
        }
    }
}

fn token(event: &Event) -> Option<Token> {
    match event {
        Event::TaskFinished { call, .. } => Some(*call),
        Event::TimerFired { timer } => Some(*timer),
        Event::MapRunFinished { run, .. } => Some(*run),
        Event::Start | Event::Stop(_) => None,
    }
}
