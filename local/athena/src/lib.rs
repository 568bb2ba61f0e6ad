//! An Athena endpoint over DataFusion, for trying on a laptop what will run on AWS.
//!
//! It speaks Athena's protocol (AWS JSON 1.1), so that an unmodified SDK works against it, and
//! behaves as Athena does: a query is started, waits in a queue, runs, and leaves a result object
//! with Athena's quoting and NULLs. SQL is Athena's dialect, run by DataFusion. Where DataFusion
//! would silently give another answer than Athena, the query is changed to give Athena's answer or
//! fails with Athena's error; the README has the list.
//!
//! Tables are the Parquet and CSV files of a directory, which is only ever read.

mod access;
mod api;
mod catalog;
mod columns;
mod csv_text;
mod engine;
mod execution;
mod failure;
mod faults;
mod functions;
mod metadata;
mod page;
mod results;
mod run;
mod sample;
mod session;
mod show;
mod sql;
mod state_change;
mod statement;
mod text;
mod work_group;

use std::path::PathBuf;
use std::sync::Arc;

pub use access::{Access, AccessDenied, QueryAccess};
pub use api::router;
pub use catalog::databases;
pub use faults::{Faults, InjectedFailure, Refusal};
pub use results::{DirectoryResults, ResultStore, ResultWriter};
pub use sample::{SampleError, TableWritten, write_tpch};
pub use state_change::{StateChange, StateListener};
pub use work_group::WorkGroup;

use engine::Engine;

/// What an endpoint is made of.
#[derive(Clone)]
pub struct Config {
    /// The account in ARNs, 12 digits.
    pub account: String,
    /// The region in ARNs.
    pub region: String,
    /// Holds one directory per database; each holds `table.parquet`, `table.csv`, or a directory
    /// `table` of such files. It is looked at anew by every query and never written to.
    pub data_dir: PathBuf,
    /// Where result objects are written and read back.
    pub results: Arc<dyn ResultStore>,
    /// The work groups; `primary` is added if it is not among them.
    pub work_groups: Vec<WorkGroup>,
    /// Queries that run at one time; further ones stay `QUEUED`. At least 1.
    pub concurrent_queries_max: usize,
    /// Decides what a query may read and where it may write; without it, everything is allowed.
    pub access: Option<Arc<dyn Access>>,
    /// Is told each change of a query's state.
    pub listener: Option<Arc<dyn StateListener>>,
}

/// The endpoint's state: query executions, work groups, faults. Clones share it.
#[derive(Clone)]
pub struct Athena(Arc<Engine>);

impl Athena {
    /// Makes an endpoint without a query.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Engine::new(config)))
    }

    /// The faults that this endpoint shows on demand, none at first.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The work group that a query runs in, if there is such a query.
    pub fn work_group_of(&self, query_execution_id: &str) -> Option<String> {
        let execution = self.0.execution(query_execution_id).ok()?;
        Some(execution.request.work_group.clone())
    }

    /// The tables that a query names, each with its database; none if it is not a query that runs.
    pub fn tables_of(&self, sql: &str, database: &str) -> Vec<(String, String)> {
        match sql::parse(sql, &[]) {
            Ok(sql::Statement::Query(query)) => sql::named_tables(&query.ast, database),
            _ => Vec::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.0
    }
}
