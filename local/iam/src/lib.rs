//! IAM on a laptop.
mod condition;
mod decision;
mod pattern;
mod policies;
mod policy;
mod request;

pub use crate::{
    condition::{ConditionKey, Context},
    decision::{Call, Denial},
    policies::{Policies, PolicyError},
    request::Names,
};
