//! Reading what only a Map has: its processor, its item reader, its limits.

use std::sync::Arc;

use serde_json::Value;

use super::fields::{Fields, Report};
use super::read::{Language, flow};
use super::{Distributed, Format, Headers, ItemReader, ItemSource, Map};
use crate::diagnostic::{Diagnostic, SCHEMA};
use crate::expression::Template;

/// AWS: a `Label` has at most 40 characters.
const LABEL_LENGTH_MAX: usize = 40;

pub(super) fn map(report: &Report, fields: &Fields<'_>, language: Language) -> Option<Map> {
    for name in ["ItemBatcher", "ResultWriter"] {
        if fields.take(name).is_some() {
            fields.error(name, format!("`{name}` is not supported"));
        }
    }
    let items = items(fields);
    let label = fields.string("Label");
    let reader = fields.object("ItemReader");
    let is_reader = reader.is_some();
    let reader = reader.and_then(|reader| item_reader(&reader));
    let (processor, is_distributed) = processor(report, fields, language)?;
    let map = Map {
        items,
        item_selector: fields.template("ItemSelector"),
        processor: Arc::new(processor),
        max_concurrency: limit(fields, "MaxConcurrency"),
        tolerated_failure_count: limit(fields, "ToleratedFailureCount"),
        tolerated_failure_percentage: fields.template_of(
            "ToleratedFailurePercentage",
            "a number from 0 to 100",
            |value| value.as_f64().is_some_and(|number| (0.0..=100.0).contains(&number)),
        ),
        distributed: is_distributed
            .then(|| Distributed { label: label.map(str::to_string), reader }),
    };
    if is_distributed {
        check_distributed(fields, label, is_reader && map.items.is_some());
    } else {
        check_inline(report, fields, &map, is_reader, label.is_some());
    }
    Some(map)
}

/// `Items`: an expression, or a list in which elements may be expressions.
fn items(fields: &Fields<'_>) -> Option<Template> {
    if fields.take("Items")?.is_array() {
        return fields.template("Items");
    }
    fields.template_of("Items", "an array", Value::is_array)
}

fn limit(fields: &Fields<'_>, name: &'static str) -> Option<Template> {
    fields.template_of(name, "a whole number of at least 0", |value| value.as_u64().is_some())
}

fn check_distributed(fields: &Fields<'_>, label: Option<&str>, both: bool) {
    if both {
        fields.error("Items", "a Map has `Items` or `ItemReader`, not both");
    }
    if let Some(label) = label
        && (label.is_empty()
            || label.chars().count() > LABEL_LENGTH_MAX
            || label.chars().any(|c| {
                c.is_whitespace() || c.is_control() || "?*<>{}[]:;,\\|^~$#%&`\"/".contains(c)
            }))
    {
        fields.error("Label", format!("`{label}` cannot be a label"));
    }
}

fn check_inline(report: &Report, fields: &Fields<'_>, map: &Map, reader: bool, label: bool) {
    for (name, is_there) in [("ItemReader", reader), ("Label", label)] {
        if is_there {
            let message = format!("an INLINE Map has no `{name}`; only a DISTRIBUTED one has");
            fields.error(name, message);
        }
    }
    let tolerances = [
        ("ToleratedFailureCount", &map.tolerated_failure_count),
        ("ToleratedFailurePercentage", &map.tolerated_failure_percentage),
    ];
    for (name, value) in tolerances {
        if value.is_some() {
            let message = format!("`{name}` has no effect in an INLINE Map");
            report.push(Diagnostic::warning(SCHEMA, fields.at(name), message));
        }
    }
}

/// `ItemProcessor`, or its older name `Iterator`, and whether it is distributed.
fn processor<'a>(
    report: &'a Report,
    fields: &Fields<'a>,
    language: Language,
) -> Option<(super::Flow, bool)> {
    let processor = fields.object("ItemProcessor");
    let Some(processor) = processor.or_else(|| fields.object("Iterator")) else {
        if fields.take("ItemProcessor").is_none() && fields.take("Iterator").is_none() {
            fields.must_have("ItemProcessor");
        }
        return None;
    };
    processor.string("Comment");
    let is_distributed = processor.object("ProcessorConfig").is_some_and(processor_config);
    let flow = flow(report, &processor, language);
    processor.finish();
    Some((flow, is_distributed))
}

