//! Texts with wildcards: in actions, in resources, in the values of conditions.

use serde::Deserialize;

use crate::policy::Misunderstood;

/// A text in which `*` stands for any characters, also for none, and `?` for exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pattern(String);

/// The name of actions, such as `s3:Get*`. Case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ActionPattern {
    written: String,
    pattern: Pattern,
}

/// The ARN of resources, or `*` for all of them. Case matters.
///
/// A `*` may stand for slashes and colons. What AWS makes of one inside the five fields before the
/// resource depends on where in the field it is; such an ARN is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ResourcePattern(Pattern);

/// An ARN as `ArnLike` compares it: each of the six fields for itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ArnPattern([Pattern; 6]);

impl Pattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut text) = (self.0.chars(), text.chars());
        // Where to go on with the last `*` standing for one character more.
        let mut longer = None;
        loop {
            let here = text.clone();
            match (pattern.next(), text.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    text = here;
                    longer = Some((pattern.clone(), text.clone()));
                }
                (Some('?'), Some(_)) => {}
                (Some(expected), Some(found)) if expected == found => {}
                _ => {
                    let Some((after, from)) = &mut longer else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, text) = (after.clone(), from.clone());
                }
            }
        }
    }
}

impl ActionPattern {
    pub(crate) fn matches(&self, action: &str) -> bool {
        self.pattern.matches(&action.to_ascii_lowercase())
    }

    /// As it stands in the policy.
    pub(crate) fn as_written(&self) -> &str {
        &self.written
    }
}

impl ResourcePattern {
    pub(crate) fn matches(&self, resource: &str) -> bool {
        self.0.matches(resource)
    }
}

impl ArnPattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(fields) = fields(text) else { return false };
        self.0.iter().zip(fields).all(|(pattern, field)| pattern.matches(field))
    }
}

/// The six fields of an ARN; the last one may have colons of its own.
fn fields(arn: &str) -> Option<[&str; 6]> {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    fields.try_into().ok().filter(|fields: &[&str; 6]| fields[0] == "arn")
}

impl TryFrom<String> for Pattern {
    type Error = Misunderstood;

    fn try_from(text: String) -> Result<Self, Misunderstood> {
        if text.contains("${") { Err(Misunderstood::Variable(text)) } else { Ok(Self(text)) }
    }
}

impl TryFrom<String> for ActionPattern {
    type Error = Misunderstood;

    fn try_from(written: String) -> Result<Self, Misunderstood> {
        let is_action = written.split_once(':').is_some_and(|(service, name)| {
            !service.is_empty() && !service.contains(['*', '?']) && !name.is_empty()
        });
        if !is_action && written != "*" {
            return Err(Misunderstood::Action(written));
        }
        Ok(Self { pattern: written.to_ascii_lowercase().try_into()?, written })
    }
}

impl TryFrom<String> for ResourcePattern {
    type Error = Misunderstood;

    fn try_from(text: String) -> Result<Self, Misunderstood> {
        let is_arn = fields(&text)
            .is_some_and(|fields| !fields[..5].iter().any(|field| field.contains(['*', '?'])));
        if !is_arn && text != "*" {
            return Err(Misunderstood::Resource(text));
        }
        Ok(Self(text.try_into()?))
    }
}

impl TryFrom<String> for ArnPattern {
    type Error = Misunderstood;

    fn try_from(text: String) -> Result<Self, Misunderstood> {
        let Some(fields) = fields(&text) else { return Err(Misunderstood::Arn(text)) };
        let patterns: Result<Vec<_>, _> =
            fields.iter().map(|field| Pattern::try_from((*field).to_owned())).collect();
        Ok(Self(patterns?.try_into().expect("six fields make six patterns")))
    }
}
