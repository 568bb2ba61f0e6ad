//! What the columns of a result are called.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

/// The name of one item of the outermost `SELECT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputName {
    /// As the query writes it, capitals and all.
    Written(String),
    /// No name: Athena numbers it.
    Unnamed,
    /// `*`: as many as there are, named as in the table.
    Wildcard,
}

/// Begins the names that columns without one have inside DataFusion.
pub(super) const UNNAMED: &str = "$unnamed";
/// Begins the names of columns whose name an earlier column has; the name follows after a colon.
pub(super) const REPEATED: &str = "$repeated";

/// The quoted words of a text as they are written, by where they begin.
pub(super) fn quoted_words(tokens: &[TokenWithSpan]) -> HashMap<Location, String> {
    let quoted = tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) if word.quote_style.is_some() => {
            Some((token.span.start, word.value.clone()))
        }
        _ => None,
    });
    quoted.collect()
}

/// The names of what a query selects.
pub(super) fn output_names(query: &Query, written: &HashMap<Location, String>) -> Vec<OutputName> {
    let Some(select) = first_select(&query.body) else { return vec![OutputName::Wildcard] };
    let name = |ident: &Ident| {
        let as_written = written.get(&ident.span.start).filter(|_| ident.quote_style.is_some());
        OutputName::Written(as_written.unwrap_or(&ident.value).clone())
    };
    let items = select.projection.iter().map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => name(alias),
        SelectItem::UnnamedExpr(expr) => own_name(expr).map_or(OutputName::Unnamed, name),
        _ => OutputName::Wildcard,
    });
    items.collect()
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The name that an expression has by itself: that of a column or field.
pub(super) fn own_name(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) => own_name(inner),
        _ => None,
    }
}

/// The names of a result's columns, given those that DataFusion has for them.
pub(crate) fn resolve_names(names: &[OutputName], fields: &[&str]) -> Vec<String> {
    let wildcards = names.iter().filter(|name| **name == OutputName::Wildcard).count();
    let others = names.len() - wildcards;
    let matched: Vec<Option<&OutputName>> = if wildcards > 1 || fields.len() < others {
        vec![None; fields.len()]
    } else {
        let width = fields.len() - others;
        let spread = names.iter().flat_map(|name| match name {
            OutputName::Wildcard => vec![None; width],
            column => vec![Some(column)],
        });
        spread.collect()
    };
    let resolved = fields.iter().enumerate().map(|(index, field)| {
        match matched.get(index).copied().flatten() {
            Some(OutputName::Written(name)) => name.clone(),
            Some(OutputName::Unnamed) => format!("_col{index}"),
            _ if field.starts_with(UNNAMED) => format!("_col{index}"),
            _ if field.starts_with(REPEATED) => {
                field.split_once(':').map_or(*field, |(_, name)| name).to_owned()
            }
            _ => (*field).to_owned(),
        }
    });
    resolved.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_written_and_the_rest_is_numbered_by_position() {
        let written = |name: &str| OutputName::Written(name.to_owned());
        let (unnamed, star) = (OutputName::Unnamed, OutputName::Wildcard);
        let rows: [(&[OutputName], &[&str], &[&str]); 4] = [
            (&[written("A"), unnamed.clone()], &["a", "$unnamed1"], &["A", "_col1"]),
            (&[star.clone(), unnamed.clone()], &["x", "y", "$unnamed1"], &["x", "y", "_col2"]),
            (&[star.clone(), star.clone()], &["x", "$unnamed0"], &["x", "_col1"]),
            (&[star], &["x", "$repeated1:x"], &["x", "x"]),
        ];
        for (names, fields, expected) in rows {
            assert_eq!(resolve_names(names, fields), expected);
        }
    }
}
