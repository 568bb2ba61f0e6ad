//! A job: what somebody asks for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    document::{self, Problem, Problems},
    name::{BucketName, QueryName},
    s3::Prefix,
    template::FileTemplate,
    transport::Transporter,
};

/// How many query names a job may have, patterns counted as one.
pub const QUERY_NAMES_MAX: usize = 10_000;

/// The longest time-out of a query: a day.
pub(crate) const QUERY_TIMEOUT_MINUTES_MAX: u32 = 1_440;

/// A job: N queries, where their SQL is, where results go, and whom to deliver to.
///
/// The fields up to `database` and `transporter` are the published form and stay valid for ever;
/// the others are optional extensions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The queries to run: names of the index, or of `.sql` files below `query_prefix`.
    #[schemars(length(min = 1, max = QUERY_NAMES_MAX))]
    pub query_names: Vec<QueryName>,
    /// The bucket that holds the SQL files and, if there is one, `query_index.json`.
    pub query_index_bucket: BucketName,
    /// The prefix of the SQL files; empty by default. A trailing slash is optional.
    #[serde(default)]
    pub query_prefix: Prefix,
    /// The bucket for everything that a run writes.
    pub output_bucket: BucketName,
    /// The prefix of what a run writes.
    pub output_prefix: Prefix,
    /// The prefix of the archive, in `output_bucket`.
    pub zip_prefix: Prefix,
    /// The Athena database for queries whose index entry names no other.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 255))]
    pub database: String,
    /// The Athena work group.
    #[serde(default = "default_work_group")]
    #[schemars(length(min = 1, max = 128))]
    pub work_group: String,
    /// The Athena data catalog.
    #[serde(default = "default_catalog")]
    #[schemars(length(min = 1, max = 256))]
    pub catalog: String,
    /// How many queries run at once at the most.
    #[serde(default = "default_max_concurrency")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrency: u32,
    /// The longest time that a query may take, in minutes; it is cancelled then.
    #[serde(default = "default_query_timeout_minutes")]
    #[schemars(range(min = 1, max = QUERY_TIMEOUT_MINUTES_MAX))]
    pub query_timeout_minutes: u32,
    /// What a query that fails for good means for the others.
    #[serde(default)]
    pub on_query_failure: OnQueryFailure,
    /// How the CSV is written.
    #[serde(default)]
    pub csv: CsvOptions,
    /// The name of the delivered file; `{query}.csv` for one query, `{run_id}.zip` for several.
    #[serde(default)]
    pub file_name: Option<FileTemplate>,
    /// The level of compression in the archive, 0 (store) to 9 (smallest).
    #[serde(default = "default_zip_level")]
    #[schemars(range(min = 0, max = 9))]
    pub zip_level: u8,
    /// Whom to deliver to; without it the file stays in `output_bucket`.
    #[serde(skip)]
    #[schemars(skip)]
    pub transporter: Option<Transporter>,
}

/// What a query that fails for good means for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnQueryFailure {
    /// The run fails and what still runs is cancelled.
    #[default]
    Fail,
    /// What succeeded is delivered; the manifest says what did not.
    Continue,
}

/// How the CSV is written. The default is RFC 4180 with NULL empty and `''` quoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvOptions {
    /// The separator of fields: one ASCII character that is no quote and no line ending.
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: String,
    /// When a value is quoted.
    pub quote: CsvQuote,
    /// What stands for NULL, unquoted.
    #[schemars(length(max = 64))]
    pub null: String,
    /// What ends a record.
    pub line_ending: LineEnding,
    /// Whether the first record holds the column names.
    pub header: bool,
    /// Whether the file begins with a UTF-8 byte order mark.
    pub bom: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            quote: CsvQuote::default(),
            null: String::new(),
            line_ending: LineEnding::default(),
            header: true,
            bom: false,
        }
    }
}

/// When a value is quoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CsvQuote {
    /// Only where the file would otherwise be read back as something else.
    #[default]
    Necessary,
    /// Every value but NULL.
    Always,
}

/// What ends a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineEnding {
    /// CR and LF, as RFC 4180 says.
    Crlf,
    /// LF alone, as Athena writes.
    #[default]
    Lf,
}

