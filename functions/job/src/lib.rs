//! The vocabulary of athena-workflow: what a job says, what a run is called, where a run writes,
//! what the states hand to each other, and what errors are named.
//!
//! Everything here is a value or a pure function: no I/O, no clock, no environment. A JSON text
//! becomes a value through one fallible door ([`Job::parse`] for a job), and a value that exists is
//! valid.
//!
//! ```
//! use job::Job;
//!
//! let job = Job::parse(&serde_json::json!({
//!     "query_names": ["users_report"],
//!     "query_index_bucket": "acme-queries",
//!     "output_bucket": "acme-results",
//!     "output_prefix": "athena-results/",
//!     "zip_prefix": "zipped-results",
//! }))
//! .expect("a valid job");
//! assert_eq!(job.database, "default");
//! ```

pub mod delivery;
pub mod document;
pub mod error;
mod job;
pub mod layout;
pub mod name;
pub mod record;
pub mod run_record;
pub mod s3;
pub mod secret;
pub mod snapshot;
pub mod states;
pub mod template;
pub mod transport;
pub mod view;

pub use crate::{
    document::{Problem, Problems, nearest},
    error::ErrorName,
    job::{CsvOptions, CsvQuote, Job, LineEnding, OnQueryFailure, QUERY_NAMES_MAX, job_schema},
    layout::RunLayout,
    name::{BucketName, FileName, QueryName, RunId},
    s3::{ObjectVersion, Prefix, S3Location},
    secret::{SecretReference, SecretReferenceError, SecretStore},
    template::FileTemplate,
};
