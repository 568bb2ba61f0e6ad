//! Input transformers: what a target gets instead of the event
//! ([input transformation](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html)).
//!
//! Outside of strings, `<name>` becomes the JSON value. Inside a string it becomes text: a string
//! without its quotes, anything else as compact JSON; both are escaped, so that the template's JSON
//! stays JSON. A path that finds nothing gives an empty string.

use std::collections::BTreeMap;

use serde_json::Value;

/// AWS's limit on the variables of a transformer.
const PATHS_MAX: usize = 100;
/// Names that begin so are AWS's own.
const RESERVED: &str = "aws.";

/// An input transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transformer {
    paths: BTreeMap<String, Vec<Step>>,
    template: Vec<Piece>,
}

/// A step of a path: `.key` or `[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable { name: String, is_in_string: bool },
}

/// The rule that an event matched, for AWS's own variables.
#[derive(Clone, Copy, Debug)]
pub struct MatchedRule<'a> {
    /// `<aws.events.rule-name>`.
    pub name: &'a str,
    /// `<aws.events.rule-arn>`.
    pub arn: &'a str,
}

/// A transformer that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformerError {
    /// A path is not understood.
    #[error("the input path `{path}` of `{variable}` is not of the form `$.key.key[0]`")]
    Path {
        /// The variable's name.
        variable: String,
        /// The path.
        path: String,
    },
    /// There are too many variables.
    #[error("there are {0} input paths, of at most {PATHS_MAX}")]
    TooManyPaths(usize),
    /// The template uses a variable that has no path.
    #[error("the input template uses `<{0}>`, which has no input path")]
    UnknownVariable(String),
    /// A path has a name that AWS keeps for itself.
    #[error("the name `{0}` begins with `{RESERVED}`, which AWS keeps for itself")]
    ReservedName(String),
    /// The template does not make JSON, which a function needs.
    #[error("the input template makes no JSON")]
    NotJson,
}

impl Transformer {
    /// Reads a transformer: paths by the names of variables, and a template.
    ///
    /// # Errors
    ///
    /// When AWS refuses it, or its template cannot make JSON whatever the event is.
    pub fn parse(
        input_paths: &BTreeMap<String, String>,
        template: &str,
    ) -> Result<Self, TransformerError> {
        if input_paths.len() > PATHS_MAX {
            return Err(TransformerError::TooManyPaths(input_paths.len()));
        }
        let mut paths = BTreeMap::new();
        for (name, path) in input_paths {
            if name.starts_with(RESERVED) {
                return Err(TransformerError::ReservedName(name.clone()));
            }
            let steps = steps(path).ok_or_else(|| TransformerError::Path {
                variable: name.clone(),
                path: path.clone(),
            })?;
            paths.insert(name.clone(), steps);
        }
        let transformer = Self { template: pieces(template), paths };
        for piece in &transformer.template {
            if let Piece::Variable { name, .. } = piece
                && !transformer.paths.contains_key(name)
                && reserved(name, &Value::Null, MatchedRule { name: "", arn: "" }).is_none()
            {
                return Err(TransformerError::UnknownVariable(name.clone()));
            }
        }
        transformer.apply(&Value::Null, MatchedRule { name: "", arn: "" })?;
        Ok(transformer)
    }

    /// Returns the input of the target.
    ///
    /// # Errors
    ///
    /// When it is not JSON.
    pub fn apply(&self, event: &Value, rule: MatchedRule<'_>) -> Result<Value, TransformerError> {
        let mut text = String::new();
        for piece in &self.template {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Variable { name, is_in_string } => {
                    let value = self.value(name, event, rule);
                    text.push_str(&if *is_in_string { inside(&value) } else { value.to_string() });
                }
            }
        }
        serde_json::from_str(&text).map_err(|_| TransformerError::NotJson)
    }

    fn value(&self, name: &str, event: &Value, rule: MatchedRule<'_>) -> Value {
        let found = match self.paths.get(name) {
            Some(steps) => steps
                .iter()
                .try_fold(event, |value, step| match step {
                    Step::Key(key) => value.get(key),
                    Step::Index(index) => value.get(index),
                })
                .cloned(),
            None => reserved(name, event, rule),
        };
        found.unwrap_or_else(|| Value::String(String::new()))
    }
}

/// The variables that every template may use.
fn reserved(name: &str, event: &Value, rule: MatchedRule<'_>) -> Option<Value> {
    Some(match name {
        "aws.events.rule-name" => rule.name.into(),
        "aws.events.rule-arn" => rule.arn.into(),
        "aws.events.event.json" => event.clone(),
        "aws.events.event" => {
            let mut event = event.clone();
            if let Value::Object(fields) = &mut event {
                fields.remove("detail");
            }
            event
        }
        // The bus takes an event in when it happens.
        "aws.events.event.ingestion-time" => event.get("time").cloned().unwrap_or(Value::Null),
        _ => return None,
    })
}

