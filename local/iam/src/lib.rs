//! IAM on a laptop: every call that a function, the state machine or a schedule makes to AWS is
//! checked against the policies that the Pulumi program gives its role.
//!
//! - [`Policies::read`] reads them from the stack's file, `infra/stacks/STACK.json`. What it does
//!   not understand is an error: nothing is enforced in part.
//! - [`Guard::assume`] gives out the credentials of a role, if its trust policy allows that. They go
//!   into a function's environment.
//! - [`Guard::protect`] stands in front of the endpoints. It knows a caller by the access key id of
//!   the request, works out which rights the request needs, and answers a refusal as AWS does. Who
//!   does without HTTP asks [`Guard::authorize`].
//! - [`Guard::report`] says which statements were used: one that never is allows too much.
//!
//! It fails closed: an unknown access key, a request about which is not known what it needs, a query
//! that is in no work group are refused.
//!
//! What differs from AWS:
//!
//! - Signatures are not checked, only the access key's id is looked at: on a laptop nobody has to
//!   prove to be the caller. (The S3 endpoint checks them for itself.)
//! - Administrators may do everything, whatever a resource's policy says.
//! - All is in one account. Organisations, boundaries, sessions with policies of their own and access
//!   by tags are not there.
//! - What Athena does on behalf of a caller is not a request. Who runs queries asks for
//!   [`Guard::querying`] and [`Guard::writing_results`]. See `request/athena.rs` for what cannot be
//!   checked.

mod condition;
mod decision;
mod guard;
mod layer;
mod pattern;
mod policies;
mod policy;
mod refusal;
mod report;
mod request;

pub use crate::{
    condition::{ConditionKey, Context},
    decision::{Call, Denial},
    guard::{AccessKey, Assumer, Guard},
    policies::{Policies, PolicyError},
    refusal::Refusal,
    report::Report,
    request::Names,
};
