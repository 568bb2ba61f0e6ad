//! Faults that the form of a definition does not show: transitions, names, variables.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jsonata_core::evaluator::Evaluator;

use crate::definition::read::read;
use crate::definition::{
    Assign, Choice, Definition, Flow, Kind, Map, Next, Resource, State, Task, Wait,
};
use crate::diagnostic::{
    CALLBACK, DUPLICATE_NAME, Diagnostic, EXPRESSION, MISSING_END, MISSING_TARGET, Severity,
    UNSUPPORTED_EXPRESSION,
};
use crate::expression::{ADDED_FUNCTIONS, Expression, TaskUse, Template};

/// Reads a definition and checks it, warnings included.
///
/// Beside what AWS refuses this finds what no validator does: a `States.ALL` that is not last, an
/// item reader in an inline map, unknown parameters of `lambda:invoke`, variables that nothing
/// assigns, functions that do not exist, parts of `$states` that are not there, callback states that
/// do not pass their token on or may wait for ever.
///
/// # Errors
///
/// Every fault of the definition, errors before warnings.
pub fn check(definition: &str) -> Result<Definition, Vec<Diagnostic>> {
    match examine(definition) {
        (Some(definition), diagnostics) if diagnostics.is_empty() => Ok(definition),
        (_, diagnostics) => Err(diagnostics),
    }
}

/// The definition if it can be run, and all that is to be said about it.
pub(crate) fn examine(text: &str) -> (Option<Definition>, Vec<Diagnostic>) {
    let (definition, mut diagnostics) = read(text);
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    if let Some(definition) = &definition
        && !diagnostics.iter().any(is_error)
    {
        let mut check =
            Check { diagnostics: &mut diagnostics, names: BTreeSet::new(), has_token: false };
        check.flow(&definition.flow, &Visible::default());
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.severity);
    let can_run = !diagnostics.iter().any(is_error);
    (definition.filter(|_| can_run), diagnostics)
}

/// The variables that are assigned somewhere around a flow.
#[derive(Clone, Default)]
struct Visible {
    variables: BTreeSet<String>,
}

struct Check<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
    /// The names of all states so far; they are unique in the whole machine.
    names: BTreeSet<String>,
    /// Whether the state that is checked has a task token.
    has_token: bool,
}

/// The parts of `$states` which a field may read.
const BEFORE: [&str; 2] = ["input", "context"];
const AFTER: [&str; 3] = ["input", "context", "result"];
const ON_ERROR: [&str; 3] = ["input", "context", "errorOutput"];

