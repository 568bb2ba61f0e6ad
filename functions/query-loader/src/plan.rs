//! The plan: every query of a job with its SQL pinned.

use std::collections::BTreeMap;

use aws_io::{Storage, StorageError};
use futures_util::{StreamExt, TryStreamExt, stream};
use job::{
    Job,
    states::{LoadQueries, PlannedQuery, SQL_BYTES_MAX},
};

use crate::{
    LoadError,
    catalog::Catalog,
    expansion::{Asked, Expansion, expand, has_pattern},
    fault::{Fault, FaultKind, report},
    one_problem, sql,
};

/// How many SQL files are read at once, each of up to [`SQL_BYTES_MAX`].
const READS_IN_FLIGHT: usize = 16;

/// Pins every query, in the job's order, or says what is wrong with any of them.
pub(crate) async fn plan(
    storage: &Storage,
    job: &Job,
    task: &LoadQueries,
) -> Result<Vec<PlannedQuery>, LoadError> {
    let catalog = Catalog::open(storage, job).await?;
    let known = if has_pattern(&job.query_names) { Some(catalog.names().await?) } else { None };
    let Expansion { queries: asked, mut faults } = expand(&job.query_names, known)
        .map_err(|message| LoadError::Job(one_problem("$.query_names", message)))?;

    let planner = Planner { storage, job, task, catalog: &catalog, only: asked.len() == 1 };
    let pinned: Vec<Result<PlannedQuery, FaultKind>> = stream::iter(&asked)
        .map(|asked| planner.pin(asked))
        .buffered(READS_IN_FLIGHT)
        .try_collect()
        .await?;

    let mut queries = Vec::with_capacity(pinned.len());
    let mut places = Vec::with_capacity(pinned.len());
    for (Asked { at, .. }, pinned) in asked.iter().zip(pinned) {
        match pinned {
            Ok(query) => {
                queries.push(query);
                places.push(*at);
            }
            Err(kind) => faults.push(Fault { at: *at, kind }),
        }
    }
    faults.extend(collisions(places.into_iter().zip(&queries)));
    if faults.is_empty() { Ok(queries) } else { Err(report(&catalog, faults).await?) }
}

struct Planner<'a> {
    storage: &'a Storage,
    job: &'a Job,
    task: &'a LoadQueries,
    catalog: &'a Catalog<'a>,
    /// Whether the job has one query, whose CSV is then what is delivered.
    only: bool,
}

impl Planner<'_> {
    /// Pins one query; a fault of S3 ends the whole plan.
    async fn pin(
        &self,
        Asked { name, .. }: &Asked,
    ) -> Result<Result<PlannedQuery, FaultKind>, StorageError> {
        let Some(entry) = self.catalog.entry(name) else {
            return Ok(Err(FaultKind::Unknown(name.clone())));
        };
        let sql = self.catalog.sql(&entry);
        let invalid = |message: String| Ok(Err(FaultKind::Invalid(message)));
        let (bytes, info) = match self.storage.get_bytes(&sql, None, SQL_BYTES_MAX).await {
            Ok(read) => read,
            Err(StorageError::NotFound { .. }) if self.catalog.has_index() => {
                return Ok(Err(FaultKind::NoFile(name.clone(), sql)));
            }
            Err(StorageError::NotFound { .. }) => {
                return Ok(Err(FaultKind::Unknown(name.clone())));
            }
            Err(StorageError::TooLarge { size_bytes, limit_bytes, .. }) => {
                return invalid(format!(
                    "the SQL of `{name}` in `{sql}` has {size_bytes} bytes, and Athena takes at most {limit_bytes}"
                ));
            }
            Err(error) => return Err(error),
        };
        let sql_bytes = match sql::statement_bytes(&bytes) {
            Ok(bytes) => bytes as u64,
            Err(fault) => return invalid(format!("the SQL of `{name}` in `{sql}` {fault}")),
        };
        let job_template = self.job.file_name.as_ref().filter(|_| self.only);
        let LoadQueries { run_id, started_at, .. } = self.task;
        let stem = name.file_stem();
        let file_name = match entry.file_name.as_ref().or(job_template) {
            Some(template) => template.render(run_id, *started_at, Some(&stem)),
            None => format!("{stem}.csv").parse().map_err(Into::into),
        };
        let file_name = match file_name {
            Ok(file_name) => file_name,
            Err(error) => return invalid(format!("the file of `{name}` has no name: {error}")),
        };
        let database = entry.database.as_ref().unwrap_or(&self.job.database).clone();
        Ok(Ok(PlannedQuery {
            name: name.clone(),
            sql,
            sql_version: info.version,
            sql_bytes,
            database,
            file_name,
        }))
    }
}

/// Two queries must not write one file, neither in the run's folder nor in the archive.
fn collisions<'a>(queries: impl Iterator<Item = (usize, &'a PlannedQuery)>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut stems = BTreeMap::new();
    let mut files = BTreeMap::new();
    for (at, query) in queries {
        let PlannedQuery { name, file_name, .. } = query;
        // A recipient's disk may not tell `A` from `a`.
        let file = file_name.as_str().to_lowercase();
        let message = if let Some(first) = stems.insert(name.file_stem(), name) {
            format!("`{first}` and `{name}` would write the same file")
        } else if let Some(first) = files.insert(file, name) {
            format!("`{first}` and `{name}` would both be called `{file_name}`")
        } else {
            continue;
        };
        faults.push(Fault { at, kind: FaultKind::Invalid(message) });
    }
    faults
}

#[cfg(test)]
mod tests {
    use job::{ObjectVersion, S3Location};

    use super::*;

    #[test]
    fn two_queries_never_write_one_file() {
        let query = |name: &str, file: &str| PlannedQuery {
            name: name.parse().unwrap(),
            sql: S3Location::new("acme-queries", "x.sql"),
            sql_version: ObjectVersion::default(),
            sql_bytes: 8,
            database: "default".to_owned(),
            file_name: file.parse().unwrap(),
        };
        let queries = [
            query("a/b", "1.csv"),
            query("a-b", "2.csv"),
            query("c", "3.csv"),
            query("d", "1.CSV"),
        ];
        let found: Vec<_> = collisions(queries.iter().enumerate())
            .into_iter()
            .map(|fault| (fault.at, format!("{:?}", fault.kind)))
            .collect();
        let expected = [
            (1, r#"Invalid("`a/b` and `a-b` would write the same file")"#.to_owned()),
            (3, r#"Invalid("`a/b` and `d` would both be called `1.CSV`")"#.to_owned()),
        ];
        assert_eq!(found, expected);
    }
}
