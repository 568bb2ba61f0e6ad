//! Step Functions, as far as the endpoint needs it. The SDK's types stop here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use aws_sdk_sfn::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::describe_execution::DescribeExecutionOutput,
    primitives::DateTime,
    types::ExecutionStatus,
};
use jiff::{Timestamp, Unit};
use job::{RunId, run_record::ExecutionId, view::RunState};

use crate::{Execution, Executions, ExecutionsError, Start, StateMachineArn, stage::Scope};

/// How many events of a history are asked for at a time.
///
/// The latest entered state is seldom further back: only what a map's other items did since.
const EVENTS_PER_PAGE: i32 = 100;

/// How many definitions are kept.
const DEFINITIONS_MAX: usize = 64;

/// The executions of a state machine of Step Functions.
#[derive(Debug)]
pub struct StepFunctions {
    client: Client,
    machine: StateMachineArn,
    /// The definitions of the runs that were last asked for. A run's definition never changes, it
    /// is asked for at every look, and `DescribeStateMachineForExecution` is for
    /// [one call a second](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
    definitions: Mutex<HashMap<RunId, Arc<Scope>>>,
}

impl StepFunctions {
    /// The executions of `machine` in the Step Functions that `config` leads to.
    pub fn new(config: &aws_io::sdk::SdkConfig, machine: StateMachineArn) -> Self {
        Self { client: Client::new(config), machine, definitions: Mutex::default() }
    }

    /// The name of the state, at any level, that a run entered last.
    async fn last_entered(&self, run_id: &RunId) -> Result<Option<String>, ExecutionsError> {
        let request =
            self.client.get_execution_history().execution_arn(self.machine.execution(run_id));
        // Without the data, because the input may hold a password.
        let request = request.include_execution_data(false).reverse_order(true);
        let mut pages = request.into_paginator().page_size(EVENTS_PER_PAGE).send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("reading the history of", run_id, error))?;
            let entered =
                page.events.into_iter().find_map(|event| event.state_entered_event_details);
            if let Some(entered) = entered {
                return Ok(Some(entered.name));
            }
        }
        Ok(None)
    }

    async fn definition(&self, run_id: &RunId) -> Result<Arc<Scope>, ExecutionsError> {
        const ACTION: &str = "reading the definition of";
        if let Some(known) = self.known_definitions().get(run_id) {
            return Ok(Arc::clone(known));
        }
        let arn = self.machine.execution(run_id);
        let sent =
            self.client.describe_state_machine_for_execution().execution_arn(arn).send().await;
        let answer = sent.map_err(|error| failed(ACTION, run_id, error))?;
        let scope = serde_json::from_str(&answer.definition)
            .map_err(|error| unreadable(ACTION, run_id, "definition", error))?;
        let scope = Arc::new(scope);
        let mut known = self.known_definitions();
        if known.len() >= DEFINITIONS_MAX {
            known.clear();
        }
        known.insert(run_id.clone(), Arc::clone(&scope));
        Ok(scope)
    }

    fn known_definitions(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<Scope>>> {
        self.definitions.lock().expect("nothing panics while it holds the lock")
    }
}

impl Executions for StepFunctions {
    async fn start(&self, run_id: &RunId, input: &str) -> Result<Start, ExecutionsError> {
        let request = self.client.start_execution().state_machine_arn(self.machine.as_text());
        match request.name(run_id.as_str()).input(input).send().await {
            Ok(_) => Ok(Start::Started),
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(Start::NameTaken),
            Err(error) => Err(failed("starting", run_id, error)),
        }
    }

    async fn look(&self, run_id: &RunId) -> Result<Option<Execution>, ExecutionsError> {
        let arn = self.machine.execution(run_id);
        match self.client.describe_execution().execution_arn(arn).send().await {
            Ok(answer) => execution(run_id, answer).map(Some),
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(None),
            Err(error) => Err(failed("looking at", run_id, error)),
        }
    }

    async fn stage(&self, run_id: &RunId) -> Result<Option<String>, ExecutionsError> {
        let Some(entered) = self.last_entered(run_id).await? else { return Ok(None) };
        let definition = self.definition(run_id).await?;
        Ok(definition.top_level(&entered).map(str::to_owned))
    }
}

