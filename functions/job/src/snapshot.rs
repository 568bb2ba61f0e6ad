//! The snapshot of a run's results: `gathered.json`.

use serde::{Deserialize, Serialize};

use crate::{name::RunId, record::QuerySummary, run_record::ExecutionId};

/// Everything that a run's file is made of.
///
/// It is written once. Archive, delivery and manifest read it and nothing else, so that a late call
/// changes none of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The run's id.
    pub run_id: RunId,
    /// The execution that owns the run.
    pub execution: ExecutionId,
    /// Number of queries whose CSV is there.
    pub succeeded: usize,
    /// Number of the others.
    pub failed: usize,
    /// Every query of the plan, in its order, with the versions of its files.
    pub queries: Vec<QuerySummary>,
}

impl Snapshot {
    /// Returns the snapshot of these queries.
    pub fn new(run_id: RunId, execution: ExecutionId, queries: Vec<QuerySummary>) -> Self {
        let succeeded = queries.iter().filter(|query| query.csv.is_some()).count();
        Self { run_id, execution, succeeded, failed: queries.len() - succeeded, queries }
    }
}
