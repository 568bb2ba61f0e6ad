//! Between the protocol's types and the store's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::dto;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::StoreError;
use crate::bucket::{Bucket, Versioning};
use crate::condition::{ReadConditions, Tag, Verdict, WriteCondition};
use crate::digest::{Algorithm, Checksum, Coverage};
use crate::entry::{Entry, Headers};
use crate::version::VersionId;

/// The most bytes that one request may write or copy.
pub(super) const REQUEST_BYTES_MAX: u64 = 5 << 30;

const TAGS_MAX: usize = 10;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;

/// What `encoding-type=url` leaves as it is.
const UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::InvalidBucketName { .. } => S3ErrorCode::InvalidBucketName,
            StoreError::NoSuchBucket { .. } => S3ErrorCode::NoSuchBucket,
            StoreError::BucketNotEmpty { .. } => S3ErrorCode::BucketNotEmpty,
            StoreError::InvalidKey { bytes: 0 } | StoreError::InvalidRequest { .. } => {
                S3ErrorCode::InvalidRequest
            }
            StoreError::InvalidKey { .. } => S3ErrorCode::KeyTooLongError,
            StoreError::NoSuchKey { .. } => S3ErrorCode::NoSuchKey,
            StoreError::NoSuchVersion { .. } => S3ErrorCode::NoSuchVersion,
            StoreError::InvalidVersionId { .. } => S3ErrorCode::InvalidArgument,
            StoreError::IsDeleteMarker { .. } => S3ErrorCode::MethodNotAllowed,
            StoreError::ConditionalConflict { .. } => S3ErrorCode::ConditionalRequestConflict,
            StoreError::PreconditionFailed { .. } => S3ErrorCode::PreconditionFailed,
            StoreError::NoSuchUpload { .. } => S3ErrorCode::NoSuchUpload,
            StoreError::UploadBusy { .. } => S3ErrorCode::OperationAborted,
            StoreError::InvalidPart { .. } => S3ErrorCode::InvalidPart,
            StoreError::InvalidPartOrder { .. } => S3ErrorCode::InvalidPartOrder,
            StoreError::PartTooSmall { .. } => S3ErrorCode::EntityTooSmall,
            StoreError::BadDigest { .. } => S3ErrorCode::BadDigest,
            StoreError::ChecksumMismatch { .. } => S3ErrorCode::InvalidRequest,
            StoreError::InUse { .. } | StoreError::Record { .. } | StoreError::Io { .. } => {
                // The client can do nothing about these, so they are told here.
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the store failed");
                S3ErrorCode::InternalError
            }
        };
        let mut answer = Self::with_message(code, error.to_string());
        match &error {
            StoreError::NoSuchKey { delete_marker: Some(version_id), .. }
            | StoreError::IsDeleteMarker { version_id, .. } => {
                answer.set_headers(marker_headers(version_id));
            }
            _ => {}
        }
        answer
    }
}

/// The headers of an answer that a delete marker stands behind.
fn marker_headers(version_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(version_id) = HeaderValue::from_str(version_id) {
        headers.insert("x-amz-version-id", version_id);
    }
    headers
}

/// The five checksum fields of a request, of which at most one may be used.
macro_rules! offered_checksum {
    ($input:expr) => {
        $crate::endpoint::convert::one_checksum([
            ($crate::digest::Algorithm::Crc32, &$input.checksum_crc32),
            ($crate::digest::Algorithm::Crc32c, &$input.checksum_crc32c),
            ($crate::digest::Algorithm::Crc64Nvme, &$input.checksum_crc64nvme),
            ($crate::digest::Algorithm::Sha1, &$input.checksum_sha1),
            ($crate::digest::Algorithm::Sha256, &$input.checksum_sha256),
        ])
    };
}

/// Sets the checksum fields of an answer.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {
        let sums = $crate::endpoint::convert::checksum_fields($checksum);
        $output.checksum_crc32 = sums.checksum_crc32;
        $output.checksum_crc32c = sums.checksum_crc32c;
        $output.checksum_crc64nvme = sums.checksum_crc64nvme;
        $output.checksum_sha1 = sums.checksum_sha1;
        $output.checksum_sha256 = sums.checksum_sha256;
    };
}

pub(super) use {offered_checksum, set_checksum};

