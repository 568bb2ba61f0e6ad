//! How a run goes, while it goes.

mod bars;
mod steps;

use job::view::RunView;

use self::bars::Bars;
pub use self::steps::{Step, StepState, changed, steps};
use crate::{Terminal, report};

/// Shows a run: as bars where a person looks on, else as a line for every change.
pub struct Progress<'t, 'a> {
    terminal: &'t mut Terminal<'a>,
    seen: Vec<Step>,
    planned: bool,
    bars: Option<Bars>,
}

impl<'t, 'a> Progress<'t, 'a> {
    /// Nothing is shown yet.
    pub fn new(terminal: &'t mut Terminal<'a>) -> Self {
        let bars = terminal.draws_bars().then(Bars::new);
        Self { terminal, seen: Vec::new(), planned: false, bars }
    }

    /// Shows where the run stands now.
    pub fn show(&mut self, view: &RunView) {
        let steps = steps(view);
        if let Some(bars) = &mut self.bars {
            bars.show(&steps, view.queries.len());
        } else {
            if let (false, Some(count)) = (self.planned, view.query_count) {
                self.terminal
                    .note(format_args!("planned: {}", report::count(count, "query", "queries")));
                self.planned = true;
            }
            for step in changed(&self.seen, &steps) {
                self.terminal.note(step);
            }
        }
        self.seen = steps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_run;

    #[test]
    fn every_change_is_one_line() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal::new(&mut out, &mut err, false);
        let mut progress = Progress::new(&mut terminal);
        for view in sample_run::views() {
            progress.show(&view);
            progress.show(&view);
        }
        let expected = "\
planned: 2 queries
query q01: RUNNING
query q01: SUCCEEDED, 4 rows, 512 B
query daily/users: RUNNING
query daily/users: SUCCEEDED, 1,500 rows, 64.00 KiB
archive: RUNNING
archive: SUCCEEDED, r1.zip, 10.00 KiB
delivery: RUNNING
delivery: SUCCEEDED, /in/daily/r1.zip
";
        assert_eq!(String::from_utf8(err).unwrap(), expected);
        assert_eq!(out, b"");
    }

    #[test]
    fn a_failed_step_says_why_on_its_line() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal::new(&mut out, &mut err, false);
        Progress::new(&mut terminal).show(&sample_run::failed());
        let expected = "\
planned: 2 queries
query q01: SUCCEEDED, 4 rows, 512 B
query daily/users: FAILED, Query.Failed: SYNTAX_ERROR: line 2:8: Column 'nme' cannot be resolved
";
        assert_eq!(String::from_utf8(err).unwrap(), expected);
    }
}
