//! The events of an execution, under AWS's names and in AWS's shape.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// AWS: an execution may have this many events.
pub(crate) const HISTORY_EVENTS_MAX: usize = 25_000;

/// One event of an execution's history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HistoryEvent {
    pub(crate) id: u64,
    pub(crate) previous: u64,
    pub(crate) time: Timestamp,
    pub(crate) detail: Detail,
}

/// The error and cause an event may carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
}

/// How a task reaches its function, which decides the names of its events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Service {
    /// `arn:aws:states:::lambda:invoke`.
    LambdaInvoke,
    /// `arn:aws:states:::lambda:invoke.waitForTaskToken`.
    LambdaCallback,
    /// The ARN of a function as the resource.
    Function { arn: String },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) service: Service,
    pub(crate) input: Arc<str>,
    pub(crate) region: String,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) heartbeat_seconds: Option<u64>,
    pub(crate) credentials: Option<String>,
}

/// What an event says beside its number and time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Detail {
    ExecutionStarted {
        input: Arc<str>,
        role_arn: String,
    },
    ExecutionSucceeded {
        output: Arc<str>,
    },
    ExecutionFailed(Trouble),
    ExecutionAborted(Trouble),
    ExecutionTimedOut,
    /// The start of a state; `kind` is its `Type`.
    StateEntered {
        kind: &'static str,
        name: String,
        input: Arc<str>,
    },
    StateExited {
        kind: &'static str,
        name: String,
        output: Arc<str>,
        assigned: Vec<(String, Arc<str>)>,
    },
    /// `TaskStateAborted`, `WaitStateAborted`, `MapStateAborted` or `ParallelStateAborted`.
    StateAborted {
        kind: &'static str,
    },
    EvaluationFailed {
        state: String,
        location: Option<String>,
        trouble: Trouble,
    },
    Scheduled(Box<Schedule>),
    Started(Service),
    /// The call of a callback task is over, and the task waits for its token.
    Submitted {
        service: Service,
        /// The function's answer, unless the token was settled before it came.
        output: Option<Arc<str>>,
    },
    Succeeded {
        service: Service,
        output: Arc<str>,
    },
    Failed {
        service: Service,
        trouble: Trouble,
    },
    TimedOut {
        service: Service,
        trouble: Trouble,
    },
    /// The start of all branches or iterations; only a Map says how many.
    ChildrenStarted {
        kind: &'static str,
        length: Option<usize>,
    },
    ChildrenSucceeded {
        kind: &'static str,
    },
    ChildrenFailed {
        kind: &'static str,
    },
    IterationStarted {
        map: String,
        index: usize,
    },
    IterationSucceeded {
        map: String,
        index: usize,
    },
    IterationFailed {
        map: String,
        index: usize,
    },
    IterationAborted {
        map: String,
        index: usize,
    },
    MapRunStarted {
        arn: String,
    },
    MapRunSucceeded,
    MapRunFailed(Trouble),
    MapRunAborted,
}

impl Trouble {
    fn fields(&self) -> Map<String, Value> {
        let fields = [("error", &self.error), ("cause", &self.cause)];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_string(), json!(value.as_ref()?))))
            .collect()
    }
}

impl HistoryEvent {
    /// The event as `GetExecutionHistory` answers it, with or without inputs and outputs.
    pub(crate) fn to_json(&self, include_data: bool) -> Value {
        let (name, details) = self.detail.to_json(include_data);
        let mut event = Map::new();
        event.insert("timestamp".into(), json!(epoch_seconds(self.time)));
        event.insert("type".into(), json!(name));
        event.insert("id".into(), json!(self.id));
        event.insert("previousEventId".into(), json!(self.previous));
        if let Some((field, details)) = details {
            event.insert(field, Value::Object(details));
        }
        Value::Object(event)
    }
}

/// A time as the API has it: seconds since 1970 with milliseconds after the point.
pub(crate) fn epoch_seconds(time: Timestamp) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 have 41 bits, a double holds 53"
    )]
    let milliseconds = time.as_millisecond() as f64;
    milliseconds / 1000.0
}

type Details = Option<(String, Map<String, Value>)>;

