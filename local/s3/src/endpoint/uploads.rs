//! Multipart uploads.

#![expect(clippy::unused_async, reason = "all operations are called in one way")]

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use s3s::dto;
use s3s::{S3Request, S3Result, s3_error};

use super::convert::{
    self, REQUEST_BYTES_MAX, check_source, coverage_name, kept_headers, offered_checksum,
    set_checksum, signed,
};
use super::incoming::Incoming;
use super::objects::open;
use crate::body::blocking;
use crate::bucket::{Bucket, CompletedPart, Completion, NewUpload, Part, Upload};
use crate::digest::{Algorithm, Coverage, etag_of_origin};
use crate::entry::Entry;
use crate::error::Doing as _;
use crate::key::check_key;
use crate::staged::Staged;
use crate::{Store, StoreError};

/// The highest number a part may have.
const PART_NUMBER_MAX: i32 = 10_000;

/// A range is copied only of an object [larger than
/// this](https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html).
const RANGE_SOURCE_BYTES: u64 = 5 << 20;

pub(super) async fn create_multipart_upload(
    store: &Store,
    request: S3Request<dto::CreateMultipartUploadInput>,
) -> S3Result<dto::CreateMultipartUploadOutput> {
    let input = request.input;
    check_key(&input.key)?;
    let algorithm = convert::algorithm(input.checksum_algorithm.as_ref())?;
    let bucket = store.bucket(&input.bucket)?;
    let checksum_of = |a| coverage(a, input.checksum_type.as_ref()).map(|coverage| (a, coverage));
    let new = NewUpload {
        headers: kept_headers!(input),
        tags: convert::tags_of_header(input.tagging.as_deref())?,
        checksum: algorithm.map(checksum_of).transpose()?,
        kms: convert::kms(&bucket, input.server_side_encryption.as_ref())?,
        key: input.key.clone(),
    };
    let server_side_encryption = convert::encryption(new.kms);
    let (checksum_algorithm, checksum_type) = checksum_names(&new);
    let upload_id = blocking(move || bucket.start_upload(new)).await?;
    Ok(dto::CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload_id),
        server_side_encryption: Some(server_side_encryption),
        checksum_algorithm,
        checksum_type,
        ..dto::CreateMultipartUploadOutput::default()
    })
}

/// What the object's checksum is to cover.
fn coverage(algorithm: Algorithm, asked: Option<&dto::ChecksumType>) -> S3Result<Coverage> {
    let coverage = match asked.map(dto::ChecksumType::as_str) {
        None => algorithm.default_coverage(),
        Some(dto::ChecksumType::FULL_OBJECT) => Coverage::FullObject,
        Some(dto::ChecksumType::COMPOSITE) => Coverage::Composite,
        Some(other) => {
            return Err(s3_error!(InvalidArgument, "`{other}` is not a checksum type"));
        }
    };
    if algorithm.allows(coverage) {
        return Ok(coverage);
    }
    let (name, coverage) = (algorithm.name(), coverage_name(coverage));
    Err(s3_error!(InvalidRequest, "{name} can not be used with the type {}", coverage.as_str()))
}

fn checksum_names(new: &NewUpload) -> (Option<dto::ChecksumAlgorithm>, Option<dto::ChecksumType>) {
    let algorithm = new.checksum.map(|(a, _)| dto::ChecksumAlgorithm::from_static(a.name()));
    (algorithm, new.checksum.map(|(_, coverage)| coverage_name(coverage)))
}

