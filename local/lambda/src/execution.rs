//! One invocation in one process: start, delivery, time-out, report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::fault::Fault;
use crate::pool::Pool;
use crate::runtime_api::{Answer, Delivery};
use crate::sandbox::Sandbox;
use crate::transcript::Transcript;

/// The time AWS gives a process to initialise before it tries once more within the invocation.
const INITIALISATION_LIMIT: Duration = Duration::from_secs(10);

/// What a caller wants to have done.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) request_id: String,
    pub(crate) invoked_arn: String,
    pub(crate) trace_id: String,
    pub(crate) client_context: Option<String>,
    pub(crate) payload: Bytes,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Executed {
    pub(crate) payload: Bytes,
    pub(crate) function_error: bool,
    pub(crate) log_tail: String,
}

/// A process that is ready for the invocation, or why there is none.
struct Start {
    sandbox: Result<Sandbox, Fault>,
    transcript: Arc<Mutex<Transcript>>,
    /// When the invocation's own time began.
    invoked_at: Instant,
    is_cold: bool,
    /// The time that initialisation took before that.
    initialisation: Option<Duration>,
}

impl Pool {
    /// Runs one invocation. It waits for a process while as many as are allowed are busy.
    pub(crate) async fn execute(&self, call: Call) -> Executed {
        let _process = self.processes.acquire().await.expect("the semaphore is never closed");
        let mut start = match self.warm_start().await {
            Some(start) => start,
            None => self.cold_start().await,
        };
        let request_id = call.request_id.clone();
        locked(&start.transcript).line(&format!("START RequestId: {request_id} Version: $LATEST"));
        let outcome = match &mut start.sandbox {
            Ok(sandbox) => self.deliver(sandbox, call, start.invoked_at).await,
            Err(fault) => Err(fault.clone()),
        };
        self.finish(start, &request_id, outcome)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.function.timeout_seconds)
    }

    /// A process that an earlier invocation left, once it asks for the next.
    async fn warm_start(&self) -> Option<Start> {
        let mut sandbox = self.take_idle()?;
        if !matches!(timeout(self.timeout(), sandbox.ready()).await, Ok(Ok(()))) {
            return None;
        }
        sandbox.drain_output();
        let transcript = Arc::clone(&sandbox.transcript);
        locked(&transcript).restart_tail();
        Some(Start {
            sandbox: Ok(sandbox),
            transcript,
            invoked_at: Instant::now(),
            is_cold: false,
            initialisation: None,
        })
    }

    /// A new process. If it fails to initialise, AWS starts another on the invocation's own time.
    async fn cold_start(&self) -> Start {
        let transcript = Arc::new(Mutex::new(Transcript::new(Arc::clone(&self.sink))));
        locked(&transcript).line("INIT_START Runtime Version: provided:al2023");
        let begun = Instant::now();
        let first = self.initialise(&transcript, INITIALISATION_LIMIT).await;
        let mut start = Start {
            sandbox: first,
            transcript,
            invoked_at: Instant::now(),
            is_cold: true,
            initialisation: Some(begun.elapsed()),
        };
        if let Err(fault) = &start.sandbox {
            locked(&start.transcript).line(&initialisation_report(begun.elapsed(), "init", fault));
            start.initialisation = None;
            start.sandbox = self.initialise(&start.transcript, self.timeout()).await;
            if let Err(fault) = &start.sandbox {
                let line = initialisation_report(start.invoked_at.elapsed(), "invoke", fault);
                locked(&start.transcript).line(&line);
            }
        }
        start
    }

    async fn initialise(
        &self,
        transcript: &Arc<Mutex<Transcript>>,
        limit: Duration,
    ) -> Result<Sandbox, Fault> {
        let mut sandbox =
            Sandbox::start(&self.function, &self.region, Arc::clone(transcript)).await?;
        let ready = timeout(limit, sandbox.ready()).await;
        sandbox.drain_output();
        ready.unwrap_or(Err(Fault::TimedOut { limit }))?;
        Ok(sandbox)
    }

    async fn deliver(
        &self,
        sandbox: &mut Sandbox,
        call: Call,
        invoked_at: Instant,
    ) -> Result<Answer, Fault> {
        let deadline = invoked_at + self.timeout();
        let left = deadline.saturating_duration_since(Instant::now());
        let left_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        let delivery = Delivery {
            request_id: call.request_id,
            invocation_id: Uuid::new_v4().to_string(),
            deadline_ms: Timestamp::now().as_millisecond().saturating_add(left_ms),
            invoked_arn: call.invoked_arn,
            trace_id: call.trace_id,
            client_context: call.client_context,
            payload: call.payload,
        };
        let outcome = timeout_at(deadline, sandbox.run(delivery)).await;
        sandbox.drain_output();
        outcome.unwrap_or_else(|_| Err(Fault::TimedOut { limit: self.timeout() }))
    }

    /// Logs, counts, and keeps the process if it can go on: after an answer, whatever it is.
    fn finish(&self, start: Start, request_id: &str, outcome: Result<Answer, Fault>) -> Executed {
        let duration = start.invoked_at.elapsed().min(self.timeout());
        let billed_ms =
            (duration + start.initialisation.unwrap_or_default()).as_nanos().div_ceil(1_000_000);
        let billed_ms = u64::try_from(billed_ms).unwrap_or(u64::MAX);
        let is_usable = outcome.is_ok();
        let (payload, fault) = match outcome {
            Ok(Answer::Response(payload)) => (Ok(payload), None),
            Ok(Answer::Error(payload)) => (Err(payload), None),
            Ok(Answer::Fault(fault)) | Err(fault) => (Err(fault.payload(request_id)), Some(fault)),
        };
        let function_error = payload.is_err();
        let memory_used_mb = start.sandbox.as_ref().ok().and_then(Sandbox::memory_used_mb);
        self.count(|usage| {
            usage.memory_used_mb_max = usage.memory_used_mb_max.max(memory_used_mb.unwrap_or(0));
            usage.invocations += 1;
            usage.errors += u64::from(function_error);
            usage.cold_starts += u64::from(start.is_cold);
            usage.billed_milliseconds += billed_ms;
        });
        let report = Report {
            request_id,
            duration,
            billed_ms,
            memory_mb: self.function.memory_mb,
            memory_used_mb,
            initialisation: start.initialisation,
            fault: fault.as_ref(),
        };
        let log_tail = report.write(&mut locked(&start.transcript));
        if let Ok(sandbox) = start.sandbox
            && is_usable
        {
            self.give_back(sandbox);
        }
        let (Ok(payload) | Err(payload)) = payload;
        Executed { payload, function_error, log_tail }
    }
}

