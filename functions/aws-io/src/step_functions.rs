//! Step Functions, as far as the functions inside a run use it. The SDK's types stop here.

use aws_config::SdkConfig;
use aws_sdk_sfn::{
    Client,
    config::{Builder, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::ExecutionStatus,
};
use job::{ErrorName, view::RunState};
use secrecy::{ExposeSecret, SecretString};

use crate::Failure;

/// Number of times that a call is sent when Step Functions is busy or fails: the SDK waits between with
/// exponential backoff and full jitter, some seconds in all.
const SENDS_MAX: u32 = 4;

/// The longest cause that [Step Functions takes](https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html),
/// in characters.
const CAUSE_CHARACTERS_MAX: usize = 32_768;

/// Step Functions' API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StepFunctions {
    client: Client,
}

/// Effect of an answer to a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The state goes on.
    InTime,
    /// The state does not wait any more: it timed out, was answered before, or its execution ended.
    TooLate,
}

/// An execution, as far as the clean-up after it needs it.
#[derive(Clone, Debug)]
pub struct ExecutionDescription {
    /// Name of the execution.
    pub name: String,
    /// Start of the execution, in milliseconds since 1970.
    pub started_at_milliseconds: i64,
    /// Status of the execution.
    pub status: RunState,
    /// JSON text that it was started with. It may hold a password.
    pub input: SecretString,
    /// Name of the error that it ended with.
    pub error: Option<String>,
    /// Text of that error.
    pub cause: Option<String>,
}

/// An error of Step Functions.
#[derive(Debug, thiserror::Error)]
pub enum StepFunctionsError {
    /// It was not reached, was busy, or failed.
    #[error("{action}: Step Functions could not be reached or is busy")]
    Unavailable {
        /// Call that was made.
        action: &'static str,
        /// Its error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused the call, and would refuse it again.
    #[error("{action}: {code}: {message}")]
    Refused {
        /// Call that was made.
        action: &'static str,
        /// Code of the error.
        code: String,
        /// Text of the error.
        message: String,
    },
}

impl Failure for StepFunctionsError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Unavailable { .. } => ErrorName::RunUnavailable,
            Self::Refused { .. } => ErrorName::RunDenied,
        }
    }
}

impl StepFunctions {
    /// The Step Functions that `config` leads to.
    pub fn new(config: &SdkConfig) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(SENDS_MAX);
        let config = Builder::from(config).retry_config(retries).build();
        Self { client: Client::from_conf(config) }
    }

    /// Completes the state that waits for this token. Its result is an empty object.
    pub async fn succeed(&self, token: &SecretString) -> Result<Answered, StepFunctionsError> {
        let request = self.client.send_task_success().task_token(token.expose_secret());
        let sent = request.output("{}").send().await;
        answered(sent.map(|_| ()))
    }

    /// Fails the state that waits for this token.
    pub async fn fail(
        &self,
        token: &SecretString,
        error: ErrorName,
        cause: &str,
    ) -> Result<Answered, StepFunctionsError> {
        let cause: String = cause.chars().take(CAUSE_CHARACTERS_MAX).collect();
        let request = self.client.send_task_failure().task_token(token.expose_secret());
        let sent = request.error(error.as_str()).cause(cause).send().await;
        answered(sent.map(|_| ()))
    }

    /// Looks at an execution; nothing if there is none.
    pub async fn describe(
        &self,
        arn: &str,
    ) -> Result<Option<ExecutionDescription>, StepFunctionsError> {
        let sent = self.client.describe_execution().execution_arn(arn).send().await;
        match sent {
            Ok(answer) => Ok(Some(ExecutionDescription {
                name: answer.name.unwrap_or_default(),
                started_at_milliseconds: milliseconds(answer.start_date),
                status: match answer.status {
                    ExecutionStatus::Succeeded => RunState::Succeeded,
                    ExecutionStatus::Failed => RunState::Failed,
                    ExecutionStatus::TimedOut => RunState::TimedOut,
                    ExecutionStatus::Aborted => RunState::Aborted,
                    // A state that is new may be one that goes on.
                    _ => RunState::Running,
                },
                input: answer.input.unwrap_or_default().into(),
                error: answer.error,
                cause: answer.cause,
            })),
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(None),
            Err(error) => Err(StepFunctionsError::new("looking at an execution", error)),
        }
    }
}

/// A time in milliseconds since 1970. Step Functions tells seconds with a fraction, which as a binary
/// number may lie below the millisecond that is meant: it is rounded, not cut.
fn milliseconds(time: DateTime) -> i64 {
    time.secs() * 1_000 + i64::from(time.subsec_nanos() + 500_000) / 1_000_000
}

/// A state that does not wait any more answers `TaskTimedOut`; the model has `TaskDoesNotExist` for
/// it as well.
fn answered<E>(sent: Result<(), SdkError<E>>) -> Result<Answered, StepFunctionsError>
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match sent {
        Ok(()) => Ok(Answered::InTime),
        Err(error) if matches!(error.code(), Some("TaskTimedOut" | "TaskDoesNotExist")) => {
            Ok(Answered::TooLate)
        }
        Err(error) => Err(StepFunctionsError::new("answering a callback", error)),
    }
}

impl StepFunctionsError {
    fn new<E>(action: &'static str, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        // An error without a response has no status: the connection failed or timed out.
        let status = error.raw_response().map(|response| response.status().as_u16());
        let throttled = matches!(
            error.code(),
            Some("ThrottlingException" | "TooManyRequestsException" | "KmsThrottlingException")
        );
        match status {
            Some(status @ 400..500) if !throttled && status != 408 && status != 429 => {
                Self::Refused {
                    action,
                    code: error.code().map_or_else(|| status.to_string(), str::to_owned),
                    message: error.message().unwrap_or_default().to_owned(),
                }
            }
            _ => Self::Unavailable { action, source: Box::new(error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_millisecond_survives_its_way_as_a_fraction_of_seconds() {
        for millisecond in (1_769_860_800_000_i64..).step_by(7).take(5_000) {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have 41 bits")]
            let seconds = millisecond as f64 / 1_000.0;
            assert_eq!(milliseconds(DateTime::from_secs_f64(seconds)), millisecond);
        }
    }
}
