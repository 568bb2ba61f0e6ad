//! Conditional requests: when a write may replace, and when a read is answered.

use std::time::{Duration, SystemTime};

use crate::StoreError;
use crate::entry::Entry;

/// An entity tag in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `*`: any object.
    Any,
    /// This object, by its unquoted tag.
    Exactly(String),
}

impl Tag {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(etag) => *etag == entry.etag,
        }
    }
}

/// When a write may take place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum WriteCondition {
    /// Whatever is there.
    #[default]
    Always,
    /// `If-None-Match: *`: only if there is no object of this key.
    Absent,
    /// `If-Match`: only over the object with this unquoted tag.
    Matches(String),
}

impl WriteCondition {
    /// Returns the header that states the condition, if there is one.
    pub(crate) fn header(&self) -> Option<&'static str> {
        match self {
            Self::Always => None,
            Self::Absent => Some("If-None-Match"),
            Self::Matches(_) => Some("If-Match"),
        }
    }

    /// Fails unless the write may replace `current`, where `None` stands for a delete marker, too.
    pub(crate) fn check(
        &self,
        bucket: &str,
        key: &str,
        current: Option<&Entry>,
    ) -> Result<(), StoreError> {
        let failed = |condition| StoreError::PreconditionFailed { key: key.to_owned(), condition };
        match (self, current) {
            (Self::Always, _) | (Self::Absent, None) => Ok(()),
            (Self::Absent, Some(_)) => Err(failed("If-None-Match")),
            (Self::Matches(_), None) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                Err(StoreError::NoSuchKey { bucket, key, delete_marker: None })
            }
            (Self::Matches(etag), Some(entry)) if *etag == entry.etag => Ok(()),
            (Self::Matches(_), Some(_)) => Err(failed("If-Match")),
        }
    }
}

/// The conditions of a read, RFC 9110 section 13.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_field_names, reason = "the fields are named as their headers")]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<Tag>,
    pub(crate) if_none_match: Option<Tag>,
    pub(crate) if_modified_since: Option<SystemTime>,
    pub(crate) if_unmodified_since: Option<SystemTime>,
}

/// What a read's conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer with the object.
    Proceed,
    /// The client has this version already.
    NotModified,
    /// This header's condition does not hold.
    Failed(&'static str),
}

impl ReadConditions {
    /// Decides in the order of RFC 9110 section 13.2.2: a condition on a date counts only where
    /// there is none on a tag.
    pub(crate) fn verdict(&self, entry: &Entry) -> Verdict {
        let newer_than = |since: SystemTime| to_seconds(entry.modified) > to_seconds(since);
        if let Some(tag) = &self.if_match {
            if !tag.matches(entry) {
                return Verdict::Failed("If-Match");
            }
        } else if self.if_unmodified_since.is_some_and(newer_than) {
            return Verdict::Failed("If-Unmodified-Since");
        }
        if let Some(tag) = &self.if_none_match {
            if tag.matches(entry) {
                return Verdict::NotModified;
            }
        } else if self.if_modified_since.is_some_and(|since| !newer_than(since)) {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }
}

/// HTTP dates have whole seconds.
fn to_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            etag: "tag".to_owned(),
            modified: at(100) + Duration::from_millis(7),
            ..Entry::default()
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn exactly(etag: &str) -> Tag {
        Tag::Exactly(etag.to_owned())
    }

    #[track_caller]
    fn check(conditions: &ReadConditions, verdict: &Verdict) {
        assert_eq!(&conditions.verdict(&entry()), verdict, "{conditions:?}");
    }

    #[test]
    fn reads_are_decided_as_rfc_9110_says() {
        let none = ReadConditions::default;
        check(&none(), &Verdict::Proceed);
        check(&ReadConditions { if_match: Some(exactly("tag")), ..none() }, &Verdict::Proceed);
        check(&ReadConditions { if_match: Some(Tag::Any), ..none() }, &Verdict::Proceed);
        check(
            &ReadConditions { if_match: Some(exactly("x")), ..none() },
            &Verdict::Failed("If-Match"),
        );
        check(
            &ReadConditions { if_none_match: Some(exactly("tag")), ..none() },
            &Verdict::NotModified,
        );
        check(&ReadConditions { if_none_match: Some(exactly("x")), ..none() }, &Verdict::Proceed);
        check(
            &ReadConditions { if_modified_since: Some(at(100)), ..none() },
            &Verdict::NotModified,
        );
        check(&ReadConditions { if_modified_since: Some(at(99)), ..none() }, &Verdict::Proceed);
        check(&ReadConditions { if_unmodified_since: Some(at(100)), ..none() }, &Verdict::Proceed);
        check(
            &ReadConditions { if_unmodified_since: Some(at(99)), ..none() },
            &Verdict::Failed("If-Unmodified-Since"),
        );
    }

    #[test]
    fn a_tag_counts_before_a_date() {
        let none = ReadConditions::default;
        check(
            &ReadConditions {
                if_match: Some(exactly("tag")),
                if_unmodified_since: Some(at(1)),
                ..none()
            },
            &Verdict::Proceed,
        );
        check(
            &ReadConditions {
                if_none_match: Some(exactly("x")),
                if_modified_since: Some(at(100)),
                ..none()
            },
            &Verdict::Proceed,
        );
    }

    #[test]
    fn a_write_on_condition_that_the_object_is_the_same_needs_an_object() {
        let condition = WriteCondition::Matches("tag".to_owned());
        assert!(condition.check("b", "k", Some(&entry())).is_ok());
        assert!(matches!(condition.check("b", "k", None), Err(StoreError::NoSuchKey { .. })));
    }
}
