//! Faults on demand.

use aws_sdk_athena::error::ProvideErrorMetadata;
use aws_sdk_athena::types::QueryExecutionState;
use aws_sdk_athena::types::ResultConfiguration;
use local_athena::{InjectedFailure, Refusal};

use crate::endpoint::Endpoint;

async fn start(endpoint: &Endpoint, sql: &str) -> Result<String, (String, String)> {
    let output = ResultConfiguration::builder().output_location("s3://results/").build();
    let start = endpoint.client.start_query_execution().query_string(sql);
    match start.result_configuration(output).send().await {
        Ok(started) => Ok(started.query_execution_id.unwrap()),
        Err(error) => {
            let error = error.into_service_error();
            Err((error.code().unwrap().to_owned(), error.message().unwrap().to_owned()))
        }
    }
}

#[tokio::test]
async fn every_nth_start_is_refused() {
    let endpoint = Endpoint::start().await;
    for (refusal, code) in [
        (Refusal::TooManyRequests, "TooManyRequestsException"),
        (Refusal::Throttling, "ThrottlingException"),
        (Refusal::InternalServer, "InternalServerException"),
    ] {
        endpoint.athena.faults().refuse_every_start(3, refusal);
        let mut codes = Vec::new();
        for _ in 0..6 {
            codes.push(start(&endpoint, "SELECT 1").await.err().map(|(code, _)| code));
        }
        let refused = Some(code.to_owned());
        assert_eq!(codes, [None, None, refused.clone(), None, None, refused]);
    }
    endpoint.athena.faults().clear();
    assert!(start(&endpoint, "SELECT 1").await.is_ok());
}

#[tokio::test]
async fn a_start_beyond_the_quota_is_refused_until_a_query_ends() {
    let endpoint = Endpoint::start().await;
    endpoint.athena.faults().limit_active_queries(Some(1));
    endpoint.athena.faults().delay_queries(std::time::Duration::from_mins(1));
    let first = start(&endpoint, "SELECT 1").await.unwrap();
    let (code, _) = start(&endpoint, "SELECT 2").await.unwrap_err();
    assert_eq!(code, "TooManyRequestsException");
    endpoint.client.stop_query_execution().query_execution_id(&first).send().await.unwrap();
    assert!(start(&endpoint, "SELECT 2").await.is_ok());
}

#[tokio::test]
async fn a_query_can_be_made_to_fail_once() {
    let endpoint = Endpoint::start().await;
    endpoint.athena.faults().fail_next_query(InjectedFailure {
        category: 1,
        error_type: 1403,
        retryable: true,
        message: "throttled by Amazon S3".into(),
    });
    let id = start(&endpoint, "SELECT 1").await.unwrap();
    let status = endpoint.wait(&id).await.status.unwrap();
    let error = status.athena_error.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Failed));
    assert_eq!(
        (error.error_category, error.error_type, error.retryable),
        (Some(1), Some(1403), true)
    );
    assert_eq!(status.state_change_reason.as_deref(), Some("throttled by Amazon S3"));
    let id = start(&endpoint, "SELECT 1").await.unwrap();
    let status = endpoint.wait(&id).await.status.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Succeeded));
}

#[tokio::test]
async fn a_query_can_go_back_from_running_to_queued() {
    let endpoint = Endpoint::start().await;
    endpoint.athena.faults().requeue_next_queries(1);
    let id = start(&endpoint, "SELECT 1").await.unwrap();
    let mut seen = vec![QueryExecutionState::Queued];
    while seen.last() != Some(&QueryExecutionState::Succeeded) {
        let state = endpoint.state(&id).await;
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    }
    let expected = [
        QueryExecutionState::Queued,
        QueryExecutionState::Running,
        QueryExecutionState::Queued,
        QueryExecutionState::Running,
        QueryExecutionState::Succeeded,
    ];
    // The second stay in `RUNNING` may be too short to be seen.
    let without_last_running = [&expected[..3], &expected[4..]].concat();
    assert!(seen == expected || seen == without_last_running, "{seen:?}");
}

#[tokio::test]
async fn a_query_that_does_not_parse_fails_or_is_refused_by_setting() {
    let endpoint = Endpoint::start().await;
    let id = start(&endpoint, "SELEC 1").await.unwrap();
    let status = endpoint.wait(&id).await.status.unwrap();
    let error = status.athena_error.unwrap();
    assert_eq!((error.error_category, error.error_type), (Some(2), Some(1006)));
    let reason = status.state_change_reason.unwrap();
    assert!(reason.starts_with("line 1:1: mismatched input 'SELEC'. Expecting: "), "{reason}");
    endpoint.athena.faults().refuse_malformed_queries(true);
    let (code, message) = start(&endpoint, "SELEC 1").await.unwrap_err();
    assert_eq!((code.as_str(), message), ("InvalidRequestException", reason));
}