impl Job {
    /// Reads a job, or says everything that is wrong with it.
    pub fn parse(document: &Value) -> Result<Self, Problems> {
        let mut schema = document::schema::<Self>();
        schema["properties"]["transporter"] = Value::Bool(true);
        let mut problems = document::problems(&schema, document, "$");

        let mut fields = document.clone();
        let transporter =
            match fields.as_object_mut().and_then(|fields| fields.remove("transporter")) {
                None | Some(Value::Null) => None,
                Some(transporter) => Transporter::parse(&transporter, "$.transporter")
                    .map_err(|Problems(found)| problems.extend(found))
                    .ok(),
            };
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let job: Self = document::deserialize(&fields, "$")?;
        problems.extend(job.csv.problems("$.csv"));
        if problems.is_empty() { Ok(Self { transporter, ..job }) } else { Err(Problems(problems)) }
    }
}

impl CsvOptions {
    /// The delimiter's byte.
    pub fn delimiter_byte(&self) -> u8 {
        self.delimiter.as_bytes()[0]
    }

    fn problems(&self, at: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let problem = |field: &str, message: &str| Problem {
            path: format!("{at}.{field}"),
            message: message.to_owned(),
        };
        let delimiter_fits = matches!(self.delimiter.as_bytes(), [byte] if byte.is_ascii() && !b"\"\r\n\0".contains(byte));
        if !delimiter_fits {
            problems.push(problem(
                "delimiter",
                "expected one ASCII character that is no quote and no line ending",
            ));
        }
        if self.null.contains(['"', '\r', '\n']) || self.null.contains(self.delimiter.as_str()) {
            problems.push(problem(
                "null",
                "the text for NULL can not hold a quote, a line ending or the delimiter",
            ));
        }
        problems
    }
}

impl Transporter {
    /// Reads a transporter that stands at `at` of a larger document.
    ///
    /// The configuration is checked against the schema of the one type that the document names, so
    /// that its problems are that type's and not those of all alternatives.
    pub fn parse(document: &Value, at: &str) -> Result<Self, Problems> {
        let shape = json!({
            "type": "object",
            "properties": { "type": { "enum": ["sftp", "sharefile"] }, "config": { "type": "object" } },
            "required": ["type", "config"],
            "additionalProperties": false,
        });
        let problems = document::problems(&shape, document, at);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let config_at = format!("{at}.config");
        let transporter = match document["type"].as_str() {
            Some("sharefile") => Self::ShareFile(document::read(&document["config"], &config_at)?),
            _ => Self::Sftp(document::read(&document["config"], &config_at)?),
        };
        let problems: Vec<Problem> = transporter
            .problems()
            .into_iter()
            .map(|problem| Problem {
                path: format!("{at}.{}", problem.path),
                message: problem.message,
            })
            .collect();
        if problems.is_empty() { Ok(transporter) } else { Err(Problems(problems)) }
    }
}

/// The JSON Schema of a job, as it is published with the API.
pub fn job_schema() -> Value {
    let mut schema = document::schema::<Job>();
    schema["properties"]["transporter"] = document::schema::<Transporter>();
    schema
}

fn default_database() -> String {
    "default".to_owned()
}

fn default_work_group() -> String {
    "primary".to_owned()
}

fn default_catalog() -> String {
    "AwsDataCatalog".to_owned()
}

fn default_query_timeout_minutes() -> u32 {
    240
}

fn default_max_concurrency() -> u32 {
    20
}

