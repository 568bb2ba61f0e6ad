//! Calls of the functions in every order that a seed decides.
//!
//! The functions are called in the test's own process. Every request of every call waits at a desk
//! until it is its turn; answers come late or never, calls are killed between two requests, called
//! twice, and come after everything is over. Whatever the order, a run has one truth.

mod check;
mod desk;
mod services;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use aws_io::{Failure as _, Storage, athena::Athena, step_functions::StepFunctions, waits::Waits};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use job::{
    CsvOptions, ErrorName, ObjectVersion, OnQueryFailure, Prefix, S3Location,
    record::{Failure, QueryState},
    run_record::{ExecutionId, RunEvent, RunRecord},
    states::{Callback, GatherTask, PlannedQuery, QueryTask, Run},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    sync::oneshot::{self, Sender},
    task::{AbortHandle, JoinHandle, LocalSet, spawn_local},
};

use self::{
    desk::{Desk, Pending, Then},
    services::{Caller, QueryExecution, Settled, unavailable},
};

/// The seeds of an ordinary test run.
const SEEDS: u64 = 48;

/// The seeds of `scripts/test --long`.
const SEEDS_LONG: u64 = 2_000;

/// Seeds at the same time. They spend their time in the pauses of the functions.
const SEEDS_AT_ONCE: usize = 48;

/// Steps after which a run that has not ended never will.
const STEPS_MAX: u64 = 20_000;

/// Tries of a call whose errors may pass. The machine gives up after fewer; here a run ends by what
/// it finds out, not by its patience.
const TRIES_MAX: u32 = 100;

/// Invocations of an asynchronous call, as Lambda tries it.
const EVENT_TRIES: u32 = 3;

const QUERIES: usize = 2;

const EXECUTION_ARN: &str = "arn:aws:states:us-east-1:000000000000:execution:m:r1";

/// The start of the execution, in milliseconds. In seconds with a fraction, as `DescribeExecution`
/// tells it, no double is exactly this.
const STARTED_AT: i64 = 1_769_860_800_123;

/// A task of one of the two functions.
#[derive(Clone, Debug)]
enum Task {
    RunQuery { query: usize, token: String, retry_count: u32 },
    WriteResult { query: usize },
    FailQuery { query: usize },
    QueryEnded { id: String, state: QueryState },
    Gather,
    Stop,
    CleanUp,
}

/// End of a call: the name of its error, or nothing if it was killed.
type Called = Result<(), Option<ErrorName>>;

/// One run, whose calls all pass one desk.
struct World {
    desk: Arc<Desk>,
    run: Run,
    queries: Vec<PlannedQuery>,
    executing: execute_single_query::Services,
    gathering: results_gatherer::Services,
    /// Whether a query is judged hours after its start.
    is_late: bool,
    /// An event was given up, which only a time-out makes good.
    needs_time_out: AtomicBool,
}

impl World {
    fn new(is_late: bool) -> Self {
        let desk = Arc::new(Desk::default());
        let (run, queries) = planned(&desk);
        let clients = |caller| {
            let config = desk.config(caller);
            (Athena::new(&config), Storage::new(&config), StepFunctions::new(&config))
        };
        let state_bucket = || "acme-state".parse().expect("a valid name");
        let (athena, storage, step_functions) = clients(Caller::ExecuteSingleQuery);
        let waits = Some(Waits::new(storage.clone(), state_bucket()));
        let executing = execute_single_query::Services { athena, storage, step_functions, waits };
        let (athena, storage, step_functions) = clients(Caller::ResultsGatherer);
        let waits = Waits::new(storage.clone(), state_bucket());
        let gathering = results_gatherer::Services { athena, storage, step_functions, waits };
        Self {
            desk,
            run,
            queries,
            executing,
            gathering,
            is_late,
            needs_time_out: AtomicBool::new(false),
        }
    }

