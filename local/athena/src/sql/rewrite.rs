//! Changes to a query that make DataFusion give Athena's answer.

mod calls;
mod nodes;

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, LimitClause, OrderByKind, Query, Select, SelectItem,
    SetExpr, TableFactor, Value, VisitMut, VisitorMut,
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

/// The one table function that Athena has a syntax for.
pub(super) const UNNEST: &str = "unnest";

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = Failure;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Failure> {
        fetch_to_limit(query);
        // Before its expressions change: the names of columns are those that were written.
        name_columns(&mut query.body);
        order_by_names(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Failure> {
        if let Some(unnest) = unnested(factor) {
            *factor = unnest;
        }
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

/// `UNNEST(…)`, which the parser takes for a call of a table function of that name.
fn unnested(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return None };
    if !name.to_string().eq_ignore_ascii_case(UNNEST) {
        return None;
    }
    let arrays = args.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(array)) => Some(array.clone()),
        _ => None,
    });
    Some(TableFactor::UNNEST {
        alias: alias.clone(),
        array_exprs: arrays.collect::<Option<Vec<_>>>()?,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
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

/// After `SELECT DISTINCT`, DataFusion orders by what is selected only under its new name.
fn order_by_names(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(OrderByKind::Expressions(orders)) = query.order_by.as_mut().map(|by| &mut by.kind)
    else {
        return;
    };
    if select.distinct.is_none() {
        return;
    }
    for order in orders {
        let named = select.projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if *expr == order.expr => Some(alias),
            _ => None,
        });
        if let Some(alias) = named {
            order.expr = Expr::Identifier(alias.clone());
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
