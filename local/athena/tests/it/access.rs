//! Rights that are looked at while a query runs.

use std::sync::Arc;

use aws_sdk_athena::types::QueryExecutionState;
use local_athena::{Access, AccessDenied, QueryAccess};

use crate::endpoint::Endpoint;

/// Denies what the SQL asks for.
struct Denying;

impl Access for Denying {
    fn check(&self, query: &QueryAccess<'_>) -> Result<(), AccessDenied> {
        assert_eq!((query.caller, query.result_bucket), ("test", "results"));
        match (query.query, query.catalog, query.database) {
            ("SELECT * FROM secret", None, Some("sales")) => {
                Err(AccessDenied::Catalog("User: u is not authorized to perform: a".to_owned()))
            }
            ("SELECT 2", ..) => Err(AccessDenied::Results),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_query_without_rights_starts_and_fails_without_a_scan() {
    let endpoint = Endpoint::start_with(|config| config.access = Some(Arc::new(Denying))).await;
    endpoint.put("sales/secret.csv", "a\n1\n");
    assert_eq!(endpoint.run_in("sales", "SELECT 1").await.unwrap(), "\"_col0\"\n\"1\"\n");

    let id = endpoint.submit("SELECT * FROM secret", "sales").await;
    let execution = endpoint.wait(&id).await;
    let status = execution.status.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Failed));
    let reason = "Insufficient permissions to execute the query. User: u is not authorized to \
                  perform: a";
    assert_eq!(status.state_change_reason.as_deref(), Some(reason));
    let error = status.athena_error.unwrap();
    assert_eq!((error.error_category, error.error_type), (Some(2), Some(1500)));
    assert_eq!(execution.statistics.unwrap().data_scanned_in_bytes, Some(0));

    let reason = endpoint.run_in("sales", "SELECT 2").await.unwrap_err();
    assert!(reason.starts_with("Access denied when writing output to url: s3://results/"));
}
