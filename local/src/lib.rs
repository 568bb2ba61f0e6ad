//! The stack on a laptop: what an environment has on AWS, on `127.0.0.1`.
//!
//! [`Stack::start`] brings up S3, Athena, Lambda, Step Functions, Secrets Manager and the Parameter
//! Store behind one address that speaks the AWS protocols, an event bus between them, the HTTP API in
//! front of job-api, and an SFTP server to deliver to. What there is comes from [`Deployment`], which is what the Pulumi
//! program deploys; the functions are the very binaries that are deployed, and do not know where
//! they run.
//!
//! Each part is a crate of its own below `local/`; here they are only put together.

mod config;
pub mod deployment;
mod events;
mod objects;
mod overlay;
mod rights;
mod stack;

pub use local_athena::{
    Athena, Faults as AthenaFaults, InjectedFailure, Refusal, WorkGroup, databases,
};
pub use local_events::{Arrival, Bus, DeadLetter, EventFaults, RuleUsage};
pub use local_iam::{Guard, PolicyError, Report};
pub use local_lambda::{FailedEvent, Lambda, Usage};
pub use local_s3::{BucketSettings, Store, StoreError};
pub use local_scheduler::{Firing, Schedule};
pub use local_secrets::{
    Fault as SecretFault, Faults as SecretFaults, Refused as RefusedSecret, SecretStores,
};
pub use local_sftp::{Fault as SftpFault, Faults as SftpFaults};
pub use local_sharefile::{
    Account as ShareFileAccount, Call as ShareFileCall, Fault as ShareFileFault,
    Faults as ShareFileFaults,
};

pub use crate::{
    config::{ShareFileConfig, StackConfig},
    deployment::{Deployment, DeploymentError},
    stack::{Endpoints, FiringError, Stack, StackError},
};