/// The checksum that a request states.
pub(super) fn one_checksum(
    fields: [(Algorithm, &Option<String>); 5],
) -> S3Result<Option<(Algorithm, String)>> {
    let mut stated = fields.into_iter().filter_map(|(a, value)| Some((a, value.clone()?)));
    let first = stated.next();
    if stated.next().is_some() {
        return Err(s3_error!(InvalidRequest, "a request states at most one checksum"));
    }
    Ok(first)
}

/// A checksum as the protocol spells it.
pub(super) fn checksum_fields(checksum: Option<&Checksum>) -> dto::Checksum {
    let mut fields = dto::Checksum::default();
    let Some(checksum) = checksum else {
        return fields;
    };
    let value = Some(checksum.value.clone());
    match checksum.algorithm {
        Algorithm::Crc32 => fields.checksum_crc32 = value,
        Algorithm::Crc32c => fields.checksum_crc32c = value,
        Algorithm::Crc64Nvme => fields.checksum_crc64nvme = value,
        Algorithm::Sha1 => fields.checksum_sha1 = value,
        Algorithm::Sha256 => fields.checksum_sha256 = value,
    }
    fields.checksum_type = checksum_type(Some(checksum));
    fields
}

/// What a checksum covers, as the protocol spells it.
pub(super) fn checksum_type(checksum: Option<&Checksum>) -> Option<dto::ChecksumType> {
    checksum.map(|checksum| coverage_name(checksum.coverage))
}

pub(super) fn coverage_name(coverage: Coverage) -> dto::ChecksumType {
    dto::ChecksumType::from_static(match coverage {
        Coverage::FullObject => dto::ChecksumType::FULL_OBJECT,
        Coverage::Composite => dto::ChecksumType::COMPOSITE,
    })
}

/// The algorithm a request names.
pub(super) fn algorithm(named: Option<&dto::ChecksumAlgorithm>) -> S3Result<Option<Algorithm>> {
    let by_name = |name: &dto::ChecksumAlgorithm| {
        let unknown =
            || s3_error!(InvalidRequest, "`{}` is not a checksum algorithm", name.as_str());
        Algorithm::by_name(name.as_str()).ok_or_else(unknown)
    };
    named.map(by_name).transpose()
}

pub(super) fn etag(etag: &str) -> dto::ETag {
    dto::ETag::Strong(etag.to_owned())
}

fn tag(condition: dto::ETagCondition) -> Tag {
    match condition {
        dto::ETagCondition::Any => Tag::Any,
        dto::ETagCondition::ETag(etag) => Tag::Exactly(etag.into_value()),
    }
}

/// The condition of a write. S3 knows `If-None-Match` only as `*`, and `If-Match` only as a tag.
pub(super) fn write_condition(
    if_match: Option<dto::ETagCondition>,
    if_none_match: Option<dto::ETagCondition>,
) -> S3Result<WriteCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::Always),
        (Some(dto::ETagCondition::Any), None) => {
            Err(s3_error!(NotImplemented, "`If-Match` of a write cannot be `*`"))
        }
        (Some(dto::ETagCondition::ETag(etag)), None) => {
            Ok(WriteCondition::Matches(etag.into_value()))
        }
        (None, Some(dto::ETagCondition::Any)) => Ok(WriteCondition::Absent),
        (None, Some(dto::ETagCondition::ETag(_))) => {
            Err(s3_error!(NotImplemented, "`If-None-Match` of a write can only be `*`"))
        }
        (Some(_), Some(_)) => {
            Err(s3_error!(NotImplemented, "`If-Match` and `If-None-Match` exclude each other"))
        }
    }
}

/// The conditions of a read.
pub(super) fn read_conditions(
    if_match: Option<dto::ETagCondition>,
    if_none_match: Option<dto::ETagCondition>,
    if_modified_since: Option<&dto::Timestamp>,
    if_unmodified_since: Option<&dto::Timestamp>,
) -> ReadConditions {
    ReadConditions {
        if_match: if_match.map(tag),
        if_none_match: if_none_match.map(tag),
        if_modified_since: if_modified_since.and_then(system_time),
        if_unmodified_since: if_unmodified_since.and_then(system_time),
    }
}

