//! A run as bars, for a person who looks on.

use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Step, StepState};

/// Up to so many queries keep their line when they have ended; of more, only those that run have one.
const LINES_MAX: usize = 24;

/// How often the spinners turn.
const TICK: Duration = Duration::from_millis(100);

/// Bars on the standard error stream, which go away with this value.
pub(super) struct Bars {
    screen: MultiProgress,
    total: ProgressBar,
    lines: HashMap<String, ProgressBar>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let screen = MultiProgress::new();
        let total = screen.add(
            ProgressBar::new(0).with_style(style("{bar:30} {pos}/{len} queries {msg} {elapsed}")),
        );
        total.enable_steady_tick(TICK);
        Self { screen, total, lines: HashMap::new() }
    }

    pub(super) fn show(&mut self, steps: &[Step], queries: usize) {
        let ended = steps.iter().take(queries).filter(|step| step.state.is_end()).count();
        let failed = steps.iter().filter(|step| step.state == StepState::Failed).count();
        self.total.set_length(queries as u64);
        self.total.set_position(ended as u64);
        self.total.set_message(if failed == 0 {
            String::new()
        } else {
            format!("{failed} failed")
        });

        for step in steps {
            if has_line(step, queries) {
                let line = self
                    .lines
                    .entry(step.name.clone())
                    .or_insert_with(|| open(&self.screen, &self.total, step));
                draw(line, step);
            } else if let Some(line) = self.lines.remove(&step.name) {
                line.finish_and_clear();
                self.screen.remove(&line);
            }
        }
    }
}

impl Drop for Bars {
    /// What stays on the screen is the report, and not the way to it.
    fn drop(&mut self) {
        self.lines.values().chain([&self.total]).for_each(ProgressBar::finish_and_clear);
    }
}

/// Whether a step is on the screen.
fn has_line(step: &Step, queries: usize) -> bool {
    match step.state {
        StepState::Waiting => false,
        StepState::Done => queries <= LINES_MAX,
        StepState::Running | StepState::Failed => true,
    }
}

fn open(screen: &MultiProgress, total: &ProgressBar, step: &Step) -> ProgressBar {
    let line =
        ProgressBar::new_spinner().with_style(style("{spinner} {prefix:32} {msg} {elapsed}"));
    let line = screen.insert_before(total, line.with_prefix(step.name.clone()));
    line.enable_steady_tick(TICK);
    line
}

/// A line that is finished stays as it is.
fn draw(line: &ProgressBar, step: &Step) {
    if line.is_finished() {
        return;
    }
    if step.state.is_end() {
        line.finish_with_message(step.text.clone());
    } else {
        line.set_message(step.text.clone());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("our own templates are templates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_queries_only_those_that_run_or_failed_have_a_line() {
        for (state, few, many) in [
            (StepState::Waiting, false, false),
            (StepState::Running, true, true),
            (StepState::Done, true, false),
            (StepState::Failed, true, true),
        ] {
            let step = Step { name: "query a".to_owned(), state, text: String::new() };
            assert_eq!(
                (has_line(&step, LINES_MAX), has_line(&step, LINES_MAX + 1)),
                (few, many),
                "{state:?}"
            );
        }
    }

    #[test]
    fn lines_come_and_go_with_their_queries() {
        let step =
            |name: usize, state| Step { name: format!("query {name}"), state, text: String::new() };
        let mut bars = Bars::new();
        let queries = LINES_MAX + 6;
        for running in 0..queries {
            let state = |at: usize| match at.cmp(&running) {
                std::cmp::Ordering::Less => StepState::Done,
                std::cmp::Ordering::Equal => StepState::Running,
                std::cmp::Ordering::Greater => StepState::Waiting,
            };
            bars.show(&(0..queries).map(|at| step(at, state(at))).collect::<Vec<_>>(), queries);
            assert_eq!(bars.lines.keys().collect::<Vec<_>>(), [&format!("query {running}")]);
            assert_eq!(
                (bars.total.position(), bars.total.length()),
                (running as u64, Some(queries as u64))
            );
        }
    }
}
