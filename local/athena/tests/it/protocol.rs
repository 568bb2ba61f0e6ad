//! Starting, following, stopping and listing queries.

use aws_sdk_athena::error::ProvideErrorMetadata;
use aws_sdk_athena::types::{QueryExecutionState, ResultConfiguration, StatementType};
use local_athena::WorkGroup;
use std::time::Duration;

use crate::endpoint::Endpoint;

fn output(location: &str) -> ResultConfiguration {
    ResultConfiguration::builder().output_location(location).build()
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_query_that_succeeds_says_where_its_result_is_and_what_it_took() {
    let endpoint = Endpoint::start().await;
    endpoint.put("default/t.csv", "a\n1\n");
    let id = endpoint.submit("SELECT a FROM t", "default").await;
    let execution = endpoint.wait(&id).await;
    let status = execution.status.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Succeeded));
    let (from, to) = (status.submission_date_time.unwrap(), status.completion_date_time.unwrap());
    assert!(from <= to && from.secs() > 1_700_000_000);
    assert_eq!(execution.statement_type, Some(StatementType::Dml));
    assert_eq!(execution.substatement_type.as_deref(), Some("SELECT"));
    assert_eq!(execution.work_group.as_deref(), Some("primary"));
    let location = execution.result_configuration.unwrap().output_location.unwrap();
    assert_eq!(location, format!("s3://results/out/{id}.csv"));
    assert_eq!(std::fs::read_to_string(endpoint.object(&location)).unwrap(), "\"a\"\n\"1\"\n");
    assert!(endpoint.object(&format!("{location}.metadata")).exists());
    let statistics = execution.statistics.unwrap();
    assert_eq!(statistics.data_scanned_in_bytes, Some(4));
    assert!(statistics.total_execution_time_in_millis.unwrap() >= 0);
}

#[tokio::test]
async fn the_same_token_finds_the_same_query_and_never_another() {
    let endpoint = Endpoint::start().await;
    let start = |sql: &str| {
        let start = endpoint.client.start_query_execution().query_string(sql);
        start.client_request_token(TOKEN).result_configuration(output("s3://results/")).send()
    };
    let first = start("SELECT 1").await.unwrap().query_execution_id;
    let again = start("SELECT 1").await.unwrap().query_execution_id;
    assert_eq!(first, again);
    let other = start("SELECT 2").await.unwrap_err().into_service_error();
    assert_eq!(other.code(), Some("InvalidRequestException"));
    assert_eq!(other.message(), Some("Idempotent parameters do not match"));
}

#[tokio::test]
async fn a_request_that_makes_no_query_is_refused() {
    let endpoint = Endpoint::start().await;
    let start = || endpoint.client.start_query_execution().query_string("SELECT 1");
    let at = || start().result_configuration(output("s3://results/"));
    let rows = [
        (
            start(),
            "No output location provided. An output location is required either through the Workgroup result configuration setting or as an API input.",
        ),
        (start().result_configuration(output("results")), "outputLocation is not a valid S3 path."),
        (at().work_group("nope"), "WorkGroup nope is not found."),
        (
            at().client_request_token("short"),
            "ClientRequestToken must have between 32 and 128 characters",
        ),
        (at().query_string(" "), "QueryString must not be blank"),
        (at().query_string("x".repeat(262_145)), "QueryString has 262145 bytes, of at most 262144"),
    ];
    for (request, message) in rows {
        let error = request.send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("InvalidRequestException"), "{message}");
        assert_eq!(error.message(), Some(message));
    }
    let unknown = endpoint.client.get_query_execution().query_execution_id("nope").send().await;
    let unknown = unknown.unwrap_err().into_service_error();
    assert_eq!(unknown.message(), Some("QueryExecution nope was not found"));
}

#[tokio::test]
async fn a_work_group_that_enforces_decides_where_results_go() {
    let group = WorkGroup {
        output_location: Some("s3://results/enforced".into()),
        enforce_configuration: true,
        ..WorkGroup::new("strict")
    };
    let endpoint = Endpoint::start_with(|config| config.work_groups.push(group)).await;
    let start =
        endpoint.client.start_query_execution().query_string("SELECT 1").work_group("strict");
    let started = start.result_configuration(output("s3://elsewhere/")).send().await.unwrap();
    let id = started.query_execution_id.unwrap();
    let execution = endpoint.wait(&id).await;
    let location = execution.result_configuration.unwrap().output_location.unwrap();
    assert_eq!(location, format!("s3://results/enforced/{id}.csv"));
    let group = endpoint.client.get_work_group().work_group("strict").send().await.unwrap();
    let settings = group.work_group.unwrap().configuration.unwrap();
    assert_eq!(settings.enforce_work_group_configuration, Some(true));
}

#[tokio::test]
async fn a_query_over_the_scan_limit_is_cancelled() {
    let group = WorkGroup { bytes_scanned_max: Some(2), ..WorkGroup::new("small") };
    let endpoint = Endpoint::start_with(|config| config.work_groups.push(group)).await;
    endpoint.put("default/t.csv", "a\n1\n");
    let start = endpoint.client.start_query_execution().query_string("SELECT a FROM t");
    let start = start.work_group("small").result_configuration(output("s3://results/"));
    let id = start.send().await.unwrap().query_execution_id.unwrap();
    let status = endpoint.wait(&id).await.status.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Cancelled));
    assert!(status.state_change_reason.unwrap().contains("Bytes scanned limit was exceeded"));
}

