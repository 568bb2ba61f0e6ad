//! The functions as a whole: who is called, how, and what for.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::absolute;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::asynchronous::FailedEvent;
use crate::config::{Config, Error};
use crate::execution::{Call, Executed};
use crate::function_name::FunctionReference;
use crate::invoke_error::InvokeError;
use crate::pool::Pool;
use crate::transcript::Sink;
use crate::usage::Usage;
use crate::{EVENT_BYTES_MAX, REQUEST_BYTES_MAX};

/// The only version there is of a function on a laptop.
pub(crate) const LATEST: &str = "$LATEST";
/// Events that were given up and are remembered; the oldest are forgotten first.
const FAILED_EVENTS_MAX: usize = 10_000;

/// The functions of one account and region. Clones are the same functions.
///
/// Its processes end when the last clone is dropped; [`shutdown`](Self::shutdown) ends them sooner.
#[derive(Clone)]
pub struct Lambda {
    inner: Arc<Inner>,
}

struct Inner {
    account: String,
    region: String,
    pools: BTreeMap<String, Arc<Pool>>,
    speed: f64,
    failed_events: Mutex<VecDeque<FailedEvent>>,
    closing: CancellationToken,
}

/// What a function answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The identifier of the invocation, as in the function's log.
    pub request_id: String,
    /// The function's answer. If `function_error` is set, an object with `errorType` and `errorMessage`.
    pub payload: Bytes,
    /// Whether the function failed, which AWS says with `X-Amz-Function-Error: Unhandled`.
    pub function_error: bool,
    /// The version that ran, always `$LATEST`.
    pub executed_version: String,
    /// The last 4 KB of the invocation's log, if they were asked for.
    pub log_tail: Option<String>,
}

/// What goes with a payload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    pub(crate) qualifier: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) client_context: Option<String>,
}

impl fmt::Debug for Lambda {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions: Vec<_> = self.inner.pools.values().map(|pool| &pool.arn).collect();
        formatter.debug_struct("Lambda").field("functions", &functions).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Invocations whose callers have gone would otherwise go on.
        self.closing.cancel();
    }
}

impl Lambda {
    /// Prepares functions; no process is started before it is needed.
    ///
    /// # Errors
    ///
    /// All that is wrong with the functions at once, a missing binary among it; or a log file that can
    /// not be opened.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let Config { account, region, functions, log_dir, processes_max, .. } = config;
        let mut pools = BTreeMap::new();
        for mut function in functions {
            // A process does not start in this one's directory.
            function.binary = absolute(&function.binary).unwrap_or(function.binary);
            let name = function.name.clone();
            let sink = Sink::open(log_dir.as_deref(), &name)?;
            let arn = function_arn(&region, &account, &name);
            pools.insert(
                name,
                Arc::new(Pool::new(
                    function,
                    region.clone(),
                    arn,
                    sink,
                    processes_max,
                    config.concurrent_events_max,
                )),
            );
        }
        let closing = CancellationToken::new();
        let failed_events = Mutex::default();
        let speed = config.speed;
        let inner = Inner { account, region, pools, speed, failed_events, closing };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs a function and waits for its answer (`RequestResponse`). The function goes on when the caller
    /// stops waiting, as on AWS. An empty payload becomes `{}`.
    ///
    /// # Errors
    ///
    /// When Lambda refuses to run the function. A function that fails is no error here.
    pub async fn invoke(
        &self,
        name_or_arn: &str,
        payload: Bytes,
        log_tail: bool,
    ) -> Result<Invocation, InvokeError> {
        let mut invocation =
            self.invoke_under(name_or_arn, Circumstances::default(), payload).await?;
        if !log_tail {
            invocation.log_tail = None;
        }
        Ok(invocation)
    }

    pub(crate) async fn invoke_under(
        &self,
        name_or_arn: &str,
        circumstances: Circumstances,
        payload: Bytes,
    ) -> Result<Invocation, InvokeError> {
        let (pool, call) = self.prepare(name_or_arn, circumstances, payload)?;
        if call.payload.len() > REQUEST_BYTES_MAX {
            return Err(InvokeError::RequestTooLarge { size_bytes: call.payload.len() });
        }
        self.attempt(pool, call).await
    }

    /// Runs a function in the background (`Event`): at least once, and again while it fails, as its
    /// [`EventInvokeConfig`](crate::EventInvokeConfig) says. Returns the identifier that all attempts
    /// share. An event waits while the function's concurrency is used up.
    ///
    /// # Errors
    ///
    /// When Lambda refuses the event. One that is given up later is among
    /// [`failed_events`](Self::failed_events).
    pub fn invoke_event(&self, name_or_arn: &str, payload: Bytes) -> Result<String, InvokeError> {
        self.invoke_event_under(name_or_arn, Circumstances::default(), payload)
    }

    pub(crate) fn invoke_event_under(
        &self,
        name_or_arn: &str,
        circumstances: Circumstances,
        payload: Bytes,
    ) -> Result<String, InvokeError> {
        let (pool, call) = self.prepare(name_or_arn, circumstances, payload)?;
        if call.payload.len() > EVENT_BYTES_MAX {
            return Err(InvokeError::EventTooLarge { size_bytes: call.payload.len() });
        }
        if self.inner.closing.is_cancelled() {
            return Err(InvokeError::ShuttingDown);
        }
        let request_id = call.request_id.clone();
        let lambda = self.clone();
        tokio::spawn(async move {
            let closing = lambda.inner.closing.clone();
            closing.run_until_cancelled(lambda.attempt_until_done(pool, call)).await
        });
        Ok(request_id)
    }

