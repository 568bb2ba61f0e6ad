//! The JSON that the states of a run hand to each other.
//!
//! It carries references and counts, never SQL, rows or secrets, so that a state's payload does not
//! grow with the data.

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    job::{CsvOptions, OnQueryFailure, default_zip_level},
    layout::RunLayout,
    name::{BucketName, FileName, QueryName, RunId},
    record::{Failure, QueryState},
    run_record::ExecutionId,
    s3::{ObjectVersion, Prefix, S3Location},
};

/// The most bytes of planned queries that a state carries: a quarter of the 256 KiB that
/// [a state may hold](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
pub const INLINE_BYTES_MAX: usize = 65_536;

/// The most iterations that an inline map runs at once, as
/// [AWS allows](https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html).
pub const INLINE_CONCURRENCY_MAX: u32 = 40;

/// The events that an execution's history may have by our own account. It ends at
/// [25,000](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html), and an
/// execution that reaches that fails without a catcher.
const HISTORY_EVENTS_MAX: u32 = 20_000;

/// The events of a delivery that is retried as often as the machine allows and resumed by a hundred
/// invocations.
const DELIVERY_EVENTS: u32 = 100 * 7 + 3 * (40 + 8 + 2);

/// The events of a query that ends before its first time-out, 13 if it succeeds, and those of
/// recording why it failed.
const QUERY_EVENTS: u32 = 24;

/// The events of a time-out: `TaskTimedOut`, `TaskScheduled`, `TaskStarted`, `TaskSubmitted`.
const LOOK_EVENTS: u32 = 4;

/// The events of all retries of a throttled query: `TaskFailed`, `TaskScheduled`, `TaskStarted`,
/// 40 times in each of its three states.
const THROTTLING_EVENTS: u32 = 3 * 3 * 40;

/// The longest time between two looks at a query, in seconds.
///
/// Events of Athena are best effort: a lost one is noticed so late. A look costs a transition and 4
/// events of the history.
const LOOK_SECONDS_MAX: u32 = 20 * 60;

/// Returns how often a query is looked at before it has run for as long as it may.
pub fn looks(query_timeout_minutes: u32) -> u32 {
    (query_timeout_minutes * 60).div_ceil(LOOK_SECONDS_MAX).max(1)
}

/// Returns how long `RunQuery` waits for the event of a query's end before it looks again, in
/// seconds.
///
/// The looks divide the query's time evenly, and each comes some seconds late: the last one comes
/// when the time is over, though the wait began before the query did.
pub fn query_wait_seconds(query_timeout_minutes: u32) -> u32 {
    const LATE_SECONDS: u32 = 5;
    (query_timeout_minutes * 60).div_ceil(looks(query_timeout_minutes)) + LATE_SECONDS
}

/// Returns the most queries that an inline map runs; above it the distributed map reads the plan.
pub fn inline_queries_max(query_timeout_minutes: u32) -> usize {
    let per_query = QUERY_EVENTS + LOOK_EVENTS * looks(query_timeout_minutes) + THROTTLING_EVENTS;
    ((HISTORY_EVENTS_MAX - DELIVERY_EVENTS) / per_query) as usize
}

/// The longest SQL that [Athena takes](https://docs.aws.amazon.com/athena/latest/ug/service-limits.html),
/// in bytes.
pub const SQL_BYTES_MAX: u64 = 262_144;

/// What query-loader is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoadQueries {
    /// The execution's name.
    pub run_id: RunId,
    /// The execution.
    pub execution: ExecutionId,
    /// The time that dates the run: when it started, or when its schedule meant it.
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
    /// The execution that owns the run.
    pub execution: ExecutionId,
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
    /// The longest time that a query may take, in minutes.
    pub query_timeout_minutes: u32,
    /// Time between two looks at a query, in seconds: [`query_wait_seconds`].
    pub query_wait_seconds: u32,
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

/// One query of the plan, its SQL pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedQuery {
    /// Its name in the job.
    pub name: QueryName,
    /// Where its SQL is.
    pub sql: S3Location,
    /// The version of the SQL that the run was planned with.
    pub sql_version: ObjectVersion,
    /// How many bytes of the file are the statement: what comes after it is `;`, white space and
    /// comments, and is not sent.
    pub sql_bytes: u64,
    /// The Athena database.
    pub database: String,
    /// What its CSV is called, in the archive or on its own.
    pub file_name: FileName,
}