#[tokio::test]
async fn a_missing_bucket_fails_the_query_and_not_the_request() {
    let endpoint = Endpoint::start().await;
    let start = endpoint.client.start_query_execution().query_string("SELECT 1");
    let started = start.result_configuration(output("s3://nowhere/")).send().await.unwrap();
    let status = endpoint.wait(&started.query_execution_id.unwrap()).await.status.unwrap();
    let error = status.athena_error.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Failed));
    assert_eq!(
        (error.error_category, error.error_type, error.retryable),
        (Some(2), Some(1306), false)
    );
    assert_eq!(
        status.state_change_reason.as_deref(),
        Some("Unable to verify/create output bucket nowhere")
    );
}

#[tokio::test]
async fn only_so_many_queries_run_at_a_time_and_the_rest_wait() {
    let endpoint = Endpoint::start_with(|config| config.concurrent_queries_max = 1).await;
    endpoint.athena.faults().delay_queries(Duration::from_mins(1));
    let running = endpoint.submit("SELECT 1", "default").await;
    while endpoint.state(&running).await != QueryExecutionState::Running {}
    let waiting = endpoint.submit("SELECT 2", "default").await;
    assert_eq!(endpoint.state(&waiting).await, QueryExecutionState::Queued);
    let early = endpoint.client.get_query_results().query_execution_id(&running).send().await;
    let early = early.unwrap_err().into_service_error();
    assert_eq!(early.message(), Some("Query has not yet finished. Current state: RUNNING"));

    endpoint.athena.faults().clear();
    endpoint.client.stop_query_execution().query_execution_id(&running).send().await.unwrap();
    assert_eq!(endpoint.state(&running).await, QueryExecutionState::Cancelled);
    let status = endpoint.wait(&waiting).await.status.unwrap();
    assert_eq!(status.state, Some(QueryExecutionState::Succeeded));
    endpoint.client.stop_query_execution().query_execution_id(&waiting).send().await.unwrap();
    assert_eq!(endpoint.state(&waiting).await, QueryExecutionState::Succeeded);
    let late = endpoint.client.get_query_results().query_execution_id(&running).send().await;
    let late = late.unwrap_err().into_service_error();
    assert_eq!(
        late.message(),
        Some("Query did not finish successfully. Final query state: CANCELLED")
    );

    let list = endpoint.client.list_query_executions().max_results(1).send().await.unwrap();
    assert_eq!(list.query_execution_ids, Some(vec![waiting.clone()]));
    let rest = endpoint.client.list_query_executions().set_next_token(list.next_token);
    assert_eq!(rest.send().await.unwrap().query_execution_ids, Some(vec![running.clone()]));
    let batch = endpoint.client.batch_get_query_execution();
    let batch =
        batch.query_execution_ids(&running).query_execution_ids("nope").send().await.unwrap();
    assert_eq!(batch.query_executions.unwrap().len(), 1);
    assert_eq!(batch.unprocessed_query_execution_ids.unwrap().len(), 1);
}

#[tokio::test]
async fn parameters_take_the_places_of_question_marks_in_their_order() {
    let endpoint = Endpoint::start().await;
    let start = |parameters: &[&str]| {
        let parameters = parameters.iter().map(ToString::to_string).collect();
        let start = endpoint.client.start_query_execution();
        start
            .query_string("SELECT x, ? AS s FROM (SELECT ? AS x) WHERE x > ? LIMIT 1")
            .set_execution_parameters(Some(parameters))
            .result_configuration(output("s3://results/"))
            .send()
    };
    let id = start(&["'it''s'", "5", "-1"]).await.unwrap().query_execution_id.unwrap();
    let location = endpoint.wait(&id).await.result_configuration.unwrap().output_location.unwrap();
    let text = std::fs::read_to_string(endpoint.object(&location)).unwrap();
    assert_eq!(text, "\"x\",\"s\"\n\"5\",\"it's\"\n");
    for wrong in [&["1"][..], &["1", "2", "(SELECT 3)"], &["1", "2", "3; DROP"]] {
        let id = start(wrong).await.unwrap().query_execution_id.unwrap();
        assert_eq!(
            endpoint.wait(&id).await.status.unwrap().state,
            Some(QueryExecutionState::Failed),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn the_catalog_is_listed() {
    let endpoint = Endpoint::start().await;
    endpoint.put("sales/orders.csv", "id,name\n1,x\n");
    let databases = endpoint.client.list_databases().catalog_name("AwsDataCatalog");
    let databases = databases.send().await.unwrap().database_list.unwrap();
    let names: Vec<_> = databases.into_iter().map(|database| database.name).collect();
    assert_eq!(names, ["default", "sales"]);
    let tables = endpoint.client.list_table_metadata().catalog_name("AwsDataCatalog");
    let tables = tables.database_name("sales").send().await.unwrap().table_metadata_list.unwrap();
    let columns = tables[0].columns.as_ref().unwrap().iter();
    let columns: Vec<_> = columns.map(|c| (c.name.as_str(), c.r#type.as_deref())).collect();
    assert_eq!(tables[0].name, "orders");
    assert_eq!(columns, [("id", Some("bigint")), ("name", Some("string"))]);
}
