//! Why a query gave no CSV.

use aws_io::{
    Failure, StorageError, athena::AthenaError, run_files::RunFileError,
    step_functions::StepFunctionsError,
};
use job::{
    ErrorName, QueryName, S3Location, record::Failure as RecordedFailure, states::PlannedQuery,
};

use crate::{Call, CsvError};

/// Why a query gave no CSV.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The SQL is not the one that the run was planned with.
    #[error("the SQL of query `{query}` changed after the run was planned; start the run again")]
    Changed {
        /// The query.
        query: QueryName,
        /// What S3 said.
        source: StorageError,
    },
    /// The SQL is not text, or shorter than the plan says.
    #[error("the SQL of query `{query}` is not the UTF-8 text that was planned")]
    NotText {
        /// The query.
        query: QueryName,
    },
    /// Athena was not reached, failed, or does not permit it.
    #[error("running query `{query}`")]
    Athena {
        /// The query.
        query: QueryName,
        /// What Athena said.
        source: AthenaError,
    },
    /// Athena failed the query for good.
    #[error("query `{query}` failed in Athena, {place}: {reason}")]
    Failed {
        /// The query.
        query: QueryName,
        /// Where its fault is.
        place: Place,
        /// Athena's own text.
        reason: String,
    },
    /// Somebody cancelled the query.
    #[error("query `{query}` was cancelled: {reason}")]
    Cancelled {
        /// The query.
        query: QueryName,
        /// Athena's own text, or that the run was stopped.
        reason: String,
    },
    /// The query ran longer than the job allows.
    #[error(
        "query `{query}` was cancelled after {minutes} minutes; a longer time is given by `query_timeout_minutes`"
    )]
    TimedOut {
        /// The query.
        query: QueryName,
        /// The time that it had.
        minutes: u32,
    },
    /// Athena failed the query in a way that may pass.
    #[error("query `{query}` failed in Athena for now: {reason}")]
    FailedForNow {
        /// The query.
        query: QueryName,
        /// Athena's own text.
        reason: String,
    },
    /// The query has not ended yet.
    #[error("query `{query}` has not ended")]
    NotEnded {
        /// The query.
        query: QueryName,
    },
    /// The query failed in an earlier call.
    #[error("{}", failure.cause)]
    Recorded {
        /// Its failure.
        failure: RecordedFailure,
    },
    /// The records of the run cannot be used.
    #[error("query `{query}`")]
    Records {
        /// The query.
        query: QueryName,
        /// Error of the records.
        source: RunFileError,
    },
    /// The callback could not be answered.
    #[error("query `{query}` has ended")]
    Callback {
        /// The query.
        query: QueryName,
        /// Error of Step Functions.
        source: StepFunctionsError,
    },
    /// The function does not know where callbacks are kept.
    #[error(
        "the setting `STATE_BUCKET` is missing: this deployment writes results and starts no query"
    )]
    NoStateBucket,
    /// The statement has no rows to deliver.
    #[error(
        "query `{query}` has no result set: Athena wrote `{output_location}`; only statements that return rows can be delivered"
    )]
    NoResultSet {
        /// The query.
        query: QueryName,
        /// What Athena wrote.
        output_location: String,
    },
    /// The result object is not what Athena writes.
    #[error("reading the result of query `{query}`")]
    Result {
        /// The query.
        query: QueryName,
        /// What is wrong with it.
        source: CsvError,
    },
    /// S3 failed.
    #[error("query `{query}`")]
    Storage {
        /// The query.
        query: QueryName,
        /// What happened.
        source: StorageError,
    },
}

impl ExecuteError {
    /// Returns whether the query has failed for good. A run that is not ours, or not any more, keeps
    /// its records as they are, and a callback that cannot be answered is no failure of the query.
    pub(crate) fn is_final(&self) -> bool {
        let is_of_query = !matches!(self, Self::Records { .. } | Self::Callback { .. });
        is_of_query && !self.name().is_retryable()
    }

    /// The failure of a query, with the place in its file that Athena's text names.
    pub(crate) fn failed(query: &PlannedQuery, reason: String) -> Self {
        let place = Place { file: query.sql.clone(), position: Position::find(&reason) };
        Self::Failed { query: query.name.clone(), place, reason }
    }
}

impl Failure for ExecuteError {
    fn name(&self) -> ErrorName {
        match self {
            Self::Changed { .. } => ErrorName::QueryChanged,
            Self::NotText { .. } | Self::NoResultSet { .. } => ErrorName::QueryInvalid,
            Self::Athena { source, .. } => source.name(),
            Self::Failed { .. } => ErrorName::QueryFailed,
            Self::TimedOut { .. } => ErrorName::QueryTimedOut,
            Self::FailedForNow { .. } | Self::NotEnded { .. } => ErrorName::QueryUnavailable,
            Self::Recorded { failure } => failure.error.parse().unwrap_or(ErrorName::QueryFailed),
            Self::Records { source, .. } => source.name(),
            Self::Callback { source, .. } => source.name(),
            Self::NoStateBucket => ErrorName::JobInvalid,
            Self::Cancelled { .. } => ErrorName::QueryCancelled,
            Self::Result { .. } => ErrorName::ResultInvalid,
            Self::Storage { source, .. } => source.name(),
        }
    }
}

impl Call<'_> {
    pub(crate) fn athena_failed(&self, source: AthenaError) -> ExecuteError {
        ExecuteError::Athena { query: self.query.name.clone(), source }
    }

    pub(crate) fn records_failed(&self, source: RunFileError) -> ExecuteError {
        ExecuteError::Records { query: self.query.name.clone(), source }
    }

    pub(crate) fn storage_failed(&self, source: StorageError) -> ExecuteError {
        in_storage(&self.query.name)(source)
    }
}

/// An error of S3 while `query` was at work.
pub(crate) fn in_storage(query: &QueryName) -> impl Fn(StorageError) -> ExecuteError + use<> {
    let query = query.clone();
    move |source| ExecuteError::Storage { query: query.clone(), source }
}

/// A place in a SQL file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: S3Location,
    /// Where in it, if Athena says so.
    pub position: Option<Position>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.position {
            Some(Position { line, column }) => {
                write!(f, "line {line}, column {column} of `{}`", self.file)
            }
            None => write!(f, "`{}`", self.file),
        }
    }
}

/// A line and a column, from 1. The SQL is sent from the beginning of its file, so that Athena's
/// positions are the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Position {
    /// The first `line 3:8` in a text of Athena.
    fn find(text: &str) -> Option<Self> {
        text.match_indices("line ").find_map(|(at, word)| {
            let (line, rest) = text[at + word.len()..].split_once(':')?;
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            Some(Self { line: line.parse().ok()?, column: rest[..digits].parse().ok()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_of_a_fault_is_taken_out_of_the_text_of_athena() {
        for (text, expected) in [
            ("line 3:8: Column 'x' cannot be resolved", Some((3, 8))),
            ("COLUMN_NOT_FOUND: line 12:140: Column 'line' cannot be resolved", Some((12, 140))),
            ("the line ended: line 1:2", Some((1, 2))),
            ("Query exhausted resources at this scale factor", None),
            ("line x:1", None),
            ("line 1:", None),
        ] {
            let found = Position::find(text).map(|position| (position.line, position.column));
            assert_eq!(found, expected, "{text}");
        }
    }
}
