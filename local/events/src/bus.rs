//! The bus: rules, targets, deliveries.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{EventFaults, MatchedRule, Pattern, Transformer};

/// Dead letters and events that are kept; the oldest are forgotten first.
const KEPT_MAX: usize = 10_000;
/// The pause between two looks at what is on its way.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// The longest pause between two retries.
const RETRY_WAIT_MAX: Duration = Duration::from_mins(5);

/// A rule and its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its ARN, on whose behalf targets are called.
    pub arn: String,
    /// Pattern of its events.
    pub pattern: Pattern,
    /// Whether it does anything.
    pub is_enabled: bool,
    /// Targets of an event that matches.
    pub targets: Vec<Target>,
}

/// A target of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name within the rule.
    pub id: String,
    /// The ARN of what is called.
    pub arn: String,
    /// Makes its input from the event; without one, the event is the input.
    pub transformer: Option<Transformer>,
    /// Ends the retries of a delivery.
    pub retry_policy: RetryPolicy,
    /// The ARN of the queue for what could not be delivered.
    pub dead_letter_arn: Option<String>,
}

/// The limits on retrying a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The age of an event beyond which it is not tried again.
    pub age_seconds_max: u64,
    /// Tries after the first.
    pub retries_max: u32,
}

impl Default for RetryPolicy {
    /// A day and 185 retries, which AWS takes if a target does not say it.
    fn default() -> Self {
        Self { age_seconds_max: 86_400, retries_max: 185 }
    }
}

/// An input on its way to a target.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The ARN of the rule.
    pub rule_arn: &'a str,
    /// The ARN of the target.
    pub target_arn: &'a str,
    /// The target's input.
    pub input: &'a Value,
}

/// A target that did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct DeliveryError {
    /// AWS's code, such as `NO_PERMISSIONS`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Whether a later try may succeed.
    pub is_retryable: bool,
}

/// Calls targets.
#[async_trait]
pub trait Targets: Send + Sync {
    /// Hands an input to a target. Returns when the target has taken it, not when it has handled it.
    async fn deliver(&self, delivery: Delivery<'_>) -> Result<(), DeliveryError>;
}

/// An event that a target never took.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The name of the rule.
    pub rule: String,
    /// The target's name within the rule.
    pub target: String,
    /// The queue it would lie in on AWS, if the target has one.
    pub queue_arn: Option<String>,
    /// The event, not the input that a transformer made of it: AWS, too, keeps the event.
    pub event: Value,
    /// The last error.
    pub error: DeliveryError,
    /// Number of calls of the target.
    pub tries: u32,
}

/// Numbers of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleUsage {
    /// Events that matched, each arrival on its own.
    pub matched: u64,
    /// Inputs that targets took.
    pub delivered: u64,
    /// Tries that failed and were followed by another.
    pub retried: u64,
    /// Events that became dead letters.
    pub dead_letters: u64,
}

/// Parts of a bus.
pub struct BusConfig {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Calls the targets.
    pub targets: Arc<dyn Targets>,
    /// Deliveries to one target that are under way at one time; further ones wait.
    pub concurrency_max: usize,
    /// The pause before the first retry. It doubles each time, up to five minutes.
    pub retry_wait: Duration,
    /// Faults of the bus.
    pub faults: EventFaults,
}

/// An event bus. Clones are the same bus.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    rules: Vec<Rule>,
    targets: Arc<dyn Targets>,
    /// By the target's ARN.
    permits: BTreeMap<String, Arc<Semaphore>>,
    retry_wait: Duration,
    faults: EventFaults,
    log: Mutex<Log>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Log {
    usage: BTreeMap<String, RuleUsage>,
    dead_letters: VecDeque<DeadLetter>,
    events: VecDeque<Value>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<_> = self.0.rules.iter().map(|rule| &rule.name).collect();
        formatter.debug_struct("Bus").field("rules", &rules).finish_non_exhaustive()
    }
}

