//! Step Functions on a laptop: an interpreter of the states language and the API in front of it.
//!
//! A definition is read into types and checked when the state machine is created; what the
//! interpreter does not know it refuses by name instead of ignoring it. The interpreter is a pure
//! machine: an event goes in, actions come out. A shell around it calls Lambda functions over
//! HTTP, keeps the timers and brings back what happened. Events have AWS's names and AWS's shape.
//!
//! # What is there
//!
//! `JSONata` definitions with Task (`arn:aws:states:::lambda:invoke`, alone and with
//! `.waitForTaskToken`, and the ARN of a function), Map (inline, and distributed with an `ItemReader`
//! of JSON, JSON Lines, CSV or a listing), Parallel, Choice, Wait, Pass, Succeed and Fail; `Retry`,
//! `Catch`, `Assign`, `Output`, `Arguments`, time-outs, heartbeats and the context object; AWS's
//! limits of 262,144 bytes for a payload, 25,000 events for a history and 10 MiB for variables.
//!
//! A callback task is settled by `SendTaskSuccess` or `SendTaskFailure` and kept alive by
//! `SendTaskHeartbeat`. Its histories and the answers to late, second and malformed tokens are those
//! that AWS recorded. Every attempt has a token of its own.
//!
//! [`Config::status_listener`] gets the "Step Functions Execution Status Change" events of all
//! executions. [`Config::speed`] makes hours pass in moments.
//!
//! # What differs from AWS
//!
//! * `JSONPath`, `ItemBatcher`, `ResultWriter`, express workflows, activities, `.sync` and services
//!   other than Lambda are refused when the state machine is created.
//! * A callback task that is settled while its function still runs goes on at once; its
//!   `TaskSubmitted` then has no output. AWS does not document what it does.
//! * `HeartbeatSeconds` has an effect on callback tasks alone: nobody can send a heartbeat for a
//!   plain call. `Credentials`, logging, tracing and encryption have no effect.
//! * Children of distributed maps have status events. AWS does not document whether theirs do.
//! * A task whose role does not let its state machine take it fails with `States.Permissions`.
//! * At most 256 functions are called at once; further calls wait.
//! * Executions are kept in memory, and none can be redriven.
//! * The output of a distributed map has the outputs of the items that succeeded.
//!
//! # Example
//!
//! ```
//! let definition = r#"{
//!     "QueryLanguage": "JSONata",
//!     "StartAt": "Greet",
//!     "States": {"Greet": {"Type": "Pass", "Output": "{% 'hello ' & $name %}", "End": true}}
//! }"#;
//! let faults = local_states::check(definition).unwrap_err();
//! assert_eq!(faults[0].message, "nothing assigns the variable `$name`");
//! ```

mod api;
mod arn;
mod check;
mod definition;
mod diagnostic;
mod engine;
mod expression;
mod history;
mod items;
mod lambda;
mod machine;
mod map_run;
mod objects;
mod payload;
mod roles;
mod scope;
mod status;
mod task_token;

pub use api::router;
pub use check::check;
pub use definition::Definition;
pub use diagnostic::{Diagnostic, Severity};
pub use engine::{Config, DefinitionError, StartError, StepFunctions};
pub use objects::{ObjectEntry, ObjectError, Objects};
pub use roles::{Roles, Unrestricted};
pub use status::{Status, StatusChange, StatusListener};
