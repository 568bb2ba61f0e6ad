//! The `Condition` of a statement.
//!
//! A key of a policy that a request does not have fails the test, unless the test is a negated one
//! or ends in `IfExists`
//! ([condition operators](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html)).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    pattern::{ArnPattern, Pattern},
    policy::{Misunderstood, OneOrMany},
};

/// The keys that requests here have, or would have if AWS sent any. No other may stand in a policy:
/// a key that is never there would make statements true or false in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKey {
    /// `aws:SourceArn`: for which resource a service asks.
    SourceArn,
    /// `aws:SourceAccount`: for whose resource a service asks.
    SourceAccount,
    /// `aws:SecureTransport`: whether the request came over TLS.
    SecureTransport,
    /// `kms:ViaService`: which service uses a key for the caller.
    ViaService,
    /// `kms:EncryptionContext:aws:logs:arn`: only `CloudWatch` Logs, which is not here, sends it.
    LogGroup,
    /// `s3:prefix`: what a listing is limited to.
    Prefix,
}

/// What is known about a request beside its action and its resource.
///
/// Every request came over TLS: what listens on a laptop stands for AWS's endpoints, and those are
/// reached by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(BTreeMap<ConditionKey, String>);

/// All of a statement's conditions; each must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, BTreeMap<String, OneOrMany<Value>>>")]
pub(crate) struct Conditions(Vec<Condition>);

#[derive(Clone, Debug)]
struct Condition {
    key: ConditionKey,
    test: Test,
    is_negated: bool,
    if_exists: bool,
}

/// A value passes if one of these holds for it.
#[derive(Clone, Debug)]
enum Test {
    Equals(Vec<String>),
    EqualsIgnoringCase(Vec<String>),
    Like(Vec<Pattern>),
    ArnLike(Vec<ArnPattern>),
    Is(Vec<bool>),
    IsMissing(Vec<bool>),
}

impl Context {
    /// A request about which nothing more is known.
    pub fn new() -> Self {
        Self([(ConditionKey::SecureTransport, "true".to_owned())].into())
    }

    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, key: ConditionKey, value: impl Into<String>) -> Self {
        self.0.insert(key, value.into());
        self
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Conditions {
    pub(crate) fn hold(&self, context: &Context) -> bool {
        self.0.iter().all(|condition| condition.holds(context.0.get(&condition.key)))
    }
}

impl Condition {
    fn holds(&self, value: Option<&String>) -> bool {
        if let Test::IsMissing(expected) = &self.test {
            return expected.contains(&value.is_none());
        }
        match value {
            None => self.is_negated || self.if_exists,
            Some(value) => self.test.passes(value) != self.is_negated,
        }
    }
}

impl Test {
    fn passes(&self, value: &str) -> bool {
        match self {
            Self::Equals(expected) => expected.iter().any(|expected| expected == value),
            Self::EqualsIgnoringCase(expected) => {
                expected.iter().any(|expected| expected.eq_ignore_ascii_case(value))
            }
            Self::Like(patterns) => patterns.iter().any(|pattern| pattern.matches(value)),
            Self::ArnLike(patterns) => patterns.iter().any(|pattern| pattern.matches(value)),
            Self::Is(expected) => {
                expected.iter().any(|expected| value.eq_ignore_ascii_case(&expected.to_string()))
            }
            Self::IsMissing(_) => false,
        }
    }

    /// The test that an operator without its `IfExists` names, and whether it is negated.
    fn of(operator: &str, values: OneOrMany<Value>) -> Result<(Self, bool), Misunderstood> {
        let test = match operator {
            "StringEquals" | "StringNotEquals" => Self::Equals(texts(values)?),
            "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" => {
                Self::EqualsIgnoringCase(texts(values)?)
            }
            "StringLike" | "StringNotLike" => Self::Like(each(values, Pattern::try_from)?),
            "ArnEquals" | "ArnLike" | "ArnNotEquals" | "ArnNotLike" => {
                Self::ArnLike(each(values, ArnPattern::try_from)?)
            }
            "Bool" => Self::Is(each(values, truth)?),
            "Null" => Self::IsMissing(each(values, truth)?),
            _ => return Err(Misunderstood::Operator(operator.to_owned())),
        };
        Ok((test, operator.contains("Not")))
    }
}

fn texts(values: OneOrMany<Value>) -> Result<Vec<String>, Misunderstood> {
    each(values, |text| Pattern::try_from(text.clone()).map(|_| text))
}

fn truth(text: String) -> Result<bool, Misunderstood> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Misunderstood::Value(text)),
    }
}

/// The values of a condition: texts, or truth values, which AWS takes as the text of their name.
fn each<T>(
    values: OneOrMany<Value>,
    read: impl Fn(String) -> Result<T, Misunderstood>,
) -> Result<Vec<T>, Misunderstood> {
    let read = |value| match value {
        Value::String(text) => read(text),
        Value::Bool(value) => read(value.to_string()),
        other => Err(Misunderstood::Value(other.to_string())),
    };
    values.0.into_iter().map(read).collect()
}

impl TryFrom<BTreeMap<String, BTreeMap<String, OneOrMany<Value>>>> for Conditions {
    type Error = Misunderstood;

    fn try_from(
        written: BTreeMap<String, BTreeMap<String, OneOrMany<Value>>>,
    ) -> Result<Self, Misunderstood> {
        let mut conditions = Vec::new();
        for (operator, keys) in written {
            let base = operator.strip_suffix("IfExists");
            for (key, values) in keys {
                let (test, is_negated) = Test::of(base.unwrap_or(&operator), values)?;
                if matches!(test, Test::IsMissing(_)) && base.is_some() {
                    return Err(Misunderstood::Operator(operator));
                }
                let key = ConditionKey::named(key)?;
                conditions.push(Condition { key, test, is_negated, if_exists: base.is_some() });
            }
        }
        Ok(Self(conditions))
    }
}

impl ConditionKey {
    fn named(name: String) -> Result<Self, Misunderstood> {
        match name.to_ascii_lowercase().as_str() {
            "aws:sourcearn" => Ok(Self::SourceArn),
            "aws:sourceaccount" => Ok(Self::SourceAccount),
            "aws:securetransport" => Ok(Self::SecureTransport),
            "kms:viaservice" => Ok(Self::ViaService),
            "kms:encryptioncontext:aws:logs:arn" => Ok(Self::LogGroup),
            "s3:prefix" => Ok(Self::Prefix),
            _ => Err(Misunderstood::Key(name)),
        }
    }
}
