//! What each type of state does when it runs.

use std::time::Duration;

use rand::RngExt;
use serde_json::Value;

use super::{
    Action, Failure, Heartbeat, Invocation, Machine, Phase, RunningTask, Step, Thread, ThreadId,
};
use crate::definition::read::{INVOKE_PARAMETERS, parse_timestamp};
use crate::definition::{Choice, Fail, Kind, Next, Resource, State, Task, Wait};
use crate::expression::{Bindings, EvaluationError, Expected, Template};
use crate::history::{Detail, Schedule, Service, Trouble};
use crate::payload::Payload;
use crate::scope::Surroundings;
use crate::task_token::TaskToken;

impl Machine {
    pub(super) fn run_state(&mut self, id: ThreadId, thread: &mut Thread) -> Result<Step, Failure> {
        if let Some(current) = &mut thread.current
            && let Kind::Task(task) = &current.state.kind
            && task.resource == Resource::LambdaCallback
        {
            // AWS: every attempt has a token of its own; that of the one before is closed.
            let nonce = self.random.random();
            current.task_token = Some(TaskToken::new(&self.identity.execution_arn, nonce));
        }
        let Some((state, surroundings)) = self.surroundings(thread) else {
            return Err(Failure::runtime("the state to run is not there"));
        };
        match &state.kind {
            Kind::Pass | Kind::Succeed => Ok(Step::Complete(None)),
            Kind::Task(task) => self.run_task(id, thread, &state, task, &surroundings),
            Kind::Map(map) => self.run_map(id, thread, map, &surroundings),
            Kind::Parallel { branches } => {
                let input = self.arguments(thread, &state, &surroundings)?;
                Ok(self.run_parallel(id, thread, branches, &input))
            }
            Kind::Choice(choice) => self.run_choice(thread, &state, choice, &surroundings),
            Kind::Wait(wait) => self.run_wait(id, thread, wait, &surroundings),
            Kind::Fail(fail) => Err(self.run_fail(thread, fail, &surroundings)),
        }
    }

    /// `Arguments`, or the state's input where there are none.
    fn arguments(
        &mut self,
        thread: &mut Thread,
        state: &State,
        surroundings: &Surroundings,
    ) -> Result<Payload, Failure> {
        let Some(arguments) = &state.arguments else {
            return Ok(surroundings.input.clone());
        };
        let arguments = arguments.evaluate("Arguments", &Bindings::new(surroundings));
        let arguments =
            arguments.map(Payload::from).map_err(|error| self.evaluation_failed(thread, error))?;
        if arguments.is_too_large() {
            return Err(Failure::output_too_large(&state.name));
        }
        Ok(arguments)
    }