    /// Whether the function could be invoked (`DryRun`).
    ///
    /// # Errors
    ///
    /// When there is no such function.
    pub fn dry_run(&self, name_or_arn: &str) -> Result<(), InvokeError> {
        self.find(name_or_arn, None).map(|_| ())
    }

    /// The ARN of a function, whether or not there is one of that name.
    pub fn arn(&self, name: &str) -> String {
        function_arn(&self.inner.region, &self.inner.account, name)
    }

    /// What each function has used so far, by name.
    pub fn usage(&self) -> BTreeMap<String, Usage> {
        self.inner.pools.iter().map(|(name, pool)| (name.clone(), pool.usage())).collect()
    }

    /// The events that were given up, oldest first.
    pub fn failed_events(&self) -> Vec<FailedEvent> {
        let failed = self.inner.failed_events.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().cloned().collect()
    }

    /// Makes a function refuse all invocations with [`InvokeError::Throttled`], or none any more.
    ///
    /// # Errors
    ///
    /// When there is no such function.
    pub fn throttle(&self, name: &str, throttled: bool) -> Result<(), InvokeError> {
        let (pool, _) = self.find(name, None)?;
        pool.throttle(throttled);
        Ok(())
    }

    /// Kills every process and lets no other start. Invocations under way end with
    /// [`InvokeError::ShuttingDown`].
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        for pool in self.inner.pools.values() {
            pool.stop().await;
        }
    }

    pub(crate) fn account(&self) -> &str {
        &self.inner.account
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.inner.pools.values()
    }

    /// Finds a function and how it was called.
    pub(crate) fn find(
        &self,
        name_or_arn: &str,
        qualifier: Option<&str>,
    ) -> Result<(Arc<Pool>, String), InvokeError> {
        let reference = FunctionReference::parse(name_or_arn)
            .ok_or_else(|| InvokeError::InvalidName { name: name_or_arn.to_owned() })?;
        let account = reference.account.as_deref().unwrap_or(&self.inner.account);
        let region = reference.region.as_deref().unwrap_or(&self.inner.region);
        let mut arn = function_arn(region, account, &reference.name);
        let qualifier = reference.qualifier.as_deref().or(qualifier);
        if let Some(qualifier) = qualifier {
            arn = format!("{arn}:{qualifier}");
        }
        let is_ours = account == self.inner.account && region == self.inner.region;
        match self.inner.pools.get(&reference.name) {
            Some(pool) if is_ours && qualifier.is_none_or(|qualifier| qualifier == LATEST) => {
                Ok((Arc::clone(pool), arn))
            }
            _ => Err(InvokeError::NotFound { arn }),
        }
    }

    fn prepare(
        &self,
        name_or_arn: &str,
        circumstances: Circumstances,
        payload: Bytes,
    ) -> Result<(Arc<Pool>, Call), InvokeError> {
        let (pool, invoked_arn) = self.find(name_or_arn, circumstances.qualifier.as_deref())?;
        let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
        if let Err(error) = serde_json::from_slice::<&RawValue>(&payload) {
            return Err(InvokeError::NotJson { reason: error.to_string() });
        }
        let call = Call {
            request_id: Uuid::new_v4().to_string(),
            invoked_arn,
            trace_id: circumstances.trace_id.unwrap_or_else(new_trace_id),
            client_context: circumstances.client_context,
            payload,
        };
        Ok((pool, call))
    }

    pub(crate) async fn attempt(
        &self,
        pool: Arc<Pool>,
        call: Call,
    ) -> Result<Invocation, InvokeError> {
        if self.inner.closing.is_cancelled() {
            return Err(InvokeError::ShuttingDown);
        }
        let admission = pool.admit().ok_or(InvokeError::Throttled)?;
        let request_id = call.request_id.clone();
        let closing = self.inner.closing.clone();
        let running = tokio::spawn(async move {
            let executed = closing.run_until_cancelled(pool.execute(call)).await;
            drop(admission);
            executed
        });
        // The task ends early only if it panicked or its runtime is going away.
        let executed = running.await.ok().flatten().ok_or(InvokeError::ShuttingDown)?;
        let Executed { payload, function_error, log_tail } = executed;
        Ok(Invocation {
            request_id,
            payload,
            function_error,
            executed_version: LATEST.to_owned(),
            log_tail: Some(log_tail),
        })
    }

    /// A duration of AWS as it is here.
    pub(crate) fn compressed(&self, duration: Duration) -> Duration {
        duration.div_f64(self.inner.speed)
    }

    pub(crate) fn give_up(&self, event: FailedEvent) {
        let mut failed = self.inner.failed_events.lock().unwrap_or_else(PoisonError::into_inner);
        failed.push_back(event);
        if failed.len() > FAILED_EVENTS_MAX {
            failed.pop_front();
        }
    }
}

fn function_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:lambda:{region}:{account}:function:{name}")
}

/// A trace that nobody samples, in the form of AWS X-Ray.
fn new_trace_id() -> String {
    let parent = Uuid::new_v4().simple().to_string();
    format!("{};Parent={};Sampled=0", new_trace_root(), &parent[..16])
}

/// The root of a new trace, which is all that a front door knows of one.
pub(crate) fn new_trace_root() -> String {
    let root = Uuid::new_v4().simple().to_string();
    let seconds = Timestamp::now().as_second();
    format!("Root=1-{seconds:08x}-{}", &root[..24])
}
