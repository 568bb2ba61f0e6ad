//! `SHOW` and `DESCRIBE`: statements about the catalog.

use datafusion::catalog::SchemaProvider as _;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::catalog::DataDir;
use crate::columns::{Column, hive_type};
use crate::execution::Request;
use crate::failure::{Failure, Kind, Position};

/// A statement about the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Databases { pattern: Option<String> },
    Tables { database: Option<String>, pattern: Option<String> },
    Columns { database: Option<String>, table: String },
    Describe { database: Option<String>, table: String },
}

/// The lines that a statement answers with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) columns: Vec<Column>,
    pub(crate) lines: Vec<String>,
}

/// Reads the words of a statement one after another.
struct Words<'a> {
    tokens: Vec<&'a TokenWithSpan>,
    at: usize,
    end: Position,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    fn take_keyword(&mut self, any_of: &[&str]) -> bool {
        let found = match self.peek() {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                any_of.iter().any(|keyword| word.value.eq_ignore_ascii_case(keyword))
            }
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn take_string(&mut self) -> Option<String> {
        let Some(Token::SingleQuotedString(text)) = self.peek() else { return None };
        self.at += 1;
        Some(text.clone())
    }

    fn name(&mut self) -> Result<String, Failure> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word.value.to_lowercase())
            }
            _ => Err(self.unexpected("<identifier>")),
        }
    }

    fn table_name(&mut self) -> Result<(Option<String>, String), Failure> {
        let first = self.name()?;
        if self.peek() != Some(&Token::Period) {
            return Ok((None, first));
        }
        self.at += 1;
        Ok((Some(first), self.name()?))
    }

    fn unexpected(&self, expected: &str) -> Failure {
        let Some(token) = self.tokens.get(self.at) else {
            let message = format!("mismatched input '<EOF>'. Expecting: {expected}");
            return Failure::syntax(self.end, message);
        };
        let start = token.span.start;
        let at = Position { line: start.line, column: start.column };
        let message = format!("mismatched input '{}'. Expecting: {expected}", token.token);
        Failure::syntax(at, message)
    }
}

impl Show {
    /// Parses the statement if it begins with `SHOW`, `DESCRIBE` or `DESC`.
    pub(crate) fn parse(tokens: &[TokenWithSpan], end: Position) -> Result<Option<Self>, Failure> {
        let is_word = |token: &&TokenWithSpan| {
            !matches!(token.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF)
        };
        let mut words = Words { tokens: tokens.iter().filter(is_word).collect(), at: 0, end };
        let show = if words.take_keyword(&["describe", "desc"]) {
            if words.take_keyword(&["extended", "formatted"]) {
                return Err(unsupported("DESCRIBE EXTENDED"));
            }
            let (database, table) = words.table_name()?;
            Self::Describe { database, table }
        } else if words.take_keyword(&["show"]) {
            Self::parse_show(&mut words)?
        } else {
            return Ok(None);
        };
        if words.peek().is_some() {
            return Err(words.unexpected("<EOF>"));
        }
        Ok(Some(show))
    }

    fn parse_show(words: &mut Words) -> Result<Self, Failure> {
        if words.take_keyword(&["databases", "schemas"]) {
            words.take_keyword(&["like"]);
            return Ok(Self::Databases { pattern: words.take_string() });
        }
        if words.take_keyword(&["tables"]) {
            let database =
                if words.take_keyword(&["in", "from"]) { Some(words.name()?) } else { None };
            words.take_keyword(&["like"]);
            return Ok(Self::Tables { database, pattern: words.take_string() });
        }
        if words.take_keyword(&["columns"]) {
            if !words.take_keyword(&["in", "from"]) {
                return Err(words.unexpected("'FROM', 'IN'"));
            }
            let (mut database, table) = words.table_name()?;
            if words.take_keyword(&["in", "from"]) {
                database = Some(words.name()?);
            }
            return Ok(Self::Columns { database, table });
        }
        let what = words.peek().map(ToString::to_string).unwrap_or_default();
        Err(unsupported(&format!("SHOW {what}")))
    }
}

fn unsupported(what: &str) -> Failure {
    let message = format!("{} is not supported by the local endpoint", what.trim());
    Failure::new(Kind::NotSupported, message)
}

/// Answers a statement.
pub(crate) async fn run(show: &Show, data: &DataDir, request: &Request) -> Result<Output, Failure> {
    let of_request = request.database.as_deref().unwrap_or("default").to_lowercase();
    let open = |database: &Option<String>| {
        let name = database.as_deref().unwrap_or(&of_request);
        data.database(name).ok_or_else(|| {
            Failure::new(Kind::SchemaNotFound, format!("Schema '{name}' does not exist"))
        })
    };
    let text = |names: &[&str]| names.iter().map(|name| Column::text(name)).collect();
    match show {
        Show::Databases { pattern } => Ok(Output {
            columns: text(&["database_name"]),
            lines: filter(data.databases(), pattern.as_deref())?,
        }),
        Show::Tables { database, pattern } => Ok(Output {
            columns: text(&["tab_name"]),
            lines: filter(open(database)?.tables(), pattern.as_deref())?,
        }),
        Show::Columns { database, table } => {
            let fields = fields(&open(database)?, table).await?;
            let lines = fields.into_iter().map(|(name, _)| format!("{name:<20}")).collect();
            Ok(Output { columns: text(&["field"]), lines })
        }
        Show::Describe { database, table } => {
            let fields = fields(&open(database)?, table).await?;
            let line = |(name, kind)| format!("{name:<20}\t{kind:<20}\t{:<20}", "");
            Ok(Output {
                columns: text(&["col_name", "data_type", "comment"]),
                lines: fields.into_iter().map(line).collect(),
            })
        }
    }
}

/// The names and types of a table's columns.
async fn fields(
    database: &crate::catalog::Database,
    table: &str,
) -> Result<Vec<(String, String)>, Failure> {
    let found = database.table(table).await?.ok_or_else(|| {
        Failure::new(Kind::TableNotFound, format!("Table '{table}' does not exist"))
    })?;
    let schema = found.schema();
    let fields = schema.fields().iter();
    Ok(fields.map(|field| (field.name().clone(), hive_type(field.data_type()))).collect())
}

/// The names that match Hive's pattern: `*` for any text, `|` between choices.
fn filter(names: Vec<String>, pattern: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(pattern) = pattern else { return Ok(names) };
    if pattern.contains(|c: char| !c.is_alphanumeric() && !"_*|.".contains(c)) {
        let message =
            format!("the pattern `{pattern}` is not supported: only `*`, `.*` and `|` are");
        return Err(Failure::new(Kind::NotSupported, message));
    }
    let pattern = pattern.to_lowercase().replace(".*", "*");
    let choices: Vec<&str> = pattern.split('|').collect();
    let matches = |name: &String| choices.iter().any(|choice| matches_stars(choice, name));
    Ok(names.into_iter().filter(matches).collect())
}

fn matches_stars(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.any(|at| matches_stars(tail, &rest[at..]))
        }),
    }
}
