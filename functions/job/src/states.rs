//! The JSON that the states of a run hand to each other.
//!
//! It carries references and counts, never SQL, rows or secrets, so that a state's payload does not
//! grow with the data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    job::{CsvOptions, OnQueryFailure, default_zip_level},
    layout::RunLayout,
    name::{BucketName, FileName, QueryName, RunId},
    record::Failure,
    s3::{Prefix, S3Location},
};

/// The most queries that an inline map runs; above it the distributed map reads the plan.
///
/// One query takes some 15 to 60 events of an execution's history, which ends at
/// [25,000](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
pub const INLINE_QUERIES_MAX: usize = 300;

/// The most bytes of planned queries that a state carries: a quarter of the 256 KiB that
/// [a state may hold](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
pub const INLINE_BYTES_MAX: usize = 65_536;

/// The most iterations that an inline map runs at once.
///
/// [AWS allows 40](https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html); but
/// 40 queries that run for hours would fill the execution's history with their waits.
pub const INLINE_CONCURRENCY_MAX: u32 = 20;

/// The longest SQL that [Athena takes](https://docs.aws.amazon.com/athena/latest/ug/service-limits.html),
/// in bytes.
pub const SQL_BYTES_MAX: u64 = 262_144;

/// What query-loader is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoadQueries {
    /// The execution's name.
    pub run_id: RunId,
    /// When the execution started.
    pub started_at: Timestamp,
    /// The job, as somebody sent it.
    pub job: Value,
}

/// What query-loader answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoadedQueries {
    /// What every later state needs.
    pub run: Run,
    /// Which map runs the queries.
    pub map: MapMode,
    /// The planned queries, if the inline map runs them.
    pub queries: Vec<PlannedQuery>,
    /// Where the plan is.
    pub plan: S3Location,
}

/// Which map runs the queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MapMode {
    /// Inside the execution.
    Inline,
    /// One child execution a query, read from the plan.
    Distributed,
}

/// What every state of a run needs to know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The run's id.
    pub run_id: RunId,
    /// When it started.
    pub started_at: Timestamp,
    /// The bucket it writes to.
    pub output_bucket: BucketName,
    /// The prefix it writes under.
    pub output_prefix: Prefix,
    /// The prefix of its archive.
    pub zip_prefix: Prefix,
    /// How many queries it has.
    pub query_count: usize,
    /// How many of them run at once at the most.
    pub max_concurrency: u32,
    /// What a query that fails for good means for the others.
    pub on_query_failure: OnQueryFailure,
    /// The Athena work group.
    pub work_group: String,
    /// The Athena data catalog.
    pub catalog: String,
    /// How the CSV is written.
    pub csv: CsvOptions,
    /// The level of compression in the archive.
    pub zip_level: u8,
    /// The name of the file that is delivered.
    pub file_name: FileName,
}

impl Run {
    /// Where the run writes.
    pub fn layout(&self) -> RunLayout {
        RunLayout::new(
            self.output_bucket.clone(),
            self.output_prefix.clone(),
            self.zip_prefix.clone(),
            self.run_id.clone(),
        )
    }
}

/// One query of the plan, its SQL pinned by ETag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedQuery {
    /// Its name in the job.
    pub name: QueryName,
    /// Where its SQL is.
    pub sql: S3Location,
    /// The ETag of the SQL when the run was planned.
    pub sql_etag: String,
    /// How many bytes of the file are the statement: what comes after it is `;`, white space and
    /// comments, and is not sent.
    pub sql_bytes: u64,
    /// The Athena database.
    pub database: String,
    /// What its CSV is called, in the archive or on its own.
    pub file_name: FileName,
}

/// What execute-single-query is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct QueryTask {
    /// The run.
    pub run: Run,
    /// The query.
    pub query: PlannedQuery,
    /// How far an earlier call got.
    #[serde(default)]
    pub progress: Option<QueryProgress>,
}

