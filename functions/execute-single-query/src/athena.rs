//! Athena, as far as one query needs it. The SDK's types stop here.

use aws_sdk_athena::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{QueryExecution, QueryExecutionContext, QueryExecutionState, ResultConfiguration},
};
use job::{
    record::{QueryState, Statistics},
    states::{PlannedQuery, Run},
};

use crate::ExecuteError;

/// What Athena says of a query.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) state: QueryState,
    /// Athena's text on a failure.
    pub(crate) reason: String,
    /// Whether Athena says that the same query may succeed if it is run again.
    pub(crate) retryable: bool,
    /// The result object's URI: read back, because a work group may force its own place.
    pub(crate) output_location: String,
    pub(crate) statistics: Statistics,
}

/// Athena's API.
#[derive(Clone, Debug)]
pub struct Athena {
    client: Client,
}

impl Athena {
    /// The Athena that `config` leads to.
    pub fn new(config: &aws_io::sdk::SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Starts a query, or finds the one that was started with the same token.
    pub(crate) async fn start(
        &self,
        run: &Run,
        query: &PlannedQuery,
        sql: &str,
        token: &str,
    ) -> Result<String, ExecuteError> {
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
        let started = sent.map_err(|error| failed("starting", query, error))?;
        Ok(started.query_execution_id.unwrap_or_default())
    }

    /// Looks at a query.
    pub(crate) async fn look(&self, query: &PlannedQuery, id: &str) -> Result<Seen, ExecuteError> {
        let sent = self.client.get_query_execution().query_execution_id(id).send().await;
        let answer = sent.map_err(|error| failed("looking at", query, error))?;
        Ok(seen(answer.query_execution.unwrap_or_else(|| QueryExecution::builder().build())))
    }
}

fn seen(execution: QueryExecution) -> Seen {
    let status = execution.status;
    let error = status.as_ref().and_then(|status| status.athena_error.as_ref());
    let statistics = execution.statistics;
    let count =
        |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default();
    Seen {
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

fn failed<E>(action: &'static str, query: &PlannedQuery, error: SdkError<E>) -> ExecuteError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let query = query.name.clone();
    let message = error.message().unwrap_or_default().to_owned();
    match error.code() {
        Some("ThrottlingException" | "TooManyRequestsException") => {
            ExecuteError::Throttled { action, query, source: Box::new(error) }
        }
        Some("InvalidRequestException") => ExecuteError::Failed { query, reason: message },
        Some("AccessDeniedException" | "UnrecognizedClientException" | "ExpiredTokenException") => {
            ExecuteError::Denied { action, query, message }
        }
        _ => ExecuteError::Unavailable { action, query, source: Box::new(error) },
    }
}
