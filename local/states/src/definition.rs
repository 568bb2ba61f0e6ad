//! A state machine as types. [`read`](crate::definition::read) makes them from JSON.

mod fields;
pub(crate) mod read;
mod read_errors;
mod read_map;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::expression::Template;

/// A state machine that can be run: read, and free of faults that forbid running it.
#[derive(Clone, Debug)]
pub struct Definition {
    pub(crate) flow: Arc<Flow>,
    pub(crate) timeout_seconds: Option<u64>,
}

impl Definition {
    /// The names of the states at the top level, in alphabetical order.
    pub fn state_names(&self) -> impl Iterator<Item = &str> {
        self.flow.states.keys().map(String::as_str)
    }
}

/// States and where they start: the whole machine, a branch or an item processor.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) start_at: String,
    pub(crate) states: BTreeMap<String, Arc<State>>,
    /// Where the flow stands in the definition, as a JSON pointer.
    pub(crate) path: String,
}

/// One state. Fields that a type of state does not have are empty.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) next: Next,
    pub(crate) arguments: Option<Template>,
    pub(crate) output: Option<Template>,
    pub(crate) assign: Assign,
    pub(crate) retry: Vec<Retrier>,
    pub(crate) catch: Vec<Catcher>,
}

/// The variables a state sets, in the order of the definition.
pub(crate) type Assign = Vec<(String, Template)>;

/// Where the execution goes when a state is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    State(String),
    End,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Task(Task),
    Map(Box<Map>),
    Parallel { branches: Vec<Arc<Flow>> },
    Choice(Choice),
    Wait(Wait),
    Pass,
    Succeed,
    Fail(Fail),
}

impl Kind {
    /// The state's `Type`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Task(_) => "Task",
            Kind::Map(_) => "Map",
            Kind::Parallel { .. } => "Parallel",
            Kind::Choice(_) => "Choice",
            Kind::Wait(_) => "Wait",
            Kind::Pass => "Pass",
            Kind::Succeed => "Succeed",
            Kind::Fail(_) => "Fail",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) resource: Resource,
    pub(crate) timeout_seconds: Option<Template>,
    pub(crate) heartbeat_seconds: Option<Template>,
    /// `Credentials.RoleArn`; it is shown in the history and has no effect.
    pub(crate) role_arn: Option<Template>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resource {
    /// `arn:aws:states:::lambda:invoke`.
    LambdaInvoke,
    /// `arn:aws:states:::lambda:invoke.waitForTaskToken`.
    LambdaCallback,
    /// A function by its ARN.
    Function(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) items: Option<Template>,
    pub(crate) item_selector: Option<Template>,
    pub(crate) processor: Arc<Flow>,
    pub(crate) max_concurrency: Option<Template>,
    pub(crate) tolerated_failure_count: Option<Template>,
    pub(crate) tolerated_failure_percentage: Option<Template>,
    /// What only a distributed map has.
    pub(crate) distributed: Option<Distributed>,
}

#[derive(Clone, Debug)]
pub(crate) struct Distributed {
    pub(crate) label: Option<String>,
    pub(crate) reader: Option<ItemReader>,
}

#[derive(Clone, Debug)]
pub(crate) struct ItemReader {
    pub(crate) source: ItemSource,
    pub(crate) arguments: Template,
    pub(crate) max_items: Option<Template>,
}

/// What an `ItemReader` reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ItemSource {
    /// `s3:getObject` of an object in this format.
    Object(Format),
    /// `s3:listObjectsV2`.
    Listing,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Format {
    /// `pointer` is `ItemsPointer`: where in the document the items are.
    Json {
        pointer: Option<String>,
    },
    JsonLines,
    Csv {
        headers: Headers,
        delimiter: u8,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Headers {
    FirstRow,
    Given(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) condition: Template,
    pub(crate) next: String,
    pub(crate) output: Option<Template>,
    pub(crate) assign: Assign,
}

#[derive(Clone, Debug)]
pub(crate) enum Wait {
    Seconds(Template),
    Timestamp(Template),
}

#[derive(Clone, Debug)]
pub(crate) struct Fail {
    pub(crate) error: Option<Template>,
    pub(crate) cause: Option<Template>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retrier {
    pub(crate) error_equals: Vec<String>,
    pub(crate) interval_seconds: u64,
    /// Retries, so one less than runs; 0 means never.
    pub(crate) max_attempts: u32,
    pub(crate) backoff_rate: f64,
    pub(crate) max_delay_seconds: Option<u64>,
    /// `JitterStrategy` is `FULL`.
    pub(crate) jitter: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Catcher {
    pub(crate) error_equals: Vec<String>,
    pub(crate) next: String,
    pub(crate) output: Option<Template>,
    pub(crate) assign: Assign,
}
