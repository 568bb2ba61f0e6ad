//! The index of queries: `query_index.json`.

use std::collections::BTreeMap;

use job::{FileTemplate, Problem, Problems, QueryName, document};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::fault;

/// What names stand for.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) queries: BTreeMap<QueryName, Entry>,
}

/// What one name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "EntryForm")]
#[schemars(with = "FullEntry")]
pub(crate) struct Entry {
    /// The SQL file, below the prefix of the queries.
    pub(crate) file: String,
    /// The database, if it is not the job's.
    pub(crate) database: Option<String>,
    /// What the CSV is called, if not after the query.
    pub(crate) file_name: Option<FileTemplate>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Document {
    queries: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EntryForm {
    File(String),
    Full(FullEntry),
}

/// Its schema is that of both forms: what a schema says of fields does not concern a string.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"]))]
struct FullEntry {
    file: String,
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
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
    /// It is not JSON.
    #[error("it is not JSON")]
    Json(#[source] serde_json::Error),
    /// It does not say what it must.
    #[error("{0}")]
    Document(Problems),
}

impl Index {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let document = document::parse(bytes).map_err(IndexError::Json)?;
        let mut problems = name_problems(&document);
        let read = document::read::<Document>(&document, "$");
        if let Err(Problems(found)) = &read {
            problems.extend_from_slice(found);
        }
        match read {
            Ok(Document { queries }) if problems.is_empty() => {
                let parsed = |(name, entry): (String, Entry)| Some((name.parse().ok()?, entry));
                Ok(Self { queries: queries.into_iter().filter_map(parsed).collect() })
            }
            _ => {
                problems.sort_by(|a, b| a.path.cmp(&b.path));
                Err(IndexError::Document(fault::shortened(problems, "$")))
            }
        }
    }
}

impl Entry {
    pub(crate) fn file(file: String) -> Self {
        Self { file, database: None, file_name: None }
    }
}

/// What a schema can not say: whether the keys are names, and where the files are.
fn name_problems(document: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, entry) in document["queries"].as_object().into_iter().flatten() {
        let path = format!("$.queries.{name}");
        match name.parse::<QueryName>() {
            Err(error) => problems.push(Problem { path: path.clone(), message: error.to_string() }),
            Ok(name) if name.is_pattern() => {
                let message =
                    format!("`{name}` is a pattern, which stands for the names of other entries");
                problems.push(Problem { path: path.clone(), message });
            }
            Ok(_) => {}
        }
        let (path, file) = match entry {
            Value::String(file) => (path, Some(file.as_str())),
            _ => (format!("{path}.file"), entry["file"].as_str()),
        };
        // A file obeys the rules of a name: it can not leave the prefix either.
        if let Some(Err(error)) = file.map(str::parse::<QueryName>) {
            let message = format!("a file obeys the rules of a query's name: {error}");
            problems.push(Problem { path, message });
        }
    }
    problems
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
        let full = Entry {
            file: "x/b.sql".to_owned(),
            database: Some("db".to_owned()),
            file_name: Some("B_{date}.csv".parse().unwrap()),
        };
        let entries: Vec<_> = index.queries.into_iter().collect();
        assert_eq!(
            entries,
            [("a".parse().unwrap(), Entry::file("a.sql".to_owned())), ("b".parse().unwrap(), full)]
        );
    }

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let error = Index::parse(json.as_bytes()).unwrap_err();
        assert_eq!(Chain(&error).to_string(), expected);
    }

    #[test]
    fn an_index_that_is_no_json_says_where() {
        check("{\"queries\": {\n  \"a\" 1}}", "it is not JSON: expected `:` at line 2 column 7");
    }

    #[test]
    fn a_fault_in_an_entry_names_its_field() {
        check("{}", "$.queries: the field `queries` is missing");
        check("[]", "$: expected object, found array");
        check(
            r#"{"queries": {"a": "../secret.sql"}}"#,
            "$.queries.a: a file obeys the rules of a query's name: `../secret.sql` is not a query name: a part \
             between its slashes is empty, `.` or `..`, so it would leave the prefix",
        );
        check(
            r#"{"queries": {"a": {"file": "a.sql", "filename": "A.csv"}}}"#,
            "$.queries.a.filename: unknown field `filename`; did you mean `file_name`?",
        );
        check(
            r#"{"queries": {"a": {"file": "a.sql", "database": ""}}}"#,
            "$.queries.a.database: expected at least 1 characters",
        );
        check(
            r#"{"queries": {"users_*": "a.sql"}}"#,
            "$.queries.users_*: `users_*` is a pattern, which stands for the names of other entries",
        );
    }

    #[test]
    fn all_faults_of_an_index_are_reported_at_once() {
        check(
            r#"{"queries": {"a": {"file": "/a.sql", "file_name": "{day}.csv"}, "b": 7, "c/": {"data": 1}}, "version": 1}"#,
            "$.queries.a.file: a file obeys the rules of a query's name: `/a.sql` is not a query name: it begins or ends \
             with `/`\n$.queries.a.file_name: `{day}` is not known here; expected `{run_id}`, `{date}` or `{query}`\n\
             $.queries.b: expected string or object, found number\n$.queries.c/: `c/` is not a query name: it begins \
             or ends with `/`\n$.queries.c/.data: unknown field `data`; did you mean `database`?\n$.queries.c/.file: \
             the field `file` is missing\n$.version: unknown field `version`; expected one of `queries`",
        );
    }
}