fn execution(
    run_id: &RunId,
    answer: DescribeExecutionOutput,
) -> Result<Execution, ExecutionsError> {
    // The protocol carries milliseconds as a floating-point number of seconds.
    let at = |time: DateTime| {
        Timestamp::from_nanosecond(time.as_nanos())
            .and_then(|time| time.round(Unit::Millisecond))
            .map_err(|error| unreadable("looking at", run_id, "time", error))
    };
    Ok(Execution {
        id: ExecutionId { arn: answer.execution_arn, started_at: at(answer.start_date)? },
        status: match answer.status {
            ExecutionStatus::Succeeded => RunState::Succeeded,
            ExecutionStatus::Failed => RunState::Failed,
            ExecutionStatus::TimedOut => RunState::TimedOut,
            ExecutionStatus::Aborted => RunState::Aborted,
            // A run that waits for its redrive goes on, and so may one in a state that is new.
            _ => RunState::Running,
        },
        finished_at: answer.stop_date.map(at).transpose()?,
        input: answer.input.unwrap_or_default().into(),
        error: answer.error,
        cause: answer.cause,
    })
}

fn failed<E>(action: &'static str, run_id: &RunId, error: SdkError<E>) -> ExecutionsError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let run_id = run_id.clone();
    // An error without a response has no status: the connection failed or timed out.
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (error.code(), status) {
        (
            Some(
                "ThrottlingException"
                | "TooManyRequestsException"
                | "ExecutionLimitExceeded"
                | "KmsThrottlingException",
            ),
            _,
        )
        | (_, None | Some(408 | 429 | 500..)) => {
            ExecutionsError::Unavailable { action, run_id, source: Box::new(error) }
        }
        (code, Some(status)) => ExecutionsError::Refused {
            action,
            run_id,
            code: code.map_or_else(|| status.to_string(), str::to_owned),
            message: error.message().unwrap_or_default().to_owned(),
        },
    }
}

fn unreadable(
    action: &'static str,
    run_id: &RunId,
    part: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> ExecutionsError {
    ExecutionsError::Answer { action, run_id: run_id.clone(), part, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::{
        config::http::HttpResponse, error::ErrorMetadata,
        operation::start_execution::StartExecutionError,
    };
    use aws_smithy_types::body::SdkBody;
    use secrecy::ExposeSecret;

    use super::*;

    /// Compares what an error of Step Functions means, `code` and `status` being AWS's.
    #[track_caller]
    fn check_failed(code: Option<&str>, status: u16, expected: &str) {
        let mut metadata = ErrorMetadata::builder().message("no");
        if let Some(code) = code {
            metadata = metadata.code(code);
        }
        let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        let error = StartExecutionError::generic(metadata.build());
        let error = SdkError::service_error(error, response);
        let found = failed("starting", &"r1".parse().unwrap(), error);
        assert_eq!(found.to_string(), expected, "{code:?} {status}");
    }

    #[test]
    fn only_what_a_later_call_may_mend_is_unavailable() {
        let busy = "starting the run `r1`: Step Functions could not be reached or is busy";
        for (code, status) in [
            (Some("ThrottlingException"), 400),
            (Some("ExecutionLimitExceeded"), 400),
            (Some("InternalFailure"), 500),
            (None, 503),
            (None, 429),
        ] {
            check_failed(code, status, busy);
        }
        let denied = "starting the run `r1`: AccessDeniedException: no";
        check_failed(Some("AccessDeniedException"), 400, denied);
        check_failed(None, 403, "starting the run `r1`: 403: no");
    }

    #[test]
    fn a_call_without_an_answer_is_unavailable() {
        let error: SdkError<StartExecutionError> = SdkError::timeout_error("too slow");
        let found = failed("starting", &"r1".parse().unwrap(), error);
        assert!(matches!(found, ExecutionsError::Unavailable { .. }), "{found:?}");
    }

    #[test]
    fn an_execution_is_read_with_its_times_and_its_end() {
        let answer = DescribeExecutionOutput::builder()
            .execution_arn("arn")
            .state_machine_arn("arn")
            .status(ExecutionStatus::TimedOut)
            .start_date(DateTime::from_secs_f64(1_769_860_800.123))
            .stop_date(DateTime::from_secs(1_769_861_100))
            .input("{}")
            .error("States.Timeout")
            .build()
            .unwrap();
        let found = execution(&"r1".parse().unwrap(), answer).unwrap();
        assert_eq!(found.status, RunState::TimedOut);
        assert_eq!(found.id.started_at.to_string(), "2026-01-31T12:00:00.123Z");
        assert_eq!(found.finished_at.unwrap().to_string(), "2026-01-31T12:05:00Z");
        assert_eq!(found.input.expose_secret(), "{}");
        assert_eq!((found.error.as_deref(), found.cause), (Some("States.Timeout"), None));
    }
}
