//! The index of queries: `query_index.json`.

use std::{collections::BTreeMap, str::FromStr};

use job::{FileTemplate, QueryName};
use serde::Deserialize;

/// What names stand for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    queries: BTreeMap<String, Entry>,
}

/// What one name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "EntryForm")]
pub(crate) struct Entry {
    /// The SQL file, below the prefix of the queries.
    pub(crate) file: String,
    /// The database, if it is not the job's.
    pub(crate) database: Option<String>,
    /// What the CSV is called, if not after the query.
    pub(crate) file_name: Option<FileTemplate>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EntryForm {
    File(String),
    Full(FullEntry),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullEntry {
    file: String,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    file_name: Option<FileTemplate>,
    #[serde(default, rename = "description")]
    _description: Option<String>,
}

impl From<EntryForm> for Entry {
    fn from(form: EntryForm) -> Self {
        match form {
            EntryForm::File(file) => Self::file(file),
            EntryForm::Full(FullEntry { file, database, file_name, .. }) => {
                Self { file, database, file_name }
            }
        }
    }
}

/// What is wrong with an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is not the JSON that was expected.
    #[error("at `{path}`")]
    Json {
        /// The place, as a path into the document.
        path: String,
        /// What is wrong there, with line and column.
        source: serde_json::Error,
    },
    /// An entry's file leaves the prefix.
    #[error("at `queries.{name}.file`: `{file}` leaves the prefix of the queries")]
    File {
        /// The entry.
        name: String,
        /// Its file.
        file: String,
    },
}

impl Index {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let index: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            IndexError::Json { path: error.path().to_string(), source: error.into_inner() }
        })?;
        reader.end().map_err(|source| IndexError::Json { path: ".".to_owned(), source })?;
        for (name, Entry { file, .. }) in &index.queries {
            // A file obeys the rules of a name: it can not leave the prefix either.
            if QueryName::from_str(file).is_err() {
                return Err(IndexError::File { name: name.clone(), file: file.clone() });
            }
        }
        Ok(index)
    }

    pub(crate) fn get(&self, name: &QueryName) -> Option<&Entry> {
        self.queries.get(name.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.queries.keys().map(String::as_str)
    }
}

impl Entry {
    pub(crate) fn file(file: String) -> Self {
        Self { file, database: None, file_name: None }
    }
}

#[cfg(test)]
mod tests {
    use job::error::Chain;

    use super::*;

    #[test]
    fn an_entry_is_a_file_or_says_more() {
        let json = br#"{"queries": {"a": "a.sql", "b": {"file": "x/b.sql", "database": "db", "file_name": "B_{date}.csv",
            "description": "b"}}}"#;
        let index = Index::parse(json).unwrap();
        assert_eq!(index.get(&"a".parse().unwrap()), Some(&Entry::file("a.sql".to_owned())));
        let b = index.get(&"b".parse().unwrap()).unwrap();
        assert_eq!(
            (b.file.as_str(), b.database.as_deref(), b.file_name.is_some()),
            ("x/b.sql", Some("db"), true)
        );
        assert_eq!(index.names().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let error = Index::parse(json.as_bytes()).unwrap_err();
        assert_eq!(Chain(&error).to_string(), expected);
    }

    #[test]
    fn an_index_that_does_not_parse_says_where() {
        check("{\"queries\": {\n  \"a\" 1}}", "at `queries`: expected `:` at line 2 column 7");
        check("{}", "at `.`: missing field `queries` at line 1 column 2");
        check(
            r#"{"queries": {"a": "../secret.sql"}}"#,
            "at `queries.a.file`: `../secret.sql` leaves the prefix of the queries",
        );
    }
}
