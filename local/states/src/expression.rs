//! `JSONata` in a definition: `{% … %}` strings, and JSON with such strings in it.
//!
//! Values of the `JSONata` engine are reference counted without atomics, so none of them outlives
//! one call of [`Template::evaluate`].

mod functions;
mod names;

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorOptions, error_code_prefix};
use jsonata_core::value::JValue;
use serde_json::{Map, Value};

pub(crate) use functions::ADDED as ADDED_FUNCTIONS;
pub(crate) use names::{Names, TaskUse};

use crate::payload::Payload;
use crate::scope::{Item, Surroundings};

/// An expression that runs longer is stopped; no sensible one comes near it.
const EVALUATION_MILLISECONDS_MAX: u64 = 10_000;

/// One parsed expression.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    source: String,
    node: AstNode,
    names: Names,
}

impl Expression {
    /// Parses what stands between `{%` and `%}`.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let source = source.trim();
        let node = jsonata_core::parser::parse(source).map_err(|error| {
            let message = error.to_string();
            // AWS leaves the code of the error away.
            match error_code_prefix(&message) {
                Some(code) => message[code.len() + 1..].trim_start().to_string(),
                None => message,
            }
        })?;
        Ok(Self { source: source.to_string(), names: Names::of(&node), node })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }
}

/// The text between `{%` and `%}` where that is what the whole string is.
pub(crate) fn delimited(text: &str) -> Option<&str> {
    text.strip_prefix("{%")?.strip_suffix("%}")
}

/// JSON of a definition in which strings may be expressions.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Literal(Value),
    Expression(Box<Expression>),
    Array(Vec<Template>),
    Object(Vec<(String, Template)>),
}

/// Why evaluating a field of a state failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EvaluationError {
    /// The field, with the keys inside it: `Arguments/FunctionName`.
    pub(crate) location: String,
    /// What went wrong, in AWS's words.
    pub(crate) message: String,
}

/// The kinds of values that fields ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expected {
    Array,
    Boolean,
    Number,
    Object,
    String,
}

impl Expected {
    fn name(self) -> &'static str {
        match self {
            Expected::Array => "array",
            Expected::Boolean => "boolean",
            Expected::Number => "number",
            Expected::Object => "object",
            Expected::String => "string",
        }
    }
}

impl Template {
    /// Calls `visit` for every expression, with its location below `field`.
    pub(crate) fn visit<'a>(&'a self, field: &str, visit: &mut dyn FnMut(&str, &'a Expression)) {
        match self {
            Template::Literal(_) => {}
            Template::Expression(expression) => visit(field, expression),
            Template::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.visit(&format!("{field}[{index}]"), visit);
                }
            }
            Template::Object(fields) => {
                for (key, value) in fields {
                    value.visit(&format!("{field}/{key}"), visit);
                }
            }
        }
    }

    /// The value of the template; `field` is the name of the field it stands in.
    pub(crate) fn evaluate(
        &self,
        field: &str,
        bindings: &Bindings<'_>,
    ) -> Result<Value, EvaluationError> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Expression(expression) => bindings.evaluate(expression, field),
            Template::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| item.evaluate(&format!("{field}[{index}]"), bindings))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Template::Object(fields) => fields
                .iter()
                .map(|(key, value)| {
                    let value = value.evaluate(&format!("{field}/{key}"), bindings)?;
                    Ok((key.clone(), value))
                })
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
        }
    }

    /// The value, which must be of the expected kind.
    pub(crate) fn evaluate_as(
        &self,
        expected: Expected,
        field: &str,
        bindings: &Bindings<'_>,
    ) -> Result<Value, EvaluationError> {
        let value = self.evaluate(field, bindings)?;
        if type_name(&value) == expected.name() {
            return Ok(value);
        }
        let what = match self {
            Template::Expression(expression) => {
                format!("The JSONata expression '{}'", expression.source())
            }
            Template::Literal(_) | Template::Array(_) | Template::Object(_) => {
                "The value".to_string()
            }
        };
        Err(EvaluationError {
            location: field.to_string(),
            message: format!(
                "{what} specified for the field '{field}' returned an unexpected result type. \
                 Expected '{}', but was '{}' for value: {value}",
                expected.name(),
                type_name(&value),
            ),
        })
    }
}