impl Bus {
    /// Makes a bus. It needs a runtime once the first event comes.
    pub fn new(config: BusConfig) -> Self {
        let BusConfig { rules, targets, concurrency_max, retry_wait, faults } = config;
        let arns = rules.iter().flat_map(|rule| &rule.targets).map(|target| target.arn.clone());
        let permits = arns.map(|arn| (arn, Arc::new(Semaphore::new(concurrency_max.max(1)))));
        Self(Arc::new(Inner {
            permits: permits.collect(),
            rules,
            targets,
            retry_wait,
            faults,
            log: Mutex::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Takes an event and delivers it in the background, in no particular order.
    pub fn put(&self, event: Value) {
        {
            let mut log = self.0.log();
            log.events.push_back(event.clone());
            if log.events.len() > KEPT_MAX {
                log.events.pop_front();
            }
        }
        let event = Arc::new(event);
        for arrival in self.0.faults.arrivals(&event) {
            let (inner, event) = (Arc::clone(&self.0), Arc::clone(&event));
            self.0.spawn(async move {
                tokio::time::sleep(arrival.after).await;
                inner.dispatch(&event);
            });
        }
    }

    /// Faults of the bus.
    pub fn faults(&self) -> &EventFaults {
        &self.0.faults
    }

    /// The events that were put, oldest first, also those that were lost or match no rule.
    pub fn events(&self) -> Vec<Value> {
        self.0.log().events.iter().cloned().collect()
    }

    /// The events that targets never took, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.0.log().dead_letters.iter().cloned().collect()
    }

    /// The numbers of a rule.
    pub fn usage(&self, rule: &str) -> RuleUsage {
        self.0.log().usage.get(rule).copied().unwrap_or_default()
    }

    /// The number of events and deliveries that are on their way, late ones among them.
    pub fn pending(&self) -> usize {
        self.0.tasks.len()
    }

    /// Waits until nothing is on its way.
    pub async fn idle(&self) {
        while self.pending() > 0 {
            tokio::time::sleep(IDLE_CHECK_INTERVAL).await;
        }
    }

    /// Drops everything that is on its way, and takes no further event.
    pub async fn shut_down(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, rule: &Rule, change: impl FnOnce(&mut RuleUsage)) {
        let mut log = self.log();
        change(log.usage.entry(rule.name.clone()).or_default());
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            closing.run_until_cancelled(work).await;
        });
    }

    /// Starts the deliveries of an event that has arrived.
    fn dispatch(self: &Arc<Self>, event: &Arc<Value>) {
        for (position, rule) in self.rules.iter().enumerate() {
            if !rule.is_enabled || !rule.pattern.matches(event) {
                continue;
            }
            self.count(rule, |usage| usage.matched += 1);
            for target in 0..rule.targets.len() {
                let (inner, event) = (Arc::clone(self), Arc::clone(event));
                self.spawn(async move {
                    let rule = &inner.rules[position];
                    inner.deliver(rule, &rule.targets[target], &event).await;
                });
            }
        }
    }

    /// Calls a target until it takes the event or the retry policy ends.
    async fn deliver(&self, rule: &Rule, target: &Target, event: &Value) {
        let begun = Instant::now();
        let age_max = Duration::from_secs(target.retry_policy.age_seconds_max);
        let mut tries = 0;
        let error = loop {
            tries += 1;
            let error = match self.attempt(rule, target, event).await {
                Ok(()) => {
                    self.count(rule, |usage| usage.delivered += 1);
                    return;
                }
                Err(error) => error,
            };
            let wait = self.retry_wait_after(tries);
            let is_spent = tries > target.retry_policy.retries_max;
            if !error.is_retryable || is_spent || begun.elapsed() + wait > age_max {
                break error;
            }
            self.count(rule, |usage| usage.retried += 1);
            tokio::time::sleep(wait).await;
        };
        tracing::warn!(
            rule.name = rule.name,
            target.arn = target.arn,
            %error,
            "an event became a dead letter"
        );
        self.count(rule, |usage| usage.dead_letters += 1);
        let mut log = self.log();
        log.dead_letters.push_back(DeadLetter {
            rule: rule.name.clone(),
            target: target.id.clone(),
            queue_arn: target.dead_letter_arn.clone(),
            event: event.clone(),
            error,
            tries,
        });
        if log.dead_letters.len() > KEPT_MAX {
            log.dead_letters.pop_front();
        }
    }

    async fn attempt(
        &self,
        rule: &Rule,
        target: &Target,
        event: &Value,
    ) -> Result<(), DeliveryError> {
        let matched = MatchedRule { name: &rule.name, arn: &rule.arn };
        let made = target.transformer.as_ref().map(|made| made.apply(event, matched)).transpose();
        let made = made.map_err(|error| DeliveryError {
            code: "INVALID_INPUT".to_owned(),
            message: error.to_string(),
            is_retryable: false,
        })?;
        let permits = &self.permits[&target.arn];
        // A pause between tries holds no permit.
        let _permit = permits.acquire().await.expect("the semaphore is never closed");
        let delivery = Delivery {
            rule_arn: &rule.arn,
            target_arn: &target.arn,
            input: made.as_ref().unwrap_or(event),
        };
        self.targets.deliver(delivery).await
    }

    /// The pause after a failed try. AWS adds jitter, which nothing here would notice.
    fn retry_wait_after(&self, tries: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(tries.saturating_sub(1));
        self.retry_wait.saturating_mul(doubled).min(RETRY_WAIT_MAX)
    }
}
