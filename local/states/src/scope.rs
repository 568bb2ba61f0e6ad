//! What an expression can see: the variables, the context object and `$states`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::payload::Payload;
use crate::task_token::TaskToken;

/// Variables of one level, and of the levels around it.
///
/// The branches of a Parallel and the iterations of a Map read the variables around them and
/// assign only their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    values: BTreeMap<String, Payload>,
    outer: Option<Arc<Scope>>,
}

impl Scope {
    /// An empty level inside `outer`.
    pub(crate) fn inside(outer: &Arc<Scope>) -> Arc<Self> {
        Arc::new(Self { values: BTreeMap::new(), outer: Some(Arc::clone(outer)) })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Payload> {
        let outer = || self.outer.as_ref().and_then(|outer| outer.get(name));
        self.values.get(name).or_else(outer)
    }

    /// Sets variables of this level; those of outer levels stay as they are.
    pub(crate) fn assign(&mut self, values: Vec<(String, Payload)>) {
        self.values.extend(values);
    }

    /// The bytes of all variables of this level.
    pub(crate) fn size_bytes(&self) -> usize {
        self.values.values().map(Payload::size_bytes).sum()
    }
}

/// What is the same for every state of one execution.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) execution_arn: String,
    pub(crate) execution_name: String,
    pub(crate) role_arn: String,
    pub(crate) state_machine_arn: String,
    pub(crate) state_machine_name: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) started: Timestamp,
    pub(crate) input: Payload,
}

/// The item of a Map that an iteration works on.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) index: usize,
    pub(crate) value: Payload,
}

/// Everything the expressions of one state can see at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) identity: Arc<Identity>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) item: Option<Arc<Item>>,
    pub(crate) state_name: String,
    pub(crate) state_entered: Timestamp,
    pub(crate) retry_count: u32,
    pub(crate) input: Payload,
    /// The token of a callback task's attempt.
    pub(crate) task_token: Option<TaskToken>,
    pub(crate) result: Option<Payload>,
    pub(crate) error_output: Option<Payload>,
}

impl Surroundings {
    /// The context object, without the execution's input, which may be large.
    pub(crate) fn context(&self, item: Option<&Item>) -> Value {
        let identity = &self.identity;
        let mut context = json!({
            "Execution": {
                "Id": identity.execution_arn,
                "Name": identity.execution_name,
                "RoleArn": identity.role_arn,
                "StartTime": milliseconds(identity.started),
                "RedriveCount": 0,
            },
            "StateMachine": {
                "Id": identity.state_machine_arn,
                "Name": identity.state_machine_name,
            },
            "State": {
                "Name": self.state_name,
                "EnteredTime": milliseconds(self.state_entered),
                "RetryCount": self.retry_count,
            },
        });
        if let Some(token) = &self.task_token {
            context["Task"] = json!({"Token": token.text()});
        }
        if let Some(item) = item {
            context["Map"] = json!({"Item": {"Index": item.index, "Value": item.value.value()}});
        }
        context
    }
}

/// The context object's form of a time: UTC with three digits after the second.
pub(crate) fn milliseconds(time: Timestamp) -> String {
    format!("{time:.3}")
}