pub(crate) fn default_zip_level() -> u8 {
    6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Value {
        json!({
            "query_names": ["test_report", "users_report"],
            "query_index_bucket": "acme-queries",
            "query_prefix": "queries/",
            "output_bucket": "acme-results",
            "output_prefix": "athena-results/",
            "zip_prefix": "zipped-results/",
            "database": "my_database",
            "transporter": {
                "type": "sftp",
                "config": {
                    "sftp_host": "sftp.partner.example", "sftp_port": "22", "sftp_user": "acme",
                    "sftp_password": "s3cret", "sftp_path": "/in/daily",
                },
            },
        })
    }

    /// Changes the published job and compares what is wrong with it.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expected: &[(&str, &str)]) {
        let mut document = published();
        change(&mut document);
        let found = match Job::parse(&document) {
            Ok(_) => Vec::new(),
            Err(Problems(problems)) => problems.into_iter().map(|p| (p.path, p.message)).collect(),
        };
        let expected: Vec<_> =
            expected.iter().map(|(p, m)| ((*p).to_owned(), (*m).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_published_form_is_a_job() {
        let job = Job::parse(&published()).unwrap();
        assert_eq!(job.database, "my_database");
        assert!(matches!(job.transporter, Some(Transporter::Sftp(_))));
    }

    #[test]
    fn what_may_be_left_out_has_its_default() {
        let mut document = published();
        for field in ["query_prefix", "database", "transporter"] {
            document.as_object_mut().unwrap().remove(field);
        }
        let job = Job::parse(&document).unwrap();
        assert_eq!((job.query_prefix.as_str(), job.database.as_str()), ("", "default"));
        assert_eq!(
            (
                job.work_group.as_str(),
                job.max_concurrency,
                job.zip_level,
                job.query_timeout_minutes
            ),
            ("primary", 20, 6, 240)
        );
        assert!(job.transporter.is_none());
    }

    #[test]
    fn a_prefix_works_with_and_without_its_slash() {
        let mut document = published();
        document["output_prefix"] = json!("athena-results");
        assert_eq!(Job::parse(&document).unwrap().output_prefix.as_str(), "athena-results/");
    }

    #[test]
    fn an_unknown_field_names_the_nearest_known_one() {
        check(
            |job| job["query_name"] = json!([]),
            &[("$.query_name", "unknown field `query_name`; did you mean `query_names`?")],
        );
        check(
            |job| job["transporter"]["config"]["sftp_pasword"] = json!("x"),
            &[(
                "$.transporter.config.sftp_pasword",
                "unknown field `sftp_pasword`; did you mean `sftp_password`?",
            )],
        );
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_place() {
        check(
            |job| {
                job.as_object_mut().unwrap().remove("output_bucket");
                job["query_names"] = json!(["ok", "../etc", 7]);
                job["query_index_bucket"] = json!("Acme_Queries");
                job["max_concurrency"] = json!(0);
                job["csv"] = json!({ "quote": "never" });
                job["transporter"]["config"]["sftp_port"] = json!(true);
            },
            &[
                ("$.csv.quote", "expected `necessary`, or expected `always`"),
                ("$.max_concurrency", "expected at least 1, found 0"),
                ("$.output_bucket", "the field `output_bucket` is missing"),
                (
                    "$.query_index_bucket",
                    "`Acme_Queries` is not a bucket name: only the characters a-z, 0-9, `-` and `.` may be in it",
                ),
                (
                    "$.query_names[1]",
                    "`../etc` is not a query name: a part between its slashes is empty, `.` or `..`, so it would \
                     leave the prefix",
                ),
                ("$.query_names[2]", "expected string, found number"),
                (
                    "$.transporter.config.sftp_port",
                    "expected integer, found boolean, or expected string, found boolean",
                ),
            ],
        );
    }

    #[test]
    fn a_job_is_an_object() {
        check(|job| *job = json!([1]), &[("$", "expected object, found array")]);
    }

    #[test]
    fn csv_options_that_could_not_be_read_back_are_refused() {
        check(
            |job| job["csv"] = json!({ "delimiter": "\"", "null": "a\nb" }),
            &[
                (
                    "$.csv.delimiter",
                    "expected one ASCII character that is no quote and no line ending",
                ),
                (
                    "$.csv.null",
                    "the text for NULL can not hold a quote, a line ending or the delimiter",
                ),
            ],
        );
    }

    #[test]
    fn no_problem_shows_a_secret() {
        let mut document = published();
        document["transporter"]["config"]["sftp_password"] = json!(["s3cret"]);
        document["transporter"]["config"]["sftp_private_key"] = json!(17_171_717);
        document["transporter"]["type"] = json!("s3cret");
        let first = Job::parse(&document).unwrap_err();
        document["transporter"]["type"] = json!("sftp");
        let second = Job::parse(&document).unwrap_err();
        for text in
            [first.to_string(), format!("{first:?}"), second.to_string(), format!("{second:?}")]
        {
            assert!(!text.contains("s3cret") && !text.contains("17171717"), "{text}");
        }
    }

    #[test]
    fn the_schema_describes_every_field() {
        let schema = job_schema();
        let fields = schema["properties"].as_object().unwrap();
        assert!(fields.contains_key("transporter"));
        for (name, field) in fields {
            assert!(field["description"].is_string(), "{name} has no description");
        }
    }
}