pub(super) async fn upload_part(
    store: &Store,
    mut request: S3Request<dto::UploadPartInput>,
) -> S3Result<dto::UploadPartOutput> {
    let body = request.input.body.take();
    let input = &request.input;
    let number = part_number(input.part_number)?;
    let named = convert::algorithm(input.checksum_algorithm.as_ref())?;
    let stated = offered_checksum!(input)?;
    let bucket = store.bucket(&input.bucket)?;
    let incoming = Incoming::new(&request, body, input.content_md5.clone(), stated, named)?;
    let algorithm = bucket.part_algorithm(&input.key, &input.upload_id, incoming.algorithm())?;
    let body = incoming.receive(&bucket, algorithm).await?;
    let kms = bucket.upload(&input.key, &input.upload_id)?.new.kms;

    let (key, upload_id) = (request.input.key, request.input.upload_id);
    let put = move || bucket.put_part(&key, &upload_id, number, body, None);
    let part = blocking(put).await?;
    let mut output = dto::UploadPartOutput {
        e_tag: Some(convert::etag(&part.etag)),
        server_side_encryption: Some(convert::encryption(kms)),
        ..dto::UploadPartOutput::default()
    };
    set_checksum!(output, part.checksum.as_ref());
    Ok(output)
}

pub(super) async fn upload_part_copy(
    store: &Store,
    request: S3Request<dto::UploadPartCopyInput>,
) -> S3Result<dto::UploadPartCopyOutput> {
    let input = request.input;
    let number = part_number(input.part_number)?;
    let bucket = store.bucket(&input.bucket)?;
    let algorithm = bucket.part_algorithm(&input.key, &input.upload_id, None)?;
    let kms = bucket.upload(&input.key, &input.upload_id)?.new.kms;
    let (source_bucket, source_key, version) = convert::source(&input.copy_source)?;
    let (file, source) = open(store, source_bucket, source_key, version).await?;
    let copy_source_version_id =
        convert::told_version(&*store.bucket(source_bucket)?, &source.version)?;
    let conditions = convert::read_conditions(
        input.copy_source_if_match,
        input.copy_source_if_none_match,
        input.copy_source_if_modified_since.as_ref(),
        input.copy_source_if_unmodified_since.as_ref(),
    );
    check_source(&conditions, &source)?;
    let range = copy_range(input.copy_source_range.as_deref(), source.size_bytes)?;
    let part = blocking(move || {
        let (staged, etag) = copy(&bucket, &file, &source, range, algorithm)?;
        bucket.put_part(&input.key, &input.upload_id, number, staged, etag)
    });
    let part = part.await?;
    let mut result = dto::CopyPartResult {
        e_tag: Some(convert::etag(&part.etag)),
        last_modified: Some(part.modified.into()),
        ..dto::CopyPartResult::default()
    };
    set_checksum!(result, part.checksum.as_ref());
    Ok(dto::UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id,
        server_side_encryption: Some(convert::encryption(kms)),
        ..dto::UploadPartCopyOutput::default()
    })
}

/// The range of a copy's source, which has both ends and lies within the source.
fn copy_range(header: Option<&str>, size_bytes: u64) -> S3Result<Range<u64>> {
    let Some(header) = header else {
        return check_copy_size(0..size_bytes);
    };
    if size_bytes <= RANGE_SOURCE_BYTES {
        return Err(s3_error!(
            InvalidRequest,
            "ranges are copied of objects of more than {RANGE_SOURCE_BYTES} bytes, this one has \
             {size_bytes}"
        ));
    }
    match dto::Range::parse(header) {
        Ok(dto::Range::Int { first, last: Some(last) }) if last < size_bytes => {
            check_copy_size(first..last + 1)
        }
        Ok(dto::Range::Int { last: Some(_), .. }) => {
            Err(s3_error!(InvalidRange, "`{header}` is not within the source's {size_bytes} bytes"))
        }
        _ => Err(s3_error!(InvalidArgument, "`{header}` is not of the form `bytes=first-last`")),
    }
}

fn check_copy_size(range: Range<u64>) -> S3Result<Range<u64>> {
    let size_bytes = range.end - range.start;
    if size_bytes <= REQUEST_BYTES_MAX {
        return Ok(range);
    }
    Err(s3_error!(InvalidRequest, "a part has at most {REQUEST_BYTES_MAX} bytes, not {size_bytes}"))
}

