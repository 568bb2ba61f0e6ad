//! From a JSON text to a typed value, with every problem at once.
//!
//! The JSON Schema that is generated from the Rust type finds all problems of shape, and of the
//! texts that have a format of their own (names, buckets, templates); only then the value is read.
//! Messages never quote a value, unless its format says that it is a name: a value may be a secret.

use std::{fmt, str::FromStr};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

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

/// Everything that is wrong with a document, a line for each problem; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { path, message }) in self.0.iter().enumerate() {
            write!(f, "{}{path}: {message}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Parses JSON text. A byte order mark before it is skipped, as
/// [RFC 8259, section 8.1](https://www.rfc-editor.org/rfc/rfc8259#section-8.1) allows.
///
/// # Errors
///
/// When it is not JSON, or when an object has a field twice: one of the two would be lost.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    serde_json::from_slice(text).map(|Unique(value)| value)
}

/// A value whose objects have each field once.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the field `{name}` stands here twice")));
            }
            let Unique(value) = fields.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
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

/// The candidate that `text` was most likely meant to be, if one is near enough. Upper and lower
/// case make no difference.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&text, &candidate.to_lowercase()), candidate))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_document() {
        assert_eq!(parse("\u{feff}{\"a\": [1]}".as_bytes()).unwrap(), json!({ "a": [1] }));
    }

    #[test]
    fn a_field_that_stands_twice_is_an_error_with_its_line() {
        for (text, expected) in [
            (r#"{"a": 1, "a": 1}"#, "the field `a` stands here twice at line 1 column 12"),
            (
                "[{\"b\": {\n\"c\": 1, \"c\": 2}}]",
                "the field `c` stands here twice at line 2 column 11",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e300..1e300).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn other_documents_are_read_as_serde_json_reads_them(value in value()) {
            let text = value.to_string();
            let expected: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        }
    }
}
