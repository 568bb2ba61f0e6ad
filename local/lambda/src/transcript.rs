//! The log of a function: its output and the lines Lambda adds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::config::Error;

/// AWS returns the last 4 KB of an invocation's log on request.
const TAIL_BYTES_MAX: usize = 4096;
/// A line that is longer is logged in pieces, as on AWS.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// Where a function's log goes.
#[derive(Debug)]
pub(crate) enum Sink {
    StandardError,
    File(File),
}

impl Sink {
    /// Opens the log of a function for appending; standard error if there is no directory for logs.
    pub(crate) fn open(log_dir: Option<&Path>, function: &str) -> Result<Self, Error> {
        let Some(log_dir) = log_dir else {
            return Ok(Self::StandardError);
        };
        let path = log_dir.join(format!("{function}.log"));
        fs::create_dir_all(log_dir)
            .and_then(|()| File::options().create(true).append(true).open(&path))
            .map(Self::File)
            .map_err(|source| Error::Log { function: function.to_owned(), path, source })
    }

    /// Writes whole lines. Each call is one write, so that the lines of processes do not mix.
    fn write(&self, lines: &[u8]) {
        let written = match self {
            Self::StandardError => io::stderr().write_all(lines),
            Self::File(file) => (&mut &*file).write_all(lines),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "a function's log could not be written");
        }
    }
}

/// The log of one process: passes whole lines on and keeps the end of the current invocation's.
#[derive(Debug)]
pub(crate) struct Transcript {
    sink: Arc<Sink>,
    unfinished_line: Vec<u8>,
    tail: Vec<u8>,
}

impl Transcript {
    pub(crate) fn new(sink: Arc<Sink>) -> Self {
        Self { sink, unfinished_line: Vec::new(), tail: Vec::new() }
    }

    /// Takes output of the function, which may end in the middle of a line.
    pub(crate) fn output(&mut self, bytes: &[u8]) {
        self.unfinished_line.extend_from_slice(bytes);
        let finished = match self.unfinished_line.iter().rposition(|&byte| byte == b'\n') {
            Some(position) => position + 1,
            None if self.unfinished_line.len() > LINE_BYTES_MAX => self.unfinished_line.len(),
            None => return,
        };
        let rest = self.unfinished_line.split_off(finished);
        let lines = std::mem::replace(&mut self.unfinished_line, rest);
        self.emit(&lines);
    }

    /// Adds a line of Lambda's own.
    pub(crate) fn line(&mut self, line: &str) {
        if !self.unfinished_line.is_empty() {
            self.output(b"\n");
        }
        self.emit(format!("{line}\n").as_bytes());
    }

    /// Forgets what earlier invocations logged.
    pub(crate) fn restart_tail(&mut self) {
        self.tail.clear();
    }

    /// The end of the current invocation's log, at most 4 KB.
    pub(crate) fn tail(&self) -> String {
        let start = self.tail.len().saturating_sub(TAIL_BYTES_MAX);
        String::from_utf8_lossy(&self.tail[start..]).into_owned()
    }

    fn emit(&mut self, lines: &[u8]) {
        self.sink.write(lines);
        self.tail.extend_from_slice(lines);
        if self.tail.len() > 2 * TAIL_BYTES_MAX {
            self.tail.drain(..self.tail.len() - TAIL_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambdas_own_lines_never_join_a_line_of_the_function() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let sink = Arc::new(Sink::open(Some(dir.path()), "load").expect("the log opens"));
        let mut transcript = Transcript::new(sink);
        transcript.output(b"first\nsec");
        transcript.output(b"ond");
        transcript.line("END");
        let logged = fs::read_to_string(dir.path().join("load.log")).expect("the log is there");
        assert_eq!(logged, "first\nsecond\nEND\n");
        assert_eq!(transcript.tail(), logged);
    }

    #[test]
    fn the_tail_is_the_last_four_kilobytes() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let sink = Arc::new(Sink::open(Some(dir.path()), "load").expect("the log opens"));
        let mut transcript = Transcript::new(sink);
        let lines: Vec<_> = (0..3000).map(|number| format!("line {number}")).collect();
        for line in &lines {
            transcript.line(line);
        }
        let all = lines.join(
            "
",
        ) + "
";
        assert_eq!(transcript.tail(), all[all.len() - 4096..]);
    }
}
