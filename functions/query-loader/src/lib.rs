//! Job to plan: finds, checks and pins the SQL of every query of a job.
//!
//! A query's name is looked up in `{query_prefix}query_index.json` if that object exists, else it
//! is the file `{query_prefix}{name}.sql`. A name with `*` or `?` is a pattern and stands for the
//! names that match it, in their order; `*` and `?` do not match a `/`, `**` does.
//!
//! A file is one statement; what follows it (`;`, white space, comments) is not sent to Athena.
//!
//! Every problem with the job, and every problem with its queries, is reported at once. Nothing
//! runs before the whole plan is valid.

mod catalog;
mod digest;
mod expansion;
mod fault;
mod index;
mod plan;
mod sql;

use std::path::Path;

use aws_io::{
    Failure, Precondition, Storage, StorageError,
    run_files::{self, PLAN_BYTES_MAX, RunFile, RunFileError},
};
use job::{
    ErrorName, FileName, Job, Problem, Problems, RunLayout, S3Location, layout,
    run_record::{RunEvent, RunRecord},
    states::{
        INLINE_BYTES_MAX, INLINE_CONCURRENCY_MAX, LoadQueries, LoadedQueries, MapMode,
        PlannedQuery, Run, inline_queries_max, query_wait_seconds,
    },
};
use serde::Serialize;
use tracing::info;

pub use crate::index::IndexError;

/// Why a job could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The job does not say what it must.
    #[error("the job can not run: {0}")]
    Job(Problems),
    /// Some queries are not there; there may be other problems as well.
    #[error("the queries can not be loaded: {0}")]
    NotFound(Problems),
    /// Some queries are there but can not be used.
    #[error("the queries can not be loaded: {0}")]
    Invalid(Problems),
    /// The index can not be read.
    #[error("reading the index `{location}`")]
    Index {
        /// Where it is.
        location: S3Location,
        /// What is wrong with it.
        source: IndexError,
    },
    /// The run's name is another execution's, or the run has ended.
    #[error("claiming the run")]
    Claim(#[from] RunFileError),
    /// S3 failed.
    #[error("loading the queries")]
    Storage(#[from] StorageError),
}

impl Failure for LoadError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Job(_) => ErrorName::JobInvalid,
            Self::NotFound(_) => ErrorName::QueryNotFound,
            Self::Invalid(_) | Self::Index { .. } => ErrorName::QueryInvalid,
            Self::Claim(error) => error.name(),
            Self::Storage(error) => error.name(),
        }
    }
}

/// Claims the run, plans it and writes the plan.
///
/// A run is planned once: a second call answers the plan that is there, whatever has become of the
/// SQL meanwhile.
///
/// # Errors
///
/// See [`LoadError`]; only failures of S3 are worth another try.
pub async fn load(storage: &Storage, task: LoadQueries) -> Result<LoadedQueries, LoadError> {
    let job = Job::parse(&task.job)
        .map_err(|Problems(problems)| LoadError::Job(fault::shortened(problems, "$")))?;
    let layout = RunLayout::new(
        job.output_bucket.clone(),
        job.output_prefix.clone(),
        job.zip_prefix.clone(),
        task.run_id.clone(),
    );
    let claim = RunRecord::claimed(
        task.run_id.clone(),
        task.execution.clone(),
        Some(digest::of_job(&task.job)),
    );
    let mut claim = RunFile::claim(storage, layout.clone(), claim).await?;
    if claim.record().run.is_none() {
        claim.expect_live()?;
        let queries = plan::plan(storage, &job, &task).await?;
        // Before anything but the claim is written.
        delivered_name(&job, &task, &queries)?;
        let queries = keep_plan(storage, &layout, queries, claim.is_new()).await?;
        let run = planned(job, task, &queries)?;
        claim.advance(RunEvent::Planned(Box::new(run))).await?;
    }
    claim.expect_live()?;
    let record = claim.record();
    let ended = || RunFileError::Ended { run_id: record.run_id.clone() };
    let run = record.run.clone().ok_or_else(ended)?;
    let queries = run_files::plan(storage, &layout).await?;
    let map = map_mode(&run, &queries);
    info!(run.id = %run.run_id, queries = queries.len(), map = ?map, "planned the run");
    let queries = if map == MapMode::Inline { queries } else { Vec::new() };
    Ok(LoadedQueries { run, map, queries, plan: layout.plan() })
}

/// Writes the plan, unless one is there; gives the one that counts. A plan that differs though the
/// claim `is_new` is of another execution, whose claim somebody has removed.
async fn keep_plan(
    storage: &Storage,
    layout: &RunLayout,
    queries: Vec<PlannedQuery>,
    is_new: bool,
) -> Result<Vec<PlannedQuery>, LoadError> {
    let location = layout.plan();
    let size_bytes = json_bytes(&queries);
    if size_bytes > PLAN_BYTES_MAX {
        let limit_bytes = PLAN_BYTES_MAX;
        let error = StorageError::TooLarge { action: "writing", location, size_bytes, limit_bytes };
        return Err(error.into());
    }
    match storage.put_json_if(&location, &queries, Precondition::Absent).await {
        Ok(_) => Ok(queries),
        Err(StorageError::Changed { .. }) => {
            let kept = run_files::plan(storage, layout).await?;
            if is_new && kept != queries {
                return Err(RunFileError::Leftover { location }.into());
            }
            Ok(kept)
        }
        Err(error) => Err(error.into()),
    }
}

