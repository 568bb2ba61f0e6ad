//! What kind of statement a query is, by its first words.

use crate::page::Form;

/// The values of `StatementType` and `SubstatementType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatementType {
    pub(crate) name: &'static str,
    pub(crate) detail: Option<&'static str>,
}

const DML: &str = "DML";
const DDL: &str = "DDL";
const UTILITY: &str = "UTILITY";

impl StatementType {
    /// Classifies a query without parsing it.
    pub(crate) fn of(query: &str) -> Self {
        let words = first_words(query);
        let word = |index: usize| words.get(index).map_or("", String::as_str);
        let (name, detail) = match (word(0), word(1)) {
            ("SELECT" | "WITH" | "VALUES" | "TABLE" | "", _) => (DML, Some("SELECT")),
            ("INSERT", _) => (DML, Some("INSERT")),
            ("UPDATE", _) => (DML, Some("UPDATE")),
            ("DELETE", _) => (DML, Some("DELETE")),
            ("MERGE", _) => (DML, Some("MERGE")),
            ("UNLOAD", _) => (DML, Some("UNLOAD")),
            ("EXECUTE", _) => (DML, Some("EXECUTE")),
            ("EXPLAIN", _) => (UTILITY, Some("EXPLAIN")),
            ("DESCRIBE" | "DESC", _) => (UTILITY, Some("DESCRIBE")),
            ("SHOW", "TABLES") => (UTILITY, Some("SHOW_TABLES")),
            ("SHOW", "DATABASES" | "SCHEMAS") => (UTILITY, Some("SHOW_DATABASES")),
            ("SHOW", "COLUMNS") => (UTILITY, Some("SHOW_COLUMNS")),
            ("SHOW", _) => (UTILITY, Some("SHOW")),
            ("CREATE", "TABLE") if words.iter().any(|word| word == "AS") => {
                (DDL, Some("CREATE_TABLE_AS_SELECT"))
            }
            ("CREATE", "TABLE" | "EXTERNAL") => (DDL, Some("CREATE_TABLE")),
            ("CREATE", "DATABASE" | "SCHEMA") => (DDL, Some("CREATE_DATABASE")),
            ("CREATE", "VIEW" | "OR") => (DDL, Some("CREATE_VIEW")),
            ("DROP", "TABLE") => (DDL, Some("DROP_TABLE")),
            ("DROP", "DATABASE" | "SCHEMA") => (DDL, Some("DROP_DATABASE")),
            ("DROP", "VIEW") => (DDL, Some("DROP_VIEW")),
            ("CREATE" | "DROP" | "ALTER" | "MSCK" | "PREPARE" | "DEALLOCATE", _) => (DDL, None),
            _ => (DML, None),
        };
        Self { name, detail }
    }

    /// How the result object of such a statement is written.
    pub(crate) fn form(self) -> Form {
        let is_table = self.name == DML || self.detail == Some("CREATE_TABLE_AS_SELECT");
        if is_table { Form::Csv } else { Form::Lines }
    }
}

/// Words looked at, enough for `CREATE TABLE name AS`.
const WORDS_MAX: usize = 8;

/// The first words in capitals, past comments and punctuation.
fn first_words(query: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = query;
    while words.len() < WORDS_MAX {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || "();,\"".contains(c));
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            let is_end = |c: char| c.is_whitespace() || "();,\"-/*".contains(c);
            let end = rest.find(is_end).unwrap_or(rest.len());
            if rest.is_empty() {
                break;
            }
            words.push(rest[..end].to_uppercase());
            rest = rest.get(end.max(1)..).unwrap_or("");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, name: &str, detail: Option<&str>) {
        let found = StatementType::of(query);
        assert_eq!((found.name, found.detail), (name, detail), "{query}");
    }

    #[test]
    fn a_statement_is_known_by_its_first_words() {
        check("SELECT 1", DML, Some("SELECT"));
        check("-- why\n/* and how */ (with x as (select 1) select * from x)", DML, Some("SELECT"));
        check("show tables in tpch", UTILITY, Some("SHOW_TABLES"));
        check("create table x as select 1", DDL, Some("CREATE_TABLE_AS_SELECT"));
        check("create external table x (a int)", DDL, Some("CREATE_TABLE"));
        check("drop\ntable x", DDL, Some("DROP_TABLE"));
        check("é", DML, None);
        check("-- nothing else", DML, Some("SELECT"));
    }
}
