//! One SQL file is one statement.
//!
//! The tokenizer is that of [`sqlparser`], which knows where strings, quoted names and comments
//! begin and end. Nothing else is judged here: whether the statement is good SQL, Athena decides.

use std::fmt;

use sqlparser::{
    dialect::Dialect,
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};

/// What makes a file unfit to be a query, as the end of a sentence that begins with the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SqlFault {
    #[error("is not UTF-8 at byte {offset}")]
    Encoding { offset: usize },
    #[error(
        "begins with a byte order mark, which Athena refuses: save the file as UTF-8 without one"
    )]
    ByteOrderMark,
    #[error("is empty")]
    Empty,
    #[error("has no statement, only comments or `;`")]
    NoStatement,
    #[error("has a `;` before its statement, at {at}")]
    EarlySeparator { at: Position },
    #[error("has a second statement at {at}: a query is one statement")]
    SecondStatement { at: Position },
    #[error("opens {what} at {at} and never closes it")]
    Unterminated { what: &'static str, at: Position },
}

/// A place in a file, as an editor counts: from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// How many bytes of a file are its one statement, counted from the file's first byte.
///
/// After the statement there may be any number of `;`, white space and comments.
pub(crate) fn statement_bytes(file: &[u8]) -> Result<usize, SqlFault> {
    let text = std::str::from_utf8(file)
        .map_err(|error| SqlFault::Encoding { offset: error.valid_up_to() })?;
    if text.starts_with('\u{feff}') {
        return Err(SqlFault::ByteOrderMark);
    }
    if text.trim().is_empty() {
        return Err(SqlFault::Empty);
    }
    let text = as_the_tokenizer_reads(text);
    let trino = Reading::new(&text, Grammar::Trino);
    match trino.statement() {
        // Athena hands most of its DDL to Hive and the rest to Trino; a file is good if either
        // reading is.
        Err(fault) if trino.is_ddl() => {
            Reading::new(&text, Grammar::Hive).statement().map_err(|_| fault)
        }
        read => read,
    }
}

/// The text with its bytes where they were, but without what the tokenizer and Athena read
/// differently: CR alone ends a line in Athena, and a name after `].` may begin with `_`.
fn as_the_tokenizer_reads(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut read = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        read.push(match (c, chars.peek()) {
            ('\r', next) if next != Some(&'\n') => '\n',
            ('_', _) if read.ends_with('.') => 'x',
            _ => c,
        });
    }
    read
}

/// Whose rules hold for quotes.
#[derive(Clone, Copy, Debug)]
enum Grammar {
    /// `"` quotes a name, and a backslash is a character like others.
    Trino,
    /// `"` quotes a string, and a backslash in a string escapes what follows it.
    Hive,
}

impl Dialect for Grammar {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_'
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        match self {
            Self::Trino => matches!(c, '"' | '`'),
            Self::Hive => c == '`',
        }
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        matches!(self, Self::Hive)
    }

    /// Without it `$$` would quote.
    fn supports_dollar_placeholder(&self) -> bool {
        true
    }
}

/// A token that is neither white space nor a comment.
struct Part {
    is_separator: bool,
    start: Place,
    end: usize,
}

/// A [`Position`] with its byte.
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    position: Position,
}

impl Place {
    const START: Self = Self { offset: 0, position: Position { line: 1, column: 1 } };

    fn moved_to(mut self, text: &str, Location { line, column }: Location) -> Self {
        let mut chars = text[self.offset..].chars();
        while self.position < (Position { line, column })
            && let Some(c) = chars.next()
        {
            self.offset += c.len_utf8();
            if c == '\n' {
                self.position = Position { line: self.position.line + 1, column: 1 };
            } else {
                self.position.column += 1;
            }
        }
        self
    }
}

/// A file by the rules of one grammar.
struct Reading<'a> {
    text: &'a str,
    parts: Vec<Part>,
    fault: Option<SqlFault>,
}

impl<'a> Reading<'a> {
    fn new(text: &'a str, grammar: Grammar) -> Self {
        let mut tokens = Vec::new();
        let read = Tokenizer::new(&grammar, text)
            .with_unescape(false)
            .tokenize_with_location_into_buf(&mut tokens);
        let mut parts = Vec::new();
        let mut place = Place::START;
        for TokenWithSpan { token, span } in tokens {
            let start = place;
            place = place.moved_to(text, span.end);
            if !matches!(token, Token::Whitespace(_)) {
                let is_separator = token == Token::SemiColon;
                parts.push(Part { is_separator, start, end: place.offset });
            }
        }
        let mut fault = None;
        if read.is_err() {
            if let Some(what) = unterminated(&text[place.offset..]) {
                fault = Some(SqlFault::Unterminated { what, at: place.position });
            } else {
                // What only the tokenizer dislikes goes to Athena as it is.
                let end = text.trim_end().len();
                parts = vec![Part { is_separator: false, start: Place::START, end }];
            }
        }
        Self { text, parts, fault }
    }