    async fn perform(&self, task: Task) -> Result<(), ErrorName> {
        let run = || self.run.clone();
        let query = |query: usize| self.queries[query].clone();
        let hours = if self.is_late { 5 } else { 0 };
        let now =
            jiff::Timestamp::from_millisecond(STARTED_AT + hours * 3_600_000).expect("a time");
        let query_task = match task {
            Task::RunQuery { query: number, token, retry_count } => QueryTask::RunQuery {
                run: run(),
                query: query(number),
                wait: Callback { token: token.into(), retry_count, redrive_count: 0 },
            },
            Task::WriteResult { query: number } => {
                QueryTask::WriteResult { run: run(), query: query(number) }
            }
            task => {
                let task = match task {
                    Task::FailQuery { query: number } => GatherTask::FailQuery {
                        run: run(),
                        query: query(number),
                        failure: Failure {
                            state: "q".to_owned(),
                            error: "Lambda.Unknown".to_owned(),
                            cause: "killed".to_owned(),
                        },
                    },
                    Task::QueryEnded { id, state } => {
                        GatherTask::QueryEnded { query_execution_id: id, state }
                    }
                    Task::Gather => GatherTask::Gather { run: run() },
                    Task::Stop => GatherTask::Stop { run: run() },
                    // As the rule's transformer makes it of the event.
                    Task::CleanUp => serde_json::from_value(json!({
                        "action": "clean_up", "execution": EXECUTION_ARN, "run_id": "r1",
                        "status": "ABORTED", "started_at": STARTED_AT,
                    }))
                    .expect("it is the task of the clean-up"),
                    Task::RunQuery { .. } | Task::WriteResult { .. } => unreachable!("above"),
                };
                let acted = results_gatherer::act(&self.gathering, now, task).await;
                return acted.map(drop).map_err(|error| error.name());
            }
        };
        let executed = execute_single_query::execute(&self.executing, now, query_task).await;
        executed.map(drop).map_err(|error| error.name())
    }
}

/// Writes what query-loader leaves: SQL, plan and claim.
fn planned(desk: &Desk) -> (Run, Vec<PlannedQuery>) {
    let started_at = jiff::Timestamp::from_millisecond(STARTED_AT).expect("a time");
    let run = Run {
        run_id: "r1".parse().expect("a run id"),
        execution: ExecutionId { arn: EXECUTION_ARN.to_owned(), started_at },
        started_at,
        output_bucket: "acme-results".parse().expect("a bucket"),
        output_prefix: Prefix::default(),
        zip_prefix: Prefix::default(),
        // No members: they are deflated by threads, whose order no seed decides.
        query_count: 1,
        max_concurrency: 20,
        query_timeout_minutes: 240,
        query_wait_seconds: 1_205,
        on_query_failure: OnQueryFailure::Continue,
        work_group: "primary".to_owned(),
        catalog: "AwsDataCatalog".to_owned(),
        csv: CsvOptions::default(),
        zip_level: 6,
        file_name: "r1.csv".parse().expect("a file name"),
    };
    let mut services = desk.services();
    let queries: Vec<PlannedQuery> = (0..QUERIES)
        .map(|number| {
            let sql = format!("SELECT {number} AS x");
            let version_id =
                services.put(&format!("acme-queries/q{number}.sql"), sql.clone().into());
            PlannedQuery {
                name: format!("q{number}").parse().expect("a query name"),
                sql: S3Location::new("acme-queries", format!("q{number}.sql")),
                sql_version: ObjectVersion { version_id: Some(version_id), etag: String::new() },
                sql_bytes: sql.len() as u64,
                database: "tpch".to_owned(),
                file_name: format!("q{number}.csv").parse().expect("a file name"),
            }
        })
        .collect();
    let layout = run.layout();
    let place = |location: &S3Location| format!("{}/{}", location.bucket, location.key);
    services.records = queries.iter().map(|query| place(&layout.record(&query.name))).collect();
    services.execution_status = "RUNNING";
    services.put(&place(&layout.plan()), serde_json::to_vec(&queries).expect("it is JSON"));
    let claim = RunRecord::claimed(run.run_id.clone(), run.execution.clone(), None);
    let claim = claim.next(&RunEvent::Planned(Box::new(run.clone()))).expect("it is new");
    services.put(&place(&layout.run()), serde_json::to_vec(&claim).expect("it is JSON"));
    drop(services);
    (run, queries)
}

/// Choices of a seed beside the order.
struct Weather {
    /// Answers are lost, requests refused, calls killed, events lost and time-outs early.
    is_bad: bool,
    /// Step at which the execution is stopped, if it is.
    stopped_at: Option<u64>,
    /// Of 100 calls, those that are made twice.
    doubled_percent: u32,
}