/// `JSONata`'s name for the type of a value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The surroundings of a state as the engine's values, made when they are first needed.
pub(crate) struct Bindings<'a> {
    surroundings: &'a Surroundings,
    input: OnceCell<JValue>,
    result: OnceCell<JValue>,
    error_output: OnceCell<JValue>,
    execution_input: OnceCell<JValue>,
    item: RefCell<Option<Arc<Item>>>,
}

impl<'a> Bindings<'a> {
    pub(crate) fn new(surroundings: &'a Surroundings) -> Self {
        Self {
            surroundings,
            input: OnceCell::new(),
            result: OnceCell::new(),
            error_output: OnceCell::new(),
            execution_input: OnceCell::new(),
            item: RefCell::new(surroundings.item.clone()),
        }
    }

    /// From now on `$states.context.Map.Item` is this item.
    pub(crate) fn set_item(&self, item: &Arc<Item>) {
        self.item.replace(Some(Arc::clone(item)));
    }

    fn evaluate(&self, expression: &Expression, field: &str) -> Result<Value, EvaluationError> {
        let error = |what: &str| EvaluationError {
            location: field.to_string(),
            message: format!(
                "The JSONata expression '{}' specified for the field '{field}' {what}",
                expression.source
            ),
        };
        let threw = |problem: &str| error(&format!("threw an error during evaluation. {problem}"));

        let mut context = Context::new();
        for name in &expression.names.variables {
            if let Some(value) = self.surroundings.scope.get(name) {
                context.bind(name.clone(), JValue::from(value.value().clone()));
            }
        }
        context.bind("states".to_string(), self.states(&expression.names));
        let options = EvaluatorOptions {
            timeout_ms: Some(EVALUATION_MILLISECONDS_MAX),
            ..EvaluatorOptions::default()
        };
        let mut evaluator = Evaluator::with_options(context, options);
        functions::register(&mut evaluator).map_err(|problem| threw(problem.message()))?;
        let value = evaluator
            .evaluate(&expression.node, &JValue::Undefined)
            .map_err(|problem| threw(problem.message()))?;
        if value.is_undefined() {
            return Err(error("returned nothing (undefined)."));
        }
        if has_function(&value) {
            return Err(error("returned an unsupported result type."));
        }
        serde_json::to_value(&value).map_err(|problem| threw(&problem.to_string()))
    }

    /// `$states` with as much of it as the expression reads.
    fn states(&self, names: &Names) -> JValue {
        let converted = |cell: &OnceCell<JValue>, payload: &Payload| {
            cell.get_or_init(|| JValue::from(payload.value().clone())).clone()
        };
        let mut states = Vec::new();
        if names.reads("input") {
            let input = converted(&self.input, &self.surroundings.input);
            states.push(("input".to_string(), input));
        }
        if names.reads("result")
            && let Some(result) = &self.surroundings.result
        {
            states.push(("result".to_string(), converted(&self.result, result)));
        }
        if names.reads("errorOutput")
            && let Some(output) = &self.surroundings.error_output
        {
            let output = converted(&self.error_output, output);
            states.push(("errorOutput".to_string(), output));
        }
        if names.reads("context") {
            states.push(("context".to_string(), self.context(names)));
        }
        JValue::object(states.into_iter().collect())
    }

    fn context(&self, names: &Names) -> JValue {
        let JValue::Object(mut context) =
            JValue::from(self.surroundings.context(self.item.borrow().as_deref()))
        else {
            return JValue::Undefined;
        };
        if !(names.whole_states || names.execution_input) {
            return JValue::Object(context);
        }
        let input = self
            .execution_input
            .get_or_init(|| JValue::from(self.surroundings.identity.input.value().clone()));
        let fields = std::rc::Rc::make_mut(&mut context);
        if let Some(JValue::Object(execution)) = fields.get_mut("Execution") {
            std::rc::Rc::make_mut(execution).insert("Input".to_string(), input.clone());
        }
        JValue::Object(context)
    }
}

fn has_function(value: &JValue) -> bool {
    match value {
        JValue::Array(items) => items.iter().any(has_function),
        JValue::Object(fields) => fields.values().any(has_function),
        JValue::Lambda(_) | JValue::Builtin { .. } | JValue::Regex { .. } => true,
        JValue::Null
        | JValue::Bool(_)
        | JValue::Number(_)
        | JValue::String(_)
        | JValue::Undefined => false,
    }
}
