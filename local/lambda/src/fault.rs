//! What a caller gets when a function did not answer by itself.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::RESPONSE_BYTES_MAX;

/// A failure that Lambda, not the function, puts into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ended during an invocation or before it asked for one.
    Exited { reason: Option<String> },
    /// The process could not be started.
    NotStarted { reason: String },
    /// The invocation took longer than the function's time-out.
    TimedOut { limit: Duration },
    /// The function's answer is larger than Lambda carries.
    ResponseTooLarge,
    /// The function itself reported that it could not initialise.
    Initialisation { payload: Bytes },
}

/// The shape of every error payload.
#[derive(Serialize)]
struct ErrorPayload<'a> {
    #[serde(rename = "errorType")]
    error_type: &'a str,
    #[serde(rename = "errorMessage")]
    error_message: &'a str,
}

/// The payload of an error that has a name and a message.
pub(crate) fn error_payload(error_type: &str, error_message: &str) -> Bytes {
    let payload = ErrorPayload { error_type, error_message };
    serde_json::to_vec(&payload).expect("two strings are always JSON").into()
}

impl Fault {
    /// How a process ended, in the words of AWS (which are those of Go's `os/exec`).
    pub(crate) fn exited(status: ExitStatus) -> Self {
        let reason = match (status.code(), status.signal()) {
            (Some(0), _) => None,
            (Some(code), _) => Some(format!("exit status {code}")),
            (None, Some(signal)) => Some(format!("signal: {}", signal_name(signal))),
            (None, None) => Some("unknown status".to_owned()),
        };
        Self::Exited { reason }
    }

    /// The name that a state machine matches.
    pub(crate) fn error_type(&self) -> String {
        match self {
            Self::Exited { .. } => "Runtime.ExitError".to_owned(),
            Self::NotStarted { .. } => "Runtime.InvalidEntrypoint".to_owned(),
            Self::TimedOut { .. } => "Sandbox.Timedout".to_owned(),
            Self::ResponseTooLarge => "Function.ResponseSizeTooLarge".to_owned(),
            Self::Initialisation { payload } => reported_type(payload),
        }
    }

    /// What `errorMessage` says after `RequestId: … Error: `, where AWS puts that in front.
    fn description(&self) -> String {
        match self {
            Self::Exited { reason: None } => "Runtime exited without providing a reason".to_owned(),
            Self::Exited { reason: Some(reason) } => format!("Runtime exited with error: {reason}"),
            Self::NotStarted { reason } => reason.clone(),
            Self::TimedOut { limit } => {
                format!("Task timed out after {:.2} seconds", limit.as_secs_f64())
            }
            Self::ResponseTooLarge => format!(
                "Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
            ),
            Self::Initialisation { payload } => String::from_utf8_lossy(payload).into_owned(),
        }
    }

    /// The body that the caller of the function gets.
    pub(crate) fn payload(&self, request_id: &str) -> Bytes {
        match self {
            Self::Initialisation { payload } => payload.clone(),
            Self::ResponseTooLarge => error_payload(&self.error_type(), &self.description()),
            Self::Exited { .. } | Self::NotStarted { .. } | Self::TimedOut { .. } => error_payload(
                &self.error_type(),
                &format!("RequestId: {request_id} Error: {}", self.description()),
            ),
        }
    }

    /// The lines that the function's log gets before `END`.
    pub(crate) fn log_lines(&self, request_id: &str, now: jiff::Timestamp) -> Vec<String> {
        match self {
            Self::Exited { .. } | Self::NotStarted { .. } => vec![
                format!("RequestId: {request_id} Error: {}", self.description()),
                self.error_type(),
            ],
            Self::TimedOut { .. } => {
                vec![format!(
                    "{} {request_id} {}",
                    now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"),
                    self.description()
                )]
            }
            Self::ResponseTooLarge | Self::Initialisation { .. } => vec![self.description()],
        }
    }

    /// The status in a `REPORT` or `INIT_REPORT` line.
    pub(crate) fn report_status(&self) -> String {
        match self {
            Self::TimedOut { .. } => "Status: timeout".to_owned(),
            Self::Exited { .. }
            | Self::NotStarted { .. }
            | Self::ResponseTooLarge
            | Self::Initialisation { .. } => {
                format!("Status: error\tError Type: {}", self.error_type())
            }
        }
    }
}

/// The `errorType` of a payload that the function sent.
fn reported_type(payload: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Reported {
        #[serde(rename = "errorType")]
        error_type: String,
    }
    serde_json::from_slice(payload)
        .map_or_else(|_| "Runtime.Unknown".to_owned(), |reported: Reported| reported.error_type)
}

/// The name of a signal; the numbers of these six are the same on every Unix.
fn signal_name(signal: i32) -> String {
    match signal {
        2 => "interrupt".to_owned(),
        4 => "illegal instruction".to_owned(),
        6 => "aborted".to_owned(),
        8 => "floating point exception".to_owned(),
        9 => "killed".to_owned(),
        11 => "segmentation fault".to_owned(),
        15 => "terminated".to_owned(),
        other => format!("signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fault: &Fault, expected: &str) {
        let payload = fault.payload("6f1c");
        assert_eq!(std::str::from_utf8(&payload), Ok(expected));
    }

    #[test]
    fn every_fault_is_put_as_aws_puts_it() {
        let exited = |raw: i32| Fault::exited(ExitStatus::from_raw(raw));
        check(
            &exited(0),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 6f1c Error: Runtime exited without providing a reason"}"#,
        );
        check(
            &exited(127 << 8),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 6f1c Error: Runtime exited with error: exit status 127"}"#,
        );
        check(
            &exited(9),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 6f1c Error: Runtime exited with error: signal: killed"}"#,
        );
        check(
            &Fault::TimedOut { limit: Duration::from_secs(1) },
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 6f1c Error: Task timed out after 1.00 seconds"}"#,
        );
        check(
            &Fault::ResponseTooLarge,
            r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}"#,
        );
        check(
            &Fault::Initialisation {
                payload: Bytes::from_static(br#"{"errorType":"Settings.Missing"}"#),
            },
            r#"{"errorType":"Settings.Missing"}"#,
        );
    }
}