impl Detail {
    /// The event's type, and the name and value of its details where it has any.
    fn to_json(&self, include_data: bool) -> (String, Details) {
        let data = Data { include_data };
        match self {
            Detail::ExecutionStarted { input, role_arn } => {
                let mut fields = data.of("input", input);
                fields.insert("roleArn".into(), json!(role_arn));
                named("ExecutionStarted", fields)
            }
            Detail::ExecutionSucceeded { output } => {
                named("ExecutionSucceeded", data.of("output", output))
            }
            Detail::ExecutionFailed(trouble) => named("ExecutionFailed", trouble.fields()),
            Detail::ExecutionAborted(trouble) => named("ExecutionAborted", trouble.fields()),
            Detail::ExecutionTimedOut => named("ExecutionTimedOut", Map::new()),
            Detail::StateEntered { kind, name, input } => {
                let mut fields = data.of("input", input);
                fields.insert("name".into(), json!(name));
                under(format!("{kind}StateEntered"), "stateEntered", fields)
            }
            Detail::StateExited { kind, name, output, assigned } => {
                let mut fields = data.of("output", output);
                fields.insert("name".into(), json!(name));
                data.assigned(assigned, &mut fields);
                under(format!("{kind}StateExited"), "stateExited", fields)
            }
            Detail::StateAborted { kind } => (format!("{kind}StateAborted"), None),
            Detail::EvaluationFailed { state, location, trouble } => {
                let mut fields = trouble.fields();
                fields.insert("state".into(), json!(state));
                if let Some(location) = location {
                    fields.insert("location".into(), json!(location));
                }
                named("EvaluationFailed", fields)
            }
            Detail::Scheduled(schedule) => schedule.to_json(data),
            Detail::Started(service) => match service {
                Service::LambdaInvoke | Service::LambdaCallback => {
                    named("TaskStarted", service.fields())
                }
                Service::Function { .. } => ("LambdaFunctionStarted".into(), None),
            },
            Detail::Submitted { service, output } => {
                let output = output.as_ref().map(|output| data.of("output", output));
                let mut fields = output.unwrap_or_default();
                fields.extend(service.fields());
                named(service.event("Submitted"), fields)
            }
            Detail::Succeeded { service, output } => {
                let mut fields = data.of("output", output);
                fields.extend(service.fields());
                named(service.event("Succeeded"), fields)
            }
            Detail::Failed { service, trouble } => {
                let mut fields = trouble.fields();
                fields.extend(service.fields());
                named(service.event("Failed"), fields)
            }
            Detail::TimedOut { service, trouble } => {
                let mut fields = trouble.fields();
                fields.extend(service.fields());
                named(service.event("TimedOut"), fields)
            }
            Detail::ChildrenStarted { kind, length } => {
                let details = length.map(|length| {
                    let fields = Map::from_iter([("length".to_string(), json!(length))]);
                    ("mapStateStartedEventDetails".to_string(), fields)
                });
                (format!("{kind}StateStarted"), details)
            }
            Detail::ChildrenSucceeded { kind } => (format!("{kind}StateSucceeded"), None),
            Detail::ChildrenFailed { kind } => (format!("{kind}StateFailed"), None),
            Detail::IterationStarted { map, index } => {
                named("MapIterationStarted", iteration(map, *index))
            }
            Detail::IterationSucceeded { map, index } => {
                named("MapIterationSucceeded", iteration(map, *index))
            }
            Detail::IterationFailed { map, index } => {
                named("MapIterationFailed", iteration(map, *index))
            }
            Detail::IterationAborted { map, index } => {
                named("MapIterationAborted", iteration(map, *index))
            }
            Detail::MapRunStarted { arn } => {
                let fields = Map::from_iter([("mapRunArn".to_string(), json!(arn))]);
                named("MapRunStarted", fields)
            }
            Detail::MapRunSucceeded => ("MapRunSucceeded".into(), None),
            Detail::MapRunFailed(trouble) => named("MapRunFailed", trouble.fields()),
            Detail::MapRunAborted => ("MapRunAborted".into(), None),
        }
    }
}

impl Service {
    fn fields(&self) -> Map<String, Value> {
        let resource = match self {
            Service::LambdaInvoke => "invoke",
            Service::LambdaCallback => "invoke.waitForTaskToken",
            Service::Function { .. } => return Map::new(),
        };
        Map::from_iter([
            ("resourceType".to_string(), json!("lambda")),
            ("resource".to_string(), json!(resource)),
        ])
    }

    fn event(&self, what: &str) -> String {
        match self {
            Service::LambdaInvoke | Service::LambdaCallback => format!("Task{what}"),
            Service::Function { .. } => format!("LambdaFunction{what}"),
        }
    }
}

impl Schedule {
    fn to_json(&self, data: Data) -> (String, Details) {
        let mut fields = match &self.service {
            Service::LambdaInvoke | Service::LambdaCallback => {
                let mut fields = self.service.fields();
                fields.insert("region".into(), json!(self.region));
                // The field is required by the API, so it is there without the data as well.
                let parameters = if data.include_data { &*self.input } else { "" };
                fields.insert("parameters".into(), json!(parameters));
                fields
            }
            Service::Function { arn } => {
                let mut fields = data.of("input", &self.input);
                fields.insert("resource".into(), json!(arn));
                fields
            }
        };
        if let Some(seconds) = self.timeout_seconds {
            fields.insert("timeoutInSeconds".into(), json!(seconds));
        }
        let is_function = matches!(self.service, Service::Function { .. });
        if let Some(seconds) = self.heartbeat_seconds.filter(|_| !is_function) {
            fields.insert("heartbeatInSeconds".into(), json!(seconds));
        }
        if let Some(role) = &self.credentials {
            fields.insert("taskCredentials".into(), json!({"roleArn": role}));
        }
        named(self.service.event("Scheduled"), fields)
    }
}

/// Whether inputs and outputs belong into the answer.
#[derive(Clone, Copy)]
struct Data {
    include_data: bool,
}

impl Data {
    /// `input` with `inputDetails`, or `output` with `outputDetails`.
    fn of(self, field: &str, text: &Arc<str>) -> Map<String, Value> {
        let mut fields = Map::new();
        if self.include_data {
            fields.insert(field.into(), json!(&**text));
            fields.insert(format!("{field}Details"), json!({"truncated": false}));
        }
        fields
    }

    fn assigned(self, assigned: &[(String, Arc<str>)], fields: &mut Map<String, Value>) {
        if assigned.is_empty() || !self.include_data {
            return;
        }
        let values = assigned.iter().map(|(name, text)| (name.clone(), json!(&**text)));
        fields.insert("assignedVariables".into(), values.collect());
        fields.insert("assignedVariablesDetails".into(), json!({"truncated": false}));
    }
}

/// An event whose details are named after its type.
fn named(event: impl Into<String>, fields: Map<String, Value>) -> (String, Details) {
    let event = event.into();
    let mut field = event.clone();
    field[..1].make_ascii_lowercase();
    under(event, &field, fields)
}

fn under(event: String, field: &str, fields: Map<String, Value>) -> (String, Details) {
    (event, Some((format!("{field}EventDetails"), fields)))
}

fn iteration(map: &str, index: usize) -> Map<String, Value> {
    Map::from_iter([("name".to_string(), json!(map)), ("index".to_string(), json!(index))])
}
