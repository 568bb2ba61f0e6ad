//! What starts runs by itself: the schedules of a stack, for `athena-workflow local --schedules`.

use std::time::Duration;

use jiff::Timestamp;
use job::error::Chain;
use local::{Firing, Schedule, Stack};

use crate::{Terminal, report, run::JobFile};

/// The longest that is waited before the clock is looked at again: while a laptop sleeps, timers
/// stand still.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// The schedules of a stack, and whether they fire.
pub fn guide(schedules: &[Schedule], do_fire: bool) -> String {
    let title = match (schedules.is_empty(), do_fire) {
        (true, _) => "Schedules: there are none",
        (false, true) => "Schedules",
        (false, false) => "Schedules, which start nothing without --schedules",
    };
    let width = schedules.iter().map(|schedule| schedule.name.len()).max().unwrap_or_default();
    let lines = schedules.iter().map(|Schedule { name, expression, is_enabled, .. }| {
        let disabled = if *is_enabled { "" } else { ", disabled" };
        format!("\n  {name:width$}  {}{disabled}", expression.as_str())
    });
    format!("{title}{}", lines.collect::<String>())
}

/// Starts a run whenever a schedule fires, and never ends.
pub async fn fire(stack: &Stack, terminal: &mut Terminal<'_>) {
    loop {
        for firing in stack.due(Timestamp::now()) {
            start(stack, &firing, terminal);
        }
        let Some(next) = stack.next_firing() else { return std::future::pending().await };
        let wait = Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::sleep(wait.min(WAIT_MAX)).await;
    }
}

/// Starts the run of a firing, with a server of this laptop in the place of the partner's.
fn start(stack: &Stack, firing: &Firing, terminal: &mut Terminal<'_>) {
    let Firing { schedule, scheduled_at, is_too_late, .. } = firing;
    let name = format!("schedule {}, {scheduled_at}", schedule.name);
    if *is_too_late {
        terminal.note(format_args!("{name}: it is too late for its run"));
        return;
    }
    let mut input = firing.input();
    if let Ok(mut job) = JobFile::of_schedule(&input)
        && let Some(stand_in) = job.stand_in(stack.endpoints())
    {
        terminal.note(report::stand_in(&stand_in));
        input = job.document().to_string();
    }
    match stack.start_scheduled(schedule, &input) {
        Ok(execution) => {
            let run_id = execution.rsplit(':').next().unwrap_or_default();
            terminal.note(format_args!("{name}: run {run_id}"));
        }
        Err(error) => terminal.note(format_args!("{name}: no run: {}", Chain(&error))),
    }
}
