//! Objects: writing, reading, copying, deleting.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use s3s::dto;
use s3s::{S3Error, S3Request, S3Result, s3_error};

use super::convert::{
    self, REQUEST_BYTES_MAX, check_source, content_range, kept_headers, offered_checksum,
    set_checksum, signed,
};
use super::incoming::Incoming;
use crate::body::{READ_BUFFER_BYTES, blocking, read, read_some};
use crate::bucket::{Bucket, Deleted, NewObject};
use crate::condition::{ReadConditions, Verdict, WriteCondition};
use crate::digest::{Algorithm, Coverage};
use crate::entry::Entry;
use crate::error::Doing as _;
use crate::key::check_key;
use crate::staged::Staged;
use crate::version::VersionId;
use crate::{Store, StoreError, Traffic};

/// What S3 says of an object whose writer did not say.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// How long a connection that is to be dropped stays open behind its last byte.
const CUT_AFTER: Duration = Duration::from_millis(10);

pub(super) async fn put_object(
    store: &Store,
    mut request: S3Request<dto::PutObjectInput>,
) -> S3Result<dto::PutObjectOutput> {
    let body = request.input.body.take();
    let input = &request.input;
    check_key(&input.key)?;
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(NotImplemented, "objects cannot be appended to"));
    }
    let condition = convert::write_condition(input.if_match.clone(), input.if_none_match.clone())?;
    let tags = convert::tags_of_header(input.tagging.as_deref())?;
    let headers = kept_headers!(input);
    let named = convert::algorithm(input.checksum_algorithm.as_ref())?;
    let stated = offered_checksum!(input)?;
    let bucket = store.bucket(&input.bucket)?;
    let kms = convert::kms(&bucket, input.server_side_encryption.as_ref())?;
    let incoming = Incoming::new(&request, body, input.content_md5.clone(), stated, named)?;
    let algorithm = incoming.algorithm().unwrap_or(Algorithm::Crc64Nvme);
    let body = incoming.receive(&bucket, Some(algorithm)).await?;

    let new = NewObject { tags, kms, ..NewObject::new(request.input.key, headers) };
    let entry = blocking(move || bucket.commit(new, body, &condition)).await?;
    let mut output = dto::PutObjectOutput {
        version_id: convert::written_version(&entry.version),
        server_side_encryption: Some(convert::encryption(entry.kms)),
        e_tag: Some(convert::etag(&entry.etag)),
        checksum_type: convert::checksum_type(entry.checksum.as_ref()),
        ..dto::PutObjectOutput::default()
    };
    set_checksum!(output, entry.checksum.as_ref());
    Ok(output)
}

/// Answers with what an object's readers are told of it: of a `HEAD` as of a `GET`.
macro_rules! described {
    ($output:ident, $store:expr, $input:expr, $entry:expr, $range:expr, $partial:expr) => {{
        let (entry, headers) = (&$entry, &$entry.headers);
        let mut output = dto::$output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed($range.end - $range.start)),
            content_range: $partial.then(|| content_range(&$range, entry.size_bytes)),
            e_tag: Some(convert::etag(&entry.etag)),
            version_id: convert::told_version(&*$store.bucket(&$input.bucket)?, &entry.version)?,
            server_side_encryption: Some(convert::encryption(entry.kms)),
            last_modified: Some(entry.modified.into()),
            content_type: Some(content_type(entry)),
            cache_control: headers.cache_control.clone(),
            content_disposition: headers.content_disposition.clone(),
            content_encoding: headers.content_encoding.clone(),
            content_language: headers.content_language.clone(),
            expires: convert::expires(headers),
            website_redirect_location: headers.website_redirect_location.clone(),
            metadata: Some(headers.metadata.clone().into_iter().collect()),
            parts_count: $input.part_number.and_then(|_| parts_count(entry)),
            ..dto::$output::default()
        };
        if wants_checksum($input.checksum_mode.as_ref()) && !$partial {
            output.checksum_type = convert::checksum_type(entry.checksum.as_ref());
            set_checksum!(output, entry.checksum.as_ref());
        }
        output
    }};
}

