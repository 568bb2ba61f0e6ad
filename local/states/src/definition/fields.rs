//! Reading the fields of one JSON object of a definition, and refusing those left over.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Assign;
use crate::diagnostic::{Diagnostic, EXPRESSION, SCHEMA};
use crate::expression::{Expression, Template, delimited};

/// Collects every fault of a definition while it is read.
#[derive(Default)]
pub(super) struct Report {
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl Report {
    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    pub(super) fn error(&self, location: impl Into<String>, message: impl Into<String>) {
        self.push(Diagnostic::error(SCHEMA, location, message));
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }
}

/// Fields that exist in `JSONPath` mode only.
const JSONPATH_FIELDS: [&str; 20] = [
    "InputPath",
    "OutputPath",
    "Parameters",
    "ResultSelector",
    "ResultPath",
    "Result",
    "ItemsPath",
    "SecondsPath",
    "TimestampPath",
    "ErrorPath",
    "CausePath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
    "MaxItemsPath",
    "Variable",
    "BucketPath",
    "CSVDelimiterPath",
];

/// One JSON object of the definition, of which each known field is taken once.
pub(super) struct Fields<'a> {
    report: &'a Report,
    pub(super) path: String,
    map: &'a Map<String, Value>,
    taken: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The value as an object; anything else is reported.
    pub(super) fn of(report: &'a Report, path: String, value: &'a Value) -> Option<Self> {
        let Some(map) = value.as_object() else {
            report.error(path, "an object is expected here");
            return None;
        };
        let taken = RefCell::default();
        Some(Self { report, path, map, taken })
    }

    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    pub(super) fn error(&self, name: &str, message: impl Into<String>) {
        self.report.error(self.at(name), message);
    }

    pub(super) fn take(&self, name: &'static str) -> Option<&'a Value> {
        self.taken.borrow_mut().insert(name);
        self.map.get(name)
    }

    fn expect<T>(
        &self,
        name: &'static str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let read = read(value);
        if read.is_none() {
            self.error(name, format!("`{name}` must be {what}, not {value}"));
        }
        read
    }

    pub(super) fn string(&self, name: &'static str) -> Option<&'a str> {
        self.expect(name, "a string", Value::as_str)
    }

    pub(super) fn required(&self, name: &'static str) -> Option<&'a str> {
        self.must_have(name);
        self.string(name)
    }

    pub(super) fn must_have(&self, name: &str) {
        if !self.map.contains_key(name) {
            let message = format!("the field `{name}` is required");
            self.report.error(self.path.clone(), message);
        }
    }

    pub(super) fn boolean(&self, name: &'static str) -> Option<bool> {
        self.expect(name, "a boolean", Value::as_bool)
    }

    pub(super) fn list(&self, name: &'static str) -> Option<&'a Vec<Value>> {
        self.expect(name, "a list", Value::as_array)
    }

    pub(super) fn object(&self, name: &'static str) -> Option<Fields<'a>> {
        let value = self.take(name)?;
        Fields::of(self.report, self.at(name), value)
    }

    /// A whole number from `least` to `most`.
    pub(super) fn whole(&self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let what = format!("a whole number from {least} to {most}");
        self.expect(name, &what, |value| {
            value.as_u64().filter(|number| (least..=most).contains(number))
        })
    }

    pub(super) fn number(&self, name: &'static str, least: f64) -> Option<f64> {
        let what = format!("a number of at least {least}");
        self.expect(name, &what, |value| value.as_f64().filter(|number| *number >= least))
    }

    pub(super) fn strings(&self, name: &'static str) -> Option<Vec<String>> {
        self.expect(name, "a list of strings", |value| {
            let items = value.as_array()?.iter();
            items.map(|item| Some(item.as_str()?.into())).collect()
        })
    }

    /// Any JSON, with expressions in it.
    pub(super) fn template(&self, name: &'static str) -> Option<Template> {
        let value = self.take(name)?;
        Some(template(self.report, &self.at(name), value))
    }

    /// A literal that `accepts` takes, or an expression.
    pub(super) fn template_of(
        &self,
        name: &'static str,
        what: &str,
        accepts: impl Fn(&Value) -> bool,
    ) -> Option<Template> {
        let template = self.template(name)?;
        let fits = match &template {
            Template::Literal(value) => accepts(value),
            Template::Expression(_) => true,
            Template::Array(_) | Template::Object(_) => false,
        };
        if !fits {
            self.error(name, format!("`{name}` must be {what} or an expression"));
        }
        fits.then_some(template)
    }

    /// `Assign`: variables and their values.
    pub(super) fn assign(&self) -> Assign {
        let Some(fields) = self.take("Assign") else {
            return Assign::new();
        };
        let Some(fields) = fields.as_object() else {
            self.error("Assign", "`Assign` must be an object");
            return Assign::new();
        };
        let path = self.at("Assign");
        let variables = fields.iter().map(|(name, value)| {
            let path = format!("{path}/{name}");
            if let Some(fault) = variable_name_fault(name) {
                self.report.error(path.clone(), fault);
            }
            (name.clone(), template(self.report, &path, value))
        });
        variables.collect()
    }

    /// Reports the fields nobody asked for.
    pub(super) fn finish(self) {
        let taken = self.taken.borrow();
        for name in self.map.keys() {
            if taken.contains(name.as_str()) {
                continue;
            }
            let message = if JSONPATH_FIELDS.contains(&name.as_str()) {
                format!(
                    "The QueryLanguage is set to 'JSONata', but field '{name}' is only supported \
                     for the 'JSONPath' QueryLanguage"
                )
            } else {
                format!("Field '{name}' is not supported")
            };
            self.report.error(self.path.clone(), message);
        }
    }
}

/// AWS: a variable is a Unicode identifier of 80 characters at most, and not `states`.
fn variable_name_fault(name: &str) -> Option<String> {
    let mut characters = name.chars();
    let starts = characters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
    if name == "states" {
        return Some("`states` is reserved and cannot be assigned".to_string());
    }
    let is_identifier = starts && characters.all(|next| next.is_alphanumeric() || next == '_');
    (!is_identifier || name.chars().count() > 80)
        .then(|| format!("`{name}` cannot be the name of a variable"))
}

/// Reads JSON with expressions; what does not parse is reported at its place.
pub(super) fn template(report: &Report, path: &str, value: &Value) -> Template {
    match value {
        Value::String(text) => {
            if let Some(source) = delimited(text) {
                match Expression::parse(source) {
                    Ok(expression) => return Template::Expression(Box::new(expression)),
                    Err(fault) => report.push(Diagnostic::error(EXPRESSION, path, fault)),
                }
            } else if text.starts_with("{%") || text.ends_with("%}") {
                let message = "an expression must start with `{%` and end with `%}`";
                report.push(Diagnostic::warning(EXPRESSION, path, message));
            }
            Template::Literal(value.clone())
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items
                .map(|(index, item)| template(report, &format!("{path}[{index}]"), item))
                .collect::<Vec<_>>();
            if items.iter().all(is_literal) {
                return Template::Literal(value.clone());
            }
            Template::Array(items)
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields
                .map(|(key, item)| (key.clone(), template(report, &format!("{path}/{key}"), item)))
                .collect::<Vec<_>>();
            if fields.iter().all(|(_, field)| is_literal(field)) {
                return Template::Literal(value.clone());
            }
            Template::Object(fields)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Template::Literal(value.clone()),
    }
}

fn is_literal(template: &Template) -> bool {
    matches!(template, Template::Literal(_))
}