    fn run_task(
        &mut self,
        id: ThreadId,
        thread: &mut Thread,
        state: &State,
        task: &Task,
        surroundings: &Surroundings,
    ) -> Result<Step, Failure> {
        let arguments = self.arguments(thread, state, surroundings)?;
        let settings = TaskSettings::of(task, &Bindings::new(surroundings))
            .map_err(|error| self.evaluation_failed(thread, error))?;
        let invocation = match &task.resource {
            Resource::LambdaInvoke | Resource::LambdaCallback => {
                let service = match task.resource {
                    Resource::LambdaCallback => Service::LambdaCallback,
                    _ => Service::LambdaInvoke,
                };
                invocation(arguments.value(), service).map_err(|message| {
                    let located = thread.current.as_ref();
                    let cause = located.map(|current| Self::located(current, &message));
                    Failure::runtime(cause.unwrap_or(message))
                })?
            }
            Resource::Function(arn) => Invocation {
                function: arn.clone(),
                qualifier: None,
                body: arguments.text().to_string(),
                kind: None,
                log_type: None,
                client_context: None,
                service: Service::Function { arn: arn.clone() },
            },
        };
        let service = invocation.service.clone();
        let schedule = Schedule {
            service: service.clone(),
            input: std::sync::Arc::clone(arguments.text()),
            region: self.identity.region.clone(),
            timeout_seconds: settings.timeout_seconds,
            heartbeat_seconds: settings.heartbeat_seconds,
            credentials: settings.role_arn,
        };
        self.record_in(thread, Detail::Scheduled(Box::new(schedule)));
        self.record_in(thread, Detail::Started(service.clone()));
        let call = self.wait_for(id);
        self.actions.push(Action::Invoke { call, invocation });
        let timeout = settings
            .timeout_seconds
            .map(|seconds| self.start_timer(id, Duration::from_secs(seconds)));
        let callback = surroundings.task_token.clone();
        if let Some(token) = &callback {
            self.callbacks.insert(token.clone(), id);
        }
        // Nobody can send a heartbeat without a token, so a plain call has no heartbeat to miss.
        let heartbeat = settings.heartbeat_seconds.filter(|_| callback.is_some()).map(|seconds| {
            let within = Duration::from_secs(seconds);
            Heartbeat { timer: self.start_timer(id, within), within }
        });
        if let Some(current) = &mut thread.current {
            let call = Some(call);
            let task = RunningTask { service, call, timeout, heartbeat, callback };
            current.phase = Phase::Task(task);
        }
        Ok(Step::Blocked)
    }

    fn run_choice(
        &mut self,
        thread: &mut Thread,
        state: &State,
        choice: &Choice,
        surroundings: &Surroundings,
    ) -> Result<Step, Failure> {
        let mut chosen = None;
        for (index, rule) in choice.rules.iter().enumerate() {
            let field = format!("Choices[{index}]/Condition");
            let bindings = Bindings::new(surroundings);
            let holds = rule
                .condition
                .evaluate_as(Expected::Boolean, &field, &bindings)
                .map_err(|error| self.evaluation_failed(thread, error))?;
            if holds == Value::Bool(true) {
                chosen = Some((format!("Choices[{index}]/"), rule));
                break;
            }
        }
        let (field, next, output, assign) = match (&chosen, &choice.default) {
            (Some((field, rule)), _) => {
                (field.as_str(), &rule.next, rule.output.as_ref(), &rule.assign)
            }
            (None, Some(default)) => ("", default, state.output.as_ref(), &state.assign),
            (None, None) => {
                let message = "Failed to transition out of the state. The state does not point \
                               to a next state.";
                let current = thread.current.as_ref();
                let cause = current.map(|current| Self::located(current, message));
                return Err(Failure::runtime(cause.unwrap_or_default()));
            }
        };
        let plain = surroundings.input.clone();
        let (output, assigned) = self.settle(thread, surroundings, field, output, assign, plain)?;
        Ok(Step::Leave { next: Next::State(next.clone()), output, assigned })
    }

    fn run_wait(
        &mut self,
        id: ThreadId,
        thread: &mut Thread,
        wait: &Wait,
        surroundings: &Surroundings,
    ) -> Result<Step, Failure> {
        let bindings = Bindings::new(surroundings);
        let after = match wait {
            Wait::Seconds(seconds) => whole_seconds(Some(seconds), "Seconds", &bindings)
                .map(|seconds| Duration::from_secs(seconds.unwrap_or_default()))
                .map_err(|error| self.evaluation_failed(thread, error))?,
            Wait::Timestamp(time) => {
                let time = time
                    .evaluate_as(Expected::String, "Timestamp", &bindings)
                    .map_err(|error| self.evaluation_failed(thread, error))?;
                let time = time.as_str().unwrap_or_default();
                let Some(until) = parse_timestamp(time) else {
                    let message = format!(
                        "The Timestamp field cannot be parsed as an ISO-8601 extended offset \
                         date-time format string: {time}"
                    );
                    let location = Some("Timestamp".to_string());
                    let previous = thread.last_event;
                    return Err(self.value_refused(thread, previous, location, &message));
                };
                Duration::try_from(until.duration_since(self.now)).unwrap_or_default()
            }
        };
        let timer = self.start_timer(id, after);
        if let Some(current) = &mut thread.current {
            current.phase = Phase::Waiting { timer };
        }
        Ok(Step::Blocked)
    }

