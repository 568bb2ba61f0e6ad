//! What a deployment says about rights: read from the stack's file, `infra/stacks/STACK.json`.

mod inputs;

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    condition::Context,
    policy::{Effect, Policy, Statement},
};
use inputs::{Inputs, Registered};

/// The roles of a deployment, the policies of its buckets, keys and functions, and of buckets what
/// decides which further rights a request needs.
#[derive(Clone, Debug)]
pub struct Policies {
    pub(crate) account: String,
    pub(crate) region: String,
    /// By ARN.
    pub(crate) roles: BTreeMap<String, Role>,
    /// By the ARN of what the policy is attached to.
    attached: BTreeMap<String, Vec<Statement>>,
    /// The ARN of the key that a bucket encrypts with, by the bucket's name.
    pub(crate) bucket_keys: BTreeMap<String, String>,
}

/// A role: who may take it, and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) trust: Vec<Statement>,
    pub(crate) statements: Vec<Statement>,
}

/// Why the policies of a stack can not be enforced.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file is not that of a stack.
    #[error("reading the stack's file: expected what `npm run synth` writes")]
    Stack(#[source] serde_json::Error),
    /// Something in a policy, or in the settings of a role, is not understood.
    #[error("reading {what}: a policy that is not understood in full can not be enforced")]
    Policy {
        /// Whose.
        what: String,
        /// What is not understood.
        source: serde_json::Error,
    },
    /// The statement has no principal where it needs one, or a resource where there is none.
    #[error("the statement `{sid}` of {what} {fault}")]
    Shape {
        /// Which.
        sid: String,
        /// Of what.
        what: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// Rights are given in a way that is not read here.
    #[error("{what} gives or takes rights in a way that is not understood: `{how}`")]
    Unread {
        /// Which resource.
        what: String,
        /// Its type, or the property of it.
        how: String,
    },
    /// A policy belongs to something that the stack does not have.
    #[error("{what} is for `{name}`, which the stack does not have")]
    Dangling {
        /// The policy.
        what: String,
        /// What it is for.
        name: String,
    },
}

/// Where a policy stands; what has a principal and a resource there.
#[derive(Clone, Copy)]
enum Kind {
    Identity,
    Trust,
    Attached,
}

impl Policies {
    /// Reads the policies of a stack.
    ///
    /// Topics and queues have policies, too; as neither is on a laptop, theirs are not read.
    ///
    /// # Errors
    ///
    /// When anything that bears upon rights is not understood; see [`PolicyError`].
    pub fn read(stack: &Value) -> Result<Self, PolicyError> {
        let inputs = Inputs::deserialize(stack).map_err(PolicyError::Stack)?;
        inputs.refuse_unread_types()?;
        let mut policies = Self {
            roles: BTreeMap::new(),
            attached: BTreeMap::new(),
            bucket_keys: inputs.bucket_keys(),
            account: inputs.account.clone(),
            region: inputs.region.clone(),
        };
        policies.read_roles(&inputs)?;
        policies.read_attached(&inputs)?;
        Ok(policies)
    }

    fn read_roles(&mut self, inputs: &Inputs) -> Result<(), PolicyError> {
        for (pulumi_name, role) in &inputs.resources.roles {
            let what = format!("the trust policy of the role `{pulumi_name}`");
            inputs::refuse_unread_properties(pulumi_name, role)?;
            let trust = statements(what, Kind::Trust, role.inputs.assume_role_policy.clone())?;
            let name = role.outputs.name.clone();
            let statements = Vec::new();
            self.roles.insert(role.outputs.arn.clone(), Role { name, trust, statements });
        }
        for (pulumi_name, Registered { inputs: policy, .. }) in &inputs.resources.role_policies {
            let what = format!("the role policy `{pulumi_name}`");
            self.give(&policy.role, what, policy.policy.clone())?;
        }
        for (pulumi_name, Registered { inputs: attached, .. }) in &inputs.resources.attachments {
            let what = format!("the attachment `{pulumi_name}`");
            let mut managed = inputs.resources.managed_policies.values();
            let managed = managed.find(|managed| managed.outputs.arn == attached.policy_arn);
            let Some(managed) = managed else {
                return Err(PolicyError::Dangling { what, name: attached.policy_arn.clone() });
            };
            self.give(&attached.role, what, managed.inputs.policy.clone())?;
        }
        Ok(())
    }

    /// Adds the statements of a policy to a role.
    fn give(&mut self, role: &str, what: String, policy: Value) -> Result<(), PolicyError> {
        let Some(role) = self.roles.values_mut().find(|known| known.name == role) else {
            return Err(PolicyError::Dangling { what, name: role.to_owned() });
        };
        role.statements.extend(statements(what, Kind::Identity, policy)?);
        Ok(())
    }

    fn read_attached(&mut self, inputs: &Inputs) -> Result<(), PolicyError> {
        let resources = &inputs.resources;
        for (pulumi_name, policy) in &resources.bucket_policies {
            let what = format!("the bucket policy `{pulumi_name}`");
            let bucket = format!("arn:aws:s3:::{}", policy.inputs.bucket);
            self.attach(bucket, what, policy.inputs.policy.clone())?;
        }
        for (pulumi_name, key) in &resources.keys {
            let what = format!("the policy of the key `{pulumi_name}`");
            let Some(policy) = key.inputs.policy.clone() else {
                return Err(PolicyError::Unread { what, how: "no `policy`".to_owned() });
            };
            self.attach(key.outputs.arn.clone(), what, policy)?;
        }
        for (pulumi_name, Registered { inputs: permission, .. }) in &resources.permissions {
            let what = format!("the permission `{pulumi_name}`");
            let called =
                resources.functions.values().map(|function| &function.outputs).find(|function| {
                    [&function.name, &function.arn].contains(&&permission.function)
                });
            let Some(function) = called else {
                let name = permission.function.clone();
                return Err(PolicyError::Dangling { what, name });
            };
            let policy = permission.as_policy(pulumi_name, &function.arn);
            self.attach(function.arn.clone(), what, policy)?;
        }
        Ok(())
    }

    fn attach(&mut self, arn: String, what: String, policy: Value) -> Result<(), PolicyError> {
        let read = statements(what, Kind::Attached, policy)?;
        self.attached.entry(arn).or_default().extend(read);
        Ok(())
    }

    /// Lets the roles that may do `known` to something do `action` to `resources`, as a setting of the
    /// stack would. Says whether that is new to one of them.
    ///
    /// # Errors
    ///
    /// When no policy can name the resources.
    pub fn extend(
        &mut self,
        known: &str,
        action: &str,
        resources: &[String],
    ) -> Result<bool, PolicyError> {
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": {
                "Sid": "OnThisMachine", "Effect": "Allow", "Action": action, "Resource": resources,
            },
        });
        let what = format!("the names `{}`", resources.join("`, `"));
        let read = statements(what, Kind::Identity, policy)?;
        let mut is_new = false;
        for role in self.roles.values_mut() {
            let may_all = resources.iter().all(|resource| role.may(action, resource));
            if role.may_something(known) && !may_all {
                role.statements.extend(read.clone());
                is_new = true;
            }
        }
        Ok(is_new)
    }

    /// The policy of a resource, for an object that of its bucket; `None` if the stack has none.
    pub(crate) fn attached_to(&self, resource: &str) -> Option<&[Statement]> {
        let is_object = resource.starts_with("arn:aws:s3:::");
        let arn = if is_object { resource.split('/').next()? } else { resource };
        self.attached.get(arn).map(Vec::as_slice)
    }

    /// An ARN in the stack's account and region.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }
}

