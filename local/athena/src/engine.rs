//! The endpoint's state and what its operations do to it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::api::ApiError;
use crate::catalog::DataDir;
use crate::execution::{Execution, Location, NewExecution, Request, State};
use crate::faults::Faults;
use crate::session::Sessions;
use crate::statement::StatementType;
use crate::{Config, WorkGroup, run, sql};

/// The longest query that Athena takes.
const QUERY_BYTES_MAX: usize = 262_144;
/// Query executions that are remembered; the oldest finished ones are forgotten first.
const EXECUTIONS_MAX: usize = 10_000;
/// How long a client's token may be.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 32..=128;

const PRIMARY: &str = "primary";

/// The state behind an endpoint.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) data: DataDir,
    pub(crate) faults: Faults,
    pub(crate) sessions: Sessions,
    /// One permit per query that may run.
    pub(crate) slots: Semaphore,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, Arc<Execution>>,
    ids_by_token: HashMap<String, String>,
    /// Oldest first.
    order: VecDeque<(String, Option<String>)>,
}

impl Engine {
    pub(crate) fn new(mut config: Config) -> Self {
        if !config.work_groups.iter().any(|group| group.name == PRIMARY) {
            config.work_groups.insert(0, WorkGroup::new(PRIMARY));
        }
        let data = DataDir::new(config.data_dir.clone());
        Self {
            sessions: Sessions::new(data.clone()),
            data,
            faults: Faults::default(),
            slots: Semaphore::new(config.concurrent_queries_max.max(1)),
            config,
            known: Mutex::default(),
        }
    }

    /// The work group of that name, `primary` if none is given.
    pub(crate) fn work_group(&self, name: Option<&str>) -> Result<&WorkGroup, ApiError> {
        let name = name.unwrap_or(PRIMARY);
        let found = self.config.work_groups.iter().find(|group| group.name == name);
        found.ok_or_else(|| ApiError::invalid(format!("WorkGroup {name} is not found.")))
    }

    /// Starts a query, or finds the one that was started with the same token, by whomever.
    pub(crate) fn start(
        self: &Arc<Self>,
        request: Request,
        token: Option<String>,
        caller: Option<String>,
    ) -> Result<String, ApiError> {
        if let Some(refusal) = self.faults.next_start() {
            return Err(refusal.into());
        }
        let new = self.check(request, token.as_deref(), caller)?;
        let execution = {
            let mut known = self.known();
            if let Some(execution) = token.as_ref().and_then(|token| known.by_token(token)) {
                if execution.request != new.request {
                    return Err(ApiError::invalid("Idempotent parameters do not match"));
                }
                return Ok(execution.id.clone());
            }
            let active = known.by_id.values().filter(|found| !found.state().is_final()).count();
            if self.faults.is_full(active) {
                return Err(ApiError::TooManyRequests);
            }
            let execution = Arc::new(Execution::new(new, self.config.listener.clone()));
            known.insert(Arc::clone(&execution), token);
            execution
        };
        let id = execution.id.clone();
        tracing::debug!(query.id = id, "query queued");
        tokio::spawn(run::drive(Arc::clone(self), execution));
        Ok(id)
    }

    fn check(
        &self,
        request: Request,
        token: Option<&str>,
        caller: Option<String>,
    ) -> Result<NewExecution, ApiError> {
        if request.query.trim().is_empty() {
            return Err(ApiError::invalid("QueryString must not be blank"));
        }
        if request.query.len() > QUERY_BYTES_MAX {
            let length = request.query.len();
            let message = format!("QueryString has {length} bytes, of at most {QUERY_BYTES_MAX}");
            return Err(ApiError::invalid(message));
        }
        if token.is_some_and(|token| !TOKEN_CHARS.contains(&token.chars().count())) {
            let message = "ClientRequestToken must have between 32 and 128 characters";
            return Err(ApiError::invalid(message));
        }
        let group = self.work_group(Some(&request.work_group))?;
        let statement = StatementType::of(&request.query);
        if self.faults.are_malformed_queries_refused() {
            sql::parse(&request.query, &request.parameters)
                .map_err(|failure| ApiError::malformed(failure.message))?;
        }
        Ok(NewExecution {
            prefix: output_prefix(&request, group)?,
            bytes_scanned_max: group.bytes_scanned_max,
            request,
            statement,
            caller,
        })
    }

    /// A query execution that was started.
    pub(crate) fn execution(&self, id: &str) -> Result<Arc<Execution>, ApiError> {
        let found = self.known().by_id.get(id).cloned();
        found.ok_or_else(|| ApiError::invalid(format!("QueryExecution {id} was not found")))
    }

    /// The ids of a work group's query executions, newest first.
    pub(crate) fn execution_ids(&self, work_group: &str) -> Vec<String> {
        let known = self.known();
        let newest_first = known.order.iter().rev().map(|(id, _)| id);
        let in_group = newest_first
            .filter(|id| known.by_id.get(*id).is_some_and(|e| e.request.work_group == work_group));
        in_group.cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn by_token(&self, token: &str) -> Option<Arc<Execution>> {
        self.by_id.get(self.ids_by_token.get(token)?).cloned()
    }

    fn insert(&mut self, execution: Arc<Execution>, token: Option<String>) {
        let id = execution.id.clone();
        if let Some(token) = &token {
            self.ids_by_token.insert(token.clone(), id.clone());
        }
        self.order.push_back((id.clone(), token));
        self.by_id.insert(id, execution);
        if self.order.len() > EXECUTIONS_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let is_final =
            |id: &String| self.by_id.get(id).map(|e| e.state()).is_none_or(State::is_final);
        let Some(index) = self.order.iter().position(|(id, _)| is_final(id)) else { return };
        if let Some((id, token)) = self.order.remove(index) {
            self.by_id.remove(&id);
            token.map(|token| self.ids_by_token.remove(&token));
        }
    }
}

/// Where a query's results go, by its work group and itself.
fn output_prefix(request: &Request, group: &WorkGroup) -> Result<Location, ApiError> {
    let of_group = group.output_location.as_deref();
    let of_client = request.output_location.as_deref();
    let uri =
        if group.enforce_configuration { of_group.or(of_client) } else { of_client.or(of_group) };
    let uri = uri.ok_or_else(|| {
        ApiError::invalid(
            "No output location provided. An output location is required either through the \
             Workgroup result configuration setting or as an API input.",
        )
    })?;
    Location::parse(uri).ok_or_else(|| ApiError::invalid("outputLocation is not a valid S3 path."))
}
