//! What a query needs: the work group, and what Athena does with the caller's rights
//! ([forward access sessions](https://docs.aws.amazon.com/IAM/latest/UserGuide/access_forward_access_sessions.html)).
//!
//! `StartQueryExecution` needs the work group. The rest is for the query that runs, which fails
//! without it: the catalog, the databases, the tables, and all that Athena's guide asks for at the
//! result location ([access to S3](https://docs.aws.amazon.com/athena/latest/ug/s3-permissions.html),
//! [fine-grained access](https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html)).
//! Not checked: partitions, of which local tables have none, and the data itself, which lies in a
//! directory instead of a bucket.

use serde::Deserialize;

use super::Names;
use crate::{decision::Call, policies::Policies};

/// The catalog, the database and the work group of queries that name none.
const CATALOG: &str = "AwsDataCatalog";
const DATABASE: &str = "default";
const WORK_GROUP: &str = "primary";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    work_group: Option<String>,
}

pub(super) fn work_group(policies: &Policies, name: &str) -> String {
    policies.arn("athena", &format!("workgroup/{name}"))
}

pub(super) fn start(policies: &Policies, body: &[u8]) -> Option<Vec<Call>> {
    let start: Start = serde_json::from_slice(body).ok()?;
    let group = start.work_group.as_deref().unwrap_or(WORK_GROUP);
    Some(vec![Call::new("athena:StartQueryExecution", work_group(policies, group))])
}

/// Calls that a query makes of the catalog as it runs.
pub(crate) fn of_catalog(
    policies: &Policies,
    names: &dyn Names,
    sql: &str,
    catalog: Option<&str>,
    database: Option<&str>,
) -> Vec<Call> {
    let catalog = catalog.unwrap_or(CATALOG);
    let database = database.unwrap_or(DATABASE);
    let catalog = policies.arn("athena", &format!("datacatalog/{catalog}"));
    let mut calls = vec![Call::new("athena:GetDataCatalog", catalog)];
    let glue = |action: &str, resource: String| Call::new(action, policies.arn("glue", &resource));
    let of_database = |action: &'static str, name: &str| {
        [glue(action, "catalog".to_owned()), glue(action, format!("database/{name}"))]
    };
    // Athena looks at the database `default` whatever a query reads.
    calls.extend(of_database("glue:GetDatabase", DATABASE));
    calls.extend(of_database("glue:GetDatabase", database));
    for (database, table) in names.tables_of(sql, database) {
        calls.extend(of_database("glue:GetTable", &database));
        calls.push(glue("glue:GetTable", format!("table/{database}/{table}")));
    }
    calls
}

/// Calls that a query makes where its result goes.
pub(crate) fn of_results(policies: &Policies, bucket: &str, key: &str) -> Vec<Call> {
    let bucket_arn = format!("arn:aws:s3:::{bucket}");
    let object_arn = format!("{bucket_arn}/{key}");
    let of_bucket = ["GetBucketLocation", "ListBucket", "ListBucketMultipartUploads"]
        .map(|operation| Call::new(format!("s3:{operation}"), bucket_arn.clone()));
    let of_object = ["GetObject", "PutObject", "ListMultipartUploadParts", "AbortMultipartUpload"]
        .map(|operation| Call::new(format!("s3:{operation}"), object_arn.clone()));
    let of_key = ["kms:GenerateDataKey", "kms:Decrypt"]
        .into_iter()
        .filter_map(|action| policies.with_key_of(bucket, action));
    of_bucket.into_iter().chain(of_object).chain(of_key).collect()
}
