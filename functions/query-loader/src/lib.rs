//! Job to plan: finds, checks and pins the SQL of every query of a job.
//!
//! A query's name is looked up in `{query_prefix}query_index.json` if that object exists, else it
//! is the file `{query_prefix}{name}.sql`. Every problem with the job, and every problem with its
//! queries, is reported at once. Nothing runs before the whole plan is valid.

mod index;

use std::collections::BTreeMap;

use aws_io::{Failure, Storage, StorageError};
use futures_util::{StreamExt, stream};
use job::{
    ErrorName, Job, Problem, Problems, QueryName, RunLayout, S3Location, layout, nearest,
    states::{
        INLINE_BYTES_MAX, INLINE_CONCURRENCY_MAX, INLINE_QUERIES_MAX, LoadQueries, LoadedQueries,
        MapMode, PlannedQuery, Run,
    },
};
use tracing::info;

use crate::index::{Entry, Index, IndexError};

/// The longest SQL that [Athena takes](https://docs.aws.amazon.com/athena/latest/ug/service-limits.html).
pub const SQL_BYTES_MAX: u64 = 262_144;

/// The largest index: some 10,000 entries with a description each.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many SQL files are read at once.
const READS_IN_FLIGHT: usize = 16;

/// How many keys are looked through for a name that is near a missing one.
const NEAR_KEYS_MAX: usize = 1_000;

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
    let job = Job::parse(&task.job).map_err(LoadError::Job)?;
    let index = read_index(storage, &job).await?;
    let queries = plan(storage, &job, index.as_ref(), &task).await?;

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
    let file_name = match queries.as_slice() {
        [only] => only.file_name.clone(),
        _ => archive_name(&job, &task)?,
    };
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

fn archive_name(job: &Job, task: &LoadQueries) -> Result<job::FileName, LoadError> {
    match &job.file_name {
        None => Ok(layout::default_archive_name(&task.run_id)),
        Some(template) => template
            .render(&task.run_id, task.started_at, None)
            .map_err(|error| LoadError::Job(one_problem("$.file_name", error.to_string()))),
    }
}

