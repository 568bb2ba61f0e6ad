//! IAM on a laptop.
mod condition;
mod decision;
mod pattern;
mod policies;
mod policy;

pub use crate::{
    condition::{ConditionKey, Context},
    decision::{Call, Denial},
    policies::{Policies, PolicyError},
};