/// Opens the object that a `GET` or a `HEAD` asks for, if its conditions hold.
macro_rules! opened {
    ($store:expr, $input:expr) => {{
        let version = convert::asked_version($input.version_id.as_deref())?;
        let (file, entry) = open($store, &$input.bucket, &$input.key, version).await?;
        let conditions = convert::read_conditions(
            $input.if_match.clone(),
            $input.if_none_match.clone(),
            $input.if_modified_since.as_ref(),
            $input.if_unmodified_since.as_ref(),
        );
        check_read(&conditions, &entry)?;
        let (range, partial) = select(&entry, $input.range.as_ref(), $input.part_number)?;
        (file, entry, range, partial)
    }};
}

pub(super) async fn get_object(
    store: &Store,
    request: S3Request<dto::GetObjectInput>,
) -> S3Result<dto::GetObjectOutput> {
    let mut input = request.input;
    if store.faults().are_ranges_ignored() {
        input.range = None;
    }
    let (file, entry, range, partial) = opened!(store, input);
    let mut output = described!(GetObjectOutput, store, input, entry, range, partial);
    output.tag_count = i32::try_from(entry.tags.len()).ok().filter(|count| *count > 0);
    output.body = Some(outgoing(store, file, range).await?);
    Ok(output)
}

/// A body on its way out, counted. A small one is read ahead, so that it leaves in one piece with
/// the headers.
async fn outgoing(store: &Store, file: File, range: Range<u64>) -> S3Result<dto::StreamingBlob> {
    let traffic = store.traffic().clone();
    let size_bytes = range.end - range.start;
    if let Some(cut_bytes) = store.faults().next_cut().filter(|bytes| *bytes < size_bytes) {
        let start = read(file, range.start..range.start + cut_bytes);
        let cut = stream::once(async {
            // While a body has nothing to give, what was given is sent.
            tokio::time::sleep(CUT_AFTER).await;
            Err(io::Error::other("a fault on demand"))
        });
        return Ok(dto::StreamingBlob::wrap(counted(traffic, start.chain(cut))));
    }
    if size_bytes > READ_BUFFER_BYTES {
        return Ok(dto::StreamingBlob::wrap(counted(traffic, read(file, range))));
    }
    let (_, bytes) = read_some(file, range).await.map_err(S3Error::internal_error)?;
    traffic.sent("GetObject", bytes.len() as u64);
    Ok(s3s::Body::from(bytes).into())
}

fn counted(
    traffic: Traffic,
    body: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    body.inspect_ok(move |bytes| traffic.sent("GetObject", bytes.len() as u64))
}

pub(super) async fn head_object(
    store: &Store,
    request: S3Request<dto::HeadObjectInput>,
) -> S3Result<dto::HeadObjectOutput> {
    let input = request.input;
    let (_, entry, range, partial) = opened!(store, input);
    Ok(described!(HeadObjectOutput, store, input, entry, range, partial))
}

pub(super) async fn copy_object(
    store: &Store,
    request: S3Request<dto::CopyObjectInput>,
) -> S3Result<dto::CopyObjectOutput> {
    let condition = copy_condition(&request.headers)?;
    let input = request.input;
    check_key(&input.key)?;
    let (source_bucket, source_key, version) = convert::source(&input.copy_source)?;
    let replaces = |directive: Option<&str>| directive == Some(dto::MetadataDirective::REPLACE);
    let new_headers =
        replaces(input.metadata_directive.as_ref().map(dto::MetadataDirective::as_str));
    let new_tags = replaces(input.tagging_directive.as_ref().map(dto::TaggingDirective::as_str));
    let is_itself = (source_bucket, source_key) == (input.bucket.as_str(), input.key.as_str());
    if is_itself && version.is_none() && !new_headers {
        return Err(s3_error!(
            InvalidRequest,
            "an object is copied to itself only to replace its metadata"
        ));
    }
    let named = convert::algorithm(input.checksum_algorithm.as_ref())?;
    let bucket = store.bucket(&input.bucket)?;
    let kms = convert::kms(&bucket, input.server_side_encryption.as_ref())?;
    let (file, source) = open(store, source_bucket, source_key, version).await?;
    let copy_source_version_id =
        convert::told_version(&*store.bucket(source_bucket)?, &source.version)?;
    let conditions = convert::read_conditions(
        input.copy_source_if_match.clone(),
        input.copy_source_if_none_match.clone(),
        input.copy_source_if_modified_since.as_ref(),
        input.copy_source_if_unmodified_since.as_ref(),
    );
    check_source(&conditions, &source)?;
    let tags = if new_tags {
        convert::tags_of_header(input.tagging.as_deref())?
    } else {
        source.tags.clone()
    };
    let headers = if new_headers { kept_headers!(input) } else { source.headers.clone() };
    let new = NewObject { tags, kms, ..NewObject::new(input.key, headers) };
    let entry = blocking(move || copy(&bucket, &file, &source, new, named, &condition)).await?;
    let mut result = dto::CopyObjectResult {
        e_tag: Some(convert::etag(&entry.etag)),
        last_modified: Some(entry.modified.into()),
        checksum_type: convert::checksum_type(entry.checksum.as_ref()),
        ..dto::CopyObjectResult::default()
    };
    set_checksum!(result, entry.checksum.as_ref());
    Ok(dto::CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id,
        version_id: convert::written_version(&entry.version),
        server_side_encryption: Some(convert::encryption(entry.kms)),
        ..dto::CopyObjectOutput::default()
    })
}

