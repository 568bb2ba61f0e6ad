//! The operations on work groups, databases and tables.

use datafusion::arrow::datatypes::Field;
use datafusion::catalog::SchemaProvider as _;
use serde::{Deserialize, Serialize};

use super::answers::{EngineVersion, WorkGroupDetails};
use super::error::ApiError;
use crate::catalog::{CATALOG, Database};
use crate::columns::hive_type;
use crate::engine::Engine;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WorkGroupInput {
    work_group: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WorkGroupOutput {
    work_group: WorkGroupDetails,
}

pub(super) fn get_work_group(
    engine: &Engine,
    input: &WorkGroupInput,
) -> Result<WorkGroupOutput, ApiError> {
    let group = engine.work_group(Some(&input.work_group))?;
    Ok(WorkGroupOutput { work_group: group.into() })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WorkGroupsOutput {
    work_groups: Vec<WorkGroupSummary>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WorkGroupSummary {
    name: String,
    state: &'static str,
    engine_version: EngineVersion,
}

pub(super) fn list_work_groups(engine: &Engine) -> WorkGroupsOutput {
    let summary = |group: &crate::WorkGroup| WorkGroupSummary {
        name: group.name.clone(),
        state: "ENABLED",
        engine_version: EngineVersion::V3,
    };
    WorkGroupsOutput { work_groups: engine.config.work_groups.iter().map(summary).collect() }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CatalogInput {
    catalog_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DatabaseInput {
    catalog_name: String,
    database_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names are Athena's")]
pub(super) struct TableInput {
    catalog_name: String,
    database_name: String,
    table_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DatabaseOutput {
    database: NamedDatabase,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DatabasesOutput {
    database_list: Vec<NamedDatabase>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NamedDatabase {
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TableOutput {
    table_metadata: TableMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TablesOutput {
    table_metadata_list: Vec<TableMetadata>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TableMetadata {
    name: String,
    table_type: &'static str,
    columns: Vec<TableColumn>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TableColumn {
    name: String,
    #[serde(rename = "Type")]
    kind: String,
}

pub(super) fn get_database(
    engine: &Engine,
    input: &DatabaseInput,
) -> Result<DatabaseOutput, ApiError> {
    let name = input.database_name.to_lowercase();
    open(engine, &input.catalog_name, &name)?;
    Ok(DatabaseOutput { database: NamedDatabase { name } })
}

pub(super) fn list_databases(
    engine: &Engine,
    input: &CatalogInput,
) -> Result<DatabasesOutput, ApiError> {
    check_catalog(&input.catalog_name)?;
    let names = engine.data.databases().into_iter();
    Ok(DatabasesOutput { database_list: names.map(|name| NamedDatabase { name }).collect() })
}

pub(super) async fn get_table(
    engine: &Engine,
    input: &TableInput,
) -> Result<TableOutput, ApiError> {
    let database = open(engine, &input.catalog_name, &input.database_name.to_lowercase())?;
    let table_metadata = describe(&database, &input.table_name.to_lowercase()).await?;
    Ok(TableOutput { table_metadata })
}

pub(super) async fn list_tables(
    engine: &Engine,
    input: &DatabaseInput,
) -> Result<TablesOutput, ApiError> {
    let database = open(engine, &input.catalog_name, &input.database_name.to_lowercase())?;
    let mut table_metadata_list = Vec::new();
    for name in database.tables() {
        table_metadata_list.push(describe(&database, &name).await?);
    }
    Ok(TablesOutput { table_metadata_list })
}

async fn describe(database: &Database, name: &str) -> Result<TableMetadata, ApiError> {
    let found = database.table(name).await.map_err(|e| ApiError::Metadata(e.to_string()))?;
    let found = found.ok_or_else(|| ApiError::Metadata(format!("Table {name} not found.")))?;
    let column = |field: &std::sync::Arc<Field>| TableColumn {
        name: field.name().clone(),
        kind: hive_type(field.data_type()),
    };
    Ok(TableMetadata {
        name: name.to_owned(),
        table_type: "EXTERNAL_TABLE",
        columns: found.schema().fields().iter().map(column).collect(),
    })
}

fn check_catalog(name: &str) -> Result<(), ApiError> {
    if name.eq_ignore_ascii_case(CATALOG) {
        return Ok(());
    }
    Err(ApiError::Metadata(format!("Catalog {name} not found.")))
}

fn open(engine: &Engine, catalog: &str, database: &str) -> Result<Database, ApiError> {
    check_catalog(catalog)?;
    let found = engine.data.database(database);
    found.ok_or_else(|| ApiError::Metadata(format!("Database {database} not found.")))
}
