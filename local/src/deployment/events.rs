//! The rules of the default event bus and their targets; and how functions take events.

use std::collections::{BTreeMap, BTreeSet};

use local_events::{Pattern, RetryPolicy, Rule, Target, Transformer, TransformerError};
use local_lambda::EventInvokeConfig;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    Function, Named,
    reader::{Reader, Resource},
    text,
};

const RULE: &str = "aws:cloudwatch/eventRule:EventRule";
const TARGET: &str = "aws:cloudwatch/eventTarget:EventTarget";
const TOPIC: &str = "aws:sns/topic:Topic";
const INVOKE_CONFIG: &str = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleInputs {
    event_pattern: Option<Value>,
    schedule_expression: Option<IgnoredAny>,
    #[serde(default = "default_bus")]
    event_bus_name: String,
    #[serde(default = "enabled")]
    state: String,
}

/// The bus that AWS's own events come to, and that AWS takes if a rule does not say it.
fn default_bus() -> String {
    "default".to_owned()
}

fn enabled() -> String {
    "ENABLED".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetInputs {
    arn: String,
    rule: String,
    target_id: Option<String>,
    input: Option<IgnoredAny>,
    input_path: Option<IgnoredAny>,
    input_transformer: Option<TransformerInputs>,
    #[serde(default)]
    retry_policy: RetryPolicyInputs,
    dead_letter_config: Option<DeadLetters>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransformerInputs {
    #[serde(default)]
    input_paths: BTreeMap<String, String>,
    input_template: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetryPolicyInputs {
    maximum_event_age_in_seconds: Option<u64>,
    maximum_retry_attempts: Option<u32>,
}

#[derive(Deserialize)]
struct DeadLetters {
    arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InvokeInputs {
    function_name: String,
    maximum_event_age_in_seconds: Option<u64>,
    maximum_retry_attempts: Option<u32>,
    destination_config: Option<Destinations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destinations {
    on_failure: Option<Destination>,
    on_success: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Destination {
    destination: String,
}

/// Reads how functions take asynchronous invocations, into `functions`.
pub(super) fn read_invoke_configs(reader: &mut Reader<'_>, functions: &mut [Function]) {
    for (place, Resource { inputs, .. }) in reader.all::<InvokeInputs, IgnoredAny>(INVOKE_CONFIG) {
        let name = &inputs.function_name;
        let called =
            functions.iter_mut().find(|function| [&function.name, &function.arn].contains(&name));
        let Some(function) = called else {
            let problem = format!("the stack has no function `{name}`");
            reader.fault(&place, "inputs.functionName", problem);
            continue;
        };
        let property = "inputs.destinationConfig";
        let destinations = inputs
            .destination_config
            .unwrap_or(Destinations { on_failure: None, on_success: None });
        if destinations.on_success.is_some() {
            reader.fault(&place, property, "nothing is told about events that succeed here");
        }
        let on_failure = destinations.on_failure.map(|on_failure| on_failure.destination);
        if let Some(arn) = &on_failure {
            reader.refer(&place, property, arn);
        }
        let default = EventInvokeConfig::default();
        function.events = EventInvokeConfig {
            retries_max: inputs.maximum_retry_attempts.unwrap_or(default.retries_max),
            age_seconds_max: inputs.maximum_event_age_in_seconds.unwrap_or(default.age_seconds_max),
            on_failure,
        };
    }
}

/// Reads the rules, whose targets are among `functions` or topics.
pub(super) fn read(reader: &mut Reader<'_>, functions: &[Function]) -> Vec<Rule> {
    let mut targets = targets(reader, functions);
    let mut rules = Vec::new();
    for (place, Resource { inputs, outputs, .. }) in reader.all::<RuleInputs, Named>(RULE) {
        let Named { arn, name } = outputs;
        reader.expect(&place, "inputs.eventBusName", &inputs.event_bus_name, "default");
        if inputs.schedule_expression.is_some() {
            let problem = "rules with a schedule do not run here";
            reader.fault(&place, "inputs.scheduleExpression", problem);
        }
        let Some(pattern) = inputs.event_pattern else {
            reader.fault(
                &place,
                "inputs.eventPattern",
                "a rule without a pattern does not run here",
            );
            continue;
        };
        let targets = targets.remove(&name).unwrap_or_default();
        match Pattern::parse(&text(pattern)) {
            Ok(pattern) => {
                let is_enabled = inputs.state != "DISABLED";
                rules.push(Rule { name, arn, pattern, is_enabled, targets });
            }
            Err(error) => reader.fault(&place, "inputs.eventPattern", error.to_string()),
        }
    }
    for name in targets.into_keys() {
        reader.fault(TARGET, "inputs.rule", format!("the stack has no rule `{name}`"));
    }
    rules
}

/// The targets by the names of their rules.
fn targets(reader: &mut Reader<'_>, functions: &[Function]) -> BTreeMap<String, Vec<Target>> {
    let topics = reader.all::<IgnoredAny, Named>(TOPIC).into_iter();
    let topics: BTreeSet<String> = topics.map(|(_, topic)| topic.outputs.arn).collect();
    let mut targets: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    for (place, Resource { id, inputs, .. }) in reader.all::<TargetInputs, IgnoredAny>(TARGET) {
        let TargetInputs { arn, rule, target_id, retry_policy, dead_letter_config, .. } = inputs;
        if !topics.contains(&arn) && !functions.iter().any(|function| function.arn == arn) {
            let problem = format!("no function or topic of the stack is `{arn}`");
            reader.fault(&place, "inputs.arn", problem);
        }
        for (property, input) in
            [("inputs.input", inputs.input), ("inputs.inputPath", inputs.input_path)]
        {
            if input.is_some() {
                reader.fault(&place, property, "only events and input transformers run here");
            }
        }
        let dead_letter_arn = dead_letter_config.map(|queue| queue.arn);
        if let Some(arn) = &dead_letter_arn {
            reader.refer(&place, "inputs.deadLetterConfig.arn", arn);
        }
        let transformer = inputs.input_transformer.and_then(|inputs| {
            let read = Transformer::parse(&inputs.input_paths, &inputs.input_template);
            let fault = |error: &TransformerError| {
                reader.fault(&place, "inputs.inputTransformer", error.to_string());
            };
            read.inspect_err(fault).ok()
        });
        let default = RetryPolicy::default();
        let retry_policy = RetryPolicy {
            age_seconds_max: retry_policy
                .maximum_event_age_in_seconds
                .unwrap_or(default.age_seconds_max),
            retries_max: retry_policy.maximum_retry_attempts.unwrap_or(default.retries_max),
        };
        let id = target_id.unwrap_or(id);
        let target = Target { id, arn, transformer, retry_policy, dead_letter_arn };
        targets.entry(rule).or_default().push(target);
    }
    targets
}