/// Copies a range. Its bytes are read only where the upload asks for checksums; without that the
/// part's tag is made from the source's tag and the range, or is the source's own.
fn copy(
    bucket: &Arc<Bucket>,
    file: &File,
    source: &Entry,
    range: Range<u64>,
    algorithm: Option<Algorithm>,
) -> Result<(Staged, Option<String>), StoreError> {
    let folder = bucket.staging();
    let (staged, etag) = if let Some(algorithm) = algorithm {
        (Staged::digesting(folder, Some(algorithm)), None)
    } else if range == (0..source.size_bytes) && source.etag_is_md5() {
        (Staged::copying(folder, None), Some(source.etag.clone()))
    } else {
        let origin = format!("{} {}-{}", source.etag, range.start, range.end);
        (Staged::copying(folder, None), Some(etag_of_origin(&origin)))
    };
    let mut staged = staged.doing("creating a file in", folder)?;
    staged.append(file, range).doing("copying to", staged.path())?;
    Ok((staged, etag))
}

pub(super) async fn complete_multipart_upload(
    store: &Store,
    request: S3Request<dto::CompleteMultipartUploadInput>,
) -> S3Result<dto::CompleteMultipartUploadOutput> {
    let host = request.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let location = format!("http://{host}/{}/{}", request.input.bucket, request.input.key);
    let mut input = request.input;
    let listed = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
    let size_bytes = input.mpu_object_size.map(u64::try_from).transpose();
    let completion = Completion {
        parts: listed.into_iter().map(completed_part).collect::<S3Result<_>>()?,
        checksum: offered_checksum!(input)?,
        size_bytes: size_bytes
            .map_err(|e| s3_error!(e, InvalidArgument, "the object's size is negative"))?,
        condition: convert::write_condition(input.if_match.take(), input.if_none_match.take())?,
    };
    let bucket = store.bucket(&input.bucket)?;
    let (key, upload_id) = (input.key.clone(), input.upload_id);
    let entry = blocking(move || bucket.complete_upload(&key, &upload_id, &completion)).await?;
    let mut output = dto::CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        location: Some(location),
        e_tag: Some(convert::etag(&entry.etag)),
        version_id: convert::written_version(&entry.version),
        server_side_encryption: Some(convert::encryption(entry.kms)),
        checksum_type: convert::checksum_type(entry.checksum.as_ref()),
        ..dto::CompleteMultipartUploadOutput::default()
    };
    set_checksum!(output, entry.checksum.as_ref());
    Ok(output)
}

fn completed_part(part: dto::CompletedPart) -> S3Result<CompletedPart> {
    let missing = || s3_error!(MalformedXML, "a part has no number");
    Ok(CompletedPart {
        number: part_number(part.part_number.ok_or_else(missing)?)?,
        checksum: offered_checksum!(part)?,
        etag: part.e_tag.map(dto::ETag::into_value),
    })
}

pub(super) async fn abort_multipart_upload(
    store: &Store,
    request: S3Request<dto::AbortMultipartUploadInput>,
) -> S3Result<dto::AbortMultipartUploadOutput> {
    let input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    blocking(move || bucket.abort_upload(&input.key, &input.upload_id)).await?;
    Ok(dto::AbortMultipartUploadOutput::default())
}

