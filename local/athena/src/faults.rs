//! Faults on demand: what Athena does on a bad day, for tests of those who call it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::failure::{Category, Failure};

/// How a `StartQueryExecution` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `TooManyRequestsException`: the quota of active queries is used up.
    TooManyRequests,
    /// `ThrottlingException`: too many calls a second.
    Throttling,
    /// `InternalServerException`, HTTP 500.
    InternalServer,
}

/// The `AthenaError` of a query that is made to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedFailure {
    /// 1 system, 2 user, 3 other.
    pub category: u8,
    /// A number of Athena's error catalogue, such as 1403 (throttled by S3).
    pub error_type: u16,
    /// Whether a retry may help.
    pub retryable: bool,
    /// The message, also the execution's `StateChangeReason`.
    pub message: String,
}

/// The faults that an endpoint shows. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

/// Decides by the text of a query.
type Selection = Box<dyn Fn(&str) -> bool + Send>;

/// Durations by the text of queries. The one that was added last counts.
#[derive(Default)]
struct Waits(Vec<(Selection, Duration)>);

impl fmt::Debug for Waits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(_, wait)| wait)).finish()
    }
}

impl Waits {
    fn of(&self, sql: &str) -> Duration {
        let found = self.0.iter().rfind(|(is_meant, _)| is_meant(sql));
        found.map_or(Duration::ZERO, |(_, wait)| *wait)
    }
}

#[derive(Debug, Default)]
struct Plan {
    refuse_every: Option<(u64, Refusal)>,
    starts: u64,
    active_queries_max: Option<usize>,
    failures: Vec<InjectedFailure>,
    requeues: u64,
    delay: Duration,
    run_times: Waits,
    start_waits: Waits,
    get_waits: Waits,
    malformed_refused: bool,
}

impl Faults {
    /// Refuses every `n`-th `StartQueryExecution` from now on; 1 refuses all, 0 none.
    pub fn refuse_every_start(&self, n: u64, refusal: Refusal) {
        let mut plan = self.plan();
        plan.starts = 0;
        plan.refuse_every = (n > 0).then_some((n, refusal));
    }

    /// Refuses a start with `TooManyRequestsException` while this many queries are queued or run.
    pub fn limit_active_queries(&self, active_queries_max: Option<usize>) {
        self.plan().active_queries_max = active_queries_max;
    }

    /// Makes the next query fail in this way once it runs. Several calls make as many queries fail,
    /// in the order of the calls.
    pub fn fail_next_query(&self, failure: InjectedFailure) {
        self.plan().failures.push(failure);
    }

    /// Sends the next `count` queries back from `RUNNING` to `QUEUED` once, as Athena does after
    /// a transient error of its own.
    pub fn requeue_next_queries(&self, count: u64) {
        self.plan().requeues = count;
    }

    /// Makes every query spend at least this long in `RUNNING`.
    pub fn delay_queries(&self, delay: Duration) {
        self.plan().delay = delay;
    }

    /// Makes queries spend at least this long in `RUNNING` before they really run, if `sql` holds for
    /// their text.
    pub fn run_for(&self, sql: impl Fn(&str) -> bool + Send + 'static, duration: Duration) {
        self.plan().run_times.0.push((Box::new(sql), duration));
    }

    /// Answers `StartQueryExecution` late, if `sql` holds for the query's text. The query has started
    /// meanwhile.
    pub fn hold_starts(&self, sql: impl Fn(&str) -> bool + Send + 'static, wait: Duration) {
        self.plan().start_waits.0.push((Box::new(sql), wait));
    }

    /// Answers `GetQueryExecution` late, if `sql` holds for the query's text. The answer is the one
    /// of the time of the call.
    pub fn hold_gets(&self, sql: impl Fn(&str) -> bool + Send + 'static, wait: Duration) {
        self.plan().get_waits.0.push((Box::new(sql), wait));
    }

    /// Refuses a query that does not parse at its start, by `InvalidRequestException`, instead of
    /// letting it fail. Athena has been seen to do either.
    pub fn refuse_malformed_queries(&self, refuse: bool) {
        self.plan().malformed_refused = refuse;
    }

    /// Back to no faults.
    pub fn clear(&self) {
        *self.plan() = Plan::default();
    }

    /// Counts a start; the refusal that is its turn.
    pub(crate) fn next_start(&self) -> Option<Refusal> {
        let mut plan = self.plan();
        plan.starts += 1;
        let (n, refusal) = plan.refuse_every?;
        plan.starts.is_multiple_of(n).then_some(refusal)
    }

    pub(crate) fn is_full(&self, active_queries: usize) -> bool {
        self.plan().active_queries_max.is_some_and(|max| active_queries >= max)
    }

    pub(crate) fn next_failure(&self) -> Option<Failure> {
        let mut plan = self.plan();
        if plan.failures.is_empty() {
            return None;
        }
        let injected = plan.failures.remove(0);
        Some(Failure {
            category: match injected.category {
                1 => Category::System,
                2 => Category::User,
                _ => Category::Other,
            },
            error_type: injected.error_type,
            retryable: injected.retryable,
            message: injected.message,
        })
    }

    pub(crate) fn next_requeue(&self) -> bool {
        let mut plan = self.plan();
        let due = plan.requeues > 0;
        plan.requeues = plan.requeues.saturating_sub(1);
        due
    }

    pub(crate) fn delay(&self, sql: &str) -> Duration {
        let plan = self.plan();
        plan.delay.max(plan.run_times.of(sql))
    }

    pub(crate) fn start_wait(&self, sql: &str) -> Duration {
        self.plan().start_waits.of(sql)
    }

    pub(crate) fn get_wait(&self, sql: &str) -> Duration {
        self.plan().get_waits.of(sql)
    }

    pub(crate) fn are_malformed_queries_refused(&self) -> bool {
        self.plan().malformed_refused
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
