//! The state machines and executions of one account, and the running of them.

mod execution;
mod map_runs;
mod runner;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

pub(crate) use execution::Execution;
use execution::Mail;
pub(crate) use map_runs::MapRunRecord;

use crate::arn::{Place, is_name};
use crate::check::examine;
use crate::definition::Definition;
use crate::diagnostic::{Diagnostic, Severity};
use crate::history::Trouble;
use crate::lambda::Lambda;
use crate::machine::{Machine, Signal};
use crate::objects::Objects;
use crate::payload::{PAYLOAD_BYTES_MAX, Payload};
use crate::roles::Roles;
use crate::scope::Identity;
use crate::status::{Status, StatusListener};
use crate::task_token::TaskToken;

/// Where the engine is and what it reaches.
#[derive(Clone)]
pub struct Config {
    /// The account in every ARN, such as `000000000000`.
    pub account: String,
    /// The region in every ARN, such as `us-east-1`.
    pub region: String,
    /// Where Lambda's Invoke is, such as `http://127.0.0.1:9001`.
    pub lambda_endpoint: String,
    /// Where item readers find objects.
    pub objects: Arc<dyn Objects>,
    /// What state machines may do.
    pub roles: Arc<dyn Roles>,
    /// How many times faster than real time the timers run: waits, delays of retries, time-outs and
    /// heartbeats of tasks, and time-outs of executions. Default: 1.
    pub speed: f64,
    /// Who is told when executions start and end. Default: nobody.
    pub status_listener: Option<Arc<dyn StatusListener>>,
}

impl Config {
    /// The given, and the default of everything else.
    pub fn new(
        account: impl Into<String>,
        region: impl Into<String>,
        lambda_endpoint: impl Into<String>,
        objects: Arc<dyn Objects>,
        roles: Arc<dyn Roles>,
    ) -> Self {
        Self {
            account: account.into(),
            region: region.into(),
            lambda_endpoint: lambda_endpoint.into(),
            objects,
            roles,
            speed: 1.0,
            status_listener: None,
        }
    }
}

/// Why a state machine cannot be created or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The name is empty, too long or has a character that names cannot have.
    #[error("`{0}` cannot be the name of a state machine")]
    Name(String),
    /// The definition has faults.
    #[error("{}", list(.0))]
    Faults(Vec<Diagnostic>),
    /// There is another state machine of that name.
    #[error("the state machine `{0}` exists with another definition or role")]
    Exists(String),
}

fn list(diagnostics: &[Diagnostic]) -> String {
    let diagnostics = diagnostics.iter().map(ToString::to_string);
    diagnostics.collect::<Vec<_>>().join(", ")
}

/// A Step Functions of one account. Clones share everything.
#[derive(Clone)]
pub struct StepFunctions {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    lambda: Lambda,
    objects: Arc<dyn Objects>,
    roles: Arc<dyn Roles>,
    speed: f64,
    status_listener: Option<Arc<dyn StatusListener>>,
    machines: Mutex<BTreeMap<String, StateMachine>>,
    executions: Mutex<Executions>,
    map_runs: Mutex<BTreeMap<String, Arc<MapRunRecord>>>,
    is_closed: AtomicBool,
}

/// A state machine as it was last updated.
#[derive(Clone)]
pub(crate) struct StateMachine {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) role_arn: String,
    pub(crate) text: String,
    pub(crate) definition: Arc<Definition>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) revision: String,
    /// `loggingConfiguration` and `tracingConfiguration`, kept and given back without effect.
    pub(crate) settings: BTreeMap<String, Value>,
}

#[derive(Default)]
struct Executions {
    by_arn: HashMap<String, Arc<Execution>>,
    /// Oldest first, by state machine or map run.
    by_owner: HashMap<String, Vec<Arc<Execution>>>,
}

/// Why an execution cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is no state machine with the ARN.
    #[error("the state machine `{0}` does not exist")]
    MachineMissing(String),
    /// The name is empty, too long or has a character that names cannot have.
    #[error("`{0}` cannot be the name of an execution")]
    Name(String),
    /// The input is not JSON.
    #[error("the input of the execution is not JSON: {0}")]
    Input(String),
    /// The input has more bytes than a payload may have.
    #[error("the input has {0} bytes, and {PAYLOAD_BYTES_MAX} at most are allowed")]
    InputTooLarge(usize),
    /// There is an execution of that name with another input, or one that is over.
    #[error("the execution `{0}` exists")]
    Exists(String),
    /// The engine was shut down.
    #[error("the engine is shutting down")]
    ShutDown,
}

/// Why a task token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the text is no task token")]
    Malformed,
    #[error("the task of the token is over")]
    Closed,
}

