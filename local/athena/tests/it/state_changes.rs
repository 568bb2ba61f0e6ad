//! Events of state changes, and queries and answers that are held.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_athena::types::{QueryExecutionState, ResultConfiguration};
use local_athena::{StateChange, StateListener};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;

const HOUR: Duration = Duration::from_hours(1);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[derive(Default)]
struct Heard(Mutex<Vec<StateChange>>);

impl StateListener for Heard {
    fn changed(&self, change: StateChange) {
        self.0.lock().unwrap().push(change);
    }
}

impl Heard {
    /// The events so far, in their order, without what differs each time.
    fn details(&self) -> Vec<Value> {
        let changes = self.0.lock().unwrap();
        let mut events: Vec<Value> =
            changes.iter().map(|change| change.event("000000000000", "us-east-1")).collect();
        events.sort_by_key(|event| event["detail"]["sequenceNumber"].to_string());
        events.into_iter().map(|mut event| event["detail"].take()).collect()
    }

    fn states(&self) -> Vec<(Value, Value, Value)> {
        let fields = |mut detail: Value| {
            let [previous, current, number] =
                ["previousState", "currentState", "sequenceNumber"].map(|key| detail[key].take());
            (previous, current, number)
        };
        self.details().into_iter().map(fields).collect()
    }
}

async fn endpoint() -> (Endpoint, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let listener: Arc<dyn StateListener> = Arc::<Heard>::clone(&heard);
    let endpoint = Endpoint::start_with(|config| config.listener = Some(listener)).await;
    (endpoint, heard)
}

fn change(previous: impl Into<Value>, current: &str, number: &str) -> (Value, Value, Value) {
    (previous.into(), current.into(), number.into())
}

fn up_to_running() -> [(Value, Value, Value); 2] {
    [change(Value::Null, "QUEUED", "1"), change("QUEUED", "RUNNING", "2")]
}

/// Waits until a query is in that state.
async fn in_state(endpoint: &Endpoint, id: &str, state: QueryExecutionState) {
    while endpoint.state(id).await != state {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_change_of_state_is_an_event() {
    let (endpoint, heard) = endpoint().await;
    let id = endpoint.submit("SELECT 1", "default").await;
    endpoint.wait(&id).await;
    let expected = [&up_to_running()[..], &[change("RUNNING", "SUCCEEDED", "3")]].concat();
    assert_eq!(heard.states(), expected);

    let mut event = heard.0.lock().unwrap()[2].event("111122223333", "eu-central-1");
    let (event_id, time) = (event["id"].take(), event["time"].take());
    assert_eq!(
        (event_id.as_str().map(str::len), time.as_str().map(str::len)),
        (Some(36), Some(20))
    );
    let expected = json!({
        "version": "0",
        "id": null,
        "detail-type": "Athena Query State Change",
        "source": "aws.athena",
        "account": "111122223333",
        "time": null,
        "region": "eu-central-1",
        "resources": [],
        "detail": {
            "versionId": "0",
            "currentState": "SUCCEEDED",
            "previousState": "RUNNING",
            "statementType": "DML",
            "queryExecutionId": id,
            "workgroupName": "primary",
            "sequenceNumber": "3",
        },
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn the_event_of_a_failure_has_its_error_with_numbers_as_floats() {
    let (endpoint, heard) = endpoint().await;
    let reason = endpoint.run("SELECT nothing FROM nowhere").await.unwrap_err();
    let failed = heard.details().remove(2);
    assert_eq!(failed["currentState"], "FAILED");
    let error = json!({
        "errorCategory": 2.0, "errorType": 1110.0, "errorMessage": reason, "retryable": false,
    });
    assert_eq!(failed["athenaError"], error);
    assert!(failed["athenaError"].to_string().contains("\"errorType\":1110.0"));
}

#[tokio::test]
async fn a_query_that_goes_back_to_the_queue_is_told_as_often_as_it_changes() {
    let (endpoint, heard) = endpoint().await;
    endpoint.athena.faults().requeue_next_queries(1);
    endpoint.run("SELECT 1").await.unwrap();
    let requeued = [
        change("RUNNING", "QUEUED", "3"),
        change("QUEUED", "RUNNING", "4"),
        change("RUNNING", "SUCCEEDED", "5"),
    ];
    assert_eq!(heard.states(), [&up_to_running()[..], &requeued].concat());
}

#[tokio::test]
async fn a_query_that_is_stopped_while_it_runs_is_told_as_cancelled_once() {
    let (endpoint, heard) = endpoint().await;
    endpoint.athena.faults().run_for(|sql| sql == "SELECT 1", HOUR);
    let id = endpoint.submit("SELECT 1", "default").await;
    assert!(endpoint.run("SELECT 2").await.is_ok());
    in_state(&endpoint, &id, QueryExecutionState::Running).await;
    heard.0.lock().unwrap().retain(|change| change.query_execution_id == id);
    for _ in 0..2 {
        endpoint.client.stop_query_execution().query_execution_id(&id).send().await.unwrap();
    }
    let expected = [&up_to_running()[..], &[change("RUNNING", "CANCELLED", "3")]].concat();
    assert_eq!(heard.states(), expected);
    assert_eq!(endpoint.state(&id).await, QueryExecutionState::Cancelled);
}

#[tokio::test]
async fn a_start_whose_answer_is_late_is_found_again_by_its_token() {
    let (endpoint, heard) = endpoint().await;
    endpoint.athena.faults().hold_starts(|sql| sql == "SELECT 1", HOUR);
    let start = || {
        let output = ResultConfiguration::builder().output_location("s3://results/").build();
        let start = endpoint.client.start_query_execution().query_string("SELECT 1");
        start.client_request_token(TOKEN).result_configuration(output).send()
    };
    let held = tokio::spawn(start());
    while heard.0.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!held.is_finished());
    endpoint.athena.faults().clear();
    // The query has ended meanwhile.
    let found = start().await.unwrap().query_execution_id.unwrap();
    assert_eq!(heard.0.lock().unwrap().len(), 3);
    assert_eq!(heard.0.lock().unwrap()[2].query_execution_id, found);
}

#[tokio::test]
async fn an_answer_that_is_late_is_old() {
    let (endpoint, _) = endpoint().await;
    endpoint.athena.faults().run_for(|_| true, HOUR);
    let id = endpoint.submit("SELECT 1", "default").await;
    in_state(&endpoint, &id, QueryExecutionState::Running).await;
    let (called, mut calls) = mpsc::unbounded_channel();
    let is_meant = move |_: &str| called.send(()).is_ok();
    endpoint.athena.faults().hold_gets(is_meant, Duration::from_millis(100));
    let get = endpoint.client.get_query_execution().query_execution_id(&id);
    let late = tokio::spawn(get.send());
    calls.recv().await.unwrap();
    endpoint.client.stop_query_execution().query_execution_id(&id).send().await.unwrap();
    let status = late.await.unwrap().unwrap().query_execution.unwrap().status.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Running));
    assert_eq!(endpoint.state(&id).await, QueryExecutionState::Cancelled);
}
