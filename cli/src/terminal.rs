//! Where the command writes.

use std::{fmt, io::Write};

use crate::{Error, Exit, report};

/// The two streams of a command: results, and everything else.
pub struct Terminal<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    bars: bool,
}

impl<'a> Terminal<'a> {
    /// Results go to `out`, progress and errors to `err`; `bars` says whether a person looks on.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, bars: bool) -> Self {
        Self { out, err, bars }
    }

    /// Whether progress is drawn as bars, on the standard error stream.
    pub fn draws_bars(&self) -> bool {
        self.bars
    }

    /// Writes a line of the result.
    ///
    /// # Errors
    ///
    /// When nobody reads it any more.
    pub fn result(&mut self, line: impl fmt::Display) -> Result<(), Error> {
        writeln!(self.out, "{line}").and_then(|()| self.out.flush()).map_err(Error::Write)
    }

    /// Writes a line that is not the result. It does not matter whether anybody reads it.
    pub fn note(&mut self, line: impl fmt::Display) {
        drop(writeln!(self.err, "{line}"));
    }

    /// Says what went wrong, and what the process ends with for it.
    pub fn fail(&mut self, error: &Error) -> Exit {
        self.note(report::error(error));
        error.exit()
    }
}