fn processor_config(config: Fields<'_>) -> bool {
    let is_distributed = match config.string("Mode") {
        Some("DISTRIBUTED") => true,
        Some("INLINE") | None => false,
        Some(other) => {
            let message = format!("`Mode` must be `INLINE` or `DISTRIBUTED`, not `{other}`");
            config.error("Mode", message);
            false
        }
    };
    match config.string("ExecutionType") {
        Some("STANDARD") | None => {}
        Some("EXPRESS") => {
            let message = "the execution type `EXPRESS` is not supported; `STANDARD` is";
            config.error("ExecutionType", message);
        }
        Some(other) => {
            let message = format!("there is no execution type `{other}`");
            config.error("ExecutionType", message);
        }
    }
    config.finish();
    is_distributed
}

fn item_reader(fields: &Fields<'_>) -> Option<ItemReader> {
    let arguments = fields.template("Arguments");
    fields.must_have("Arguments");
    let config = fields.object("ReaderConfig");
    let max_items = config.as_ref().and_then(|config| limit(config, "MaxItems"));
    let resource = fields.required("Resource");
    let parts: Vec<&str> = resource.unwrap_or_default().splitn(6, ':').collect();
    let source = match parts[..] {
        ["arn", _, "states", "", "", "s3:getObject"] => {
            if config.is_none() {
                fields.must_have("ReaderConfig");
            }
            config.as_ref().and_then(format).map(ItemSource::Object)
        }
        ["arn", _, "states", "", "", "s3:listObjectsV2"] => Some(ItemSource::Listing),
        _ => {
            if let Some(resource) = resource {
                let message = format!("the resource `{resource}` is not supported in `ItemReader`");
                fields.error("Resource", message);
            }
            None
        }
    };
    if let Some(config) = config {
        config.finish();
    }
    Some(ItemReader { source: source?, arguments: arguments?, max_items })
}

fn format(config: &Fields<'_>) -> Option<Format> {
    match config.required("InputType")? {
        "JSON" => Some(Format::Json { pointer: config.string("ItemsPointer").map(str::to_string) }),
        "JSONL" => Some(Format::JsonLines),
        "CSV" => csv(config),
        other => {
            let message = format!("`InputType` must be `JSON`, `JSONL` or `CSV`, not `{other}`");
            config.error("InputType", message);
            None
        }
    }
}

fn csv(config: &Fields<'_>) -> Option<Format> {
    let delimiter = match config.string("CSVDelimiter") {
        None | Some("COMMA") => b',',
        Some("PIPE") => b'|',
        Some("SEMICOLON") => b';',
        Some("SPACE") => b' ',
        Some("TAB") => b'\t',
        Some(other) => {
            config.error("CSVDelimiter", format!("there is no delimiter `{other}`"));
            return None;
        }
    };
    let given = config.strings("CSVHeaders");
    let headers = match (config.required("CSVHeaderLocation")?, given) {
        ("FIRST_ROW", None) => Headers::FirstRow,
        ("GIVEN", Some(headers)) => Headers::Given(headers),
        ("GIVEN", None) => {
            config.must_have("CSVHeaders");
            return None;
        }
        ("FIRST_ROW", Some(_)) => {
            config.error("CSVHeaders", "`FIRST_ROW` and `CSVHeaders` exclude each other");
            return None;
        }
        (other, _) => {
            let message =
                format!("`CSVHeaderLocation` must be `FIRST_ROW` or `GIVEN`, not `{other}`");
            config.error("CSVHeaderLocation", message);
            return None;
        }
    };
    Some(Format::Csv { headers, delimiter })
}
