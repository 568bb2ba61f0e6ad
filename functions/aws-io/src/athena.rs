//! Athena, as far as the functions use it. The SDK's types stop here.

use aws_config::SdkConfig;
use aws_sdk_athena::{
    Client,
    config::{Builder, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::{QueryExecution, QueryExecutionContext, QueryExecutionState, ResultConfiguration},
};
use job::{
    ErrorName,
    record::{QueryState, Statistics},
    states::{PlannedQuery, Run},
};

use crate::Failure;

/// How often a call is sent when Athena is busy or fails: the SDK waits between with exponential
/// backoff and full jitter, some seconds in all.
const SENDS_MAX: u32 = 4;

/// Athena's API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Athena {
    client: Client,
}

/// What Athena says of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryStatus {
    /// Where it stands.
    pub state: QueryState,
    /// Athena's text on a failure.
    pub reason: String,
    /// Whether Athena says that the same query may succeed if it is run again.
    pub retryable: bool,
    /// The result object's URI: read back, because a work group may force its own place.
    pub output_location: String,
    /// What Athena counted.
    pub statistics: Statistics,
}

/// Why Athena did not do something.
#[derive(Debug, thiserror::Error)]
pub enum AthenaError {
    /// Athena is busy: too many calls, or too many queries.
    #[error("{action} query `{query}`: Athena asks to wait")]
    Throttled {
        /// What was being done.
        action: &'static str,
        /// To what: a query's name or Athena's id.
        query: String,
        /// What Athena said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The role may not do it.
    #[error("{action} query `{query}`: access denied: {message}")]
    Denied {
        /// What was being done.
        action: &'static str,
        /// To what.
        query: String,
        /// Athena's text.
        message: String,
    },
    /// Athena refused the request, and would refuse it again.
    #[error("{action} query `{query}`: Athena refuses: {message}")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// To what.
        query: String,
        /// Athena's text.
        message: String,
    },
    /// Athena was not reached, or failed.
    #[error("{action} query `{query}`: Athena could not be reached or failed")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// To what.
        query: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure for AthenaError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Throttled { .. } => ErrorName::QueryThrottled,
            Self::Denied { .. } => ErrorName::QueryDenied,
            Self::Refused { .. } => ErrorName::QueryFailed,
            Self::Unavailable { .. } => ErrorName::QueryUnavailable,
        }
    }
}

impl Athena {
    /// The Athena that `config` leads to.
    pub fn new(config: &SdkConfig) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(SENDS_MAX);
        let config = Builder::from(config).retry_config(retries).build();
        Self { client: Client::from_conf(config) }
    }

    /// Starts a query, or finds the one that was started with the same token; gives Athena's id.
    pub async fn start(
        &self,
        run: &Run,
        query: &PlannedQuery,
        sql: &str,
        token: &str,
    ) -> Result<String, AthenaError> {
        let context = QueryExecutionContext::builder()
            .database(&query.database)
            .catalog(&run.catalog)
            .build();
        let results =
            ResultConfiguration::builder().output_location(run.layout().athena_output()).build();
        let request =
            self.client.start_query_execution().query_string(sql).client_request_token(token);
        let request = request.query_execution_context(context).result_configuration(results);
        let sent = request.work_group(&run.work_group).send().await;
        let started =
            sent.map_err(|error| AthenaError::new("starting", query.name.as_str(), error))?;
        Ok(started.query_execution_id.unwrap_or_default())
    }

    /// Looks at a query.
    pub async fn look(&self, id: &str) -> Result<QueryStatus, AthenaError> {
        let sent = self.client.get_query_execution().query_execution_id(id).send().await;
        let answer = sent.map_err(|error| AthenaError::new("looking at", id, error))?;
        Ok(status(answer.query_execution.unwrap_or_else(|| QueryExecution::builder().build())))
    }

    /// Cancels a query; one that has ended, or that Athena does not know any more, is fine.
    pub async fn stop(&self, id: &str) -> Result<(), AthenaError> {
        let sent = self.client.stop_query_execution().query_execution_id(id).send().await;
        match sent.map_err(|error| AthenaError::new("cancelling", id, error)) {
            Ok(_) | Err(AthenaError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AthenaError {
    fn new<E>(action: &'static str, query: &str, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let query = query.to_owned();
        let message = error.message().unwrap_or_default().to_owned();
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (error.code(), status) {
            (Some("ThrottlingException" | "TooManyRequestsException"), _) | (_, Some(429)) => {
                Self::Throttled { action, query, source: Box::new(error) }
            }
            (Some("AccessDeniedException" | "ExpiredTokenException"), _) | (_, Some(401 | 403)) => {
                Self::Denied { action, query, message }
            }
            (Some(code), Some(400..500)) => {
                let message = if message.is_empty() { code.to_owned() } else { message };
                Self::Refused { action, query, message }
            }
            _ => Self::Unavailable { action, query, source: Box::new(error) },
        }
    }
}

fn status(execution: QueryExecution) -> QueryStatus {
    let status = execution.status;
    let error = status.as_ref().and_then(|status| status.athena_error.as_ref());
    let statistics = execution.statistics;
    let count =
        |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default();
    QueryStatus {
        state: match status.as_ref().and_then(|status| status.state.as_ref()) {
            Some(QueryExecutionState::Succeeded) => QueryState::Succeeded,
            Some(QueryExecutionState::Failed) => QueryState::Failed,
            Some(QueryExecutionState::Cancelled) => QueryState::Cancelled,
            Some(QueryExecutionState::Running) => QueryState::Running,
            // A state that this SDK does not know is waited for like QUEUED.
            _ => QueryState::Queued,
        },
        retryable: error.is_some_and(|error| error.retryable),
        reason: status
            .and_then(|status| status.state_change_reason)
            .unwrap_or_else(|| "Athena gave no reason".to_owned()),
        output_location: execution
            .result_configuration
            .and_then(|configuration| configuration.output_location)
            .unwrap_or_default(),
        statistics: statistics.map_or_else(Statistics::default, |statistics| Statistics {
            data_scanned_bytes: count(statistics.data_scanned_in_bytes),
            queue_milliseconds: count(statistics.query_queue_time_in_millis),
            engine_milliseconds: count(statistics.engine_execution_time_in_millis),
            total_milliseconds: count(statistics.total_execution_time_in_millis),
        }),
    }
}