/// What the log says at the end of an invocation.
struct Report<'a> {
    request_id: &'a str,
    duration: Duration,
    billed_ms: u64,
    memory_mb: u32,
    memory_used_mb: Option<u64>,
    initialisation: Option<Duration>,
    fault: Option<&'a Fault>,
}

impl Report<'_> {
    /// Writes the last lines of an invocation and returns the end of its log.
    fn write(&self, transcript: &mut Transcript) -> String {
        let request_id = self.request_id;
        for line in
            self.fault.iter().flat_map(|fault| fault.log_lines(request_id, Timestamp::now()))
        {
            transcript.line(&line);
        }
        transcript.line(&format!("END RequestId: {request_id}"));
        transcript.line(&self.report_line());
        transcript.tail()
    }

    fn report_line(&self) -> String {
        let mut fields = vec![
            format!("REPORT RequestId: {}", self.request_id),
            format!("Duration: {}", milliseconds(self.duration)),
            format!("Billed Duration: {} ms", self.billed_ms),
            format!("Memory Size: {} MB", self.memory_mb),
        ];
        fields.extend(self.memory_used_mb.map(|used| format!("Max Memory Used: {used} MB")));
        fields.extend(
            self.initialisation.map(|time| format!("Init Duration: {}", milliseconds(time))),
        );
        fields.extend(self.fault.map(Fault::report_status));
        fields.join("\t") + "\t"
    }
}

fn initialisation_report(duration: Duration, phase: &str, fault: &Fault) -> String {
    let duration = milliseconds(duration);
    format!("INIT_REPORT Init Duration: {duration}\tPhase: {phase}\t{}", fault.report_status())
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

fn locked(transcript: &Mutex<Transcript>) -> MutexGuard<'_, Transcript> {
    transcript.lock().unwrap_or_else(PoisonError::into_inner)
}