/// Calls a function and waits for its end.
async fn call(world: &Arc<World>, task: Task) -> Called {
    let (ended, receiver) = oneshot::channel();
    world.desk.push(Pending::Call { task, then: Then::Tell(ended) });
    receiver.await.unwrap_or(Err(None))
}

/// Calls a function until it ends well, or with an error that does not pass.
async fn call_to_end(world: &Arc<World>, task: Task) -> Result<(), ErrorName> {
    for _ in 0..TRIES_MAX {
        match call(world, task.clone()).await {
            Ok(()) => return Ok(()),
            Err(Some(name)) if !name.is_retryable() => return Err(name),
            Err(_) => {}
        }
    }
    panic!("{task:?} does not end");
}

/// The execution.
async fn execution(world: Arc<World>) {
    let queries = (0..QUERIES).map(|query| run_query(&world, query));
    futures_util::future::join_all(queries).await;
    _ = call_to_end(&world, Task::Gather).await;
}

/// The states of one query.
async fn run_query(world: &Arc<World>, query: usize) {
    let written = match wait_for_query(world, query).await {
        Ok(()) => call_to_end(world, Task::WriteResult { query }).await,
        Err(name) => Err(name),
    };
    if written.is_err() {
        _ = call_to_end(world, Task::FailQuery { query }).await;
    }
}

/// The state `RunQuery` with its retries.
async fn wait_for_query(world: &Arc<World>, query: usize) -> Result<(), ErrorName> {
    for retry_count in 0..TRIES_MAX {
        let token = format!("token-{query}-{retry_count}");
        let mut settled = world.desk.services().wait(&token, query);
        let task = Task::RunQuery { query, token: token.clone(), retry_count };
        let called = call(world, task).await;
        // The task may be answered while its call still runs.
        let early = settled.try_recv().ok();
        if called.is_err() {
            world.desk.services().close(&token, Settled::TimedOut);
        }
        let settled = match (early, called) {
            (Some(settled), _) => settled,
            (None, Ok(())) => settled.await.unwrap_or(Settled::TimedOut),
            (None, Err(Some(name))) if !name.is_retryable() => return Err(name),
            (None, Err(_)) => continue,
        };
        if settled == Settled::Succeeded {
            return Ok(());
        }
    }
    panic!("query {query} is looked at for ever");
}

/// The one that decides whose turn it is.
struct Driver {
    world: Arc<World>,
    random: StdRng,
    weather: Weather,
    /// Nothing once it has ended or was stopped.
    execution: Option<JoinHandle<()>>,
    calls: Vec<(Task, AbortHandle)>,
    /// Tell the ends of calls.
    tellers: Vec<JoinHandle<()>>,
    is_stopped: bool,
    trace: Vec<String>,
}

impl Driver {
    fn start(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let weather = Weather {
            is_bad: random.random_bool(0.6),
            stopped_at: random.random_bool(0.5).then(|| random.random_range(0..150)),
            doubled_percent: random.random_range(0..60),
        };
        let world = Arc::new(World::new(random.random_bool(0.05)));
        let execution = Some(spawn_local(execution(Arc::clone(&world))));
        let (calls, tellers, trace) = (Vec::new(), Vec::new(), Vec::new());
        Self { world, random, weather, execution, calls, tellers, is_stopped: false, trace }
    }

    /// Takes turns until nothing is left to do, and finds what is wrong then.
    async fn drive(&mut self) -> Result<(), String> {
        self.until_quiet().await?;
        if self.is_stopped {
            // The event of the end comes through at last.
            self.weather.is_bad = false;
            let task = Task::CleanUp;
            self.world.desk.push(Pending::Call { task, then: Then::Retry { tries: 1 } });
            self.until_quiet().await?;
        }
        check::check(&self.world, self.is_stopped)
    }

    async fn until_quiet(&mut self) -> Result<(), String> {
        for step in 0..STEPS_MAX {
            self.settle().await?;
            if self.weather.stopped_at == Some(step)
                && let Some(execution) = self.execution.take()
            {
                execution.abort();
                self.stop();
            }
            let is_idle = self.calls.is_empty() && self.world.desk.pending().is_empty();
            if is_idle && self.tellers.is_empty() && self.execution.is_none() {
                return Ok(());
            }
            self.step(is_idle).await?;
        }
        Err("the run does not end".to_owned())
    }

