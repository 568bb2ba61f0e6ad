//! Templates of file names.

use std::str::FromStr;

use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{FileName, NameError, RunId};

/// A file name with places for what is known only when a run starts.
///
/// `{run_id}` is the run's id, `{date}` the day on which it started (`2026-01-31`, UTC), `{query}`
/// the name of the query. Braces have no other use in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "file-name-template"))]
pub struct FileTemplate(String);

/// Why a text is not a template of a file name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that there is not.
    #[error("`{{{0}}}` is not known here; expected `{{run_id}}`, `{{date}}` or `{{query}}`")]
    Placeholder(String),
    /// A brace without its partner.
    #[error("a brace has no partner in `{0}`")]
    Brace(String),
    /// What comes out is no file name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FileTemplate {
    pub(crate) const FORMAT: &str = "file-name-template";

    /// The file name for one query (or, without one, for the whole run: `{query}` is then `all`).
    pub fn render(
        &self,
        run_id: &RunId,
        started_at: Timestamp,
        query: Option<&str>,
    ) -> Result<FileName, TemplateError> {
        let date = started_at.to_zoned(TimeZone::UTC).date().to_string();
        Ok(expand(&self.0, |placeholder| match placeholder {
            "run_id" => Some(run_id.as_str().to_owned()),
            "date" => Some(date.clone()),
            "query" => Some(query.unwrap_or("all").to_owned()),
            _ => None,
        })?
        .parse()?)
    }
}

fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, TemplateError> {
    let brace = || TemplateError::Brace(template.to_owned());
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, tail) = after.split_once('}').ok_or_else(brace)?;
        if before.contains('}') {
            return Err(brace());
        }
        text.push_str(before);
        text.push_str(
            &value(placeholder)
                .ok_or_else(|| TemplateError::Placeholder(placeholder.to_owned()))?,
        );
        rest = tail;
    }
    if rest.contains('}') {
        return Err(brace());
    }
    Ok(text + rest)
}

impl FromStr for FileTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let sample = |placeholder: &str| {
            matches!(placeholder, "run_id" | "date" | "query").then(|| "x".to_owned())
        };
        expand(text, sample)?.parse::<FileName>()?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for FileTemplate {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<FileTemplate> for String {
    fn from(template: FileTemplate) -> String {
        template.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled() {
        let template: FileTemplate = "Users_{date}_{query}-{run_id}.csv".parse().unwrap();
        let run_id = "r1".parse().unwrap();
        let started_at = "2026-01-31T23:59:59Z".parse().unwrap();
        let name = template.render(&run_id, started_at, Some("users")).unwrap();
        assert_eq!(name.as_str(), "Users_2026-01-31_users-r1.csv");
    }

    #[test]
    fn what_can_not_become_a_file_name_is_refused() {
        for bad in ["", "a/b", "{day}.csv", "{date", "date}", "{run_id}/x", "..", "}{date}"] {
            assert!(bad.parse::<FileTemplate>().is_err(), "{bad}");
        }
    }
}
