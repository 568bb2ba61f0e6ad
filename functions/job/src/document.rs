//! From a JSON text to a typed value, with every problem at once.
//!
//! The JSON Schema that is generated from the Rust type finds all problems of shape, and of the
//! texts that have a format of their own (names, buckets, templates); only then the value is read.
//! Messages never quote a value, unless its format says that it is a name: a value may be a secret.

use std::{fmt, str::FromStr};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    name::{BucketName, FileName, QueryName, RunId},
    template::FileTemplate,
};

/// One thing that is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The place, as a JSONPath: `$.query_names[3]`.
    pub path: String,
    /// What is wrong, what was expected, and what to do.
    pub message: String,
}

/// Everything that is wrong with a document; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { path, message }) in self.0.iter().enumerate() {
            write!(f, "{}{path}: {message}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// The JSON Schema (draft 2020-12) of `T`, with nothing behind references.
pub(crate) fn schema<T: JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Reads `document`, which stands at `at` of a larger one (`$` for the whole), or says everything
/// that is wrong with it.
pub fn read<T: DeserializeOwned + JsonSchema>(document: &Value, at: &str) -> Result<T, Problems> {
    let problems = problems(&schema::<T>(), document, at);
    if problems.is_empty() { deserialize(document, at) } else { Err(Problems(problems)) }
}

/// Reads what a schema has found nothing wrong with.
pub(crate) fn deserialize<T: DeserializeOwned>(document: &Value, at: &str) -> Result<T, Problems> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = format!("{at}.{}", error.path());
        Problems(vec![Problem { path, message: error.inner().to_string() }])
    })
}

/// Everything in which `document` does not satisfy `schema`, by place.
pub(crate) fn problems(schema: &Value, document: &Value, at: &str) -> Vec<Problem> {
    let validator = FORMATS
        .iter()
        .fold(jsonschema::options().should_validate_formats(true), |options, (format, check)| {
            options.with_format(*format, |text| check(text).is_none())
        })
        .build(schema)
        .expect("schemas generated from our types are valid");
    let mut problems: Vec<Problem> = validator
        .iter_errors(document)
        .flat_map(|error| {
            let path = json_path(at, error.instance_path().as_str());
            let known = fields_at(schema, error.schema_path().as_str());
            explain(error.kind(), error.instance(), &path, &known)
        })
        .collect();
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    problems.dedup();
    problems
}

type Check = fn(&str) -> Option<String>;

/// The formats that the schemas name, each with the one function that knows what it allows.
const FORMATS: &[(&str, Check)] = &[
    (QueryName::FORMAT, fault::<QueryName>),
    (RunId::FORMAT, fault::<RunId>),
    (FileName::FORMAT, fault::<FileName>),
    (BucketName::FORMAT, fault::<BucketName>),
    (FileTemplate::FORMAT, fault::<FileTemplate>),
];

fn fault<T: FromStr<Err: fmt::Display>>(text: &str) -> Option<String> {
    text.parse::<T>().err().map(|error| error.to_string())
}

fn explain(
    kind: &ValidationErrorKind,
    instance: &Value,
    path: &str,
    known: &[String],
) -> Vec<Problem> {
    let here = |message: String| vec![Problem { path: path.to_owned(), message }];
    match kind {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|field| Problem {
                path: format!("{path}.{field}"),
                message: unknown_field(field, known),
            })
            .collect(),
        ValidationErrorKind::Required { property } => {
            let field = property.as_str().unwrap_or_default();
            vec![Problem {
                path: format!("{path}.{field}"),
                message: format!("the field `{field}` is missing"),
            }]
        }
        ValidationErrorKind::Type { kind } => {
            let expected: Vec<String> = match kind {
                TypeKind::Single(kind) => vec![kind.to_string()],
                TypeKind::Multiple(kinds) => {
                    kinds.into_iter().map(|kind| kind.to_string()).collect()
                }
            };
            here(format!("expected {}, found {}", expected.join(" or "), kind_of(instance)))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .map(|option| format!("`{}`", text_of(option)))
                .collect();
            here(format!("expected one of {}", options.join(", ")))
        }
        ValidationErrorKind::Constant { expected_value } => {
            here(format!("expected `{}`", text_of(expected_value)))
        }
        ValidationErrorKind::Format { format } => {
            let text = instance.as_str().unwrap_or_default();
            let check = FORMATS.iter().find(|(name, _)| name == format).map(|(_, check)| check);
            here(
                check
                    .and_then(|check| check(text))
                    .unwrap_or_else(|| format!("expected the format {format}")),
            )
        }
        ValidationErrorKind::MinItems { limit } => {
            here(format!("expected at least {limit}, found {}", count(instance)))
        }
        ValidationErrorKind::MaxItems { limit } => {
            here(format!("expected at most {limit}, found {}", count(instance)))
        }
        ValidationErrorKind::Minimum { limit } => {
            here(format!("expected at least {limit}, found {instance}"))
        }
        ValidationErrorKind::Maximum { limit } => {
            here(format!("expected at most {limit}, found {instance}"))
        }
        ValidationErrorKind::MinLength { limit } => {
            here(format!("expected at least {limit} characters"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            here(format!("expected at most {limit} characters"))
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            here(alternatives(context, instance))
        }
        other => here(format!("it does not satisfy `{}` of the schema", other.keyword())),
    }
}

/// What any of several shapes would have accepted here.
fn alternatives(context: &[Vec<jsonschema::ValidationError<'static>>], instance: &Value) -> String {
    let mut expected: Vec<String> = context
        .iter()
        .filter_map(|errors| match errors.first()?.kind() {
            ValidationErrorKind::Type { kind: TypeKind::Single(kind) }
                if kind.to_string() == "null" =>
            {
                None
            }
            kind => explain(kind, instance, "", &[]).pop().map(|problem| problem.message),
        })
        .collect();
    expected.dedup();
    expected.join(", or ")
}

fn unknown_field(field: &str, known: &[String]) -> String {
    match nearest(field, known.iter().map(String::as_str)) {
        Some(near) => format!("unknown field `{field}`; did you mean `{near}`?"),
        None => format!("unknown field `{field}`; expected one of `{}`", known.join("`, `")),
    }
}

/// The candidate that `text` was most likely meant to be, if one is near enough.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The names of the properties beside the keyword at `schema_path` (a JSON Pointer).
fn fields_at(schema: &Value, schema_path: &str) -> Vec<String> {
    let parent = schema_path.rsplit_once('/').map_or("", |(parent, _)| parent);
    schema
        .pointer(&format!("{parent}/properties"))
        .and_then(Value::as_object)
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default()
}

/// A JSON Pointer as a JSONPath below `at`.
fn json_path(at: &str, pointer: &str) -> String {
    let steps = pointer.split('/').skip(1).map(|token| {
        let token = token.replace("~1", "/").replace("~0", "~");
        let is_index = token.bytes().all(|b| b.is_ascii_digit());
        if is_index { format!("[{token}]") } else { format!(".{token}") }
    });
    std::iter::once(at.to_owned()).chain(steps).collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn count(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}
