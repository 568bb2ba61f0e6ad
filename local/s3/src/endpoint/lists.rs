//! Buckets, and what is in them.

#![expect(clippy::unused_async, reason = "all operations are called in one way")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::dto;
use s3s::{S3Request, S3Result, s3_error};

use super::convert::{self, signed};
use crate::Store;
use crate::entry::Entry;
use crate::listing::{Page, Query};

/// The region all buckets are in.
const REGION: &str = "us-east-1";

pub(super) async fn create_bucket(
    store: &Store,
    request: S3Request<dto::CreateBucketInput>,
) -> S3Result<dto::CreateBucketOutput> {
    let bucket = request.input.bucket;
    store.create_bucket(&bucket).await?;
    Ok(dto::CreateBucketOutput { location: Some(format!("/{bucket}")) })
}

pub(super) async fn delete_bucket(
    store: &Store,
    request: S3Request<dto::DeleteBucketInput>,
) -> S3Result<dto::DeleteBucketOutput> {
    store.delete_bucket(&request.input.bucket).await?;
    Ok(dto::DeleteBucketOutput {})
}

pub(super) async fn head_bucket(
    store: &Store,
    request: S3Request<dto::HeadBucketInput>,
) -> S3Result<dto::HeadBucketOutput> {
    store.bucket(&request.input.bucket)?;
    Ok(dto::HeadBucketOutput { bucket_region: Some(REGION.to_owned()), ..Default::default() })
}

pub(super) async fn list_buckets(
    store: &Store,
    request: S3Request<dto::ListBucketsInput>,
) -> S3Result<dto::ListBucketsOutput> {
    let prefix = request.input.prefix.unwrap_or_default();
    let buckets = store.buckets();
    let buckets = buckets.iter().filter(|bucket| bucket.name().starts_with(&prefix));
    let buckets = buckets.map(|bucket| dto::Bucket {
        name: Some(bucket.name().to_owned()),
        creation_date: Some(bucket.created().into()),
        ..dto::Bucket::default()
    });
    Ok(dto::ListBucketsOutput { buckets: Some(buckets.collect()), ..Default::default() })
}

/// No constraint is how S3 spells `us-east-1`.
pub(super) async fn get_bucket_location(
    store: &Store,
    request: S3Request<dto::GetBucketLocationInput>,
) -> S3Result<dto::GetBucketLocationOutput> {
    store.bucket(&request.input.bucket)?;
    Ok(dto::GetBucketLocationOutput { location_constraint: None })
}

pub(super) async fn list_objects_v2(
    store: &Store,
    request: S3Request<dto::ListObjectsV2Input>,
) -> S3Result<dto::ListObjectsV2Output> {
    let input = request.input;
    let encode = convert::url_encodes(input.encoding_type.as_ref())?;
    let max_keys = convert::page_size(input.max_keys)?;
    let resumed = input.continuation_token.as_deref().map(key_of_token).transpose()?;
    let query = Query {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after: resumed.or_else(|| input.start_after.clone()),
        limit: usize::try_from(max_keys).unwrap_or(0),
    };
    let page = store.bucket(&input.bucket)?.list(&query)?;
    let named = |text: Option<String>| text.map(|text| convert::name(&text, encode));
    Ok(dto::ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(convert::name(&query.prefix, encode)),
        max_keys: Some(max_keys),
        key_count: i32::try_from(page.items.len() + page.prefixes.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next_after.is_some()),
        next_continuation_token: page.next_after.as_deref().map(|after| STANDARD.encode(after)),
        delimiter: named(input.delimiter),
        encoding_type: input.encoding_type,
        start_after: named(input.start_after),
        common_prefixes: common_prefixes(&page, encode),
        contents: contents(&page, encode),
        ..dto::ListObjectsV2Output::default()
    })
}

pub(super) async fn list_objects(
    store: &Store,
    request: S3Request<dto::ListObjectsInput>,
) -> S3Result<dto::ListObjectsOutput> {
    let input = request.input;
    let encode = convert::url_encodes(input.encoding_type.as_ref())?;
    let max_keys = convert::page_size(input.max_keys)?;
    let query = Query {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after: input.marker.clone().filter(|marker| !marker.is_empty()),
        limit: usize::try_from(max_keys).unwrap_or(0),
    };
    let page = store.bucket(&input.bucket)?.list(&query)?;
    let named = |text: Option<String>| text.map(|text| convert::name(&text, encode));
    // Without a delimiter the client goes on from the last key.
    let next_marker = page.next_after.clone().filter(|_| input.delimiter.is_some());
    Ok(dto::ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(convert::name(&query.prefix, encode)),
        marker: Some(convert::name(&input.marker.unwrap_or_default(), encode)),
        max_keys: Some(max_keys),
        is_truncated: Some(page.next_after.is_some()),
        next_marker: named(next_marker),
        delimiter: named(input.delimiter),
        encoding_type: input.encoding_type,
        common_prefixes: common_prefixes(&page, encode),
        contents: contents(&page, encode),
        ..dto::ListObjectsOutput::default()
    })
}

fn contents(page: &Page<Arc<Entry>>, encode: bool) -> Option<Vec<dto::Object>> {
    let objects = page.items.iter().map(|entry| listed(entry, encode));
    (!page.items.is_empty()).then(|| objects.collect())
}

/// An object as it is listed.
pub(super) fn listed(entry: &Entry, encode: bool) -> dto::Object {
    let algorithm = entry.checksum.as_ref().map(|checksum| checksum.algorithm.name());
    dto::Object {
        key: Some(convert::name(&entry.key, encode)),
        size: Some(signed(entry.size_bytes)),
        e_tag: Some(convert::etag(&entry.etag)),
        last_modified: Some(entry.modified.into()),
        checksum_algorithm: algorithm.map(|name| vec![dto::ChecksumAlgorithm::from_static(name)]),
        checksum_type: convert::checksum_type(entry.checksum.as_ref()),
        storage_class: Some(dto::ObjectStorageClass::from_static(
            dto::ObjectStorageClass::STANDARD,
        )),
        ..dto::Object::default()
    }
}

fn common_prefixes(page: &Page<Arc<Entry>>, encode: bool) -> Option<Vec<dto::CommonPrefix>> {
    let prefixes = page.prefixes.iter();
    let prefixes = prefixes.map(|p| dto::CommonPrefix { prefix: Some(convert::name(p, encode)) });
    (!page.prefixes.is_empty()).then(|| prefixes.collect())
}

/// A continuation token is the last key or common prefix, in base64.
fn key_of_token(token: &str) -> S3Result<String> {
    let key = STANDARD.decode(token).ok().and_then(|key| String::from_utf8(key).ok());
    key.ok_or_else(|| {
        s3_error!(InvalidArgument, "the continuation token is not one of this service")
    })
}