impl Role {
    fn may_something(&self, action: &str) -> bool {
        self.allowing().any(|statement| statement.action.iter().any(|known| known.matches(action)))
    }

    fn may(&self, action: &str, resource: &str) -> bool {
        self.allowing().any(|statement| statement.covers(action, resource, &Context::new()))
    }

    /// The statements that allow something, which are the ones a report is about.
    pub(crate) fn allowing(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(|statement| statement.effect == Effect::Allow)
    }
}

fn statements(what: String, kind: Kind, policy: Value) -> Result<Vec<Statement>, PolicyError> {
    let policy = match Policy::deserialize(policy) {
        Ok(policy) => policy,
        Err(source) => return Err(PolicyError::Policy { what, source }),
    };
    for statement in &policy.statement {
        let (has_principal, has_resource) =
            (statement.principal.is_some(), !statement.resource.is_empty());
        let fault = match kind {
            Kind::Identity if has_principal => "has a principal, and its role is the only one",
            Kind::Trust | Kind::Attached if !has_principal => "has no principal",
            Kind::Trust if has_resource => "has a resource, and its role is the only one",
            Kind::Identity | Kind::Attached if !has_resource => "has no resource",
            _ => continue,
        };
        return Err(PolicyError::Shape { sid: statement.sid.clone(), what, fault });
    }
    Ok(policy.statement)
}
