//! What can be wrong with one query, and how all of it is told.

use aws_io::StorageError;
use job::{Problem, Problems, QueryName, S3Location};

use crate::{LoadError, catalog::Catalog};

/// How many problems are told one by one. Step Functions keeps 32,768 characters of an error.
const PROBLEMS_MAX: usize = 100;

/// What is wrong with one of a job's names.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Which name of the job it is, from 0.
    pub(crate) at: usize,
    /// What is wrong with it.
    pub(crate) kind: FaultKind,
}

#[derive(Debug)]
pub(crate) enum FaultKind {
    /// There is no such name.
    Unknown(QueryName),
    /// No name matches the pattern.
    Unmatched(QueryName),
    /// The index has the name, but its file is not there.
    NoFile(QueryName, S3Location),
    /// It is there and can not be used.
    Invalid(String),
}

/// All faults as one error, in the order of the job's names.
pub(crate) async fn report(
    catalog: &Catalog<'_>,
    mut faults: Vec<Fault>,
) -> Result<LoadError, StorageError> {
    faults.sort_by_key(|fault| fault.at);
    let missing = faults.iter().any(|fault| !matches!(fault.kind, FaultKind::Invalid(_)));
    let mut problems = Vec::with_capacity(faults.len());
    for Fault { at, kind } in faults {
        // To look for what is near takes time: it is done for what is told.
        let hint = match &kind {
            FaultKind::Unknown(name) | FaultKind::Unmatched(name)
                if problems.len() < PROBLEMS_MAX =>
            {
                catalog.hint(name).await?
            }
            _ => String::new(),
        };
        let message = match kind {
            FaultKind::Unknown(name) => {
                format!("there is no query `{name}` {}{hint}", catalog.place())
            }
            FaultKind::Unmatched(pattern) => {
                format!("no query {} matches `{pattern}`{hint}", catalog.place())
            }
            FaultKind::NoFile(name, file) => {
                format!("the SQL of `{name}` is missing: there is no object `{file}`")
            }
            FaultKind::Invalid(message) => message,
        };
        problems.push(Problem { path: format!("$.query_names[{at}]"), message });
    }
    let problems = shortened(problems, "$.query_names");
    Ok(if missing { LoadError::NotFound(problems) } else { LoadError::Invalid(problems) })
}

/// The first problems, and how many more there are at `at`.
pub(crate) fn shortened(mut problems: Vec<Problem>, at: &str) -> Problems {
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    if more > 0 {
        problems.truncate(PROBLEMS_MAX);
        let message = format!("{more} more problems are not listed");
        problems.push(Problem { path: at.to_owned(), message });
    }
    Problems(problems)
}