/// Fails unless the source of a copy is as the client expects it.
pub(super) fn check_source(conditions: &ReadConditions, source: &Entry) -> S3Result<()> {
    let failed = |condition| {
        Err(StoreError::PreconditionFailed { key: source.key.clone(), condition }.into())
    };
    match conditions.verdict(source) {
        Verdict::Proceed => Ok(()),
        Verdict::NotModified => failed("x-amz-copy-source-if-none-match"),
        Verdict::Failed(_) => failed("x-amz-copy-source-if-match"),
    }
}

/// Bucket, key and version of a copy's source.
pub(super) fn source(source: &dto::CopySource) -> S3Result<(&str, &str, Option<VersionId>)> {
    match source {
        dto::CopySource::Bucket { bucket, key, version_id } => {
            Ok((bucket, key, asked_version(version_id.as_deref())?))
        }
        dto::CopySource::AccessPoint { .. } | dto::CopySource::Outpost { .. } => {
            Err(s3_error!(NotImplemented, "the source of a copy is a bucket and a key"))
        }
    }
}

/// The version that a request names.
pub(super) fn asked_version(version_id: Option<&str>) -> S3Result<Option<VersionId>> {
    Ok(version_id.map(VersionId::parse).transpose()?)
}

/// The id in an answer about a version that is there: `null` is told only where there are or were
/// versions.
pub(super) fn told_version(bucket: &Bucket, version: &VersionId) -> S3Result<Option<String>> {
    let told = !version.is_null() || bucket.settings()?.versioning != Versioning::Off;
    Ok(told.then(|| version.to_string()))
}

/// The id in the answer to a write.
pub(super) fn written_version(version: &VersionId) -> Option<String> {
    version.issued().map(str::to_owned)
}

/// Whether an object is to be written under SSE-KMS: as the request says, else as the bucket does.
pub(super) fn kms(bucket: &Bucket, asked: Option<&dto::ServerSideEncryption>) -> S3Result<bool> {
    match asked.map(dto::ServerSideEncryption::as_str) {
        None => Ok(bucket.settings()?.kms),
        Some(dto::ServerSideEncryption::AES256) => Ok(false),
        Some(dto::ServerSideEncryption::AWS_KMS | dto::ServerSideEncryption::AWS_KMS_DSSE) => {
            Ok(true)
        }
        Some(other) => Err(s3_error!(InvalidArgument, "`{other}` is not an encryption")),
    }
}

/// The encryption in an answer. S3 encrypts with its own keys where SSE-KMS is not asked for.
pub(super) fn encryption(kms: bool) -> dto::ServerSideEncryption {
    dto::ServerSideEncryption::from_static(if kms {
        dto::ServerSideEncryption::AWS_KMS
    } else {
        dto::ServerSideEncryption::AES256
    })
}

/// A length or an offset as the protocol counts.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// `Content-Range`.
pub(super) fn content_range(range: &Range<u64>, size_bytes: u64) -> String {
    format!("bytes {}-{}/{size_bytes}", range.start, range.end.saturating_sub(1))
}

/// HTTP dates have whole seconds.
fn system_time(timestamp: &dto::Timestamp) -> Option<SystemTime> {
    let mut text = Vec::new();
    timestamp.format(dto::TimestampFormat::EpochSeconds, &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    let seconds = text.split('.').next()?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The date of an `Expires` header, to be kept as text.
fn http_date(timestamp: &dto::Timestamp) -> Option<String> {
    let mut text = Vec::new();
    timestamp.format(dto::TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// The `Expires` header of an object.
pub(super) fn expires(headers: &Headers) -> Option<dto::Timestamp> {
    let date = headers.expires.as_deref()?;
    dto::Timestamp::parse(dto::TimestampFormat::HttpDate, date).ok()
}

/// The headers of a request that are kept with the object.
macro_rules! kept_headers {
    ($input:expr) => {
        $crate::entry::Headers {
            content_type: $input.content_type.clone(),
            cache_control: $input.cache_control.clone(),
            content_disposition: $input.content_disposition.clone(),
            content_encoding: $crate::endpoint::convert::content_encoding(
                $input.content_encoding.as_deref(),
            ),
            content_language: $input.content_language.clone(),
            expires: $crate::endpoint::convert::kept_expires($input.expires.as_ref()),
            website_redirect_location: $input.website_redirect_location.clone(),
            metadata: $input.metadata.clone().unwrap_or_default().into_iter().collect(),
        }
    };
}

pub(super) use kept_headers;

pub(super) fn kept_expires(expires: Option<&dto::Timestamp>) -> Option<String> {
    expires.and_then(http_date)
}

/// `Content-Encoding` without `aws-chunked`, which is how the body travelled and not what it is.
pub(super) fn content_encoding(encoding: Option<&str>) -> Option<String> {
    let codings = encoding?.split(',').map(str::trim);
    let kept: Vec<_> = codings.filter(|c| !c.is_empty() && *c != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The tags of an `x-amz-tagging` header, which are written like a query string.
pub(super) fn tags_of_header(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    let pairs = header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
        decoded.map_err(|e| s3_error!(e, InvalidArgument, "a tag is not UTF-8"))
    };
    let pairs = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key)?, decode(value)?))
    });
    checked_tags(pairs.collect::<S3Result<Vec<_>>>()?)
}

