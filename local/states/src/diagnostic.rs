//! What is wrong with a definition.

use std::fmt;

/// Whether a state machine with the fault can be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `CreateStateMachine` refuses the definition.
    Error,
    /// `CreateStateMachine` takes the definition as AWS does, but a run of it cannot go well.
    Warning,
}

/// One fault of a definition, with the place it is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the fault forbids creating the state machine.
    pub severity: Severity,
    /// AWS's code for the kind of fault, such as `SCHEMA_VALIDATION_FAILED`.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The way through the definition, such as `/States/Load/Catch[0]/Next`; empty for the whole.
    pub location: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = match self.location.as_str() {
            "" => "null",
            location => location,
        };
        write!(f, "{}: {} at {location}", self.code, self.message)
    }
}

pub(crate) const INVALID_JSON: &str = "INVALID_JSON_DESCRIPTION";
pub(crate) const SCHEMA: &str = "SCHEMA_VALIDATION_FAILED";
pub(crate) const EXPRESSION: &str = "INVALID_JSONATA_EXPRESSION";
pub(crate) const UNSUPPORTED_EXPRESSION: &str = "UNSUPPORTED_JSONATA_EXPRESSION";
pub(crate) const MISSING_TARGET: &str = "MISSING_TRANSITION_TARGET";
pub(crate) const MISSING_END: &str = "MISSING_END_STATE";
/// A code of our own: AWS does not look at callbacks.
pub(crate) const CALLBACK: &str = "UNSAFE_CALLBACK";
pub(crate) const DUPLICATE_NAME: &str = "DUPLICATE_STATE_NAME";

impl Diagnostic {
    pub(crate) fn error(
        code: &'static str,
        location: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), location: location.into() }
    }

    pub(crate) fn warning(
        code: &'static str,
        location: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, location, message) }
    }
}
