//! From the JSON of a definition to types, with every fault at its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::fields::{Fields, Report};
use super::read_errors::{catchers, retriers};
use super::read_map::map;
use super::{Choice, Definition, Fail, Flow, Kind, Next, Resource, Rule, State, Task, Wait};
use crate::diagnostic::{Diagnostic, INVALID_JSON};
use crate::expression::Template;

/// AWS: seconds anywhere in a definition are at most this, some three years.
pub(super) const SECONDS_MAX: u64 = 99_999_999;
/// AWS: the name of a state has at most 80 characters.
const NAME_LENGTH_MAX: usize = 80;
/// A query language: of the whole machine, which the states of branches and item processors
/// inherit as well, or of one state.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Language {
    JsonPath,
    Jsonata,
}

/// Reads a definition, as far as it can be read, with all that is wrong with its form.
pub(crate) fn read(text: &str) -> (Option<Definition>, Vec<Diagnostic>) {
    let report = Report::default();
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let message = format!("the definition is not JSON: {error}");
            return (None, vec![Diagnostic::error(INVALID_JSON, "", message)]);
        }
    };
    let definition = Fields::of(&report, String::new(), &value).map(|fields| {
        fields.string("Comment");
        fields.string("Version");
        let language = language(&fields, Language::JsonPath);
        let timeout_seconds = fields.whole("TimeoutSeconds", 1, SECONDS_MAX);
        let flow = flow(&report, &fields, language);
        fields.finish();
        Definition { flow: Arc::new(flow), timeout_seconds }
    });
    (definition, report.into_diagnostics())
}

pub(super) fn language(fields: &Fields<'_>, inherited: Language) -> Language {
    match fields.string("QueryLanguage") {
        None => inherited,
        Some("JSONata") => Language::Jsonata,
        Some("JSONPath") => Language::JsonPath,
        Some(other) => {
            let message = format!("`QueryLanguage` must be `JSONata` or `JSONPath`, not `{other}`");
            fields.error("QueryLanguage", message);
            inherited
        }
    }
}

/// `StartAt` and `States` of the machine, a branch or an item processor.
pub(super) fn flow(report: &Report, fields: &Fields<'_>, language: Language) -> Flow {
    let start_at = fields.required("StartAt").unwrap_or_default().to_string();
    fields.must_have("States");
    let mut states = BTreeMap::new();
    if let Some(Value::Object(found)) = fields.take("States") {
        if found.is_empty() {
            fields.error("States", "there must be at least one state");
        }
        for (name, value) in found {
            let path = format!("{}/{name}", fields.at("States"));
            if name.is_empty() || name.chars().count() > NAME_LENGTH_MAX {
                let message =
                    format!("the name of a state must have 1 to {NAME_LENGTH_MAX} characters");
                report.error(path.clone(), message);
            }
            if let Some(state) = state(report, name, path, value, language) {
                states.insert(name.clone(), Arc::new(state));
            }
        }
    } else if fields.take("States").is_some() {
        fields.error("States", "`States` must be an object");
    }
    Flow { start_at, states, path: fields.path.clone() }
}

fn state(
    report: &Report,
    name: &str,
    path: String,
    value: &Value,
    inherited: Language,
) -> Option<State> {
    let fields = Fields::of(report, path, value)?;
    if language(&fields, inherited) == Language::JsonPath {
        report.error(fields.path.clone(), jsonpath_refusal(inherited));
        return None;
    }
    let kind_name = fields.required("Type")?;
    fields.string("Comment");
    let has_next = !matches!(kind_name, "Choice" | "Succeed" | "Fail");
    let has_retry = matches!(kind_name, "Task" | "Map" | "Parallel");
    let next = if has_next { next(&fields) } else { Next::End };
    let output = (kind_name != "Fail").then(|| fields.template("Output")).flatten();
    let assign = if matches!(kind_name, "Succeed" | "Fail") { Vec::new() } else { fields.assign() };
    let arguments =
        matches!(kind_name, "Task" | "Parallel").then(|| fields.template("Arguments")).flatten();
    let (retry, catch) = if has_retry {
        (retriers(report, &fields), catchers(report, &fields))
    } else {
        (Vec::new(), Vec::new())
    };
    let kind = match kind_name {
        "Task" => Kind::Task(task(&fields, arguments.as_ref())?),
        "Map" => Kind::Map(Box::new(map(report, &fields, inherited)?)),
        "Parallel" => Kind::Parallel { branches: branches(report, &fields, inherited) },
        "Choice" => Kind::Choice(choice(report, &fields)),
        "Wait" => Kind::Wait(wait(&fields)?),
        "Pass" => Kind::Pass,
        "Succeed" => Kind::Succeed,
        "Fail" => Kind::Fail(fail(&fields)),
        other => {
            fields.error("Type", format!("there is no type of state `{other}`"));
            return None;
        }
    };
    fields.finish();
    Some(State { name: name.to_string(), kind, next, arguments, output, assign, retry, catch })
}

