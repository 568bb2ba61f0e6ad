//! The rights that a query needs while it runs.
//!
//! `StartQueryExecution` itself needs a right on the work group alone. The catalog, the tables and
//! the result location are looked at with the caller's rights as the query runs, so that a query
//! without them is started and fails
//! ([access to S3](https://docs.aws.amazon.com/athena/latest/ug/s3-permissions.html)).

/// A query whose rights are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryAccess<'a> {
    /// The access key id that `StartQueryExecution` was signed with.
    pub caller: &'a str,
    /// The SQL.
    pub query: &'a str,
    /// The catalog, if the request names one.
    pub catalog: Option<&'a str>,
    /// The database, if the request names one.
    pub database: Option<&'a str>,
    /// The bucket of the result object.
    pub result_bucket: &'a str,
    /// The key of the result object.
    pub result_key: &'a str,
}

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessDenied {
    /// The caller may not use the catalog, a database or a table. Has AWS's text, which names the
    /// caller, the action and the resource.
    Catalog(String),
    /// The caller may not write the result.
    Results,
}

/// Decides what queries may do.
pub trait Access: Send + Sync {
    /// Checks a query that is about to run.
    fn check(&self, query: &QueryAccess<'_>) -> Result<(), AccessDenied>;
}