    /// Lets every call go on to its next request.
    async fn settle(&mut self) -> Result<(), String> {
        for _ in 0..6 {
            tokio::task::yield_now().await;
        }
        self.calls.retain(|(_, call)| !call.is_finished());
        for teller in self.tellers.extract_if(.., |teller| teller.is_finished()) {
            teller.await.map_err(|error| error.to_string())?;
        }
        if let Some(execution) = self.execution.take_if(|execution| execution.is_finished()) {
            execution.await.map_err(|error| error.to_string())?;
        }
        let ended = std::mem::take(&mut self.world.desk.services().ended);
        for id in ended {
            self.tell_end(&id);
        }
        Ok(())
    }

    /// Sends the event of a query's end: once, twice, or never.
    fn tell_end(&mut self, id: &str) {
        let state = self.world.desk.services().state(id);
        let copies = match self.random.random_range(0..10) {
            0 if self.weather.is_bad => 0,
            0..3 => 2,
            _ => 1,
        };
        if copies == 0 {
            self.world.needs_time_out.store(true, Ordering::Relaxed);
        }
        for _ in 0..copies {
            let task = Task::QueryEnded { id: id.to_owned(), state };
            self.world.desk.push(Pending::Call { task, then: Then::Retry { tries: EVENT_TRIES } });
        }
    }

    /// Stops the execution, which stops none of its calls.
    fn stop(&mut self) {
        self.trace.push("stop".to_owned());
        self.is_stopped = true;
        let mut services = self.world.desk.services();
        services.execution_status = "ABORTED";
        for token in services.waiting() {
            services.close(&token, Settled::TimedOut);
        }
        drop(services);
        for task in [Task::CleanUp, Task::CleanUp, Task::Stop] {
            if self.random.random_bool(0.6) {
                let then = Then::Retry { tries: EVENT_TRIES };
                self.world.desk.push(Pending::Call { task, then });
            }
        }
    }