/// How far a query got in earlier calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryProgress {
    /// The running query; nothing while Athena refuses to start it.
    pub query_execution_id: Option<String>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How often the query was handed back.
    pub waits: u32,
}

/// What execute-single-query answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "UPPERCASE")]
pub enum QueryOutcome {
    /// It still runs, or Athena is too busy to start it: wait and call again.
    Running {
        /// What the next call is given.
        progress: QueryProgress,
        /// How long to wait before it.
        wait_seconds: u32,
    },
    /// The result stands in the run's `csv/`.
    Succeeded {},
}

/// What results-gatherer is given.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum GatherTask {
    /// Collect the results, and say what is to be delivered.
    Gather {
        /// The run.
        run: Run,
    },
    /// Write the manifest of a run that succeeded.
    Finish {
        /// The run.
        run: Run,
        /// The file that was made.
        file: Deliverable,
        /// The transporter's receipt, if there was one.
        #[serde(default)]
        delivery: Option<Value>,
    },
    /// Write down why one query failed, and cancel it if it still runs.
    FailQuery {
        /// The run.
        run: Run,
        /// The query.
        query: PlannedQuery,
        /// What failed.
        failure: Failure,
    },
    /// Cancel what still runs in Athena.
    Stop {
        /// The run.
        run: Run,
    },
    /// Write down why the run failed.
    Fail {
        /// What is known of the run; nothing if it could not be planned.
        #[serde(default)]
        run: Option<Run>,
        /// The run's id.
        run_id: RunId,
        /// When it started.
        started_at: Timestamp,
        /// The job's output bucket, if it says one.
        #[serde(default)]
        output_bucket: Option<String>,
        /// The job's output prefix, if it says one.
        #[serde(default)]
        output_prefix: Option<String>,
        /// The file, if it was made before the failure.
        #[serde(default)]
        file: Option<Deliverable>,
        /// The transporter's receipt, if the file was delivered before the failure.
        #[serde(default)]
        delivery: Option<Value>,
        /// What failed.
        failure: Failure,
    },
}

/// What results-gatherer answers to [`GatherTask::Gather`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Gathered {
    /// How many queries succeeded.
    pub succeeded: usize,
    /// How many did not.
    pub failed: usize,
    /// Whether the results must be zipped first.
    pub archive: bool,
    /// The one result of a run of one query.
    pub file: Option<Deliverable>,
}

/// A file that is ready to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliverable {
    /// Where it is: `s3://bucket/key`.
    pub uri: String,
    /// Its ETag.
    pub etag: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal; nothing if S3 put the file together, so that nobody has read
    /// it as a whole. The transporter's receipt has it then.
    pub sha256: Option<String>,
    /// What the recipient sees it as.
    pub file_name: FileName,
}

/// What zip-s3-folder is given.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZipTask {
    /// Zip the results of a run.
    Run(Run),
    /// Zip all objects below a prefix.
    Folder(ZipFolder),
}

/// A folder that is to become an archive. No run needs it: it is for whoever calls the function.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZipFolder {
    /// The bucket of the objects.
    pub bucket: BucketName,
    /// What their keys begin with. The rest of a key is the name in the archive.
    pub prefix: Prefix,
    /// Where the archive is written; it may lie in the folder and is not part of itself.
    pub archive: S3Location,
    /// The time that every member gets.
    pub modified_at: Timestamp,
    /// The level of compression, 0 (store) to 9 (smallest).
    #[serde(default = "default_zip_level")]
    pub zip_level: u8,
}

/// What zip-s3-folder answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Zipped {
    /// The archive.
    pub file: Deliverable,
    /// How many members it has.
    pub members: usize,
}

/// What extract-s3-key is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExtractTask {
    /// `s3://bucket/key`.
    pub uri: String,
}

/// What extract-s3-key answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// What comes after the key's last `/`.
    pub file_name: String,
}
