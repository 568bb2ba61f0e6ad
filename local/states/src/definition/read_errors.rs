//! Reading `Retry` and `Catch`.

use super::fields::{Fields, Report};
use super::read::SECONDS_MAX;
use super::{Catcher, Retrier};

/// AWS: `MaxDelaySeconds` must be less than 31,622,400.
const DELAY_SECONDS_MAX: u64 = 31_622_399;

fn error_equals(fields: &Fields<'_>) -> Vec<String> {
    fields.must_have("ErrorEquals");
    let names = fields.strings("ErrorEquals").unwrap_or_default();
    if names.is_empty() && fields.take("ErrorEquals").is_some() {
        fields.error("ErrorEquals", "`ErrorEquals` must name at least one error");
    }
    if names.len() > 1 && names.iter().any(|name| name == "States.ALL") {
        fields.error("ErrorEquals", "`States.ALL` must stand alone");
    }
    names
}

/// `States.ALL` takes every error, so nothing after it could be reached.
fn all_must_be_last<'a>(
    fields: &Fields<'_>,
    field: &str,
    names: impl ExactSizeIterator<Item = &'a Vec<String>>,
) {
    let last = names.len().saturating_sub(1);
    for (index, names) in names.enumerate() {
        if index < last && names.iter().any(|name| name == "States.ALL") {
            let at = format!("{field}[{index}]/ErrorEquals");
            fields.error(&at, format!("`States.ALL` must come last in `{field}`"));
        }
    }
}

pub(super) fn retriers(report: &Report, fields: &Fields<'_>) -> Vec<Retrier> {
    let found = fields.list("Retry").into_iter().flatten().enumerate();
    let retriers: Vec<Retrier> = found
        .filter_map(|(index, value)| {
            let path = format!("{}[{index}]", fields.at("Retry"));
            Fields::of(report, path, value).map(retrier)
        })
        .collect();
    all_must_be_last(fields, "Retry", retriers.iter().map(|one| &one.error_equals));
    retriers
}

fn retrier(fields: Fields<'_>) -> Retrier {
    fields.string("Comment");
    let interval = fields.whole("IntervalSeconds", 1, SECONDS_MAX).unwrap_or(1);
    let max_delay = fields.whole("MaxDelaySeconds", 1, DELAY_SECONDS_MAX);
    if max_delay.is_some_and(|most| most <= interval) {
        let message = "`MaxDelaySeconds` must be greater than `IntervalSeconds`";
        fields.error("MaxDelaySeconds", message);
    }
    let jitter = match fields.string("JitterStrategy") {
        Some("FULL") => true,
        Some("NONE") | None => false,
        Some(other) => {
            let message = format!("`JitterStrategy` must be `FULL` or `NONE`, not `{other}`");
            fields.error("JitterStrategy", message);
            false
        }
    };
    let attempts = fields.whole("MaxAttempts", 0, SECONDS_MAX).unwrap_or(3);
    let retrier = Retrier {
        error_equals: error_equals(&fields),
        interval_seconds: interval,
        max_attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        backoff_rate: fields.number("BackoffRate", 1.0).unwrap_or(2.0),
        max_delay_seconds: max_delay,
        jitter,
    };
    fields.finish();
    retrier
}

pub(super) fn catchers(report: &Report, fields: &Fields<'_>) -> Vec<Catcher> {
    let found = fields.list("Catch").into_iter().flatten().enumerate();
    let catchers: Vec<Catcher> = found
        .filter_map(|(index, value)| {
            let path = format!("{}[{index}]", fields.at("Catch"));
            let fields = Fields::of(report, path, value)?;
            fields.string("Comment");
            let catcher = Catcher {
                error_equals: error_equals(&fields),
                next: fields.required("Next").unwrap_or_default().to_string(),
                output: fields.template("Output"),
                assign: fields.assign(),
            };
            fields.finish();
            Some(catcher)
        })
        .collect();
    all_must_be_last(fields, "Catch", catchers.iter().map(|one| &one.error_equals));
    catchers
}
