//! What a query needs: the work group, and what Athena does with the caller's rights
//! ([forward access sessions](https://docs.aws.amazon.com/IAM/latest/UserGuide/access_forward_access_sessions.html)).
//!
//! Checked when a query is started, and then refused, where AWS starts the query and lets it fail:
//! the catalog, the databases, the tables, and all that Athena's guide asks for at the result
//! location ([access to S3](https://docs.aws.amazon.com/athena/latest/ug/s3-permissions.html),
//! [fine-grained access](https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html)).
//! Not checked: partitions, of which local tables have none, and the data itself, which lies in a
//! directory instead of a bucket.

use serde::Deserialize;

use super::Names;
use crate::{decision::Call, policies::Policies};

/// The catalog and the work group of queries that name none.
const CATALOG: &str = "AwsDataCatalog";
const WORK_GROUP: &str = "primary";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    query_string: String,
    work_group: Option<String>,
    #[serde(default)]
    query_execution_context: QueryContext,
    #[serde(default)]
    result_configuration: ResultConfiguration,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct QueryContext {
    catalog: Option<String>,
    database: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ResultConfiguration {
    output_location: Option<String>,
}

pub(super) fn work_group(policies: &Policies, name: &str) -> String {
    policies.arn("athena", &format!("workgroup/{name}"))
}

pub(super) fn start(policies: &Policies, names: &dyn Names, body: &[u8]) -> Option<Vec<Call>> {
    let start: Start = serde_json::from_slice(body).ok()?;
    let group = start.work_group.as_deref().unwrap_or(WORK_GROUP);
    let context = start.query_execution_context;
    let catalog = context.catalog.as_deref().unwrap_or(CATALOG);
    let catalog = policies.arn("athena", &format!("datacatalog/{catalog}"));
    let database = context.database.as_deref().unwrap_or("default");
    let tables = names.tables_of(&start.query_string, database);

    let mut calls = vec![
        Call::new("athena:StartQueryExecution", work_group(policies, group)),
        Call::new("athena:GetDataCatalog", catalog),
    ];
    let glue = |action: &str, resource: String| Call::new(action, policies.arn("glue", &resource));
    let of_database = |action: &'static str, name: &str| {
        [glue(action, "catalog".to_owned()), glue(action, format!("database/{name}"))]
    };
    // Athena looks at the database `default` whatever a query reads.
    calls.extend(of_database("glue:GetDatabase", "default"));
    calls.extend(of_database("glue:GetDatabase", database));
    for (database, table) in tables {
        calls.extend(of_database("glue:GetTable", &database));
        calls.push(glue("glue:GetTable", format!("table/{database}/{table}")));
    }
    let client = start.result_configuration.output_location;
    if let Some(location) = policies.enforced_locations.get(group).cloned().or(client) {
        calls.extend(results(policies, &location)?);
    }
    Some(calls)
}

/// What writing the result takes. Its key has the query's id in it, which does not exist yet.
fn results(policies: &Policies, location: &str) -> Option<Vec<Call>> {
    let (bucket, prefix) = location.strip_prefix("s3://")?.split_once('/')?;
    let bucket_arn = format!("arn:aws:s3:::{bucket}");
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    let object_arn = format!("{bucket_arn}/{prefix}{slash}result.csv");
    let of_bucket = ["GetBucketLocation", "ListBucket", "ListBucketMultipartUploads"]
        .map(|operation| Call::new(format!("s3:{operation}"), bucket_arn.clone()));
    let of_object = ["GetObject", "PutObject", "ListMultipartUploadParts", "AbortMultipartUpload"]
        .map(|operation| Call::new(format!("s3:{operation}"), object_arn.clone()));
    let of_key = ["kms:GenerateDataKey", "kms:Decrypt"]
        .into_iter()
        .filter_map(|action| policies.with_key_of(bucket, action));
    Some(of_bucket.into_iter().chain(of_object).chain(of_key).collect())
}