fn jsonpath_refusal(inherited: Language) -> &'static str {
    match inherited {
        Language::JsonPath => "JSONPath mode is not supported; set `QueryLanguage` to `JSONata`",
        Language::Jsonata => {
            "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine"
        }
    }
}

fn next(fields: &Fields<'_>) -> Next {
    let next = fields.string("Next");
    let end = fields.boolean("End");
    match (next, end) {
        (Some(next), None | Some(false)) => return Next::State(next.to_string()),
        (None, Some(true)) => {}
        (Some(_), Some(true)) => fields.error("End", "a state has `Next` or `End`, not both"),
        (None, _) => {
            let message = "the state needs `Next` or `\"End\": true`";
            fields.error("Next", message);
        }
    }
    Next::End
}

fn task(fields: &Fields<'_>, arguments: Option<&Template>) -> Option<Task> {
    let role_arn = fields.object("Credentials").and_then(|credentials| {
        let role = credentials.template_of("RoleArn", "a string", Value::is_string);
        credentials.finish();
        role
    });
    let timeout_seconds = seconds(fields, "TimeoutSeconds", 1);
    let heartbeat_seconds = seconds(fields, "HeartbeatSeconds", 1);
    let resource = resource(fields)?;
    if matches!(resource, Resource::LambdaInvoke | Resource::LambdaCallback) {
        invoke_arguments(fields, arguments);
    }
    if let (Some(Template::Literal(timeout)), Some(Template::Literal(heartbeat))) =
        (&timeout_seconds, &heartbeat_seconds)
        && heartbeat.as_u64() >= timeout.as_u64()
    {
        fields
            .error("HeartbeatSeconds", "`HeartbeatSeconds` must be smaller than `TimeoutSeconds`");
    }
    Some(Task { resource, timeout_seconds, heartbeat_seconds, role_arn })
}

pub(super) fn seconds(fields: &Fields<'_>, name: &'static str, least: u64) -> Option<Template> {
    let what = format!("a whole number from {least} to {SECONDS_MAX}");
    fields.template_of(name, &what, |value| {
        value.as_u64().is_some_and(|number| (least..=SECONDS_MAX).contains(&number))
    })
}

fn resource(fields: &Fields<'_>) -> Option<Resource> {
    let text = fields.required("Resource")?;
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "states", "", "", "lambda:invoke"] => Some(Resource::LambdaInvoke),
        ["arn", _, "states", "", "", "lambda:invoke.waitForTaskToken"] => {
            Some(Resource::LambdaCallback)
        }
        ["arn", _, "lambda", _, _, function] if function.starts_with("function:") => {
            Some(Resource::Function(text.to_string()))
        }
        _ => {
            let message = format!(
                "the resource `{text}` is not supported; `arn:aws:states:::lambda:invoke`, with or \
                 without `.waitForTaskToken`, and the ARN of a Lambda function are"
            );
            fields.error("Resource", message);
            None
        }
    }
}

/// The parameters of Lambda's Invoke that AWS takes in `Arguments`.
pub(crate) const INVOKE_PARAMETERS: [&str; 6] =
    ["ClientContext", "FunctionName", "InvocationType", "LogType", "Payload", "Qualifier"];