/// The condition on the object that a copy replaces, which the protocol's types lack.
fn copy_condition(headers: &HeaderMap) -> S3Result<WriteCondition> {
    let condition = |name: HeaderName| {
        let header = headers.get(&name).map(|value: &HeaderValue| value.as_bytes());
        let condition = header.map(dto::ETagCondition::parse_http_header).transpose();
        condition.map_err(|e| s3_error!(e, InvalidArgument, "`{name}` is not an entity tag"))
    };
    convert::write_condition(condition(IF_MATCH)?, condition(IF_NONE_MATCH)?)
}

/// Copies a body. It is read only where the source's digests are not those of the copy.
fn copy(
    bucket: &Arc<Bucket>,
    file: &File,
    source: &Entry,
    mut new: NewObject,
    named: Option<Algorithm>,
    condition: &WriteCondition,
) -> Result<Arc<Entry>, StoreError> {
    if source.size_bytes > REQUEST_BYTES_MAX {
        return Err(StoreError::InvalidRequest {
            problem: format!(
                "a copy has at most {REQUEST_BYTES_MAX} bytes, not {}",
                source.size_bytes
            ),
        });
    }
    let folder = bucket.staging();
    let whole = source.checksum.as_ref().filter(|c| c.coverage == Coverage::FullObject);
    // Under SSE-KMS the tag is no digest, so the checksum is all that the copy needs.
    let tag_is_known = new.kms || source.etag_is_md5();
    let kept = whole.filter(|c| tag_is_known && named.is_none_or(|n| n == c.algorithm));
    let staged = if let Some(checksum) = kept {
        new.etag = Some(source.etag.clone());
        new.checksum = Some(checksum.clone());
        Staged::copying(folder, None)
    } else {
        let same = source.checksum.as_ref().map(|checksum| checksum.algorithm);
        Staged::digesting(folder, Some(named.or(same).unwrap_or(Algorithm::Crc64Nvme)))
    };
    let mut staged = staged.doing("creating a file in", folder)?;
    staged.append(file, 0..source.size_bytes).doing("copying to", staged.path())?;
    bucket.commit(new, staged, condition)
}

pub(super) async fn delete_object(
    store: &Store,
    request: S3Request<dto::DeleteObjectInput>,
) -> S3Result<dto::DeleteObjectOutput> {
    let input = request.input;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(s3_error!(NotImplemented, "a deletion has no condition but `If-Match`"));
    }
    let version = convert::asked_version(input.version_id.as_deref())?;
    let condition = convert::write_condition(input.if_match, None)?;
    let bucket = store.bucket(&input.bucket)?;
    let deleted = blocking(move || bucket.delete(&input.key, version.as_ref(), &condition)).await?;
    Ok(dto::DeleteObjectOutput {
        delete_marker: deleted.is_marker.then_some(true),
        version_id: deleted.version.map(|version| version.to_string()),
        ..dto::DeleteObjectOutput::default()
    })
}

