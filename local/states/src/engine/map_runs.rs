//! Distributed maps: every item is an execution of its own.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::{StepFunctions, lock, now_in_milliseconds};
use crate::definition::Definition;
use crate::items;
use crate::machine::{Failure, Outcome};
use crate::map_run::{ItemCounts, MapRun, MapRunAction, MapRunOrder, Tolerance};
use crate::payload::Payload;
use crate::scope::Identity;
use crate::status::Status;

/// What is kept of a map run, for `DescribeMapRun` and `ListMapRuns`.
pub(crate) struct MapRunRecord {
    pub(crate) arn: String,
    pub(crate) execution_arn: String,
    pub(crate) state_machine_arn: String,
    pub(crate) started: Timestamp,
    pub(crate) max_concurrency: usize,
    pub(crate) tolerance: Tolerance,
    progress: Mutex<Progress>,
}

/// How far a map run is.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) status: Status,
    pub(crate) stopped: Option<Timestamp>,
    pub(crate) counts: ItemCounts,
}

impl MapRunRecord {
    pub(crate) fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    fn stop(&self, status: Status) {
        let mut progress = lock(&self.progress);
        if progress.status == Status::Running {
            progress.status = status;
            progress.stopped = Some(now_in_milliseconds());
        }
    }
}

/// A map run whose future is dropped was aborted.
struct Unfinished(Arc<MapRunRecord>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.stop(Status::Aborted);
    }
}

impl StepFunctions {
    pub(crate) fn map_run(&self, arn: &str) -> Option<Arc<MapRunRecord>> {
        lock(&self.inner.map_runs).get(arn).cloned()
    }

    pub(crate) fn map_runs(&self, execution_arn: &str) -> Vec<Arc<MapRunRecord>> {
        let runs = lock(&self.inner.map_runs);
        let runs = runs.values().filter(|run| run.execution_arn == execution_arn);
        runs.cloned().collect()
    }

    /// Reads the items and runs an execution for each of them.
    pub(super) async fn run_map(
        self,
        order: MapRunOrder,
        execution_arn: String,
    ) -> Result<Payload, Failure> {
        let record = Arc::new(MapRunRecord {
            arn: order.arn.clone(),
            execution_arn,
            state_machine_arn: self.child_machine(&order).0,
            started: now_in_milliseconds(),
            max_concurrency: order.concurrency,
            tolerance: order.tolerance,
            progress: Mutex::new(Progress {
                status: Status::Running,
                stopped: None,
                counts: ItemCounts::default(),
            }),
        });
        let unfinished = Unfinished(Arc::clone(&record));
        lock(&self.inner.map_runs).insert(record.arn.clone(), Arc::clone(&record));
        let result = self.run_items(order, &record).await;
        let status = match &result {
            Ok(_) => Status::Succeeded,
            Err(_) => Status::Failed,
        };
        record.stop(status);
        drop(unfinished);
        result
    }

    async fn run_items(
        &self,
        mut order: MapRunOrder,
        record: &MapRunRecord,
    ) -> Result<Payload, Failure> {
        let source =
            std::mem::replace(&mut order.source, crate::map_run::Source::Items(Vec::new()));
        let identity = &order.surroundings.identity;
        let parent = identity.state_machine_arn.split('/').next().unwrap_or_default();
        self.inner
            .roles
            .check(&identity.role_arn, &identity.state_machine_arn, "states:StartExecution", parent)
            .map_err(|message| Failure::named("StepFunctions.AccessDeniedException", message))?;
        let items = items::read(source, &*self.inner.objects).await?;
        let definition =
            Arc::new(Definition { flow: Arc::clone(&order.processor), timeout_seconds: None });
        let mut run = MapRun::new(&order, items);
        // Dropping the set drops the runners in it, which aborts their executions.
        let mut children: JoinSet<(usize, Outcome)> = JoinSet::new();
        let mut actions = run.start();
        loop {
            for action in actions {
                match action {
                    MapRunAction::Start { index, input } => {
                        self.start_child(&order, &definition, index, input, &mut children);
                    }
                    MapRunAction::Finish(result) => {
                        lock(&record.progress).counts = run.counts();
                        return result;
                    }
                }
            }
            lock(&record.progress).counts = run.counts();
            actions = match children.join_next().await {
                Some(Ok((index, Outcome::Succeeded(output)))) => {
                    run.child_finished(index, Some(output))
                }
                Some(Ok((index, _))) => run.child_finished(index, None),
                Some(Err(error)) => {
                    return Err(Failure::runtime(format!("An execution broke: {error}")));
                }
                None => return Err(Failure::runtime("The map run lost its executions.")),
            };
        }
    }

    /// The ARN and name that child executions have for their state machine.
    fn child_machine(&self, order: &MapRunOrder) -> (String, String) {
        let parent = &order.surroundings.identity.state_machine_name;
        let parent = parent.split('/').next().unwrap_or_default();
        let name = format!("{parent}/{}", order.label);
        (self.inner.place.state_machine(&name), name)
    }

    fn start_child(
        &self,
        order: &MapRunOrder,
        definition: &Arc<Definition>,
        index: usize,
        input: Payload,
        children: &mut JoinSet<(usize, Outcome)>,
    ) {
        let parent = &order.surroundings.identity;
        let (state_machine_arn, state_machine_name) = self.child_machine(order);
        let name = uuid::Uuid::new_v4().to_string();
        let identity = Identity {
            execution_arn: self.inner.place.execution(&state_machine_name, &name),
            execution_name: name,
            role_arn: parent.role_arn.clone(),
            state_machine_arn,
            state_machine_name,
            region: parent.region.clone(),
            account: parent.account.clone(),
            started: now_in_milliseconds(),
            input,
        };
        // The name is new, so there is always a mailbox.
        if let Ok((execution, Some(mailbox))) = self.register(identity, Some(order.arn.clone())) {
            execution.announce();
            let run = self.clone().run(execution, Arc::clone(definition), mailbox);
            children.spawn(async move { (index, run.await) });
        }
    }
}