    async fn step(&mut self, is_idle: bool) -> Result<(), String> {
        match self.random.random_range(0..100) {
            // After the end, a query that runs on must be seen.
            0..6 if !self.is_stopped => self.end_a_query(),
            6..8 if self.weather.is_bad => self.kill_a_call(),
            8 if self.weather.is_bad => self.time_out(),
            _ if is_idle => return self.go_on_without_calls(),
            _ if !self.world.desk.pending().is_empty() => self.serve(),
            // The functions pause between their looks.
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        Ok(())
    }

    fn end_a_query(&mut self) {
        let mut services = self.world.desk.services();
        let executions = services.executions.iter().enumerate();
        let running: Vec<usize> =
            executions.filter(|(_, query)| query.runs()).map(|(position, _)| position).collect();
        if running.is_empty() {
            return;
        }
        let position = running[self.random.random_range(0..running.len())];
        let is_permitted = services.executions[position].started_by == Caller::ExecuteSingleQuery;
        let (state, is_retryable) = match self.random.random_range(0..10) {
            _ if !is_permitted => ("FAILED", false),
            0 => ("FAILED", false),
            1 | 2 => ("FAILED", true),
            _ => ("SUCCEEDED", false),
        };
        services.end(position, state, is_retryable);
        self.trace.push(format!("{} ends: {state}", services.executions[position].id));
    }

    fn kill_a_call(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let position = self.random.random_range(0..self.calls.len());
        let (task, call) = &self.calls[position];
        self.trace.push(format!("kill {task:?}"));
        call.abort();
    }

    /// Lets a task time out, whatever is on its way to it.
    fn time_out(&mut self) {
        let mut services = self.world.desk.services();
        let waiting = services.waiting();
        if !waiting.is_empty() {
            let token = &waiting[self.random.random_range(0..waiting.len())];
            self.trace.push(format!("time-out of {token}"));
            services.close(token, Settled::TimedOut);
        }
    }

    /// Nothing is under way: either a query still runs, or an event was lost.
    fn go_on_without_calls(&mut self) -> Result<(), String> {
        let runs = self.world.desk.services().executions.iter().any(QueryExecution::runs);
        if runs && !self.is_stopped {
            self.end_a_query();
            return Ok(());
        }
        let waiting = self.world.desk.services().waiting();
        if !waiting.is_empty() && !self.world.needs_time_out.load(Ordering::Relaxed) {
            return Err(format!("{waiting:?} wait for nothing although no event was lost"));
        }
        for token in waiting {
            self.trace.push(format!("time-out of {token}"));
            self.world.desk.services().close(&token, Settled::TimedOut);
        }
        Ok(())
    }

    /// Takes the next turn of what waits.
    fn serve(&mut self) {
        let next = {
            let mut pending = self.world.desk.pending();
            let position = self.random.random_range(0..pending.len());
            pending.swap_remove(position)
        };
        match next {
            Pending::Pause(sender) => _ = sender.send(()),
            Pending::Answer { response, answer } => _ = answer.send(response),
            Pending::Request { caller, request, answer } => self.request(caller, &request, answer),
            Pending::Call { task, then } => {
                // The duplicate may begin at any later time.
                let is_first = matches!(then, Then::Tell(_));
                if is_first && self.random.random_ratio(self.weather.doubled_percent, 100) {
                    let (task, then) = (task.clone(), Then::Retry { tries: 1 });
                    self.world.desk.push(Pending::Call { task, then });
                }
                self.call(task, then);
            }
        }
    }

    fn request(&mut self, caller: Caller, request: &HttpRequest, answer: Sender<HttpResponse>) {
        let fate = if self.weather.is_bad { self.random.random_range(0..100) } else { 99 };
        let place = request.headers().get("x-amz-target").unwrap_or(request.uri());
        if fate < 3 {
            self.trace.push(format!("{caller:?}: {} {place} is refused", request.method()));
            _ = answer.send(unavailable());
            return;
        }
        let response = self.world.desk.services().answer(caller, request);
        let status = response.status().as_u16();
        let fate_of_answer = match fate {
            3..9 => "lost",
            9..40 => "late",
            _ => "there",
        };
        self.trace.push(format!(
            "{caller:?}: {} {place} gives {status}, the answer is {fate_of_answer}",
            request.method()
        ));
        match fate_of_answer {
            // The SDK sends the request again.
            "lost" => drop(answer),
            "late" => self.world.desk.push(Pending::Answer { response, answer }),
            _ => _ = answer.send(response),
        }
    }

    /// Begins a call. Its end is told even if it is killed.
    fn call(&mut self, task: Task, then: Then) {
        self.trace.push(format!("call {task:?}"));
        let (world, own) = (Arc::clone(&self.world), task.clone());
        let called = spawn_local(async move { world.perform(own).await });
        self.calls.push((task.clone(), called.abort_handle()));
        let world = Arc::clone(&self.world);
        self.tellers.push(spawn_local(async move {
            let called = match called.await {
                Ok(called) => called.map_err(Some),
                Err(error) if error.is_cancelled() => Err(None),
                Err(error) => panic!("{task:?}: {error}"),
            };
            match then {
                Then::Tell(ended) => _ = ended.send(called),
                Then::Retry { .. } if called.is_ok() => {}
                Then::Retry { tries: 1 } => {
                    if matches!(task, Task::QueryEnded { .. }) {
                        world.needs_time_out.store(true, Ordering::Relaxed);
                    }
                }
                Then::Retry { tries } => {
                    let then = Then::Retry { tries: tries - 1 };
                    world.desk.push(Pending::Call { task, then });
                }
            }
        }));
    }
}

/// Runs one seed.
fn run_seed(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be made");
    LocalSet::new().block_on(&runtime, async {
        let mut driver = Driver::start(seed);
        let Err(fault) = driver.drive().await else { return Ok(()) };
        let trace = driver.trace.join("\n");
        Err(format!("seed {seed}: {fault}\n{trace}"))
    })
}

/// Runs the seeds, some at the same time.
#[track_caller]
fn check_seeds(seeds: std::ops::Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let run = || {
        let mut faults = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || !faults.is_empty() {
                return faults;
            }
            faults.extend(run_seed(seed).err());
        }
    };
    let faults: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..SEEDS_AT_ONCE).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a seed panics")).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn a_run_has_one_truth_in_whatever_order_its_calls_are_served() {
    check_seeds(0..SEEDS);
}

#[test]
#[ignore = "takes minutes: scripts/test --long runs it"]
fn a_run_has_one_truth_in_thousands_of_orders() {
    check_seeds(SEEDS..SEEDS_LONG);
}
