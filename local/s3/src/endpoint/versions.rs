//! Versioning of buckets, and their versions.

#![expect(clippy::unused_async, reason = "all operations are called in one way")]

use s3s::dto;
use s3s::{S3Request, S3Result, s3_error};

use super::convert::{self, signed};
use crate::Store;
use crate::body::blocking;
use crate::bucket::{ListedVersion, Past, Settings, VersionQuery, Versioning};
use crate::listing::Query;

pub(super) async fn get_bucket_versioning(
    store: &Store,
    request: S3Request<dto::GetBucketVersioningInput>,
) -> S3Result<dto::GetBucketVersioningOutput> {
    let status = match store.bucket(&request.input.bucket)?.settings()?.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(dto::BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(dto::BucketVersioningStatus::SUSPENDED),
    };
    let status = status.map(dto::BucketVersioningStatus::from_static);
    Ok(dto::GetBucketVersioningOutput { status, ..dto::GetBucketVersioningOutput::default() })
}

pub(super) async fn put_bucket_versioning(
    store: &Store,
    request: S3Request<dto::PutBucketVersioningInput>,
) -> S3Result<dto::PutBucketVersioningOutput> {
    let input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    let status = input.versioning_configuration.status;
    let versioning = match status.as_ref().map(dto::BucketVersioningStatus::as_str) {
        Some(dto::BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(dto::BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        Some(other) => {
            return Err(s3_error!(MalformedXML, "`{other}` is not a status of versioning"));
        }
        None => {
            return Err(s3_error!(
                IllegalVersioningConfigurationException,
                "the configuration has no status"
            ));
        }
    };
    blocking(move || bucket.configure(|before| Settings { versioning, ..before })).await?;
    Ok(dto::PutBucketVersioningOutput {})
}

pub(super) async fn list_object_versions(
    store: &Store,
    request: S3Request<dto::ListObjectVersionsInput>,
) -> S3Result<dto::ListObjectVersionsOutput> {
    let input = request.input;
    let encode = convert::url_encodes(input.encoding_type.as_ref())?;
    let max_keys = convert::page_size(input.max_keys)?;
    let after_version = input.version_id_marker.as_deref().filter(|marker| !marker.is_empty());
    let query = VersionQuery {
        keys: Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.key_marker.clone().filter(|marker| !marker.is_empty()),
            limit: usize::try_from(max_keys).unwrap_or(0),
        },
        after_version: convert::asked_version(after_version)?,
    };
    if query.after_version.is_some() && query.keys.after.is_none() {
        return Err(s3_error!(InvalidArgument, "a version to start behind needs its key"));
    }
    let page = store.bucket(&input.bucket)?.list_versions(&query)?;
    let named = |text: Option<String>| text.map(|text| convert::name(&text, encode));
    let (next_key, next_version) = page.next.unzip();
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for ListedVersion { version, is_latest } in page.versions {
        match version {
            Past::Object(entry) => {
                let listed = super::lists::listed(&entry, encode);
                versions.push(dto::ObjectVersion {
                    key: listed.key,
                    version_id: Some(entry.version.to_string()),
                    is_latest: Some(is_latest),
                    size: Some(signed(entry.size_bytes)),
                    e_tag: listed.e_tag,
                    last_modified: listed.last_modified,
                    checksum_algorithm: listed.checksum_algorithm,
                    checksum_type: listed.checksum_type,
                    storage_class: Some(dto::ObjectVersionStorageClass::from_static(
                        dto::ObjectVersionStorageClass::STANDARD,
                    )),
                    ..dto::ObjectVersion::default()
                });
            }
            Past::Marker(marker) => markers.push(dto::DeleteMarkerEntry {
                key: Some(convert::name(&marker.key, encode)),
                version_id: Some(marker.version.to_string()),
                is_latest: Some(is_latest),
                last_modified: Some(marker.modified.into()),
                ..dto::DeleteMarkerEntry::default()
            }),
        }
    }
    let prefixes = page.prefixes.iter();
    let prefixes = prefixes.map(|p| dto::CommonPrefix { prefix: Some(convert::name(p, encode)) });
    Ok(dto::ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(convert::name(&query.keys.prefix, encode)),
        key_marker: Some(convert::name(&input.key_marker.unwrap_or_default(), encode)),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        max_keys: Some(max_keys),
        is_truncated: Some(next_key.is_some()),
        next_key_marker: named(next_key),
        next_version_id_marker: next_version.flatten().map(|version| version.to_string()),
        delimiter: named(input.delimiter),
        encoding_type: input.encoding_type,
        common_prefixes: (!page.prefixes.is_empty()).then(|| prefixes.collect()),
        versions: (!versions.is_empty()).then_some(versions),
        delete_markers: (!markers.is_empty()).then_some(markers),
        ..dto::ListObjectVersionsOutput::default()
    })
}