/// A lock that a panic elsewhere has not made useless: every change under it is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StepFunctions {
    /// An engine without state machines.
    ///
    /// # Panics
    ///
    /// If the speed is not a number above 0.
    pub fn new(config: Config) -> Self {
        assert!(config.speed > 0.0, "the speed of time must be above 0, not {}", config.speed);
        let inner = Inner {
            lambda: Lambda::new(&config.lambda_endpoint),
            objects: config.objects,
            roles: config.roles,
            speed: config.speed,
            status_listener: config.status_listener,
            place: Place { account: config.account, region: config.region },
            machines: Mutex::default(),
            executions: Mutex::default(),
            map_runs: Mutex::default(),
            is_closed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Creates a state machine and answers its ARN.
    ///
    /// The same name with the same definition and role is the same state machine.
    ///
    /// # Errors
    ///
    /// A name or definition that AWS would refuse or that the interpreter cannot run.
    pub fn create_state_machine(
        &self,
        name: &str,
        definition: &str,
        role_arn: &str,
    ) -> Result<String, DefinitionError> {
        self.create(name, definition, role_arn, BTreeMap::new()).map(|machine| machine.arn)
    }

    pub(crate) fn create(
        &self,
        name: &str,
        text: &str,
        role_arn: &str,
        settings: BTreeMap<String, Value>,
    ) -> Result<StateMachine, DefinitionError> {
        if !is_name(name) {
            return Err(DefinitionError::Name(name.to_string()));
        }
        let definition = runnable(text)?;
        let arn = self.inner.place.state_machine(name);
        let mut machines = lock(&self.inner.machines);
        if let Some(machine) = machines.get(&arn) {
            if machine.text == text && machine.role_arn == role_arn {
                return Ok(machine.clone());
            }
            return Err(DefinitionError::Exists(arn));
        }
        let now = Timestamp::now();
        let machine = StateMachine {
            name: name.to_string(),
            role_arn: role_arn.to_string(),
            text: text.to_string(),
            definition: Arc::new(definition),
            created: now,
            updated: now,
            revision: uuid::Uuid::new_v4().to_string(),
            settings,
            arn: arn.clone(),
        };
        machines.insert(arn, machine.clone());
        Ok(machine)
    }

    /// Changes what is given; running executions keep what they started with.
    pub(crate) fn update(
        &self,
        arn: &str,
        text: Option<&str>,
        role_arn: Option<&str>,
        settings: BTreeMap<String, Value>,
    ) -> Option<Result<StateMachine, DefinitionError>> {
        let mut machines = lock(&self.inner.machines);
        let machine = machines.get_mut(arn)?;
        if let Some(text) = text {
            match runnable(text) {
                Ok(definition) => machine.definition = Arc::new(definition),
                Err(error) => return Some(Err(error)),
            }
            machine.text = text.to_string();
        }
        if let Some(role_arn) = role_arn {
            machine.role_arn = role_arn.to_string();
        }
        machine.settings.extend(settings);
        machine.updated = Timestamp::now();
        machine.revision = uuid::Uuid::new_v4().to_string();
        Some(Ok(machine.clone()))
    }

    pub(crate) fn state_machine(&self, arn: &str) -> Option<StateMachine> {
        lock(&self.inner.machines).get(arn).cloned()
    }

    pub(crate) fn state_machines(&self) -> Vec<StateMachine> {
        lock(&self.inner.machines).values().cloned().collect()
    }

    /// Forgets a state machine and stops its executions.
    pub(crate) fn delete(&self, arn: &str) {
        lock(&self.inner.machines).remove(arn);
        for execution in self.executions(arn) {
            execution.stop(Trouble::default());
        }
    }

    /// Starts an execution and answers its ARN.
    ///
    /// The same name and input while it runs is the same execution. It must be called within a
    /// tokio runtime, which the execution goes on in.
    ///
    /// # Errors
    ///
    /// A state machine that is not there, or a name or input that AWS would refuse.
    pub fn start_execution(
        &self,
        state_machine_arn: &str,
        name: Option<&str>,
        input: &str,
    ) -> Result<String, StartError> {
        self.start(state_machine_arn, name, input)
            .map(|execution| execution.identity.execution_arn.clone())
    }

    /// The state transitions of an execution and of the map runs it started, as AWS bills them:
    /// one to start it, one for every state that is entered and one for every retry.
    pub fn transitions(&self, execution_arn: &str) -> Option<u64> {
        let execution = self.execution(execution_arn)?;
        let runs = self.map_runs(execution_arn);
        let children = runs.iter().flat_map(|run| self.executions(&run.arn));
        let children = children.filter_map(|child| self.transitions(&child.identity.execution_arn));
        Some(execution.transitions() + children.sum::<u64>())
    }

    /// Starts an execution; one that runs already under the name with the same input is answered.
    pub(crate) fn start(
        &self,
        machine_arn: &str,
        name: Option<&str>,
        input: &str,
    ) -> Result<Arc<Execution>, StartError> {
        let machine = self
            .state_machine(machine_arn)
            .ok_or_else(|| StartError::MachineMissing(machine_arn.to_string()))?;
        if input.len() > PAYLOAD_BYTES_MAX {
            return Err(StartError::InputTooLarge(input.len()));
        }
        let input = Payload::parse(input).map_err(|error| StartError::Input(error.to_string()))?;
        let name = name.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_string);
        if !is_name(&name) {
            return Err(StartError::Name(name));
        }
        let identity = Identity {
            execution_arn: self.inner.place.execution(&machine.name, &name),
            execution_name: name,
            role_arn: machine.role_arn,
            state_machine_arn: machine.arn.clone(),
            state_machine_name: machine.name,
            region: self.inner.place.region.clone(),
            account: self.inner.place.account.clone(),
            started: now_in_milliseconds(),
            input,
        };
        let (execution, is_new) = self.register(identity, None)?;
        if let Some(mailbox) = is_new {
            execution.announce();
            let engine = self.clone();
            let run = Arc::clone(&execution);
            let definition = Arc::clone(&machine.definition);
            tokio::spawn(async move { engine.run(run, definition, mailbox).await });
        }
        Ok(execution)
    }

    /// Puts an execution among the others, unless one of the name is there.
    fn register(
        &self,
        identity: Identity,
        map_run_arn: Option<String>,
    ) -> Result<(Arc<Execution>, Option<mpsc::UnboundedReceiver<Mail>>), StartError> {
        let arn = identity.execution_arn.clone();
        let mut executions = lock(&self.inner.executions);
        if self.inner.is_closed.load(Ordering::Relaxed) {
            return Err(StartError::ShutDown);
        }
        if let Some(execution) = executions.by_arn.get(&arn) {
            let is_same = execution.identity.input.value() == identity.input.value();
            if is_same && execution.status() == Status::Running {
                return Ok((Arc::clone(execution), None));
            }
            return Err(StartError::Exists(arn));
        }
        let owner = map_run_arn.clone().unwrap_or_else(|| identity.state_machine_arn.clone());
        let listener = self.inner.status_listener.clone();
        let (execution, mailbox) = Execution::new(identity, map_run_arn, listener);
        let execution = Arc::new(execution);
        executions.by_arn.insert(arn, Arc::clone(&execution));
        let siblings = executions.by_owner.entry(owner).or_default();
        siblings.push(Arc::clone(&execution));
        Ok((execution, Some(mailbox)))
    }

    /// Sends a task token back to its task.
    pub(crate) async fn signal(&self, token: &str, signal: Signal) -> Result<(), TokenError> {
        let token = TaskToken::parse(token).ok_or(TokenError::Malformed)?;
        let execution = self.execution(token.execution_arn()).ok_or(TokenError::Closed)?;
        if execution.signal(token, signal).await { Ok(()) } else { Err(TokenError::Closed) }
    }

    /// Returns the ARN of the state machine that gave a task token out: `…:stateMachine:NAME`, and
    /// `…:stateMachine:NAME/LABEL` for a child of a distributed map.
    ///
    /// A closed token has one as well; text that is no task token has none.
    pub fn state_machine_of_token(&self, token: &str) -> Option<String> {
        let token = TaskToken::parse(token)?;
        self.inner.place.state_machine_of(token.execution_arn())
    }

    pub(crate) fn execution(&self, arn: &str) -> Option<Arc<Execution>> {
        lock(&self.inner.executions).by_arn.get(arn).cloned()
    }

    /// The executions of a state machine or map run, oldest first.
    pub(crate) fn executions(&self, owner: &str) -> Vec<Arc<Execution>> {
        let executions = lock(&self.inner.executions);
        executions.by_owner.get(owner).cloned().unwrap_or_default()
    }

    /// Stops every execution, and starts none from now on.
    pub fn shut_down(&self) {
        self.inner.is_closed.store(true, Ordering::Relaxed);
        let executions: Vec<_> = lock(&self.inner.executions).by_arn.values().cloned().collect();
        for execution in executions {
            execution.stop(Trouble::default());
        }
    }

    fn machine(execution: &Execution, definition: Arc<Definition>) -> Machine {
        let seed = rand::random();
        Machine::new(definition, Arc::clone(&execution.identity), seed)
    }
}

/// The API and the context object have milliseconds, so nothing finer is kept.
fn now_in_milliseconds() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// The definition, if nothing forbids running it.
fn runnable(text: &str) -> Result<Definition, DefinitionError> {
    let (definition, mut diagnostics) = examine(text);
    for diagnostic in &diagnostics {
        if diagnostic.severity == Severity::Warning {
            tracing::warn!(definition.fault = %diagnostic, "the definition has a fault");
        }
    }
    definition.ok_or_else(|| {
        diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
        DefinitionError::Faults(diagnostics)
    })
}