/// The tags of a `Tagging` document.
pub(super) fn tags_of_document(tagging: dto::Tagging) -> S3Result<BTreeMap<String, String>> {
    let pairs = tagging.tag_set.into_iter();
    checked_tags(pairs.map(|t| (t.key.unwrap_or_default(), t.value.unwrap_or_default())).collect())
}

fn checked_tags(pairs: Vec<(String, String)>) -> S3Result<BTreeMap<String, String>> {
    let count = pairs.len();
    if count > TAGS_MAX {
        return Err(s3_error!(InvalidTag, "an object has at most {TAGS_MAX} tags, not {count}"));
    }
    for (key, value) in &pairs {
        let (key_chars, value_chars) = (key.chars().count(), value.chars().count());
        let key_fits = (1..=TAG_KEY_CHARS_MAX).contains(&key_chars);
        if !key_fits || value_chars > TAG_VALUE_CHARS_MAX {
            return Err(s3_error!(InvalidTag, "the tag `{key}` is empty or too long"));
        }
    }
    let tags: BTreeMap<_, _> = pairs.into_iter().collect();
    if tags.len() < count {
        return Err(s3_error!(InvalidTag, "two tags have one key"));
    }
    Ok(tags)
}

/// Whether names in an answer are to be percent-encoded.
pub(super) fn url_encodes(encoding: Option<&dto::EncodingType>) -> S3Result<bool> {
    match encoding.map(dto::EncodingType::as_str) {
        None => Ok(false),
        Some(dto::EncodingType::URL) => Ok(true),
        Some(other) => Err(s3_error!(InvalidArgument, "`{other}` is not an encoding type")),
    }
}

/// A name in an answer.
pub(super) fn name(name: &str, encode: bool) -> String {
    if encode { utf8_percent_encode(name, UNRESERVED).to_string() } else { name.to_owned() }
}

/// How many things a page may have: at most a thousand.
pub(super) fn page_size(asked: Option<i32>) -> S3Result<i32> {
    match asked {
        None => Ok(1000),
        Some(asked) if asked < 0 => {
            Err(s3_error!(InvalidArgument, "a page can not have {asked} entries"))
        }
        Some(asked) => Ok(asked.min(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_of_the_transfer_is_not_the_coding_of_the_object() {
        assert_eq!(content_encoding(Some("aws-chunked")), None);
        assert_eq!(content_encoding(Some("aws-chunked, gzip")), Some("gzip".to_owned()));
        assert_eq!(content_encoding(Some("gzip")), Some("gzip".to_owned()));
        assert_eq!(content_encoding(None), None);
    }

    #[test]
    fn tags_of_a_header_are_decoded_like_a_query() {
        let tags = tags_of_header(Some("run=42&who=Zo%C3%AB+B&empty=")).expect("it is well formed");
        let pairs = [("empty", ""), ("run", "42"), ("who", "Zoë B")];
        assert_eq!(tags, pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect());
        assert!(tags_of_header(Some("a=1&a=2")).is_err());
    }

    #[test]
    fn encoded_names_keep_their_slashes() {
        assert_eq!(name("k/ a+é.txt", true), "k/%20a%2B%C3%A9.txt");
        assert_eq!(name("k/ a+é.txt", false), "k/ a+é.txt");
    }
}
