//! The HTTPS endpoint: starts runs and says how they stand.
//!
//! It is the Lambda behind an HTTP API of API Gateway, payload format 2.0:
//!
//! - `POST /jobs` starts the run of the job in the body: `202` with [`job::view::StartedRun`]. The
//!   header `Idempotency-Key` names the run; the same key with the same job is the same run, with
//!   another job it is `409`.
//! - `GET /jobs/{run_id}` says how a run stands: [`job::view::RunView`].
//!
//! An error is a [`job::view::ProblemDetails`]. A body is never repeated in an answer or a log,
//! because a job may hold a password.

mod api;
mod arn;
mod error;
mod executions;
mod records;
mod run_id;
mod stage;
mod step_functions;
mod view;

use serde::Deserialize;

pub use crate::{
    api::Api,
    arn::{ArnError, StateMachineArn},
    executions::{Execution, Executions, ExecutionsError, Start},
    records::{Queries, Records},
    run_id::RunIdSource,
    step_functions::StepFunctions,
};

/// The settings of the function, from its environment.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// `STATE_MACHINE_ARN`: the state machine that runs the jobs. It has no default.
    pub state_machine_arn: StateMachineArn,
}
