//! The shell around the machine: it calls functions, keeps timers and brings back what happened.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::execution::Mail;
use super::{Execution, StepFunctions};
use crate::definition::Definition;
use crate::history::Trouble;
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
        mut mailbox: mpsc::UnboundedReceiver<Mail>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        let mut machine = Self::machine(&execution, definition);
        // It is made before the future is polled, so that an execution which is dropped before it
        // could begin counts as aborted, too.
        let mut running = Running { tasks: JoinSet::new(), by_token: HashMap::new(), execution };
        Box::pin(async move {
            let mut mail = Mail::from(Event::Start);
            loop {
                let actions = machine.step(super::now_in_milliseconds(), mail.event);
                let outcome = actions.iter().find_map(|action| match action {
                    Action::Finish(outcome) => Some(outcome.clone()),
                    _ => None,
                });
                running.execution.append(machine.take_events(), outcome.as_ref());
                if let Some(reply) = mail.reply {
                    let is_taken = |action: &Action| matches!(action, Action::CallbackTaken);
                    // Whoever asked may have gone away.
                    let _ = reply.send(actions.iter().any(is_taken));
                }
                if let Some(outcome) = outcome {
                    return outcome;
                }
                for action in actions {
                    self.perform(&mut running, action);
                }
                mail = next_mail(&mut running, &mut mailbox).await;
            }
        })
    }

    fn perform(&self, running: &mut Running, action: Action) {
        let engine = self.clone();
        let (token, task) = match action {
            Action::Finish(_) | Action::CallbackTaken => return,
            Action::Cancel(token) => {
                if let Some(task) = running.by_token.remove(&token) {
                    task.abort();
                }
                return;
            }
            Action::Invoke { call, invocation } => {
                let identity = &running.execution.identity;
                let authorization = self
                    .inner
                    .roles
                    .authorization(&identity.role_arn, &identity.state_machine_arn)
                    .map_err(not_permitted);
                let task = running.tasks.spawn(async move {
                    let result = match authorization {
                        Ok(authorization) => {
                            engine.inner.lambda.invoke(&invocation, authorization).await
                        }
                        Err(trouble) => Err(trouble),
                    };
                    Event::TaskFinished { call, result }
                });
                (call, task)
            }
            Action::StartTimer { timer, after } => {
                // Time that does not fit into a duration never comes.
                let after = after.as_secs_f64() / self.inner.speed;
                let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
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

/// The states language's name for a task that its role does not permit.
fn not_permitted(cause: String) -> Trouble {
    Trouble { error: Some("States.Permissions".to_string()), cause: Some(cause) }
}

/// Waits for the next thing that happens to the execution.
async fn next_mail(running: &mut Running, mailbox: &mut mpsc::UnboundedReceiver<Mail>) -> Mail {
    loop {
        tokio::select! {
            // Its sender lives as long as the execution, which `running` keeps.
            Some(mail) = mailbox.recv() => return mail,
            Some(done) = running.tasks.join_next() => match done {
                Ok(event) => {
                    if let Some(token) = token(&event) {
                        running.by_token.remove(&token);
                    }
                    return event.into();
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
        Event::Start | Event::Callback { .. } | Event::Stop(_) => None,
    }
}