    /// Where the one statement ends.
    fn statement(&self) -> Result<usize, SqlFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let is_separator = |part: &Part| part.is_separator;
        let end = self.parts.iter().position(is_separator).unwrap_or(self.parts.len());
        let later = self.parts[end..].iter().find(|part| !part.is_separator);
        match (self.parts[..end].last(), later) {
            (None, None) => Err(SqlFault::NoStatement),
            (None, Some(_)) => Err(SqlFault::EarlySeparator { at: self.parts[0].start.position }),
            (Some(_), Some(second)) => Err(SqlFault::SecondStatement { at: second.start.position }),
            (Some(last), None) => Ok(last.end),
        }
    }

    fn is_ddl(&self) -> bool {
        const WORDS: [&str; 7] = ["alter", "create", "desc", "describe", "drop", "msck", "show"];
        self.parts.first().is_some_and(|Part { start, end, .. }| {
            let word = &self.text[start.offset..*end];
            WORDS.iter().any(|ddl| ddl.eq_ignore_ascii_case(word))
        })
    }
}

/// What is opened by the token that the tokenizer could not read.
fn unterminated(rest: &str) -> Option<&'static str> {
    let quoted = rest.strip_prefix(['n', 'N', 'x', 'X']).unwrap_or(rest);
    match quoted.as_bytes() {
        [b'\'', ..] => Some("a string"),
        [b'"' | b'`', ..] => Some("a quoted name"),
        [b'/', b'*', ..] => Some("a comment"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(file: &str, expected: Result<&str, &str>) {
        let found = statement_bytes(file.as_bytes());
        let found = found.map(|bytes| &file[..bytes]).map_err(|fault| fault.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{file:?}");
    }

    #[track_caller]
    fn check_whole(file: &str) {
        check(file, Ok(file));
    }

    #[test]
    fn what_follows_the_statement_is_not_sent() {
        for after in ["", ";", " ;\n", ";;; ;", " -- done", ";\n-- done\n", "/* ; */;/* \n */\n"] {
            check(&format!("SELECT 1{after}"), Ok("SELECT 1"));
        }
        check("-- first\n\n  SELECT 1; ", Ok("-- first\n\n  SELECT 1"));
    }

    #[test]
    fn a_separator_in_quotes_or_a_comment_is_none() {
        check_whole("SELECT ';', 'it''s; fine', \"a;\"\"b\", `c;`");
        check_whole("SELECT 1 -- one; two\n, 2 /* a; ' /* b */, 3");
        check_whole("SELECT 1 -- one; two\r, 2");
        check_whole("SELECT '-- ;', '/* ;' FROM t");
        check_whole("SELECT N'a;', X'00;', U&'\\0041;', 1 - -1");
    }

    #[test]
    fn what_only_athena_can_judge_is_one_statement() {
        check(
            "SELECT items[1]._id, $1, $$, #, 10_000, é.ü, ?; ",
            Ok("SELECT items[1]._id, $1, $$, #, 10_000, é.ü, ?"),
        );
        check_whole("SELEC \\ @ { } ~ | ^ ! [ 0x 1e 1._a");
        check_whole("SELECT split(a, '\\') AS b, '\\'");
    }

    #[test]
    fn ddl_may_escape_quotes_as_hive_does() {
        check(
            "CREATE EXTERNAL TABLE t (a string) WITH SERDEPROPERTIES ('quoteChar' = '\\'', \"escape\" = \"\\\";\");",
            Ok(
                "CREATE EXTERNAL TABLE t (a string) WITH SERDEPROPERTIES ('quoteChar' = '\\'', \"escape\" = \"\\\";\")",
            ),
        );
        check("create view v as select '\\' a;", Ok("create view v as select '\\' a"));
        check("SELECT '\\';'a", Err("opens a string at line 1, column 12 and never closes it"));
    }

    #[test]
    fn a_second_statement_is_refused_with_its_place() {
        check(
            "SELECT 1;\n\n  -- and\n  SELECT 2;",
            Err("has a second statement at line 4, column 3: a query is one statement"),
        );
        check(
            "SELECT 'ä\n';SELECT 2",
            Err("has a second statement at line 2, column 3: a query is one statement"),
        );
        check(
            "DROP TABLE a; DROP TABLE b",
            Err("has a second statement at line 1, column 15: a query is one statement"),
        );
        check(";SELECT 1", Err("has a `;` before its statement, at line 1, column 1"));
    }

    #[test]
    fn what_is_never_closed_is_refused_with_its_place() {
        for (file, expected) in [
            ("SELECT\r\n 'a", "opens a string at line 2, column 2 and never closes it"),
            ("SELECT N'a", "opens a string at line 1, column 8 and never closes it"),
            ("SELECT \"a", "opens a quoted name at line 1, column 8 and never closes it"),
            ("SELECT `a", "opens a quoted name at line 1, column 8 and never closes it"),
            ("SELECT 1 /* a\n", "opens a comment at line 1, column 10 and never closes it"),
        ] {
            check(file, Err(expected));
        }
    }

    #[test]
    fn a_file_without_a_statement_is_refused() {
        check("", Err("is empty"));
        check(" \r\n\t", Err("is empty"));
        for file in [";", "-- later", "/* SELECT 1 */ ;;\n"] {
            check(file, Err("has no statement, only comments or `;`"));
        }
    }

    #[test]
    fn a_file_is_utf_8_without_a_byte_order_mark() {
        let fault = statement_bytes(b"SELECT '\xe4'").unwrap_err();
        assert_eq!(fault.to_string(), "is not UTF-8 at byte 8");
        let expected = "begins with a byte order mark, which Athena refuses: save the file as UTF-8 without one";
        check("\u{feff}SELECT 1", Err(expected));
    }

    fn blank() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            " ",
            "\n",
            "\r\n",
            "\t",
            "\r",
            "-- it's; \"`\n",
            "--\r",
            "/* ; ' \" ` -- */",
            "/**/",
        ]);
        prop::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat())
    }

    fn statement() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec![
            "SELECT",
            "x",
            "n",
            "é",
            "1.5e3",
            "'a;'",
            "''",
            "'''--'",
            "'/*\n'",
            "'\\'",
            "\";\"\"\"",
            "`;'`",
            "(",
            ".",
            "*",
            "<>",
            "_a",
            "$1",
        ]);
        // Blanks of at least one space keep two tokens from becoming another one.
        let step = (token, blank()).prop_map(|(token, blank)| format!("{token} {blank}"));
        prop::collection::vec(step, 1..6).prop_map(|steps| steps.concat())
    }

    fn kind(found: &Result<usize, SqlFault>) -> &'static str {
        match found {
            Ok(_) => "one",
            Err(SqlFault::Empty | SqlFault::NoStatement) => "none",
            Err(SqlFault::EarlySeparator { .. }) => "late",
            Err(SqlFault::SecondStatement { .. }) => "several",
            Err(_) => "unreadable",
        }
    }

    proptest! {
        #[test]
        fn statements_are_counted(
            parts in prop::collection::vec((blank(), prop::option::of(statement())), 0..5),
        ) {
            let texts = parts.iter().map(|(blank, text)| format!("{blank}{}", text.as_deref().unwrap_or_default()));
            let file = texts.collect::<Vec<_>>().join(";");
            let filled: Vec<usize> =
                (0..parts.len()).filter(|&i| parts[i].1.is_some()).collect();
            let expected = match filled[..] {
                [] => "none",
                [0] => "one",
                [0, ..] => "several",
                _ => "late",
            };
            let found = statement_bytes(file.as_bytes());
            prop_assert_eq!(kind(&found), expected, "{:?} {:?}", file, found);
        }

        #[test]
        fn a_statement_ends_with_its_last_token(before in blank(), text in statement(), end in "[a-z]{1,5}|'[;a-z]*'", after in blank()) {
            let sent = format!("{before}{text}{end}");
            for file in [format!("{sent}{after}"), format!("{sent};{after}"), format!("{sent} {after};{after};")] {
                prop_assert_eq!(statement_bytes(file.as_bytes()), Ok(sent.len()), "{:?}", file);
            }
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            if let Ok(bytes) = statement_bytes(text.as_bytes()) {
                prop_assert!(text.is_char_boundary(bytes) && bytes > 0);
            }
        }
    }
}
