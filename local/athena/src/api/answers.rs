//! The shapes of answers about queries.

use serde::Serialize;

use crate::WorkGroup;
use crate::columns::Column;
use crate::csv_text::Value;
use crate::execution::Execution;
use crate::failure::Failure;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names are Athena's")]
pub(super) struct QueryExecution {
    query_execution_id: String,
    query: String,
    statement_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    substatement_type: Option<&'static str>,
    result_configuration: ResultConfiguration,
    result_reuse_configuration: ReuseConfiguration,
    query_execution_context: QueryExecutionContext,
    status: Status,
    statistics: Statistics,
    work_group: String,
    engine_version: EngineVersion,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    execution_parameters: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResultConfiguration {
    output_location: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReuseConfiguration {
    result_reuse_by_age_configuration: Reuse,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Reuse {
    enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct QueryExecutionContext {
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_change_reason: Option<String>,
    submission_date_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_date_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    athena_error: Option<AthenaError>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AthenaError {
    error_category: u8,
    error_type: u16,
    retryable: bool,
    error_message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statistics {
    engine_execution_time_in_millis: i64,
    data_scanned_in_bytes: u64,
    total_execution_time_in_millis: i64,
    query_queue_time_in_millis: i64,
    query_planning_time_in_millis: i64,
    service_processing_time_in_millis: i64,
    result_reuse_information: ReuseInformation,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReuseInformation {
    reused_previous_result: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EngineVersion {
    selected_engine_version: &'static str,
    effective_engine_version: &'static str,
}

impl EngineVersion {
    pub(super) const V3: Self = Self {
        selected_engine_version: "AUTO",
        effective_engine_version: "Athena engine version 3",
    };
}

impl From<&Execution> for QueryExecution {
    fn from(execution: &Execution) -> Self {
        let request = &execution.request;
        let progress = execution.progress();
        let statistics = progress.statistics;
        let served = statistics.queue_millis + statistics.engine_millis;
        Self {
            query_execution_id: execution.id.clone(),
            query: request.query.clone(),
            statement_type: execution.statement.name,
            substatement_type: execution.statement.detail,
            result_configuration: ResultConfiguration { output_location: execution.output.uri() },
            result_reuse_configuration: ReuseConfiguration {
                result_reuse_by_age_configuration: Reuse { enabled: false },
            },
            query_execution_context: QueryExecutionContext {
                database: request.database.clone(),
                catalog: request.catalog.clone(),
            },
            status: Status {
                state: progress.state.name(),
                state_change_reason: progress.reason,
                submission_date_time: epoch_seconds(execution.submitted),
                completion_date_time: progress.completed.map(epoch_seconds),
                athena_error: progress.failure.map(AthenaError::from),
            },
            statistics: Statistics {
                engine_execution_time_in_millis: statistics.engine_millis,
                data_scanned_in_bytes: statistics.bytes_scanned,
                total_execution_time_in_millis: statistics.total_millis,
                query_queue_time_in_millis: statistics.queue_millis,
                query_planning_time_in_millis: statistics.planning_millis,
                service_processing_time_in_millis: (statistics.total_millis - served).max(0),
                result_reuse_information: ReuseInformation { reused_previous_result: false },
            },
            work_group: request.work_group.clone(),
            engine_version: EngineVersion::V3,
            execution_parameters: request.parameters.clone(),
        }
    }
}

impl From<Failure> for AthenaError {
    fn from(failure: Failure) -> Self {
        Self {
            error_category: failure.category.number(),
            error_type: failure.error_type,
            retryable: failure.retryable,
            error_message: failure.message,
        }
    }
}

/// Seconds since 1970 with milliseconds as a fraction: AWS JSON's form of a time.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this millennium fit 53 bits")]
pub(super) fn epoch_seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueryResults {
    update_count: u64,
    result_set: ResultSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResultSet {
    rows: Vec<Row>,
    result_set_metadata: ResultSetMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    data: Vec<Datum>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Datum {
    #[serde(skip_serializing_if = "Option::is_none")]
    var_char_value: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResultSetMetadata {
    column_info: Vec<ColumnInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ColumnInfo {
    catalog_name: &'static str,
    schema_name: &'static str,
    table_name: &'static str,
    name: String,
    label: String,
    #[serde(rename = "Type")]
    kind: &'static str,
    precision: u32,
    scale: i32,
    nullable: &'static str,
    case_sensitive: bool,
}

impl QueryResults {
    pub(super) fn new(
        rows: Vec<Vec<Value>>,
        columns: Vec<Column>,
        next_token: Option<String>,
    ) -> Self {
        let datum = |value| Datum { var_char_value: value };
        let row = |row: Vec<Value>| Row { data: row.into_iter().map(datum).collect() };
        Self {
            update_count: 0,
            result_set: ResultSet {
                rows: rows.into_iter().map(row).collect(),
                result_set_metadata: ResultSetMetadata {
                    column_info: columns.into_iter().map(ColumnInfo::from).collect(),
                },
            },
            next_token,
        }
    }
}

impl From<Column> for ColumnInfo {
    fn from(column: Column) -> Self {
        Self {
            catalog_name: "hive",
            schema_name: "",
            table_name: "",
            label: column.name.clone(),
            case_sensitive: column.is_case_sensitive(),
            name: column.name,
            kind: column.kind,
            precision: column.precision,
            scale: column.scale,
            nullable: "UNKNOWN",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WorkGroupDetails {
    name: String,
    state: &'static str,
    configuration: WorkGroupConfiguration,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names are Athena's")]
struct WorkGroupConfiguration {
    result_configuration: GroupResultConfiguration,
    enforce_work_group_configuration: bool,
    publish_cloud_watch_metrics_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_scanned_cutoff_per_query: Option<u64>,
    requester_pays_enabled: bool,
    engine_version: EngineVersion,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupResultConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    output_location: Option<String>,
}

impl From<&WorkGroup> for WorkGroupDetails {
    fn from(group: &WorkGroup) -> Self {
        Self {
            name: group.name.clone(),
            state: "ENABLED",
            configuration: WorkGroupConfiguration {
                result_configuration: GroupResultConfiguration {
                    output_location: group.output_location.clone(),
                },
                enforce_work_group_configuration: group.enforce_configuration,
                publish_cloud_watch_metrics_enabled: false,
                bytes_scanned_cutoff_per_query: group.bytes_scanned_max,
                requester_pays_enabled: false,
                engine_version: EngineVersion::V3,
            },
        }
    }
}
