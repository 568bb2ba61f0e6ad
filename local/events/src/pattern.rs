//! Event patterns: which events a rule is for.
//!
//! An event is flattened into fields: `detail.state.name` and a scalar. A pattern is a list of
//! alternatives, each a conjunction of fields. AWS's own matcher works on such fields, too, which
//! is visible from outside: `{"a.b": […]}` and `{"a": {"b": […]}}` are one pattern, a field counts as
//! missing if it is an empty array, and fields of one match come from one element of an array
//! ([event patterns](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html)).
//!
//! Not here: AWS refuses patterns whose wildcards are too complex for its matcher.

mod fields;
mod matcher;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use self::{
    fields::{Field, Place, flatten},
    matcher::Matcher,
};

/// The key that gives alternatives.
const OR: &str = "$or";
/// AWS's limit on the alternatives that `$or` multiplies to.
const ALTERNATIVES_MAX: usize = 1000;

/// An event pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Vec<Alternative>);

/// Fields that must all match.
type Alternative = Vec<Requirement>;

/// One field of a pattern: it matches if one of the matchers does.
#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    path: String,
    matchers: Vec<Matcher>,
}

/// A pattern that AWS refuses (`InvalidEventPatternException`), in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Event pattern is not valid. Reason: {0}")]
pub struct PatternError(String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, PatternError> {
    Err(PatternError(reason.into()))
}

impl Pattern {
    /// Parses the JSON text of a pattern.
    ///
    /// # Errors
    ///
    /// When AWS refuses the pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => alternatives("", &fields).map(Self),
            Ok(_) => refuse("Filter is not an object"),
            Err(error) => refuse(error.to_string()),
        }
    }

    /// Returns whether an event matches.
    pub fn matches(&self, event: &Value) -> bool {
        let fields = flatten(event);
        self.0.iter().any(|requirements| is_met(requirements, &fields, &Place::default()))
    }
}

/// Returns whether fields at compatible places meet all requirements.
fn is_met(requirements: &[Requirement], fields: &[Field<'_>], place: &Place) -> bool {
    let Some((requirement, others)) = requirements.split_first() else { return true };
    let mut named = fields.iter().filter(|field| field.path == requirement.path).peekable();
    if named.peek().is_none() {
        let allows_absence = requirement.matchers.contains(&Matcher::Exists(false));
        return allows_absence && is_met(others, fields, place);
    }
    named.any(|field| {
        let matches = requirement.matchers.iter().any(|matcher| matcher.matches(field.value));
        let joined = if matches { place.join(&field.place) } else { None };
        joined.is_some_and(|place| is_met(others, fields, &place))
    })
}

/// The alternatives of an object whose fields lie under `path`.
fn alternatives(path: &str, object: &Map<String, Value>) -> Result<Vec<Alternative>, PatternError> {
    if object.is_empty() {
        return refuse("Empty objects are not allowed");
    }
    let mut all = vec![Vec::new()];
    for (key, value) in object {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let of_key = match value {
            Value::Array(choices) if key == OR => either(&path, choices)?,
            Value::Array(values) => vec![vec![requirement(path, values)?]],
            Value::Object(fields) => alternatives(&path, fields)?,
            _ => return refuse(format!("\"{key}\" must be an object or an array")),
        };
        if all.len() * of_key.len() > ALTERNATIVES_MAX {
            return refuse("Rule is too complex - try using fewer conditions in `$or`");
        }
        all = product(&all, &of_key);
    }
    Ok(all)
}

/// The alternatives of `$or`, whose objects lie where it stands.
fn either(path: &str, choices: &[Value]) -> Result<Vec<Alternative>, PatternError> {
    if choices.len() < 2 {
        return refuse("There must be at least 2 objects in `$or`");
    }
    let path = path.strip_suffix(OR).unwrap_or(path).trim_end_matches('.');
    let mut all = Vec::new();
    for choice in choices {
        let Value::Object(fields) = choice else { return refuse("`$or` must hold objects only") };
        all.extend(alternatives(path, fields)?);
    }
    Ok(all)
}

fn requirement(path: String, values: &[Value]) -> Result<Requirement, PatternError> {
    if values.is_empty() {
        return refuse("Empty arrays are not allowed");
    }
    let matchers = values.iter().map(Matcher::parse).collect::<Result<_, _>>()?;
    Ok(Requirement { path, matchers })
}

fn product(left: &[Alternative], right: &[Alternative]) -> Vec<Alternative> {
    left.iter().flat_map(|left| right.iter().map(|right| [&left[..], right].concat())).collect()
}
