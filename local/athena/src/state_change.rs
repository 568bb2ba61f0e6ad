//! Changes of a query's state, as Athena tells them to EventBridge
//! ([Athena events](https://docs.aws.amazon.com/athena/latest/ug/athena-events.html)).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::Failure;

/// A query that has changed its state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateChange {
    /// The query.
    pub query_execution_id: String,
    /// Its work group.
    pub work_group: String,
    /// `DML`, `DDL` or `UTILITY`.
    pub statement_type: &'static str,
    /// The state before; none if the query is new.
    pub previous_state: Option<&'static str>,
    /// The state now.
    pub current_state: &'static str,
    /// The number of the change: 1 is `QUEUED`.
    pub sequence_number: u64,
    /// Time of the change.
    pub at: Timestamp,
    pub(crate) failure: Option<Failure>,
}

/// Is told changes of state. Must not block, and not ask Athena before it returns.
pub trait StateListener: Send + Sync {
    /// Takes a change. Changes of one query may come out of order; their numbers tell it.
    fn changed(&self, change: StateChange);
}

impl StateChange {
    /// Returns the change as the event "Athena Query State Change".
    pub fn event(&self, account: &str, region: &str) -> Value {
        let mut detail = json!({
            "versionId": "0",
            "currentState": self.current_state,
            "statementType": self.statement_type,
            "queryExecutionId": self.query_execution_id,
            "workgroupName": self.work_group,
            "sequenceNumber": self.sequence_number.to_string(),
        });
        if let Some(state) = self.previous_state {
            detail["previousState"] = state.into();
        }
        if let Some(failure) = &self.failure {
            // The numbers are floats here, as against those of `GetQueryExecution`.
            detail["athenaError"] = json!({
                "errorCategory": f64::from(failure.category.number()),
                "errorType": f64::from(failure.error_type),
                "errorMessage": failure.message,
                "retryable": failure.retryable,
            });
        }
        json!({
            "version": "0",
            "id": uuid::Uuid::new_v4().to_string(),
            "detail-type": "Athena Query State Change",
            "source": "aws.athena",
            "account": account,
            "time": self.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "region": region,
            "resources": [],
            "detail": detail,
        })
    }
}