fn invoke_arguments(fields: &Fields<'_>, arguments: Option<&Template>) {
    let keys: Vec<&str> = match arguments {
        Some(Template::Expression(_)) => return,
        Some(Template::Object(keys)) => keys.iter().map(|(key, _)| key.as_str()).collect(),
        Some(Template::Literal(Value::Object(keys))) => keys.keys().map(String::as_str).collect(),
        Some(Template::Literal(_) | Template::Array(_)) => {
            return fields.error("Arguments", "`Arguments` must be an object");
        }
        None => Vec::new(),
    };
    if !keys.contains(&"FunctionName") {
        fields.error("Arguments", "`lambda:invoke` needs the field `FunctionName`");
    }
    for key in keys {
        if !INVOKE_PARAMETERS.contains(&key) {
            let message = format!("`lambda:invoke` has no parameter `{key}`");
            fields.error(&format!("Arguments/{key}"), message);
        }
    }
}

fn branches(report: &Report, fields: &Fields<'_>, language: Language) -> Vec<Arc<Flow>> {
    fields.must_have("Branches");
    let branches = fields.list("Branches");
    if branches.is_some_and(Vec::is_empty) {
        fields.error("Branches", "there must be at least one branch");
    }
    let branches = branches.into_iter().flatten().enumerate();
    branches
        .filter_map(|(index, value)| {
            let path = format!("{}[{index}]", fields.at("Branches"));
            let fields = Fields::of(report, path, value)?;
            fields.string("Comment");
            let flow = flow(report, &fields, language);
            fields.finish();
            Some(Arc::new(flow))
        })
        .collect()
}

fn choice(report: &Report, fields: &Fields<'_>) -> Choice {
    fields.must_have("Choices");
    let found = fields.list("Choices");
    if found.is_some_and(Vec::is_empty) {
        fields.error("Choices", "there must be at least one choice");
    }
    let found = found.into_iter().flatten().enumerate();
    let rules = found.filter_map(|(index, value)| {
        let path = format!("{}[{index}]", fields.at("Choices"));
        let fields = Fields::of(report, path, value)?;
        fields.string("Comment");
        fields.must_have("Condition");
        let condition = fields.template_of("Condition", "a boolean", Value::is_boolean);
        let next = fields.required("Next");
        let output = fields.template("Output");
        let assign = fields.assign();
        fields.finish();
        Some(Rule { condition: condition?, next: next?.to_string(), output, assign })
    });
    Choice { rules: rules.collect(), default: fields.string("Default").map(str::to_string) }
}

fn wait(fields: &Fields<'_>) -> Option<Wait> {
    let seconds = seconds(fields, "Seconds", 0).map(Wait::Seconds);
    let what = "a time like `2030-01-01T00:00:00Z`";
    let timestamp = fields
        .template_of("Timestamp", what, |value| {
            value.as_str().is_some_and(|text| parse_timestamp(text).is_some())
        })
        .map(Wait::Timestamp);
    match (seconds, timestamp) {
        (Some(wait), None) | (None, Some(wait)) => Some(wait),
        (Some(_), Some(_)) => {
            fields.error("Timestamp", "a Wait has `Seconds` or `Timestamp`, not both");
            None
        }
        (None, None) => {
            if fields.take("Seconds").is_none() && fields.take("Timestamp").is_none() {
                let message = "a Wait needs `Seconds` or `Timestamp`";
                fields.error("Seconds", message);
            }
            None
        }
    }
}

/// AWS takes RFC 3339 with a `T` and with `Z` or an offset.
pub(crate) fn parse_timestamp(text: &str) -> Option<jiff::Timestamp> {
    let has_upper_t = text.as_bytes().get(10) == Some(&b'T');
    has_upper_t.then(|| text.parse().ok()).flatten()
}

fn fail(fields: &Fields<'_>) -> Fail {
    Fail {
        error: fields.template_of("Error", "a string", Value::is_string),
        cause: fields.template_of("Cause", "a string", Value::is_string),
    }
}
