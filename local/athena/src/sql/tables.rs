//! The tables that a query names: whether they exist, and where they are named if not.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::catalog::SchemaProvider as _;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, Visit, Visitor};

use super::position;
use crate::catalog::{CATALOG, DataDir};
use crate::failure::{Failure, Kind, Position};

/// Checks every table that a query names.
pub(crate) fn check_tables(query: &Query, data: &DataDir, database: &str) -> Result<(), Failure> {
    let checker = Checker { data, database };
    relations(query).iter().try_for_each(|idents| checker.check(idents))
}

/// The tables that a query names, each with its database.
pub(crate) fn named_tables(query: &Query, database: &str) -> Vec<(String, String)> {
    let named = relations(query).into_iter().filter_map(|idents| {
        let mut names = idents.into_iter().rev().map(|ident| ident.value.to_lowercase());
        let table = names.next()?;
        Some((names.next().unwrap_or_else(|| database.to_owned()), table))
    });
    named.collect()
}

/// The names of all relations of a query that are not names which `WITH` gives.
fn relations(query: &Query) -> Vec<Vec<Ident>> {
    let mut relations = Relations::default();
    let ControlFlow::Continue(()) = query.visit(&mut relations);
    relations.found
}

#[derive(Default)]
struct Relations {
    /// The names that `WITH` gives, innermost last.
    scopes: Vec<Vec<String>>,
    found: Vec<Vec<Ident>>,
}

impl Visitor for Relations {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Infallible> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.scopes.push(tables.map(|table| table.alias.name.value.to_lowercase()).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Infallible> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Infallible> {
        let idents = relation.0.iter().filter_map(|part| part.as_ident());
        let idents: Vec<Ident> = idents.cloned().collect();
        let is_given = match idents.as_slice() {
            [name] => {
                let name = name.value.to_lowercase();
                self.scopes.iter().flatten().any(|given| *given == name)
            }
            _ => false,
        };
        if !is_given {
            self.found.push(idents);
        }
        ControlFlow::Continue(())
    }
}

struct Checker<'a> {
    data: &'a DataDir,
    database: &'a str,
}

impl Checker<'_> {
    fn check(&self, idents: &[Ident]) -> Result<(), Failure> {
        let names: Vec<String> = idents.iter().map(|ident| ident.value.to_lowercase()).collect();
        let at = idents.first().and_then(|ident| position(ident.span.start));
        let at = at.unwrap_or(Position { line: 1, column: 1 });
        let (catalog, database, table) = match names.as_slice() {
            [table] => (CATALOG, self.database, table),
            [database, table] => (CATALOG, database.as_str(), table),
            [catalog, database, table] => (catalog.as_str(), database.as_str(), table),
            _ => {
                let message = format!("Too many dots in table name: {}", names.join("."));
                return Err(Failure::at(Kind::Syntax, at, message));
            }
        };
        if catalog != CATALOG {
            let message = format!("Catalog '{catalog}' does not exist");
            return Err(Failure::at(Kind::CatalogNotFound, at, message));
        }
        if database == "information_schema" {
            let message = "information_schema is not supported by the local endpoint";
            return Err(Failure::at(Kind::NotSupported, at, message));
        }
        let Some(found) = self.data.database(database) else {
            let message = format!("Schema '{database}' does not exist");
            return Err(Failure::at(Kind::SchemaNotFound, at, message));
        };
        if !found.table_exist(table) {
            let message = format!("Table '{catalog}.{database}.{table}' does not exist");
            return Err(Failure::at(Kind::TableNotFound, at, message));
        }
        Ok(())
    }
}