impl Check<'_> {
    fn flow(&mut self, flow: &Flow, outer: &Visible) {
        self.transitions(flow);
        let mut visible = outer.clone();
        for state in flow.states.values() {
            visible.variables.extend(assigned(state));
        }
        for state in flow.states.values() {
            let path = format!("{}/States/{}", flow.path, state.name);
            if !self.names.insert(state.name.clone()) {
                let message = format!("Duplicate State name: {}", state.name);
                self.error(DUPLICATE_NAME, &path, message);
            }
            self.state(state, &path, &visible);
            self.assigns_outer(state, &path, outer);
        }
    }

    fn warn(&mut self, code: &'static str, path: &str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(code, path, message));
    }

    fn error(&mut self, code: &'static str, path: &str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, path, message));
    }

    fn transitions(&mut self, flow: &Flow) {
        let mut reached = BTreeSet::new();
        let mut open = vec![(format!("{}/StartAt", flow.path), flow.start_at.as_str())];
        while let Some((path, name)) = open.pop() {
            let Some(state) = flow.states.get(name) else {
                // AWS says `Next` whatever the field is.
                let message = format!("Missing 'Next' target: {name}");
                self.error(MISSING_TARGET, &path, message);
                continue;
            };
            if reached.insert(name) {
                let at = format!("{}/States/{name}", flow.path);
                let targets = targets(state);
                open.extend(targets.map(|(field, next)| (format!("{at}/{field}"), next)));
            }
        }
        if !flow.states.values().any(|state| is_terminal(state)) {
            self.error(MISSING_END, &flow.path, "Workflow has no terminal state");
            return;
        }
        for name in flow.states.keys() {
            if !reached.contains(name.as_str()) {
                let path = format!("{}/States/{name}", flow.path);
                let message = format!("State \"{name}\" is not reachable.");
                self.error(MISSING_TARGET, &path, message);
            }
        }
    }

    /// A branch or iteration can read the variables around it, and not set them.
    fn assigns_outer(&mut self, state: &State, path: &str, outer: &Visible) {
        for name in assigned(state) {
            if outer.variables.contains(&name) {
                let message = format!("the variable `{name}` is also one of the flow outside");
                self.warn(EXPRESSION, path, message);
            }
        }
    }

    fn state(&mut self, state: &State, path: &str, visible: &Visible) {
        self.flows_inside(state, visible);
        self.has_token = false;
        if let Kind::Task(task) = &state.kind
            && task.resource == Resource::LambdaCallback
        {
            self.has_token = true;
            self.callback(state, task, path);
        }
        for (field, template) in fields(state) {
            if let Some(template) = template {
                self.template(template, &format!("{path}/{field}"), &BEFORE, visible);
            }
        }
        let has_result = matches!(state.kind, Kind::Task(_) | Kind::Map(_) | Kind::Parallel { .. });
        let after: &[&str] = if has_result { &AFTER } else { &BEFORE };
        self.result(state.output.as_ref(), &state.assign, path, after, visible);
        if let Kind::Choice(choice) = &state.kind {
            self.choice(choice, path, visible);
        }
        for (index, catcher) in state.catch.iter().enumerate() {
            let at = format!("{path}/Catch[{index}]");
            self.result(catcher.output.as_ref(), &catcher.assign, &at, &ON_ERROR, visible);
        }
    }

    /// AWS takes a callback state that nobody can answer, which then waits for its time-out.
    fn callback(&mut self, state: &State, task: &Task, path: &str) {
        let mut passes_token = false;
        if let Some(arguments) = &state.arguments {
            arguments.visit("", &mut |_, expression| {
                passes_token |= expression.names().may_read_task_token();
            });
        }
        if !passes_token {
            let message = "the state never passes `$states.context.Task.Token` on, so nobody can \
                           complete its task";
            self.warn(CALLBACK, &format!("{path}/Arguments"), message);
        }
        if task.timeout_seconds.is_none() && task.heartbeat_seconds.is_none() {
            let message = "without `TimeoutSeconds` or `HeartbeatSeconds` a lost callback is \
                           waited for until the execution ends";
            self.warn(CALLBACK, path, message);
        }
    }

    fn flows_inside(&mut self, state: &State, visible: &Visible) {
        match &state.kind {
            // The iterations of a distributed map are executions of their own.
            Kind::Map(map) if map.distributed.is_some() => {
                self.flow(&map.processor, &Visible::default());
            }
            Kind::Map(map) => self.flow(&map.processor, visible),
            Kind::Parallel { branches } => {
                for branch in branches {
                    self.flow(branch, visible);
                }
            }
            _ => {}
        }
    }

    fn choice(&mut self, choice: &Choice, path: &str, visible: &Visible) {
        for (index, rule) in choice.rules.iter().enumerate() {
            let at = format!("{path}/Choices[{index}]");
            self.template(&rule.condition, &format!("{at}/Condition"), &BEFORE, visible);
            self.result(rule.output.as_ref(), &rule.assign, &at, &BEFORE, visible);
        }
        if choice.default.is_none() {
            let message = "without `Default` the run fails where no condition holds";
            self.warn(MISSING_TARGET, path, message);
        }
    }

    fn result(
        &mut self,
        output: Option<&Template>,
        assign: &Assign,
        path: &str,
        allowed: &[&str],
        visible: &Visible,
    ) {
        if let Some(output) = output {
            self.template(output, &format!("{path}/Output"), allowed, visible);
        }
        for (name, value) in assign {
            self.template(value, &format!("{path}/Assign/{name}"), allowed, visible);
        }
    }

    fn template(&mut self, template: &Template, path: &str, allowed: &[&str], visible: &Visible) {
        template.visit(path, &mut |path, expression| {
            self.expression(expression, path, allowed, visible);
        });
    }

    fn expression(
        &mut self,
        expression: &Expression,
        path: &str,
        allowed: &[&str],
        visible: &Visible,
    ) {
        let names = expression.names();
        let mut error = |message: String| self.error(UNSUPPORTED_EXPRESSION, path, message);
        for field in &names.states {
            if !allowed.contains(&field.as_str()) {
                error(format!("there is no `$states.{field}` here"));
            }
        }
        if names.task == TaskUse::Named && !self.has_token {
            let message = "`$states.context.Task` is there in states with `.waitForTaskToken` only";
            self.warn(EXPRESSION, path, message);
        }
        let mut error = |message: String| self.error(UNSUPPORTED_EXPRESSION, path, message);
        if names.bare_context {
            error("`$` and `$$` mean nothing outside a path; use `$states`".to_string());
        }
        if let Some(name) = &names.bare_field {
            error(format!("Reference to '{name}' at the top level is not supported."));
        }
        for function in &names.functions {
            if function == "eval" {
                error("`$eval` is not supported; use `$parse`".to_string());
            } else if !is_function(function) {
                error(format!("there is no function `${function}`"));
            }
        }
        for variable in &names.variables {
            if !visible.variables.contains(variable) && !is_function(variable) {
                let message = format!("nothing assigns the variable `${variable}`");
                self.warn(EXPRESSION, path, message);
            }
        }
    }
}