/// Task of execute-single-query.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum QueryTask {
    /// Start the query, or look at it again, and see that its end completes the callback.
    RunQuery {
        /// The run.
        run: Run,
        /// The query.
        query: PlannedQuery,
        /// Callback that waits for the query's end.
        wait: Callback,
    },
    /// Turn the result into the CSV.
    WriteResult {
        /// The run.
        run: Run,
        /// The query.
        query: PlannedQuery,
    },
}

/// A state that waits for its callback.
#[derive(Clone, Debug, Deserialize)]
pub struct Callback {
    /// Task token: who has it can complete the state.
    pub token: SecretString,
    /// Number of retries of the state before this one. Each has a token of its own.
    pub retry_count: u32,
    /// Number of times that the execution was redriven. A run ends once: it must be 0.
    #[serde(default)]
    pub redrive_count: u32,
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
        /// Status of the delivery and reference to its journal, if there was one.
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
    /// Complete the callback of a query that has ended: an event of Athena.
    QueryEnded {
        /// Athena's id of the query.
        query_execution_id: String,
        /// State in which it ended.
        state: QueryState,
    },
    /// Clean up after an execution that did not succeed: an event of Step Functions. Its name and
    /// status, which the event holds as well, are asked for: an event may be late.
    CleanUp {
        /// ARN of the execution.
        execution: String,
        /// Start of the execution, in milliseconds since 1970.
        started_at: i64,
    },
    /// End the run and cancel what still runs in Athena.
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
        /// The execution that failed. It may not own the run.
        execution: ExecutionId,
        /// The job's output bucket, if it says one.
        #[serde(default)]
        output_bucket: Option<String>,
        /// The job's output prefix, if it says one.
        #[serde(default)]
        output_prefix: Option<String>,
        /// The file, if it was made before the failure.
        #[serde(default)]
        file: Option<Deliverable>,
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
    /// Its version.
    #[serde(flatten)]
    pub version: ObjectVersion,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::QUERY_TIMEOUT_MINUTES_MAX;

    #[test]
    fn the_last_look_at_a_query_comes_when_its_time_is_over() {
        for minutes in 1..=QUERY_TIMEOUT_MINUTES_MAX {
            let (looks, wait) = (looks(minutes), query_wait_seconds(minutes));
            assert!(looks * wait > minutes * 60, "{minutes}");
            assert!((looks - 1) * wait < minutes * 60, "{minutes}");
            assert!(wait <= LOOK_SECONDS_MAX + 5, "{minutes}");
        }
        assert_eq!((looks(240), query_wait_seconds(240)), (12, 1_205));
    }

    /// The most retries that the states of the inline map's iterator make for throttling.
    fn throttling_retries() -> u32 {
        let workflow = include_str!("../../../infra/workflow.asl.json");
        let workflow: Value = serde_json::from_str(workflow).unwrap();
        let states = &workflow["States"]["RunQueries"]["ItemProcessor"]["States"];
        let retriers = states
            .as_object()
            .unwrap()
            .values()
            .flat_map(|state| state["Retry"].as_array().map(Vec::as_slice).unwrap_or_default());
        let throttled = Value::from("Lambda.TooManyRequestsException");
        retriers
            .filter(|retrier| retrier["ErrorEquals"].as_array().unwrap().contains(&throttled))
            .map(|retrier| u32::try_from(retrier["MaxAttempts"].as_u64().unwrap()).unwrap())
            .sum()
    }

    /// The worst that an inline map allows: every query is throttled as often as `Retry` waits, and
    /// looked at until it times out.
    #[test]
    fn an_inline_map_does_not_fill_the_history() {
        let retries = throttling_retries();
        assert_eq!(3 * retries, THROTTLING_EVENTS);
        for minutes in 1..=QUERY_TIMEOUT_MINUTES_MAX {
            let queries = u32::try_from(inline_queries_max(minutes)).unwrap();
            let events = queries * (24 + 4 * looks(minutes) + 3 * retries) + DELIVERY_EVENTS;
            assert!(events < 20_000, "{minutes}: {events}");
        }
        let minutes = [1, 20, 240, 1_440].map(inline_queries_max);
        assert_eq!(minutes, [49, 49, 44, 28]);
    }
}
