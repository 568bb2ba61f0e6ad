//! Attributes and tags of objects.

use std::collections::BTreeMap;

use s3s::dto;
use s3s::{S3Request, S3Result};

use super::convert::{self, set_checksum, signed};
use super::objects::open;
use crate::Store;
use crate::body::blocking;
use crate::entry::{Entry, PartSummary};

pub(super) async fn get_object_attributes(
    store: &Store,
    request: S3Request<dto::GetObjectAttributesInput>,
) -> S3Result<dto::GetObjectAttributesOutput> {
    let input = request.input;
    convert::unversioned(input.version_id.as_deref())?;
    let (_, entry) = open(store, &input.bucket, &input.key).await?;
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
    convert::unversioned(input.version_id.as_deref())?;
    let tags = convert::tags_of_document(input.tagging)?;
    set_tags(store, &input.bucket, input.key, tags).await?;
    Ok(dto::PutObjectTaggingOutput::default())
}

pub(super) async fn get_object_tagging(
    store: &Store,
    request: S3Request<dto::GetObjectTaggingInput>,
) -> S3Result<dto::GetObjectTaggingOutput> {
    let input = request.input;
    convert::unversioned(input.version_id.as_deref())?;
    let (_, entry) = open(store, &input.bucket, &input.key).await?;
    let tags = entry.tags.iter();
    let tag = |(key, value): (&String, &String)| dto::Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    Ok(dto::GetObjectTaggingOutput { tag_set: tags.map(tag).collect(), version_id: None })
}

pub(super) async fn delete_object_tagging(
    store: &Store,
    request: S3Request<dto::DeleteObjectTaggingInput>,
) -> S3Result<dto::DeleteObjectTaggingOutput> {
    let input = request.input;
    convert::unversioned(input.version_id.as_deref())?;
    set_tags(store, &input.bucket, input.key, BTreeMap::new()).await?;
    Ok(dto::DeleteObjectTaggingOutput::default())
}

async fn set_tags(
    store: &Store,
    bucket: &str,
    key: String,
    tags: BTreeMap<String, String>,
) -> S3Result<()> {
    let bucket = store.bucket(bucket)?;
    Ok(blocking(move || bucket.set_tags(&key, tags)).await?)
}
