//! The claim of a run: `run.json`.
//!
//! A run is one execution. The first object that a run writes names its execution; another
//! execution that finds it there touches nothing under the prefix. The record only goes forward:
//! `CLAIMED -> PLANNED -> ENDED`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{name::RunId, states::Run};

/// An execution of the state machine. A name may come back, its start does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionId {
    /// ARN, which names account, region, state machine and execution.
    pub arn: String,
    /// Start of the execution, in milliseconds as Step Functions tells it.
    pub started_at: Timestamp,
}

impl ExecutionId {
    /// Returns whether both are the same execution. Step Functions tells the start in seconds with
    /// a fraction, in milliseconds, and as a text; all agree to the millisecond.
    pub fn is(&self, other: &Self) -> bool {
        self.arn == other.arn
            && self.started_at.as_millisecond() == other.started_at.as_millisecond()
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, started at {}", self.arn, self.started_at)
    }
}

/// The claim of a run, and how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's id.
    pub run_id: RunId,
    /// The execution that owns everything under the run's prefix.
    pub execution: ExecutionId,
    /// SHA-256 of the job without its transporter, which may hold a password; nothing if the job
    /// could not be read.
    pub job_sha256: Option<String>,
    /// Stage of the run.
    pub stage: RunStage,
    /// The run as every state is given it, once it is planned.
    pub run: Option<Run>,
}

/// Stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStage {
    /// The name is taken.
    Claimed,
    /// The plan is written, and queries may start.
    Planned,
    /// No query starts any more, and nothing is published any more.
    Ended,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// The plan is written.
    Planned(Box<Run>),
    /// The run ends.
    Ended,
}

impl RunRecord {
    /// Returns the claim of a run that has no plan yet.
    pub fn claimed(run_id: RunId, execution: ExecutionId, job_sha256: Option<String>) -> Self {
        Self { run_id, execution, job_sha256, stage: RunStage::Claimed, run: None }
    }

    /// Returns the record after `event`; nothing if the record is that far already.
    pub fn next(&self, event: &RunEvent) -> Option<Self> {
        match (self.stage, event) {
            (RunStage::Claimed, RunEvent::Planned(run)) => Some(Self {
                stage: RunStage::Planned,
                run: Some(run.as_ref().clone()),
                ..self.clone()
            }),
            (RunStage::Claimed | RunStage::Planned, RunEvent::Ended) => {
                Some(Self { stage: RunStage::Ended, ..self.clone() })
            }
            (RunStage::Planned | RunStage::Ended, RunEvent::Planned(_))
            | (RunStage::Ended, RunEvent::Ended) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(arn: &str, started_at: &str) -> ExecutionId {
        ExecutionId { arn: arn.to_owned(), started_at: started_at.parse().unwrap() }
    }

    #[test]
    fn a_name_that_comes_back_is_another_execution() {
        let first = execution("arn:1", "2026-01-31T12:00:00.123Z");
        assert!(first.is(&execution("arn:1", "2026-01-31T12:00:00.123456Z")));
        assert!(!first.is(&execution("arn:1", "2026-01-31T12:00:00.124Z")));
        assert!(!first.is(&execution("arn:2", "2026-01-31T12:00:00.123Z")));
    }

    #[test]
    fn an_ended_run_stays_ended() {
        let claimed = RunRecord::claimed(
            "r1".parse().unwrap(),
            execution("arn:1", "2026-01-31T12:00:00Z"),
            None,
        );
        let ended = claimed.next(&RunEvent::Ended).unwrap();
        assert_eq!(ended.stage, RunStage::Ended);
        assert_eq!(ended.next(&RunEvent::Ended), None);
    }
}
