//! DataFusion, set up to behave as Athena.

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SessionStateDefaults, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::sqlparser::ast;

use crate::catalog::{CATALOG, DataDir};
use crate::columns::Column;
use crate::execution::Request;
use crate::failure::{Failure, Kind};
use crate::functions;
use crate::sql::{self, check_tables, resolve_names};

/// Memory for sorting, joining and grouping, of all queries together; what needs more goes to disk.
const MEMORY_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;

/// Makes a session for every query.
pub(crate) struct Sessions {
    data: DataDir,
    runtime: Arc<RuntimeEnv>,
}

/// A query that is ready to run.
pub(crate) struct Planned {
    pub(crate) columns: Vec<Column>,
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) context: Arc<TaskContext>,
}

impl Sessions {
    pub(crate) fn new(data: DataDir) -> Self {
        Self { data, runtime: runtime() }
    }

    /// Plans a query in the catalog and database of its request.
    pub(crate) async fn plan(
        &self,
        query: sql::Query,
        request: &Request,
    ) -> Result<Planned, Failure> {
        let catalog = request.catalog.as_deref().unwrap_or(CATALOG);
        if !catalog.eq_ignore_ascii_case(CATALOG) {
            let message = format!("Catalog '{catalog}' does not exist");
            return Err(Failure::new(Kind::CatalogNotFound, message));
        }
        let database = request.database.as_deref().unwrap_or("default").to_lowercase();
        check_tables(&query.ast, &self.data, &database)?;
        let mut state = self.session(&database)?;
        // `current_date` and the like are the time of this call.
        state.mark_start_execution();
        let statement = ast::Statement::Query(Box::new(query.ast));
        let statement = PlannedStatement::Statement(Box::new(statement));
        let logical = state.statement_to_plan(statement).await?;
        let plan = state.create_physical_plan(&logical).await?;
        let schema = plan.schema();
        let fields: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let names = resolve_names(&query.names, &fields);
        let types = schema.fields().iter().map(|field| field.data_type());
        Ok(Planned {
            columns: names.into_iter().zip(types).map(|(name, t)| Column::of(name, t)).collect(),
            plan,
            context: state.task_ctx(),
        })
    }

    fn session(&self, database: &str) -> Result<SessionState, Failure> {
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(self.data.clone()));
        let builder = SessionStateBuilder::new()
            .with_config(settings(database))
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_catalog_list(Arc::new(catalogs))
            .with_expr_planners(SessionStateDefaults::default_expr_planners());
        Ok(functions::register(builder)?)
    }
}

fn settings(database: &str) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, database)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    "nulls_last".clone_into(&mut options.sql_parser.default_null_ordering);
    options.execution.parquet.schema_force_view_types = false;
    options.execution.time_zone = Some("+00:00".to_owned());
    config
}

/// Memory, disk and caches that all queries share.
fn runtime() -> Arc<RuntimeEnv> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory);
    let builder = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY_BYTES_MAX)))
        .with_disk_manager_builder(disk)
        // A list of files that is kept would hide files that come later.
        .with_object_list_cache_limit(0);
    builder.build_arc().unwrap_or_else(|error| {
        tracing::error!(%error, "making the query runtime, going on with the default one");
        Arc::default()
    })
}
