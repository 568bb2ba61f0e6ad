//! EventBridge Scheduler on a laptop: when schedules fire, and what their targets are given.
//!
//! There is no clock in it and no waiting: whoever has a [`Scheduler`] says what time it is, and is
//! told what is due. So a test moves the time as it likes, and a command waits until
//! [`Scheduler::next`].
//!
//! ```
//! use local_scheduler::{Expression, Schedule, Scheduler};
//!
//! let nightly = Schedule {
//!     name: "nightly".to_owned(),
//!     arn: "arn:aws:scheduler:us-east-1:000000000000:schedule/group/nightly".to_owned(),
//!     role_arn: "arn:aws:iam::000000000000:role/starter".to_owned(),
//!     expression: Expression::parse("cron(30 2 * * ? *)", "Europe/Berlin")?,
//!     is_enabled: true,
//!     input: r#"{"scheduled_at":"<aws.scheduler.scheduled-time>"}"#.to_owned(),
//!     age_seconds_max: 3600,
//! };
//! let mut scheduler = Scheduler::new(vec![nightly], "2026-11-22T12:00:00Z".parse()?);
//! assert_eq!(scheduler.next(), Some("2026-11-23T01:30:00Z".parse()?));
//! let due = scheduler.due("2026-11-23T01:30:05Z".parse()?);
//! assert_eq!(due[0].input(), r#"{"scheduled_at":"2026-11-23T01:30:00Z"}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What differs from AWS
//!
//! * A schedule with a flexible time window fires at the window's begin.
//! * Nothing is tried twice: `<aws.scheduler.attempt-number>` is always 1.
//! * The target is the caller's business, as are a queue of dead letters and the role.

mod expression;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

pub use crate::expression::{Expression, ExpressionError};

/// As many as in AWS's example, `d32c5kddcf5bb8c3`.
const EXECUTION_ID_CHARS: usize = 16;

/// A schedule, and what its target is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Its ARN: `…:schedule/GROUP/NAME`.
    pub arn: String,
    /// The role that it acts in.
    pub role_arn: String,
    /// When it fires.
    pub expression: Expression,
    /// Whether it fires at all.
    pub is_enabled: bool,
    /// What the target is given, with context attributes such as `<aws.scheduler.scheduled-time>`.
    pub input: String,
    /// How late it may still fire; it is left out if it is due for longer.
    pub age_seconds_max: u32,
}

impl Schedule {
    /// The ARN of its group, which roles that schedules act in trust:
    /// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html>.
    pub fn group_arn(&self) -> String {
        let group = self.arn.rsplit_once('/').map_or(&*self.arn, |(group, _)| group);
        group.replacen(":schedule/", ":schedule-group/", 1)
    }
}

/// One time that a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The schedule.
    pub schedule: Schedule,
    /// When it was to fire.
    pub scheduled_at: Timestamp,
    /// Whether it is too late for it: AWS would have given it up.
    pub is_too_late: bool,
    /// What no other firing is called.
    pub execution_id: String,
}

impl Firing {
    /// What the target is given.
    ///
    /// The attributes are those of
    /// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html>.
    pub fn input(&self) -> String {
        let Schedule { arn, input, .. } = &self.schedule;
        let time = self.scheduled_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        [
            ("<aws.scheduler.schedule-arn>", arn.as_str()),
            ("<aws.scheduler.scheduled-time>", &time),
            ("<aws.scheduler.execution-id>", &self.execution_id),
            ("<aws.scheduler.attempt-number>", "1"),
        ]
        .iter()
        .fold(input.clone(), |input, (attribute, value)| input.replace(attribute, value))
    }
}

/// The schedules of a stack, and how far the time has come.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// Each with the time at which it fires next.
    schedules: Vec<(Schedule, Option<Timestamp>)>,
}

impl Scheduler {
    /// The schedules as if they were all made at `begun`. A `rate` fires at once, as on AWS.
    pub fn new(schedules: Vec<Schedule>, begun: Timestamp) -> Self {
        // All that a target is told of a time are whole seconds.
        let begun = Timestamp::from_second(begun.as_second()).unwrap_or(begun);
        let schedules = schedules.into_iter().filter(|schedule| schedule.is_enabled);
        let schedules = schedules.map(|schedule| {
            let first = schedule.expression.first(begun);
            (schedule, first)
        });
        Self { schedules: schedules.collect() }
    }

