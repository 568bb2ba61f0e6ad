//! `ExecutionParameters`: literals in the places of the query's `?`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Query, Value, VisitMut, VisitorMut, visit_expressions,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::dialect::AthenaDialect;
use crate::failure::{Failure, Kind};

/// Replaces every `?`, in the order of the text, by the parameter of its turn.
pub(super) fn bind(query: &mut Query, parameters: &[String]) -> Result<(), Failure> {
    let mut places = Vec::new();
    let _ = visit_expressions(query, |expr| {
        places.extend(placeholder(expr));
        ControlFlow::<()>::Continue(())
    });
    places.sort();
    if places.len() != parameters.len() {
        let message = format!(
            "Incorrect number of parameters: expected {} but found {}",
            places.len(),
            parameters.len()
        );
        return Err(Failure::new(Kind::Syntax, message));
    }
    let values = parameters.iter().map(|text| parse_literal(text)).collect::<Result<_, _>>()?;
    let _ = query.visit(&mut Binder { places, values });
    Ok(())
}

fn placeholder(expr: &Expr) -> Option<Location> {
    match expr {
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            Some(value.span.start)
        }
        _ => None,
    }
}

fn parse_literal(text: &str) -> Result<Expr, Failure> {
    let bad = || Failure::new(Kind::Syntax, format!("`{text}` is not a literal"));
    let mut parser = Parser::new(&AthenaDialect).try_with_sql(text).map_err(|_| bad())?;
    let expr = parser.parse_expr().map_err(|_| bad())?;
    let is_whole = parser.peek_token().token == Token::EOF;
    let is_literal = match &expr {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::UnaryOp { expr, .. } => matches!(expr.as_ref(), Expr::Value(_)),
        _ => false,
    };
    (is_whole && is_literal).then_some(expr).ok_or_else(bad)
}

struct Binder {
    places: Vec<Location>,
    values: Vec<Expr>,
}

impl VisitorMut for Binder {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let index = placeholder(expr).and_then(|at| self.places.binary_search(&at).ok());
        if let Some(value) = index.and_then(|index| self.values.get(index)) {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}
