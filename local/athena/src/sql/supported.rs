//! What the parser accepts and Athena, or this endpoint, does not.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, JoinOperator, LimitClause, Query, Select, SelectItem, Spanned,
    TableFactor, Visit, Visitor, WildcardAdditionalOptions,
};

use super::position;
use super::rewrite::UNNEST;
use crate::failure::{Failure, Kind, Position};

/// Refuses clauses that would be ignored or mean something else.
pub(super) fn check(query: &Query) -> Result<(), Failure> {
    match query.visit(&mut Checker) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(failure) => Err(failure),
    }
}

struct Checker;

fn refuse(node: &impl Spanned, what: &str) -> Failure {
    let at = position(node.span().start).unwrap_or(Position { line: 1, column: 1 });
    Failure::at(Kind::NotSupported, at, format!("{what} is not supported"))
}

fn refuse_if<T: Spanned>(checks: &[(bool, &str)], node: &T) -> ControlFlow<Failure> {
    match checks.iter().find(|(found, _)| *found) {
        Some((_, what)) => ControlFlow::Break(refuse(node, what)),
        None => ControlFlow::Continue(()),
    }
}

impl Visitor for Checker {
    type Break = Failure;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Failure> {
        let fetch = query.fetch.as_ref();
        let limit = query.limit_clause.as_ref();
        let is_comma = matches!(limit, Some(LimitClause::OffsetCommaLimit { .. }));
        let is_by = matches!(limit, Some(LimitClause::LimitOffset { limit_by, .. }) if !limit_by.is_empty());
        let checks = [
            (!query.locks.is_empty() || query.for_clause.is_some(), "FOR"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
            (!query.pipe_operators.is_empty(), "|>"),
            (fetch.is_some_and(|fetch| fetch.with_ties), "FETCH FIRST WITH TIES"),
            (fetch.is_some_and(|fetch| fetch.percent), "FETCH FIRST PERCENT"),
            (is_comma, "LIMIT with a comma"),
            (is_by, "LIMIT BY"),
        ];
        refuse_if(&checks, query)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Failure> {
        let by_all = matches!(select.group_by, GroupByExpr::All(_));
        let checks = [
            (matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON"),
            (select.top.is_some(), "TOP"),
            (select.into.is_some(), "INTO"),
            (select.exclude.is_some(), "EXCLUDE"),
            (select.select_modifiers.is_some(), "a SELECT modifier"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.cluster_by.is_empty(), "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!select.sort_by.is_empty(), "SORT BY"),
            (select.qualify.is_some(), "QUALIFY"),
            (select.value_table_mode.is_some(), "SELECT AS VALUE"),
            (by_all, "GROUP BY ALL"),
            (select.projection.iter().any(is_odd_item), "this form of SELECT item"),
        ];
        refuse_if(&checks, select)?;
        for joined in select.from.iter().flat_map(|from| &from.joins) {
            if let Some(what) = odd_join(&joined.join_operator) {
                return ControlFlow::Break(refuse(joined, what));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Failure> {
        match odd_factor(factor) {
            Some(what) => ControlFlow::Break(refuse(factor, what)),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Failure> {
        match odd_expr(expr) {
            Some(what) => ControlFlow::Break(refuse(expr, what)),
            None => ControlFlow::Continue(()),
        }
    }
}

fn is_odd_item(item: &SelectItem) -> bool {
    let has_options = |options: &WildcardAdditionalOptions| {
        options.opt_ilike.is_some()
            || options.opt_exclude.is_some()
            || options.opt_except.is_some()
            || options.opt_replace.is_some()
            || options.opt_rename.is_some()
            || options.opt_alias.is_some()
    };
    match item {
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => false,
        SelectItem::ExprWithAliases { .. } => true,
        SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
            has_options(options)
        }
    }
}

fn odd_join(operator: &JoinOperator) -> Option<&'static str> {
    match operator {
        JoinOperator::Join(_)
        | JoinOperator::Inner(_)
        | JoinOperator::Left(_)
        | JoinOperator::LeftOuter(_)
        | JoinOperator::Right(_)
        | JoinOperator::RightOuter(_)
        | JoinOperator::FullOuter(_)
        | JoinOperator::CrossJoin(_) => None,
        _ => Some("this kind of join"),
    }
}

fn odd_factor(factor: &TableFactor) -> Option<&'static str> {
    match factor {
        TableFactor::Table { name, args, version, sample, with_hints, partitions, .. } => {
            let is_unnest = name.to_string().eq_ignore_ascii_case(UNNEST);
            let with_ordinality =
                matches!(factor, TableFactor::Table { with_ordinality: true, .. });
            let checks = [
                (args.is_some() && !is_unnest, "a table function"),
                (with_ordinality, "WITH ORDINALITY"),
                (version.is_some(), "a table version"),
                (sample.is_some(), "TABLESAMPLE"),
                (!with_hints.is_empty() || !partitions.is_empty(), "a table hint"),
            ];
            checks.into_iter().find(|(found, _)| *found).map(|(_, what)| what)
        }
        TableFactor::Derived { sample: Some(_), .. } => Some("TABLESAMPLE"),
        TableFactor::UNNEST { with_offset: true, .. } => Some("WITH OFFSET"),
        TableFactor::Derived { .. }
        | TableFactor::UNNEST { .. }
        | TableFactor::NestedJoin { .. } => None,
        TableFactor::MatchRecognize { .. } => Some("MATCH_RECOGNIZE"),
        TableFactor::JsonTable { .. } => Some("JSON_TABLE"),
        _ => Some("this kind of table"),
    }
}

fn odd_expr(expr: &Expr) -> Option<&'static str> {
    match expr {
        Expr::ILike { .. } => Some("ILIKE"),
        Expr::RLike { .. } => Some("RLIKE"),
        Expr::SimilarTo { .. } => Some("SIMILAR TO"),
        Expr::AtTimeZone { .. } => Some("AT TIME ZONE"),
        Expr::Collate { .. } => Some("COLLATE"),
        _ => None,
    }
}