pub(super) async fn delete_objects(
    store: &Store,
    request: S3Request<dto::DeleteObjectsInput>,
) -> S3Result<dto::DeleteObjectsOutput> {
    /// The most keys one request may name.
    const KEYS_MAX: usize = 1000;
    let delete = request.input.delete;
    if !(1..=KEYS_MAX).contains(&delete.objects.len()) {
        return Err(s3_error!(MalformedXML, "a request deletes 1 to {KEYS_MAX} objects"));
    }
    let bucket = store.bucket(&request.input.bucket)?;
    let quiet = delete.quiet == Some(true);
    let results = blocking(move || {
        let objects = delete.objects.into_iter();
        let delete = |object: dto::ObjectIdentifier| (object.clone(), delete_one(&bucket, object));
        objects.map(delete).collect::<Vec<_>>()
    })
    .await;
    let mut output = dto::DeleteObjectsOutput::default();
    for (object, result) in results {
        match result {
            Ok(_) if quiet => {}
            Ok(deleted) => {
                output.deleted.get_or_insert_default().push(deleted_object(object, deleted));
            }
            Err(error) => output.errors.get_or_insert_default().push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(object.key),
                message: error.message().map(str::to_owned),
                version_id: object.version_id,
            }),
        }
    }
    Ok(output)
}

/// Deletes one of several objects. Unlike a deletion of its own, one of a version that is not there
/// is an error.
fn delete_one(bucket: &Bucket, object: dto::ObjectIdentifier) -> S3Result<Deleted> {
    let condition = convert::write_condition(object.e_tag.map(dto::ETagCondition::ETag), None)?;
    let version = convert::asked_version(object.version_id.as_deref())?;
    if let Some(version) = version.as_ref().filter(|version| !version.is_null()) {
        bucket.check_version(&object.key, version)?;
    }
    Ok(bucket.delete(&object.key, version.as_ref(), &condition)?)
}

fn deleted_object(object: dto::ObjectIdentifier, deleted: Deleted) -> dto::DeletedObject {
    let marker = deleted.version.filter(|_| deleted.is_marker);
    dto::DeletedObject {
        key: Some(object.key),
        version_id: object.version_id,
        delete_marker: deleted.is_marker.then_some(true),
        delete_marker_version_id: marker.map(|version| version.to_string()),
    }
}

/// Opens an object, or a version of it, where blocking is allowed.
pub(super) async fn open(
    store: &Store,
    bucket: &str,
    key: &str,
    version: Option<VersionId>,
) -> S3Result<(File, Arc<Entry>)> {
    let (bucket, key) = (store.bucket(bucket)?, key.to_owned());
    Ok(blocking(move || bucket.open(&key, version.as_ref())).await?)
}

fn check_read(conditions: &ReadConditions, entry: &Entry) -> S3Result<()> {
    match conditions.verdict(entry) {
        Verdict::Proceed => Ok(()),
        Verdict::NotModified => {
            let mut not_modified = s3_error!(NotModified);
            if let Ok(etag) = format!("\"{}\"", entry.etag).parse() {
                not_modified.set_headers(HeaderMap::from_iter([(ETAG, etag)]));
            }
            Err(not_modified)
        }
        Verdict::Failed(condition) => {
            Err(StoreError::PreconditionFailed { key: entry.key.clone(), condition }.into())
        }
    }
}

/// The bytes a read asks for, and whether it asks for a part of the object.
fn select(
    entry: &Entry,
    range: Option<&dto::Range>,
    part_number: Option<i32>,
) -> S3Result<(Range<u64>, bool)> {
    match (range, part_number) {
        (None, None) => Ok((0..entry.size_bytes, false)),
        (Some(range), None) => Ok((range.check(entry.size_bytes)?, true)),
        (None, Some(number)) => part_range(entry, number).map(|range| (range, true)),
        (Some(_), Some(_)) => {
            Err(s3_error!(InvalidRequest, "a range and a part number exclude each other"))
        }
    }
}

fn part_range(entry: &Entry, number: i32) -> S3Result<Range<u64>> {
    if entry.parts.is_empty() && number == 1 {
        return Ok(0..entry.size_bytes);
    }
    let mut start = 0;
    for (index, part) in (1..).zip(&entry.parts) {
        let end = start + part.size_bytes;
        if index == number {
            return Ok(start..end);
        }
        start = end;
    }
    // The enumeration of the protocol's errors lacks `InvalidPartNumber`, which has this status.
    Err(s3_error!(InvalidRange, "the object has no part {number}"))
}

fn parts_count(entry: &Entry) -> Option<i32> {
    i32::try_from(entry.parts.len()).ok().filter(|count| *count > 0)
}

fn content_type(entry: &Entry) -> String {
    entry.headers.content_type.clone().unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())
}

fn wants_checksum(mode: Option<&dto::ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == dto::ChecksumMode::ENABLED)
}
