//! Asynchronous invocations: a queue, retries, and what becomes of events that are given up
//! ([asynchronous invocation](https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html)).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::InvokeError;
use crate::execution::Call;
use crate::lambda::{Invocation, LATEST, Lambda};
use crate::pool::Pool;

/// The pause before the first retry of a function that failed, and before each further one.
const RETRY_WAITS: [Duration; 2] = [Duration::from_mins(1), Duration::from_mins(2)];
/// AWS repeats a throttled event after a second, then ever more seldom, up to these five minutes.
const THROTTLE_WAIT: Duration = Duration::from_secs(1);
const THROTTLE_WAIT_MAX: Duration = Duration::from_mins(5);

/// Settings by which a function takes events (`FunctionEventInvokeConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInvokeConfig {
    /// Retries of an event at which the function failed, 0 to 2.
    pub retries_max: u32,
    /// The age at which an event is given up, 60 to 21,600 seconds.
    pub age_seconds_max: u64,
    /// The ARN of what is told about events that are given up.
    pub on_failure: Option<String>,
}

impl Default for EventInvokeConfig {
    /// Two retries and six hours, which AWS takes if a function does not say it.
    fn default() -> Self {
        Self { retries_max: 2, age_seconds_max: 21_600, on_failure: None }
    }
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedEvent {
    /// The function's name.
    pub function: String,
    /// The ARN of the destination that AWS would tell, if the function has one.
    pub destination: Option<String>,
    /// What AWS sends there: the request with its payload, and the last response.
    pub record: Value,
}

/// Why an event is given up.
#[derive(Clone, Copy)]
enum Condition {
    RetriesExhausted,
    EventAgeExceeded,
}

impl Lambda {
    /// Attempts an event until it succeeds or is given up.
    pub(crate) async fn attempt_until_done(&self, pool: Arc<Pool>, call: Call) {
        let config = &pool.function.events;
        let accepted_at = Instant::now();
        // Not compressed: the functions take their real time, also on a fast laptop.
        let age_max = Duration::from_secs(config.age_seconds_max);
        let mut throttle_wait = THROTTLE_WAIT;
        let mut invocations = 0;
        let mut last = None;
        let condition = loop {
            let attempted = {
                // So that many events at once do not start as many processes.
                let _turn = pool.events.acquire().await.expect("the semaphore is never closed");
                self.attempt(Arc::clone(&pool), call.clone()).await
            };
            let wait = match attempted {
                Ok(invocation) if !invocation.function_error => return,
                Ok(invocation) => {
                    last = Some(invocation);
                    invocations += 1;
                    if invocations > config.retries_max {
                        break Condition::RetriesExhausted;
                    }
                    RETRY_WAITS[RETRY_WAITS.len().min(invocations as usize) - 1]
                }
                Err(InvokeError::Throttled) => {
                    let wait = throttle_wait;
                    throttle_wait = THROTTLE_WAIT_MAX.min(2 * throttle_wait);
                    wait
                }
                // Nothing else is refused that was accepted, but for the end of all functions.
                Err(_) => return,
            };
            let wait = self.compressed(wait);
            if accepted_at.elapsed() + wait >= age_max {
                break Condition::EventAgeExceeded;
            }
            tokio::time::sleep(wait).await;
        };
        tracing::warn!(
            function.name = pool.function.name,
            request.id = call.request_id,
            "an asynchronous invocation was given up"
        );
        self.give_up(FailedEvent {
            function: pool.function.name.clone(),
            destination: config.on_failure.clone(),
            record: record(&call, condition, invocations, last.as_ref()),
        });
    }
}

/// What a destination is told
/// ([invocation record](https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html)).
fn record(call: &Call, condition: Condition, invocations: u32, last: Option<&Invocation>) -> Value {
    let payload = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
    let mut record = json!({
        "version": "1.0",
        "timestamp": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        "requestContext": {
            "requestId": call.request_id,
            "functionArn": format!("{}:{LATEST}", call.invoked_arn),
            "condition": match condition {
                Condition::RetriesExhausted => "RetriesExhausted",
                Condition::EventAgeExceeded => "EventAgeExceeded",
            },
            "approximateInvokeCount": invocations,
        },
        "requestPayload": payload(&call.payload),
    });
    if let Some(last) = last {
        record["responseContext"] = json!({
            "statusCode": 200,
            "executedVersion": last.executed_version,
            "functionError": "Unhandled",
        });
        record["responsePayload"] = payload(&last.payload);
    }
    record
}
