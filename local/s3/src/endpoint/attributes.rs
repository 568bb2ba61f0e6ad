//! Attributes and tags of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use s3s::dto;
use s3s::{S3Request, S3Result};

use super::convert::{self, set_checksum, signed};
use super::objects::open;
use crate::Store;
use crate::body::blocking;
use crate::entry::{Entry, PartSummary};
use crate::version::VersionId;

pub(super) async fn get_object_attributes(
    store: &Store,
    request: S3Request<dto::GetObjectAttributesInput>,
) -> S3Result<dto::GetObjectAttributesOutput> {
    let input = request.input;
    let version = convert::asked_version(input.version_id.as_deref())?;
    let (_, entry) = open(store, &input.bucket, &input.key, version).await?;
    let version_id = convert::told_version(&*store.bucket(&input.bucket)?, &entry.version)?;
    // The header may list several names, which the protocol's parser leaves together.
    let named = input.object_attributes.iter().flat_map(|list| list.as_str().split(','));
    let named: Vec<_> = named.map(str::trim).collect();
    let asked = |name: &str| named.contains(&name);
    let has_parts = asked(dto::ObjectAttributes::OBJECT_PARTS) && !entry.parts.is_empty();
    let parts = has_parts.then(|| parts(&entry, input.part_number_marker, input.max_parts));
    let checksum = entry.checksum.as_ref();
    let checksum = checksum.filter(|_| asked(dto::ObjectAttributes::CHECKSUM));
    let storage_class = asked(dto::ObjectAttributes::STORAGE_CLASS);
    Ok(dto::GetObjectAttributesOutput {
        e_tag: asked(dto::ObjectAttributes::ETAG).then(|| convert::etag(&entry.etag)),
        object_size: asked(dto::ObjectAttributes::OBJECT_SIZE).then(|| signed(entry.size_bytes)),
        storage_class: storage_class
            .then(|| dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
        checksum: checksum.map(|checksum| convert::checksum_fields(Some(checksum))),
        object_parts: parts.transpose()?,
        last_modified: Some(entry.modified.into()),
        version_id,
        ..dto::GetObjectAttributesOutput::default()
    })
}

/// How many parts there are, and the parts themselves where they have checksums.
fn parts(
    entry: &Entry,
    marker: Option<i32>,
    max_parts: Option<i32>,
) -> S3Result<dto::GetObjectAttributesParts> {
    let limit = convert::page_size(max_parts)?;
    let after = marker.and_then(|marker| u32::try_from(marker).ok()).unwrap_or(0);
    let summed = |part: &&PartSummary| part.checksum.is_some() && part.number > after;
    let mut rest = entry.parts.iter().filter(summed);
    let page: Vec<_> = rest.by_ref().take(usize::try_from(limit).unwrap_or(0)).collect();
    let truncated = rest.next().is_some();
    let last = page.last().and_then(|part| i32::try_from(part.number).ok());
    let object_part = |part: &PartSummary| {
        let mut output = dto::ObjectPart {
            part_number: i32::try_from(part.number).ok(),
            size: Some(signed(part.size_bytes)),
            ..dto::ObjectPart::default()
        };
        set_checksum!(output, part.checksum.as_ref());
        output
    };
    Ok(dto::GetObjectAttributesParts {
        total_parts_count: i32::try_from(entry.parts.len()).ok(),
        max_parts: Some(limit),
        part_number_marker: marker,
        next_part_number_marker: last.filter(|_| truncated),
        is_truncated: Some(truncated),
        parts: (!page.is_empty()).then(|| page.into_iter().map(object_part).collect()),
    })
}

pub(super) async fn put_object_tagging(
    store: &Store,
    request: S3Request<dto::PutObjectTaggingInput>,
) -> S3Result<dto::PutObjectTaggingOutput> {
    let input = request.input;
    let version = convert::asked_version(input.version_id.as_deref())?;
    let tags = convert::tags_of_document(input.tagging)?;
    let version_id = set_tags(store, &input.bucket, input.key, version, tags).await?;
    Ok(dto::PutObjectTaggingOutput { version_id })
}

pub(super) async fn get_object_tagging(
    store: &Store,
    request: S3Request<dto::GetObjectTaggingInput>,
) -> S3Result<dto::GetObjectTaggingOutput> {
    let input = request.input;
    let version = convert::asked_version(input.version_id.as_deref())?;
    let bucket = store.bucket(&input.bucket)?;
    let entry = {
        let bucket = Arc::clone(&bucket);
        blocking(move || bucket.tagged(&input.key, version.as_ref())).await?
    };
    let version_id = convert::told_version(&bucket, &entry.version)?;
    let tags = entry.tags.iter();
    let tag = |(key, value): (&String, &String)| dto::Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    Ok(dto::GetObjectTaggingOutput { tag_set: tags.map(tag).collect(), version_id })
}

pub(super) async fn delete_object_tagging(
    store: &Store,
    request: S3Request<dto::DeleteObjectTaggingInput>,
) -> S3Result<dto::DeleteObjectTaggingOutput> {
    let input = request.input;
    let version = convert::asked_version(input.version_id.as_deref())?;
    let version_id = set_tags(store, &input.bucket, input.key, version, BTreeMap::new()).await?;
    Ok(dto::DeleteObjectTaggingOutput { version_id })
}

/// Replaces an object's tags, and returns the version id to answer with.
async fn set_tags(
    store: &Store,
    bucket: &str,
    key: String,
    version: Option<VersionId>,
    tags: BTreeMap<String, String>,
) -> S3Result<Option<String>> {
    let bucket = store.bucket(bucket)?;
    let tagged = {
        let bucket = Arc::clone(&bucket);
        blocking(move || bucket.set_tags(&key, version.as_ref(), tags)).await?
    };
    convert::told_version(&bucket, &tagged)
}