    /// When something fires next, unless nothing ever does.
    pub fn next(&self) -> Option<Timestamp> {
        self.schedules.iter().filter_map(|(_, next)| *next).min()
    }

    /// What fires up to `now` and has not been told yet, the earliest first.
    pub fn due(&mut self, now: Timestamp) -> Vec<Firing> {
        let mut due = Vec::new();
        for (schedule, next) in &mut self.schedules {
            let age_max = SignedDuration::from_secs(schedule.age_seconds_max.into());
            while let Some(scheduled_at) = next.filter(|next| *next <= now) {
                *next = schedule.expression.after(scheduled_at);
                let is_too_late = now.duration_since(scheduled_at) > age_max;
                let mut execution_id = Uuid::new_v4().simple().to_string();
                execution_id.truncate(EXECUTION_ID_CHARS);
                let schedule = schedule.clone();
                due.push(Firing { schedule, scheduled_at, is_too_late, execution_id });
            }
        }
        due.sort_by_key(|firing| firing.scheduled_at);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(name: &str, expression: &str) -> Schedule {
        Schedule {
            name: name.to_owned(),
            arn: format!("arn:aws:scheduler:us-east-1:000000000000:schedule/g/{name}"),
            role_arn: "arn:aws:iam::000000000000:role/starter".to_owned(),
            expression: Expression::parse(expression, "UTC").unwrap(),
            is_enabled: true,
            input: "{}".to_owned(),
            age_seconds_max: 3600,
        }
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-11-23T{time}Z").parse().unwrap()
    }

    /// What is due, as name, time of the day and whether it is too late.
    fn due(scheduler: &mut Scheduler, now: &str) -> Vec<(String, String, bool)> {
        let told = scheduler.due(at(now)).into_iter().map(|firing| {
            let time = firing.scheduled_at.strftime("%H:%M").to_string();
            (firing.schedule.name, time, firing.is_too_late)
        });
        told.collect()
    }

    #[test]
    fn what_is_due_is_told_once_and_in_order() {
        let mut disabled = schedule("disabled", "rate(1 minute)");
        disabled.is_enabled = false;
        let all = vec![
            schedule("hourly", "cron(0 * * * ? *)"),
            schedule("half", "rate(30 minutes)"),
            schedule("once", "at(2026-11-23T10:45:00)"),
            disabled,
        ];
        let mut scheduler = Scheduler::new(all, at("10:20:00"));
        let row = |name: &str, time: &str| (name.to_owned(), time.to_owned(), false);

        assert_eq!(scheduler.next(), Some(at("10:20:00")));
        assert_eq!(due(&mut scheduler, "10:20:00"), [row("half", "10:20")]);
        assert_eq!(due(&mut scheduler, "10:44:59"), []);
        assert_eq!(scheduler.next(), Some(at("10:45:00")));
        let expected = [row("once", "10:45"), row("half", "10:50"), row("hourly", "11:00")];
        assert_eq!(due(&mut scheduler, "11:00:00"), expected);
        assert_eq!(due(&mut scheduler, "11:00:00"), []);
        assert_eq!(scheduler.next(), Some(at("11:20:00")));
    }

    #[test]
    fn what_is_due_for_too_long_is_marked() {
        let mut scheduler =
            Scheduler::new(vec![schedule("hourly", "cron(0 * * * ? *)")], at("10:20:00"));
        let row = |time: &str, is_too_late| ("hourly".to_owned(), time.to_owned(), is_too_late);
        let expected = [row("11:00", true), row("12:00", true), row("13:00", false)];
        assert_eq!(due(&mut scheduler, "13:30:00"), expected);
    }

    #[test]
    fn context_attributes_are_replaced_wherever_they_stand() {
        let mut schedule = schedule("nightly", "cron(30 2 * * ? *)");
        schedule.input = r#"{"a":"<aws.scheduler.scheduled-time>","b":["x-<aws.scheduler.execution-id>","<aws.scheduler.attempt-number>"],"<aws.scheduler.schedule-arn>":"<aws.scheduler.other>"}"#.to_owned();
        let firing = Firing {
            schedule,
            scheduled_at: at("02:30:00"),
            is_too_late: false,
            execution_id: "d32c5k".to_owned(),
        };
        let expected = r#"{"a":"2026-11-23T02:30:00Z","b":["x-d32c5k","1"],"arn:aws:scheduler:us-east-1:000000000000:schedule/g/nightly":"<aws.scheduler.other>"}"#;
        assert_eq!(firing.input(), expected);
    }
}
