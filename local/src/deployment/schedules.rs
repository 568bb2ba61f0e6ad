//! The schedules: when each starts a run, and with which job.

use local_scheduler::{Expression, ExpressionError, Schedule};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    Named, StateMachine,
    reader::{Reader, Resource},
    text,
};

const SCHEDULE: &str = "aws:scheduler/schedule:Schedule";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inputs {
    schedule_expression: String,
    #[serde(default = "utc")]
    schedule_expression_timezone: String,
    #[serde(default)]
    state: State,
    start_date: Option<IgnoredAny>,
    end_date: Option<IgnoredAny>,
    target: Target,
}

/// What AWS takes if a schedule does not say it.
fn utc() -> String {
    "UTC".to_owned()
}

#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    #[default]
    Enabled,
    Disabled,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    arn: String,
    dead_letter_config: Option<DeadLetters>,
    input: Value,
    #[serde(default)]
    retry_policy: RetryPolicy,
    role_arn: String,
}

#[derive(Deserialize)]
struct DeadLetters {
    arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RetryPolicy {
    maximum_event_age_in_seconds: u32,
}

impl Default for RetryPolicy {
    /// What AWS takes: a day.
    fn default() -> Self {
        Self { maximum_event_age_in_seconds: 86_400 }
    }
}

/// Reads the schedules, which start runs of the state machine.
pub(super) fn read(reader: &mut Reader<'_>, state_machine: Option<&StateMachine>) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    for (place, Resource { inputs, outputs, .. }) in reader.all::<Inputs, Named>(SCHEDULE) {
        let Inputs { schedule_expression, schedule_expression_timezone, target, .. } = inputs;
        reader.refer(&place, "inputs.target.roleArn", &target.role_arn);
        if let Some(DeadLetters { arn }) = target.dead_letter_config {
            reader.refer(&place, "inputs.target.deadLetterConfig.arn", &arn);
        }
        if let Some(StateMachine { arn, .. }) = state_machine {
            reader.expect(&place, "inputs.target.arn", &target.arn, arn);
        }
        for (property, date) in
            [("inputs.startDate", inputs.start_date), ("inputs.endDate", inputs.end_date)]
        {
            if date.is_some() {
                reader.fault(&place, property, "schedules with a begin or an end do not run here");
            }
        }
        match Expression::parse(&schedule_expression, &schedule_expression_timezone) {
            Ok(expression) => schedules.push(Schedule {
                name: outputs.name,
                arn: outputs.arn,
                role_arn: target.role_arn,
                expression,
                is_enabled: inputs.state == State::Enabled,
                input: text(target.input),
                age_seconds_max: target.retry_policy.maximum_event_age_in_seconds,
            }),
            Err(error @ ExpressionError::TimeZone(_)) => {
                reader.fault(&place, "inputs.scheduleExpressionTimezone", error.to_string());
            }
            Err(error) => reader.fault(&place, "inputs.scheduleExpression", error.to_string()),
        }
    }
    schedules
}
