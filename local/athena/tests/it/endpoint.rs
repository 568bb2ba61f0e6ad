//! An endpoint on a port of its own, with its data and results in a directory of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_athena::Client;
use aws_sdk_athena::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_athena::types::{
    QueryExecution, QueryExecutionContext, QueryExecutionState, ResultConfiguration,
};
use local_athena::{Athena, Config, DirectoryResults, WorkGroup, router};
use tempfile::TempDir;

/// A running endpoint; it ends with the test's runtime.
pub(crate) struct Endpoint {
    pub(crate) client: Client,
    pub(crate) athena: Athena,
    pub(crate) directory: TempDir,
}

pub(crate) const BUCKET: &str = "results";

impl Endpoint {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("buckets").join(BUCKET)).unwrap();
        let mut config = Config {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            data_dir: directory.path().join("data"),
            results: Arc::new(DirectoryResults::new(directory.path().join("buckets"))),
            work_groups: vec![WorkGroup::new("primary")],
            concurrent_queries_max: 4,
            access: None,
            listener: None,
        };
        change(&mut config);
        let athena = Athena::new(config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router(athena.clone())).into_future());
        let config = aws_sdk_athena::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(format!("http://{address}"))
            .retry_config(RetryConfig::disabled())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Self { client: Client::from_conf(config), athena, directory }
    }

    /// Puts a file into the data directory.
    pub(crate) fn put(&self, path: &str, content: &str) {
        let path = self.directory.path().join("data").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Where an object is that the endpoint wrote.
    pub(crate) fn object(&self, uri: &str) -> PathBuf {
        self.directory.path().join("buckets").join(uri.strip_prefix("s3://").unwrap())
    }

    pub(crate) async fn submit(&self, sql: &str, database: &str) -> String {
        let output = ResultConfiguration::builder().output_location("s3://results/out/").build();
        let context = QueryExecutionContext::builder().database(database).build();
        let started = self
            .client
            .start_query_execution()
            .query_string(sql)
            .query_execution_context(context)
            .result_configuration(output)
            .send()
            .await
            .unwrap();
        started.query_execution_id.unwrap()
    }

    pub(crate) async fn get(&self, id: &str) -> QueryExecution {
        let got = self.client.get_query_execution().query_execution_id(id).send().await.unwrap();
        got.query_execution.unwrap()
    }

    pub(crate) async fn state(&self, id: &str) -> QueryExecutionState {
        self.get(id).await.status.unwrap().state.unwrap()
    }

    /// Waits until a query has ended.
    pub(crate) async fn wait(&self, id: &str) -> QueryExecution {
        loop {
            let execution = self.get(id).await;
            match execution.status.as_ref().unwrap().state.as_ref().unwrap() {
                QueryExecutionState::Queued | QueryExecutionState::Running => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                _ => return execution,
            }
        }
    }

    /// Runs a query to its end: the text of its result object, or why there is none.
    pub(crate) async fn run_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let id = self.submit(sql, database).await;
        let execution = self.wait(&id).await;
        let status = execution.status.unwrap();
        match status.state.unwrap() {
            QueryExecutionState::Succeeded => {
                let location = execution.result_configuration.unwrap().output_location.unwrap();
                Ok(std::fs::read_to_string(self.object(&location)).unwrap())
            }
            _ => Err(status.state_change_reason.unwrap()),
        }
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<String, String> {
        self.run_in("default", sql).await
    }
}
