//! Athena's SQL: from text to what DataFusion plans.

mod dialect;
mod names;
mod parameters;
mod rewrite;
mod supported;
mod tables;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

pub(crate) use names::{OutputName, resolve_names};
pub(crate) use tables::{check_tables, named_tables};

use crate::failure::{Failure, Kind, Position};
use crate::show::Show;
use dialect::AthenaDialect;

/// How deeply expressions and queries may nest.
const DEPTH_MAX: usize = 80;

/// A statement that can be run.
#[derive(Debug)]
pub(crate) enum Statement {
    Query(Box<Query>),
    Show(Show),
}

/// A query, rewritten so that DataFusion gives Athena's answer.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) ast: ast::Query,
    /// How the result's columns are named.
    pub(crate) names: Vec<OutputName>,
}

/// Parses the one statement of a text and puts the parameters in the places of its `?`.
pub(crate) fn parse(text: &str, parameters: &[String]) -> Result<Statement, Failure> {
    let end = end_of(text);
    let tokens = tokenize(text)?;
    if let Some(show) = Show::parse(&tokens, end)? {
        return Ok(Statement::Show(show));
    }
    let written = names::quoted_words(&tokens);
    let tokens: Vec<_> = tokens.into_iter().map(lower_quoted).collect();
    let mut statements = Parser::new(&AthenaDialect)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens.clone())
        .parse_statements()
        .map_err(|error| syntax_failure(&error, &tokens, end))?;
    let statement = statements.pop();
    if !statements.is_empty() {
        let message = format!("Only one sql statement is allowed. Got: {}", statements.len() + 1);
        return Err(Failure::syntax(Position { line: 1, column: 1 }, message));
    }
    let mut query = match statement {
        Some(ast::Statement::Query(query)) => *query,
        Some(other) => return Err(unsupported_statement(&other)),
        None => {
            let message = "mismatched input '<EOF>'. Expecting: <query>";
            return Err(Failure::syntax(end, message));
        }
    };
    parameters::bind(&mut query, parameters)?;
    supported::check(&query)?;
    let names = names::output_names(&query, &written);
    rewrite::rewrite(&mut query)?;
    Ok(Statement::Query(Box::new(Query { ast: query, names })))
}

fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>, Failure> {
    let tokens = Tokenizer::new(&AthenaDialect, text).tokenize_with_location();
    tokens.map_err(|error| {
        let at = position(error.location).unwrap_or_else(|| end_of(text));
        Failure::syntax(at, format!("mismatched input: {}", error.message))
    })
}

/// Quoted names are as little case-sensitive as the others.
fn lower_quoted(mut token: TokenWithSpan) -> TokenWithSpan {
    if let Token::Word(word) = &mut token.token
        && word.quote_style.is_some()
    {
        word.value = word.value.to_lowercase();
    }
    token
}

fn unsupported_statement(statement: &ast::Statement) -> Failure {
    let text = statement.to_string();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let message = format!("{} is not supported by the local endpoint", words.join(" "));
    Failure::new(Kind::NotSupported, message)
}

pub(crate) fn position(location: Location) -> Option<Position> {
    (location.line > 0).then_some(Position { line: location.line, column: location.column })
}

/// The position after the last character.
fn end_of(text: &str) -> Position {
    let line = text.split('\n').count() as u64;
    let last = text.rsplit('\n').next().unwrap_or_default();
    Position { line, column: last.chars().count() as u64 + 1 }
}

/// Athena's words for the parser's error.
fn syntax_failure(error: &ParserError, tokens: &[TokenWithSpan], end: Position) -> Failure {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return Failure::new(Kind::NotSupported, "the statement nests too deeply");
        }
    };
    let (text, at) = match text.rsplit_once(" at Line: ") {
        Some((text, place)) => (text, parse_place(place).unwrap_or(end)),
        None => (text, end),
    };
    let expected = text.strip_prefix("Expected: ").or_else(|| text.strip_prefix("Expected "));
    match expected.and_then(|text| text.rsplit_once(", found: ")) {
        Some((expected, "EOF")) => {
            Failure::syntax(end, format!("mismatched input '<EOF>'. Expecting: {expected}"))
        }
        Some((expected, found)) => {
            let at = last_place(tokens, found, at).unwrap_or(at);
            Failure::syntax(at, format!("mismatched input '{found}'. Expecting: {expected}"))
        }
        None => Failure::syntax(at, text),
    }
}

/// Where a token last begins, up to a position: the parser may name one and point at the next.
fn last_place(tokens: &[TokenWithSpan], text: &str, until: Position) -> Option<Position> {
    let places = tokens.iter().rev().filter(|token| token.token.to_string() == text);
    let mut places = places.filter_map(|token| position(token.span.start));
    places.find(|at| *at <= until)
}

fn parse_place(place: &str) -> Option<Position> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Position { line: line.parse().ok()?, column: column.parse().ok()? })
}
