//! A policy document, read so that nothing in it is passed over.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{
    condition::{Conditions, Context},
    pattern::{ActionPattern, ResourcePattern},
};

/// A part of a policy that is not understood. It is never ignored: what it would have allowed or
/// denied is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misunderstood {
    #[error("policy variables, as in `{0}`, are not understood")]
    Variable(String),
    #[error("`{0}` is not the name of an action: expected `service:Name` or `*`")]
    Action(String),
    #[error(
        "`{0}` is not the ARN of a resource: expected `*`, or an ARN with wildcards in its last field only"
    )]
    Resource(String),
    #[error("`{0}` is not an ARN")]
    Arn(String),
    #[error("the condition operator `{0}` is not understood")]
    Operator(String),
    #[error("the condition key `{0}` is not understood")]
    Key(String),
    #[error("`{0}` is not a value that the condition can be compared with")]
    Value(String),
    #[error("the principal `{0}` is not understood")]
    Principal(String),
}

/// A policy: the statements of a document of version 2012-10-17.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Policy {
    #[serde(rename = "Version")]
    _version: Version,
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) statement: Vec<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
enum Version {
    #[serde(rename = "2012-10-17")]
    Current,
}

/// One statement. `NotAction`, `NotResource` and `NotPrincipal` are unknown fields, as no policy
/// here has them. A `Sid` is asked for, so that a report can name the statement.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Statement {
    pub(crate) sid: String,
    pub(crate) effect: Effect,
    #[serde(default)]
    pub(crate) principal: Option<Principals>,
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) action: Vec<ActionPattern>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub(crate) resource: Vec<ResourcePattern>,
    #[serde(default)]
    condition: Conditions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// Whom a statement of a resource's policy is about.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct Principals(Vec<Principal>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Principal {
    Everyone,
    Service(String),
    /// The account of that number: its own policies decide.
    Account(String),
    Role(String),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requester<'a> {
    /// The role with this ARN.
    Role(&'a str),
    /// A service for itself, such as `apigateway.amazonaws.com`.
    Service(&'a str),
}

/// How a statement's principals name the requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// By its account, whose policies decide.
    ByAccount,
    /// Itself, or as one of everyone.
    Itself,
}

impl Statement {
    /// Whether the statement speaks about an action on a resource, whoever asks.
    pub(crate) fn covers(&self, action: &str, resource: &str, context: &Context) -> bool {
        self.resource.iter().any(|pattern| pattern.matches(resource))
            && self.covers_action(action, context)
    }

    /// The same for a trust policy, which has no resources.
    pub(crate) fn covers_action(&self, action: &str, context: &Context) -> bool {
        self.action.iter().any(|pattern| pattern.matches(action)) && self.condition.hold(context)
    }

    /// How the statement names the requester, if it does.
    pub(crate) fn names(&self, requester: Requester<'_>) -> Option<Named> {
        let principals = self.principal.as_ref().map_or(&[][..], |principals| &principals.0);
        principals.iter().filter_map(|principal| principal.names(requester)).max()
    }
}

impl Principal {
    fn names(&self, requester: Requester<'_>) -> Option<Named> {
        match (self, requester) {
            (Self::Everyone, _) => Some(Named::Itself),
            (Self::Service(name), Requester::Service(service)) if name == service => {
                Some(Named::Itself)
            }
            (Self::Role(arn), Requester::Role(role)) if arn == role => Some(Named::Itself),
            (Self::Account(account), Requester::Role(role)) if is_of_account(role, account) => {
                Some(Named::ByAccount)
            }
            _ => None,
        }
    }

    fn of_aws(text: String) -> Result<Self, Misunderstood> {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        if text == "*" {
            return Ok(Self::Everyone);
        }
        if is_account(&text) {
            return Ok(Self::Account(text));
        }
        match text.splitn(6, ':').collect::<Vec<_>>()[..] {
            ["arn", _, "iam", "", account, "root"] if is_account(account) => {
                Ok(Self::Account(account.to_owned()))
            }
            ["arn", _, "iam", "", account, role]
                if is_account(account) && role.starts_with("role/") && !role.contains('*') =>
            {
                Ok(Self::Role(text))
            }
            _ => Err(Misunderstood::Principal(text)),
        }
    }
}

fn is_of_account(role_arn: &str, account: &str) -> bool {
    role_arn.split(':').nth(4) == Some(account)
}

impl TryFrom<Value> for Principals {
    type Error = Misunderstood;

    fn try_from(written: Value) -> Result<Self, Misunderstood> {
        if written == "*" {
            return Ok(Self(vec![Principal::Everyone]));
        }
        let misunderstood = || Misunderstood::Principal(written.to_string());
        let mut principals = Vec::new();
        for (kind, names) in written.as_object().ok_or_else(misunderstood)? {
            let names: OneOrMany<String> =
                OneOrMany::deserialize(names).map_err(|_| misunderstood())?;
            for name in names.0 {
                principals.push(match kind.as_str() {
                    "AWS" => Principal::of_aws(name)?,
                    "Service" if name.ends_with(".amazonaws.com") => Principal::Service(name),
                    _ => return Err(misunderstood()),
                });
            }
        }
        Ok(Self(principals))
    }
}

/// One value that stands alone, or a list with at least one.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = match Value::deserialize(deserializer)? {
            Value::Array(values) if values.is_empty() => {
                return Err(D::Error::custom("a list is empty, expected at least one element"));
            }
            Value::Array(values) => values,
            value => vec![value],
        };
        let values: Result<Vec<T>, _> = values.into_iter().map(T::deserialize).collect();
        values.map(Self).map_err(D::Error::custom)
    }
}

fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: serde::de::DeserializeOwned,
    D: Deserializer<'de>,
{
    OneOrMany::deserialize(deserializer).map(|values| values.0)
}