/// A value as a part of a JSON string.
fn inside(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let quoted = Value::String(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Cuts a template at its variables. `<` that begins no name is text.
fn pieces(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let (mut is_in_string, mut is_escaped) = (false, false);
    let mut rest = template;
    while let Some(character) = rest.chars().next() {
        if character == '<'
            && let Some((name, after)) = variable(rest)
        {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(Piece::Variable { name: name.to_owned(), is_in_string });
            rest = after;
            continue;
        }
        if character == '"' && !is_escaped {
            is_in_string = !is_in_string;
        }
        is_escaped = character == '\\' && !is_escaped;
        text.push(character);
        rest = &rest[character.len_utf8()..];
    }
    pieces.push(Piece::Text(text));
    pieces
}

/// The name of a variable, and what follows it.
fn variable(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('<')?.split_once('>')?;
    let is_name = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, after))
}

/// The steps of `$.key.key[0]`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let key = &after[..end];
            if key.is_empty() || key.contains(['*', '?', '@', '(']) {
                return None;
            }
            steps.push(Step::Key(key.to_owned()));
            rest = &after[end..];
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULE: MatchedRule<'static> = MatchedRule { name: "ended", arn: "arn:rule/ended" };

    fn event() -> Value {
        json!({
            "source": "aws.athena",
            "time": "2026-11-30T02:30:00Z",
            "detail": {
                "id": "q-1", "quoted": "say \"hi\"\n", "count": 2, "null": null,
                "list": ["a", { "b": true }], "name-with-dash": "d",
            },
        })
    }

    #[track_caller]
    fn check(paths: &[(&str, &str)], template: &str, expected: &Value) {
        let paths = paths.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned()));
        let transformer = Transformer::parse(&paths.collect(), template).unwrap();
        assert_eq!(transformer.apply(&event(), RULE).as_ref(), Ok(expected));
    }

    #[test]
    fn a_variable_outside_of_strings_is_the_json_value() {
        let paths = [("id", "$.detail.id"), ("n", "$.detail.count"), ("l", "$.detail.list")];
        let template = r#"{"action":"ended","id":<id>,"count": <n> ,"list":<l>}"#;
        let list = json!(["a", { "b": true }]);
        check(
            &paths,
            template,
            &json!({ "action": "ended", "id": "q-1", "count": 2, "list": list }),
        );
        check(&[("q", "$.detail.quoted")], r#"{"q":<q>}"#, &json!({ "q": "say \"hi\"\n" }));
        check(&[("x", "$.detail.null")], r#"{"x":<x>}"#, &json!({ "x": null }));
        check(&[("d", "$.detail.name-with-dash")], r#"{"d":<d>}"#, &json!({ "d": "d" }));
        check(&[("b", "$.detail.list[1].b")], "<b>", &json!(true));
        check(&[("all", "$")], "<all>", &event());
    }

    #[test]
    fn a_variable_inside_a_string_is_text() {
        let paths = [("id", "$.detail.id"), ("q", "$.detail.quoted"), ("l", "$.detail.list")];
        check(&paths, r#""query <id> ended""#, &json!("query q-1 ended"));
        check(&paths, r#"{"a":"\"<id>\" <q>"}"#, &json!({ "a": "\"q-1\" say \"hi\"\n" }));
        check(&paths, r#"{"a":"<l>","<id>":1}"#, &json!({ "a": r#"["a",{"b":true}]"#, "q-1": 1 }));
    }

    #[test]
    fn a_path_that_finds_nothing_gives_an_empty_string() {
        for path in ["$.detail.missing", "$.detail.list[7]", "$.detail.id.more"] {
            check(&[("x", path)], r#"{"x":<x>,"y":"a<x>b"}"#, &json!({ "x": "", "y": "ab" }));
        }
    }

    #[test]
    fn aws_has_variables_of_its_own() {
        check(
            &[],
            r#"[<aws.events.rule-name>,"<aws.events.rule-arn>",<aws.events.event.ingestion-time>]"#,
            &json!(["ended", "arn:rule/ended", "2026-11-30T02:30:00Z"]),
        );
        check(&[], "<aws.events.event.json>", &event());
        let without = json!({ "source": "aws.athena", "time": "2026-11-30T02:30:00Z" });
        check(&[], "<aws.events.event>", &without);
    }

    #[test]
    fn a_smaller_sign_that_begins_no_variable_is_text() {
        check(&[], r#"{"a":"1 < 2 > 0, <>"}"#, &json!({ "a": "1 < 2 > 0, <>" }));
    }

    #[test]
    fn a_transformer_that_cannot_work_is_refused() {
        #[track_caller]
        fn refused(paths: &[(&str, &str)], template: &str, expected: &str) {
            let paths = paths.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned()));
            let error = Transformer::parse(&paths.collect(), template).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        refused(
            &[("a", "detail.id")],
            "<a>",
            "the input path `detail.id` of `a` is not of the form `$.key.key[0]`",
        );
        refused(
            &[("a", "$.detail[*]")],
            "<a>",
            "the input path `$.detail[*]` of `a` is not of the form `$.key.key[0]`",
        );
        refused(&[], r#"{"a":<a>}"#, "the input template uses `<a>`, which has no input path");
        refused(&[("a", "$.detail.id")], "ended: <a>", "the input template makes no JSON");
        refused(
            &[("aws.x", "$.id")],
            "{}",
            "the name `aws.x` begins with `aws.`, which AWS keeps for itself",
        );
        let names: Vec<String> = (0..101).map(|number| format!("v{number}")).collect();
        let paths: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "$.id")).collect();
        refused(&paths, "{}", "there are 101 input paths, of at most 100");
    }
}
