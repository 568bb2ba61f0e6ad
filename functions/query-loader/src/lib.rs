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
mod expansion;
mod fault;
mod index;
mod plan;
mod sql;

use std::path::Path;

use aws_io::{Failure, Storage, StorageError};
use job::{
    ErrorName, FileName, Job, Problem, Problems, RunLayout, S3Location, layout,
    states::{
        INLINE_BYTES_MAX, INLINE_CONCURRENCY_MAX, INLINE_QUERIES_MAX, LoadQueries, LoadedQueries,
        MapMode, PlannedQuery, Run,
    },
};
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
            Self::Storage(error) => error.name(),
        }
    }
}

/// Plans a run and writes the plan.
///
/// The same run planned twice gives the same plan, unless the SQL changed in between: the later
/// plan is then the one that runs.
///
/// # Errors
///
/// See [`LoadError`]; only failures of S3 are worth another try.
pub async fn load(storage: &Storage, task: LoadQueries) -> Result<LoadedQueries, LoadError> {
    let job = Job::parse(&task.job)
        .map_err(|Problems(problems)| LoadError::Job(fault::shortened(problems, "$")))?;
    let queries = plan::plan(storage, &job, &task).await?;
    let file_name = delivered_name(&job, &task, &queries)?;

    let layout = RunLayout::new(
        job.output_bucket.clone(),
        job.output_prefix.clone(),
        job.zip_prefix.clone(),
        task.run_id.clone(),
    );
    let plan = serde_json::to_vec_pretty(&queries).expect("a plan is always JSON");
    let plan_bytes = plan.len();
    storage.put_bytes(&layout.plan(), "application/json", plan.into()).await?;

    let map = map_mode(queries.len(), plan_bytes, job.max_concurrency);
    info!(run.id = %task.run_id, queries = queries.len(), map = ?map, "planned the run");
    Ok(LoadedQueries {
        run: Run {
            run_id: task.run_id,
            started_at: task.started_at,
            output_bucket: job.output_bucket,
            output_prefix: job.output_prefix,
            zip_prefix: job.zip_prefix,
            query_count: queries.len(),
            max_concurrency: job.max_concurrency,
            on_query_failure: job.on_query_failure,
            work_group: job.work_group,
            catalog: job.catalog,
            csv: job.csv,
            zip_level: job.zip_level,
            file_name,
        },
        map,
        queries: if map == MapMode::Inline { queries } else { Vec::new() },
        plan: layout.plan(),
    })
}

fn map_mode(queries: usize, plan_bytes: usize, max_concurrency: u32) -> MapMode {
    let more_at_once =
        max_concurrency > INLINE_CONCURRENCY_MAX && queries > INLINE_CONCURRENCY_MAX as usize;
    if more_at_once || queries > INLINE_QUERIES_MAX || plan_bytes > INLINE_BYTES_MAX {
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
    use super::*;

    #[test]
    fn large_jobs_run_through_the_distributed_map() {
        for (queries, plan_bytes, max_concurrency, expected) in [
            (1, 300, 20, MapMode::Inline),
            (20, 6_000, 1000, MapMode::Inline),
            (300, 60_000, 20, MapMode::Inline),
            (301, 60_000, 20, MapMode::Distributed),
            (21, 10_000, 21, MapMode::Distributed),
            (100, 65_537, 20, MapMode::Distributed),
        ] {
            assert_eq!(
                map_mode(queries, plan_bytes, max_concurrency),
                expected,
                "{queries} {max_concurrency}"
            );
        }
    }
}
