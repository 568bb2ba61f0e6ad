//! Whether a call is allowed: a denial wins over a permission, and what nobody permits is denied
//! ([evaluation logic](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html),
//! within one account).

use crate::{
    condition::Context,
    policies::{Policies, Role},
    policy::{Effect, Named, Requester, Statement},
};

/// One right that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Such as `s3:GetObject`.
    pub action: String,
    /// The ARN of what it is about.
    pub resource: String,
    /// What else is known about the request.
    pub context: Context,
}

/// Why a call is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A statement of the role denies it.
    ByRole,
    /// A statement of the resource's policy denies it.
    ByResource,
    /// No statement of the role allows it.
    NotByRole,
    /// The resource's policy, on which it depends, does not allow it.
    NotByResource,
}

/// What decides of a call: the statements of the role that allow it, maybe none of them if the
/// resource's policy does.
pub(crate) type Decision<'a> = Result<Vec<&'a Statement>, Denial>;

impl Call {
    /// An action on a resource.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), context: Context::new() }
    }

    fn is_covered_by(&self, statement: &Statement) -> bool {
        statement.covers(&self.action, &self.resource, &self.context)
    }
}

impl Policies {
    /// Decides of the call of a role.
    pub(crate) fn decide<'a>(&self, arn: &str, role: &'a Role, call: &Call) -> Decision<'a> {
        let attached = self.attached_to(&call.resource);
        let attached_names = |effect| strongest(attached, Requester::Role(arn), effect, call);
        let own = |effect| {
            let statements = role.statements.iter();
            statements.filter(move |statement| {
                statement.effect == effect && call.is_covered_by(statement)
            })
        };
        if own(Effect::Deny).next().is_some() {
            return Err(Denial::ByRole);
        }
        if attached_names(Effect::Deny).is_some() {
            return Err(Denial::ByResource);
        }
        let allowed_there = attached_names(Effect::Allow);
        // A key's policy decides of all who use the key, unless it leaves that to the account.
        if call.action.starts_with("kms:") && attached.is_some() && allowed_there.is_none() {
            return Err(Denial::NotByResource);
        }
        let allowing: Vec<_> = own(Effect::Allow).collect();
        if allowing.is_empty() && allowed_there != Some(Named::Itself) {
            return Err(Denial::NotByRole);
        }
        Ok(allowing)
    }

    /// Decides of the call that a service makes for itself: only the resource's policy can allow it.
    pub(crate) fn decide_for_service(&self, service: &str, call: &Call) -> Result<(), Denial> {
        let requester = Requester::Service(service);
        let attached = self.attached_to(&call.resource);
        if strongest(attached, requester, Effect::Deny, call).is_some() {
            return Err(Denial::ByResource);
        }
        let allowed = strongest(attached, requester, Effect::Allow, call);
        allowed.map(drop).ok_or(Denial::NotByResource)
    }
}

impl Role {
    /// Whether the role's trust policy lets a service take the role.
    pub(crate) fn trusts(&self, service: &str, context: &Context) -> bool {
        let says = |effect| {
            self.trust.iter().any(|statement| {
                statement.effect == effect
                    && statement.names(Requester::Service(service)).is_some()
                    && statement.covers_action("sts:AssumeRole", context)
            })
        };
        says(Effect::Allow) && !says(Effect::Deny)
    }
}

/// How the statements of that effect name the requester, if any does.
fn strongest(
    attached: Option<&[Statement]>,
    requester: Requester<'_>,
    effect: Effect,
    call: &Call,
) -> Option<Named> {
    let statements = attached.unwrap_or_default().iter();
    statements
        .filter(|statement| statement.effect == effect && call.is_covered_by(statement))
        .filter_map(|statement| statement.names(requester))
        .max()
}

#[cfg(test)]
mod truth_table;
