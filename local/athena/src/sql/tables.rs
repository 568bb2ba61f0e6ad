//! The tables that a query names: whether they exist, and where they are named if not.

use std::ops::ControlFlow;

use datafusion::catalog::SchemaProvider as _;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, Visit, Visitor};

use super::position;
use crate::catalog::{CATALOG, DataDir};
use crate::failure::{Failure, Kind, Position};

/// Checks every table that a query names.
pub(crate) fn check_tables(query: &Query, data: &DataDir, database: &str) -> Result<(), Failure> {
    let mut checker = Checker { data, database, scopes: Vec::new() };
    match query.visit(&mut checker) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(failure) => Err(failure),
    }
}

struct Checker<'a> {
    data: &'a DataDir,
    database: &'a str,
    /// The names that `WITH` gives, innermost last.
    scopes: Vec<Vec<String>>,
}

impl Visitor for Checker<'_> {
    type Break = Failure;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Failure> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.scopes.push(tables.map(|table| table.alias.name.value.to_lowercase()).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Failure> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Failure> {
        let idents: Vec<&Ident> = relation.0.iter().filter_map(|part| part.as_ident()).collect();
        match self.check(&idents) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    }
}

impl Checker<'_> {
    fn check(&self, idents: &[&Ident]) -> Result<(), Failure> {
        let names: Vec<String> = idents.iter().map(|ident| ident.value.to_lowercase()).collect();
        let at = idents.first().and_then(|ident| position(ident.span.start));
        let at = at.unwrap_or(Position { line: 1, column: 1 });
        let (catalog, database, table) = match names.as_slice() {
            [table] if self.scopes.iter().flatten().any(|name| name == table) => return Ok(()),
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

/// The tables that a query names, each with its database, in Athena's one catalog.
pub(crate) fn named_tables(query: &Query, database: &str) -> Vec<(String, String)> {
    let mut names = Names { database, scopes: Vec::new(), found: Vec::new() };
    let _ = query.visit(&mut names);
    names.found
}

struct Names<'a> {
    database: &'a str,
    scopes: Vec<Vec<String>>,
    found: Vec<(String, String)>,
}

impl Visitor for Names<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.scopes.push(tables.map(|table| table.alias.name.value.to_lowercase()).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let names = relation.0.iter().filter_map(|part| part.as_ident());
        let names: Vec<String> = names.map(|ident| ident.value.to_lowercase()).collect();
        let found = match names.as_slice() {
            [table] if self.scopes.iter().flatten().any(|name| name == table) => None,
            [table] => Some((self.database.to_owned(), table.clone())),
            [.., database, table] => Some((database.clone(), table.clone())),
            [] => None,
        };
        self.found.extend(found);
        ControlFlow::Continue(())
    }
}
