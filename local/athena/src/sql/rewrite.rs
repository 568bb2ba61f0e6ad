//! Changes to a query that make DataFusion give Athena's answer.

mod calls;
mod nodes;

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, LimitClause, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
};

use super::names::{REPEATED, UNNAMED, own_name};
use crate::failure::Failure;

/// Rewrites a query in place.
pub(super) fn rewrite(query: &mut Query) -> Result<(), Failure> {
    match query.visit(&mut Rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(failure) => Err(failure),
    }
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = Failure;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Failure> {
        fetch_to_limit(query);
        // Before its expressions change: the names of columns are those that were written.
        name_columns(&mut query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Failure> {
        let rewritten = match &*expr {
            Expr::Function(function) => calls::rewrite(function),
            other => nodes::rewrite(other),
        };
        match rewritten {
            Ok(Some(other)) => {
                *expr = other;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn fetch_to_limit(query: &mut Query) {
    let Some(fetch) = query.fetch.take() else { return };
    let one = || Expr::value(Value::Number("1".into(), false));
    let quantity = fetch.quantity.unwrap_or_else(one);
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) => *limit = Some(quantity),
        _ => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(quantity),
                offset: None,
                limit_by: Vec::new(),
            });
        }
    }
}

fn name_columns(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_items(select),
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left);
            name_columns(right);
        }
        _ => {}
    }
}

/// Gives every column a name of its own, which DataFusion wants and Athena does not.
fn name_items(select: &mut Select) {
    let mut taken = HashSet::new();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let name = match &*item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias),
            SelectItem::UnnamedExpr(expr) => own_name(expr),
            _ => continue,
        };
        let name = name.map(|ident| ident.value.to_lowercase());
        let alias = match name {
            None => format!("{UNNAMED}{index}"),
            Some(name) if taken.contains(&name) => format!("{REPEATED}{index}:{name}"),
            Some(name) => {
                taken.insert(name);
                continue;
            }
        };
        let alias = Ident::with_quote('"', alias);
        match item {
            SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
            SelectItem::UnnamedExpr(expr) => {
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            _ => {}
        }
    }
}