async fn read_index(storage: &Storage, job: &Job) -> Result<Option<Index>, LoadError> {
    let location =
        S3Location::new(job.query_index_bucket.as_str(), job.query_prefix.key("query_index.json"));
    match storage.get_bytes(&location, None, INDEX_BYTES_MAX).await {
        Ok((bytes, _)) => {
            Index::parse(&bytes).map(Some).map_err(|source| LoadError::Index { location, source })
        }
        Err(StorageError::NotFound { code, .. }) if code == "NoSuchBucket" => {
            let message = format!("there is no bucket `{}`", job.query_index_bucket);
            Err(LoadError::NotFound(one_problem("$.query_index_bucket", message)))
        }
        Err(StorageError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Pins every query, in the job's order, or says what is wrong with any of them.
async fn plan(
    storage: &Storage,
    job: &Job,
    index: Option<&Index>,
    task: &LoadQueries,
) -> Result<Vec<PlannedQuery>, LoadError> {
    let pinned: Vec<Result<PlannedQuery, Fault>> = stream::iter(&job.query_names)
        .map(|name| pin(storage, job, index, task, name))
        .buffered(READS_IN_FLIGHT)
        .collect()
        .await;

    let mut queries = Vec::with_capacity(pinned.len());
    let mut problems = Vec::new();
    let mut missing = false;
    for (i, result) in pinned.into_iter().enumerate() {
        let path = format!("$.query_names[{i}]");
        let message = match result {
            Ok(query) => {
                queries.push(query);
                continue;
            }
            Err(Fault::Storage(error)) => return Err(error.into()),
            Err(Fault::Invalid(message)) => message,
            Err(Fault::Missing(location)) => {
                missing = true;
                missing_message(storage, job, index, &job.query_names[i], &location).await?
            }
        };
        problems.push(Problem { path, message });
    }
    problems.extend(collisions(&queries));
    match (problems.is_empty(), missing) {
        (true, _) => Ok(queries),
        (false, true) => Err(LoadError::NotFound(Problems(problems))),
        (false, false) => Err(LoadError::Invalid(Problems(problems))),
    }
}

enum Fault {
    Missing(S3Location),
    Invalid(String),
    Storage(StorageError),
}

async fn pin(
    storage: &Storage,
    job: &Job,
    index: Option<&Index>,
    task: &LoadQueries,
    name: &QueryName,
) -> Result<PlannedQuery, Fault> {
    if name.is_pattern() {
        return Err(Fault::Invalid(format!(
            "`{name}` is a pattern, and patterns are not supported yet"
        )));
    }
    let entry = match index {
        None => Entry::file(format!("{name}.sql")),
        Some(index) => match index.get(name) {
            Some(entry) => entry.clone(),
            None => {
                return Err(Fault::Missing(S3Location::new(
                    job.query_index_bucket.as_str(),
                    "query_index.json",
                )));
            }
        },
    };
    let sql = S3Location::new(job.query_index_bucket.as_str(), job.query_prefix.key(&entry.file));
    let (bytes, info) = storage.get_bytes(&sql, None, SQL_BYTES_MAX).await.map_err(|error| match error {
        StorageError::NotFound { .. } => Fault::Missing(sql.clone()),
        StorageError::TooLarge { size_bytes, limit_bytes, .. } => Fault::Invalid(format!(
            "the SQL of `{name}` in `{sql}` has {size_bytes} bytes, and Athena takes at most {limit_bytes}"
        )),
        error => Fault::Storage(error),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let offset = error.valid_up_to();
        Fault::Invalid(format!("the SQL of `{name}` in `{sql}` is not UTF-8 at byte {offset}"))
    })?;
    if text.trim().is_empty() {
        return Err(Fault::Invalid(format!("the SQL of `{name}` in `{sql}` is empty")));
    }
    let template =
        entry.file_name.as_ref().or(job.file_name.as_ref().filter(|_| job.query_names.len() == 1));
    let file_name = match template {
        Some(template) => template.render(&task.run_id, task.started_at, Some(&name.file_stem())),
        None => format!("{}.csv", name.file_stem()).parse().map_err(Into::into),
    };
    Ok(PlannedQuery {
        name: name.clone(),
        sql,
        sql_etag: info.etag,
        database: entry.database.unwrap_or_else(|| job.database.clone()),
        file_name: file_name.map_err(|error| Fault::Invalid(error.to_string()))?,
    })
}

async fn missing_message(
    storage: &Storage,
    job: &Job,
    index: Option<&Index>,
    name: &QueryName,
    location: &S3Location,
) -> Result<String, StorageError> {
    let known: Vec<String> = if let Some(index) = index {
        index.names().map(str::to_owned).collect()
    } else {
        let prefix = job.query_prefix.as_str();
        let keys = storage.list(&location.bucket, prefix, NEAR_KEYS_MAX).await?;
        let names = keys.iter().filter_map(|key| key.strip_prefix(prefix)?.strip_suffix(".sql"));
        names.map(str::to_owned).collect()
    };
    let hint = match nearest(name.as_str(), known.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; there is no query at all".to_owned(),
        None => String::new(),
    };
    Ok(match index {
        Some(index) if index.get(name).is_none() => {
            format!("there is no query `{name}` in the index{hint}")
        }
        _ => format!("there is no query `{name}`: no object `{location}`{hint}"),
    })
}

/// Two queries must not write one file, neither in the run's folder nor in the archive.
fn collisions(queries: &[PlannedQuery]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut stems = BTreeMap::new();
    let mut files = BTreeMap::new();
    for query in queries {
        if let Some(first) = stems.insert(query.name.file_stem(), &query.name) {
            let message = if *first == query.name {
                format!("`{first}` is there twice")
            } else {
                format!("`{first}` and `{}` would write the same file", query.name)
            };
            problems.push(Problem { path: "$.query_names".to_owned(), message });
        } else if let Some(first) =
            files.insert(query.file_name.as_str().to_lowercase(), &query.name)
        {
            let message = format!(
                "`{first}` and `{}` would both be called `{}`",
                query.name, query.file_name
            );
            problems.push(Problem { path: "$.query_names".to_owned(), message });
        }
    }
    problems
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
            (22, 6_000, 1000, MapMode::Inline),
            (300, 60_000, 40, MapMode::Inline),
            (301, 60_000, 40, MapMode::Distributed),
            (41, 10_000, 41, MapMode::Distributed),
            (100, 65_537, 20, MapMode::Distributed),
        ] {
            assert_eq!(
                map_mode(queries, plan_bytes, max_concurrency),
                expected,
                "{queries} {max_concurrency}"
            );
        }
    }

    #[test]
    fn two_queries_never_write_one_file() {
        let query = |name: &str, file: &str| PlannedQuery {
            name: name.parse().unwrap(),
            sql: S3Location::new("acme-queries", "x.sql"),
            sql_etag: String::new(),
            database: "default".to_owned(),
            file_name: file.parse().unwrap(),
        };
        let queries = [
            query("a/b", "1.csv"),
            query("a-b", "2.csv"),
            query("c", "3.csv"),
            query("c", "3.csv"),
            query("d", "1.CSV"),
        ];
        let messages: Vec<_> =
            collisions(&queries).into_iter().map(|problem| problem.message).collect();
        assert_eq!(
            messages,
            [
                "`a/b` and `a-b` would write the same file",
                "`c` is there twice",
                "`a/b` and `d` would both be called `1.CSV`",
            ]
        );
    }
}