    fn run_fail(
        &mut self,
        thread: &mut Thread,
        fail: &Fail,
        surroundings: &Surroundings,
    ) -> Failure {
        let bindings = Bindings::new(surroundings);
        let text = |field: &str, template: &Option<Template>| {
            let value = template
                .as_ref()
                .map(|template| template.evaluate_as(Expected::String, field, &bindings))
                .transpose()?;
            Ok(value.and_then(|value| value.as_str().map(str::to_string)))
        };
        let evaluate = || {
            Ok(Trouble { error: text("Error", &fail.error)?, cause: text("Cause", &fail.cause)? })
        };
        match evaluate() {
            Ok(trouble) => Failure::catchable(trouble),
            Err(error) => self.evaluation_failed(thread, error),
        }
    }
}

/// The fields of a Task that may be expressions, evaluated.
struct TaskSettings {
    timeout_seconds: Option<u64>,
    heartbeat_seconds: Option<u64>,
    role_arn: Option<String>,
}

impl TaskSettings {
    fn of(task: &Task, bindings: &Bindings<'_>) -> Result<Self, EvaluationError> {
        let timeout = task.timeout_seconds.as_ref();
        let heartbeat = task.heartbeat_seconds.as_ref();
        let role = task.role_arn.as_ref();
        let role = role
            .map(|role| role.evaluate_as(Expected::String, "Credentials/RoleArn", bindings))
            .transpose()?;
        Ok(Self {
            timeout_seconds: whole_seconds(timeout, "TimeoutSeconds", bindings)?,
            heartbeat_seconds: whole_seconds(heartbeat, "HeartbeatSeconds", bindings)?,
            role_arn: role.and_then(|role| role.as_str().map(str::to_string)),
        })
    }
}

/// A number of seconds, which must be whole and not negative.
fn whole_seconds(
    template: Option<&Template>,
    field: &str,
    bindings: &Bindings<'_>,
) -> Result<Option<u64>, EvaluationError> {
    let Some(template) = template else {
        return Ok(None);
    };
    let value = template.evaluate_as(Expected::Number, field, bindings)?;
    value.as_u64().map(Some).ok_or_else(|| EvaluationError {
        location: field.to_string(),
        message: format!("The {field} field must be a positive integer but was: {value}"),
    })
}

/// The call that the arguments of `lambda:invoke` describe.
fn invocation(arguments: &Value, service: Service) -> Result<Invocation, String> {
    let fields = arguments
        .as_object()
        .ok_or_else(|| format!("The Arguments must be an object but were: {arguments}"))?;
    if let Some(unknown) = fields.keys().find(|key| !INVOKE_PARAMETERS.contains(&key.as_str())) {
        return Err(format!("The field '{unknown}' is not supported by lambda:invoke."));
    }
    let text = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("The field '{name}' must be a string but was: {other}")),
    };
    let function = text("FunctionName")?
        .ok_or("The field 'FunctionName' is required but was missing.".to_string())?;
    Ok(Invocation {
        function,
        qualifier: text("Qualifier")?,
        body: body(fields.get("Payload")),
        kind: text("InvocationType")?,
        log_type: text("LogType")?,
        client_context: text("ClientContext")?,
        service,
    })
}

/// A payload that is a string holding JSON is sent as that JSON, as AWS does.
fn body(payload: Option<&Value>) -> String {
    match payload {
        None => "{}".to_string(),
        Some(Value::String(text)) if serde_json::from_str::<Value>(text).is_ok() => text.clone(),
        Some(other) => other.to_string(),
    }
}