pub(super) async fn list_parts(
    store: &Store,
    request: S3Request<dto::ListPartsInput>,
) -> S3Result<dto::ListPartsOutput> {
    let input = request.input;
    let limit = convert::page_size(input.max_parts)?;
    let upload = store.bucket(&input.bucket)?.upload(&input.key, &input.upload_id)?;
    let (checksum_algorithm, checksum_type) = checksum_names(&upload.new);
    let marker =
        input.part_number_marker.and_then(|marker| u32::try_from(marker).ok()).unwrap_or(0);
    let mut rest = upload.parts.values().filter(|part| part.number > marker);
    let page: Vec<_> = rest.by_ref().take(usize::try_from(limit).unwrap_or(0)).collect();
    let truncated = rest.next().is_some();
    let last = page.last().and_then(|part| i32::try_from(part.number).ok());
    Ok(dto::ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(limit),
        part_number_marker: input.part_number_marker,
        next_part_number_marker: last.filter(|_| truncated),
        is_truncated: Some(truncated),
        parts: Some(page.into_iter().map(listed_part).collect()),
        checksum_algorithm,
        checksum_type,
        ..dto::ListPartsOutput::default()
    })
}

fn listed_part(part: &Part) -> dto::Part {
    let mut output = dto::Part {
        part_number: i32::try_from(part.number).ok(),
        size: Some(signed(part.size_bytes)),
        e_tag: Some(convert::etag(&part.etag)),
        last_modified: Some(part.modified.into()),
        ..dto::Part::default()
    };
    set_checksum!(output, part.checksum.as_ref());
    output
}

pub(super) async fn list_multipart_uploads(
    store: &Store,
    request: S3Request<dto::ListMultipartUploadsInput>,
) -> S3Result<dto::ListMultipartUploadsOutput> {
    let input = request.input;
    if input.delimiter.is_some() {
        return Err(s3_error!(NotImplemented, "uploads are listed without a delimiter"));
    }
    let encode = convert::url_encodes(input.encoding_type.as_ref())?;
    let limit = convert::page_size(input.max_uploads)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.key_marker.clone().filter(|marker| !marker.is_empty());
    let after_id = input.upload_id_marker.clone().filter(|marker| !marker.is_empty());
    let is_after = |key: &str, upload_id: &str| match (after.as_deref(), after_id.as_deref()) {
        (None, _) => true,
        (Some(after), None) => key > after,
        (Some(after), Some(after_id)) => (key, upload_id) > (after, after_id),
    };
    let uploads = store.bucket(&input.bucket)?.uploads()?;
    let mut rest =
        uploads.iter().filter(|((key, id), _)| key.starts_with(&prefix) && is_after(key, id));
    let page: Vec<_> = rest.by_ref().take(usize::try_from(limit).unwrap_or(0)).collect();
    let next =
        rest.next().and(page.last()).map(|((key, id), _)| (convert::name(key, encode), id.clone()));
    let listed =
        |((_, id), upload): (&(String, String), &Upload)| listed_upload(id, upload, encode);
    Ok(dto::ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(convert::name(&prefix, encode)),
        key_marker: input.key_marker.map(|marker| convert::name(&marker, encode)),
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(limit),
        is_truncated: Some(next.is_some()),
        next_key_marker: next.as_ref().map(|(key, _)| key.clone()),
        next_upload_id_marker: next.map(|(_, id)| id),
        encoding_type: input.encoding_type,
        uploads: Some(page.into_iter().map(listed).collect()),
        ..dto::ListMultipartUploadsOutput::default()
    })
}

fn listed_upload(upload_id: &str, upload: &Upload, encode: bool) -> dto::MultipartUpload {
    let (checksum_algorithm, checksum_type) = checksum_names(&upload.new);
    dto::MultipartUpload {
        key: Some(convert::name(&upload.new.key, encode)),
        upload_id: Some(upload_id.to_owned()),
        initiated: Some(upload.initiated.into()),
        storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
        checksum_algorithm,
        checksum_type,
        ..dto::MultipartUpload::default()
    }
}

fn part_number(number: i32) -> S3Result<u32> {
    let within = (1..=PART_NUMBER_MAX).contains(&number);
    let number = u32::try_from(number).ok().filter(|_| within);
    number.ok_or_else(|| s3_error!(InvalidArgument, "a part's number is 1 to {PART_NUMBER_MAX}"))
}