/// The run as every state is given it.
fn planned(job: Job, task: LoadQueries, queries: &[PlannedQuery]) -> Result<Run, LoadError> {
    let file_name = delivered_name(&job, &task, queries)?;
    Ok(Run {
        run_id: task.run_id,
        execution: task.execution,
        started_at: task.started_at,
        output_bucket: job.output_bucket,
        output_prefix: job.output_prefix,
        zip_prefix: job.zip_prefix,
        query_count: queries.len(),
        max_concurrency: job.max_concurrency,
        query_timeout_minutes: job.query_timeout_minutes,
        query_wait_seconds: query_wait_seconds(job.query_timeout_minutes),
        on_query_failure: job.on_query_failure,
        work_group: job.work_group,
        catalog: job.catalog,
        csv: job.csv,
        zip_level: job.zip_level,
        file_name,
    })
}

fn json_bytes(document: &impl Serialize) -> u64 {
    serde_json::to_vec(document).expect("a plan is always JSON").len() as u64
}

fn map_mode(run: &Run, queries: &[PlannedQuery]) -> MapMode {
    let more_at_once = run.max_concurrency > INLINE_CONCURRENCY_MAX
        && queries.len() > INLINE_CONCURRENCY_MAX as usize;
    let fills_history = queries.len() > inline_queries_max(run.query_timeout_minutes);
    if more_at_once || fills_history || json_bytes(&queries) > INLINE_BYTES_MAX as u64 {
        MapMode::Distributed
    } else {
        MapMode::Inline
    }
}

/// What the recipient gets: the CSV of the only query, or an archive. A name that says otherwise
/// would make the recipient's programs refuse the file.
fn delivered_name(
    job: &Job,
    task: &LoadQueries,
    queries: &[PlannedQuery],
) -> Result<FileName, LoadError> {
    let at_name = |message: String| LoadError::Job(one_problem("$.file_name", message));
    let is = |name: &FileName, extension: &str| {
        Path::new(name.as_str()).extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
    };
    if let [only] = queries {
        let name = only.file_name.clone();
        return if is(&name, "zip") {
            Err(at_name(format!("one query gives a CSV, and `{name}` is the name of an archive")))
        } else {
            Ok(name)
        };
    }
    let Some(template) = &job.file_name else {
        return Ok(layout::default_archive_name(&task.run_id));
    };
    let name = template
        .render(&task.run_id, task.started_at, None)
        .map_err(|error| at_name(error.to_string()))?;
    if is(&name, "csv") {
        let message =
            format!("{} queries give an archive, and `{name}` is the name of a CSV", queries.len());
        return Err(at_name(message));
    }
    Ok(name)
}

fn one_problem(path: &str, message: String) -> Problems {
    Problems(vec![Problem { path: path.to_owned(), message }])
}

#[cfg(test)]
mod tests {
    use job::{ObjectVersion, QueryName, run_record::ExecutionId};

    use super::*;

    fn run(max_concurrency: u32, query_timeout_minutes: u32) -> Run {
        let job = serde_json::json!({
            "query_names": ["q"], "query_index_bucket": "acme-queries",
            "output_bucket": "acme-results", "output_prefix": "out", "zip_prefix": "zip",
            "max_concurrency": max_concurrency, "query_timeout_minutes": query_timeout_minutes,
        });
        let started_at = "2026-01-31T12:00:00Z".parse().unwrap();
        let execution = ExecutionId { arn: "arn:e".to_owned(), started_at };
        let run_id = "r1".parse().unwrap();
        let task = LoadQueries { run_id, execution, started_at, job: serde_json::Value::Null };
        planned(Job::parse(&job).unwrap(), task, &queries(1, 3)).unwrap()
    }

    fn queries(count: usize, name_bytes: usize) -> Vec<PlannedQuery> {
        let name: QueryName = "n".repeat(name_bytes).parse().unwrap();
        let query = PlannedQuery {
            name,
            sql: S3Location::new("acme-queries", "q.sql"),
            sql_version: ObjectVersion::default(),
            sql_bytes: 8,
            database: "default".to_owned(),
            file_name: "q.csv".parse().unwrap(),
        };
        vec![query; count]
    }

    #[test]
    fn large_jobs_run_through_the_distributed_map() {
        for (count, name_bytes, max_concurrency, minutes, expected) in [
            (1, 3, 20, 240, MapMode::Inline),
            (40, 3, 1000, 240, MapMode::Inline),
            (44, 3, 20, 240, MapMode::Inline),
            (45, 3, 20, 240, MapMode::Distributed),
            (28, 3, 20, 1440, MapMode::Inline),
            (29, 3, 20, 1440, MapMode::Distributed),
            (49, 3, 20, 20, MapMode::Inline),
            (50, 3, 20, 20, MapMode::Distributed),
            (40, 3, 41, 240, MapMode::Inline),
            (41, 3, 41, 240, MapMode::Distributed),
            (44, 200, 20, 240, MapMode::Inline),
        ] {
            assert_eq!(
                map_mode(&run(max_concurrency, minutes), &queries(count, name_bytes)),
                expected,
                "{count} {max_concurrency} {minutes}"
            );
        }
    }
}