/// The fields that are evaluated before the state does its work.
fn fields(state: &State) -> Vec<(&'static str, Option<&Template>)> {
    let mut fields = match &state.kind {
        Kind::Task(task) => vec![
            ("TimeoutSeconds", task.timeout_seconds.as_ref()),
            ("HeartbeatSeconds", task.heartbeat_seconds.as_ref()),
            ("Credentials/RoleArn", task.role_arn.as_ref()),
        ],
        Kind::Map(map) => map_fields(map),
        Kind::Wait(Wait::Seconds(value)) => vec![("Seconds", Some(value))],
        Kind::Wait(Wait::Timestamp(value)) => vec![("Timestamp", Some(value))],
        Kind::Fail(fail) => vec![("Error", fail.error.as_ref()), ("Cause", fail.cause.as_ref())],
        Kind::Parallel { .. } | Kind::Choice(_) | Kind::Pass | Kind::Succeed => Vec::new(),
    };
    fields.push(("Arguments", state.arguments.as_ref()));
    fields
}

fn map_fields(map: &Map) -> Vec<(&'static str, Option<&Template>)> {
    let reader = map.distributed.as_ref().and_then(|map| map.reader.as_ref());
    let percentage = map.tolerated_failure_percentage.as_ref();
    let max_items = reader.and_then(|reader| reader.max_items.as_ref());
    vec![
        ("Items", map.items.as_ref()),
        ("ItemSelector", map.item_selector.as_ref()),
        ("MaxConcurrency", map.max_concurrency.as_ref()),
        ("ToleratedFailureCount", map.tolerated_failure_count.as_ref()),
        ("ToleratedFailurePercentage", percentage),
        ("ItemReader/Arguments", reader.map(|reader| &reader.arguments)),
        ("ItemReader/ReaderConfig/MaxItems", max_items),
    ]
}

/// Every name of a variable that the state, its rules or its catchers assign.
fn assigned(state: &State) -> impl Iterator<Item = String> {
    let rules: &[_] = match &state.kind {
        Kind::Choice(choice) => &choice.rules,
        _ => &[],
    };
    let assigns = std::iter::once(&state.assign)
        .chain(rules.iter().map(|rule| &rule.assign))
        .chain(state.catch.iter().map(|catcher| &catcher.assign));
    assigns.flatten().map(|(name, _)| name.clone())
}

/// Whether a flow can end with the state.
fn is_terminal(state: &State) -> bool {
    match state.kind {
        Kind::Choice(_) => false,
        Kind::Succeed | Kind::Fail(_) => true,
        Kind::Task(_) | Kind::Map(_) | Kind::Parallel { .. } | Kind::Wait(_) | Kind::Pass => {
            state.next == Next::End
        }
    }
}

/// Where a state can lead to, by field.
fn targets(state: &State) -> impl Iterator<Item = (String, &str)> {
    let mut targets = Vec::new();
    if let Next::State(next) = &state.next {
        targets.push(("Next".to_string(), next.as_str()));
    }
    if let Kind::Choice(choice) = &state.kind {
        for (index, rule) in choice.rules.iter().enumerate() {
            targets.push((format!("Choices[{index}]/Next"), rule.next.as_str()));
        }
        if let Some(default) = &choice.default {
            targets.push(("Default".to_string(), default.as_str()));
        }
    }
    for (index, catcher) in state.catch.iter().enumerate() {
        targets.push((format!("Catch[{index}]/Next"), catcher.next.as_str()));
    }
    targets.into_iter()
}

/// Whether `JSONata` or AWS has a function of this name.
fn is_function(name: &str) -> bool {
    // The engine refuses to register a function under the name of one it has.
    let is_built_in = || {
        Evaluator::new()
            .register_fn(name, |_: &[jsonata_core::value::JValue]| {
                Ok(jsonata_core::value::JValue::Undefined)
            })
            .is_err()
    };
    ADDED_FUNCTIONS.contains(&name) || is_built_in()
}
