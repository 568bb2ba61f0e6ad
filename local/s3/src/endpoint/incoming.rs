//! Bodies that clients send, and what they promise about them.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt as _;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, StdError, TrailingHeaders, s3_error};

use super::convert::REQUEST_BYTES_MAX;
use crate::StoreError;
use crate::body::BodyWriter;
use crate::bucket::Bucket;
use crate::digest::Algorithm;
use crate::staged::Staged;

/// A body on its way in.
pub(super) struct Incoming {
    body: Option<StreamingBlob>,
    size_bytes: Option<u64>,
    content_md5: Option<String>,
    /// The checksum that came ahead of the body.
    stated: Option<(Algorithm, String)>,
    /// The checksum that is to come after it.
    trailing: Option<Algorithm>,
    trailers: Option<TrailingHeaders>,
    /// The algorithm the client names, with or without a value.
    named: Option<Algorithm>,
}

impl Incoming {
    /// Reads from a request's headers what there is to check.
    pub(super) fn new<T>(
        request: &S3Request<T>,
        body: Option<StreamingBlob>,
        content_md5: Option<String>,
        stated: Option<(Algorithm, String)>,
        named: Option<Algorithm>,
    ) -> S3Result<Self> {
        let size_bytes = promised_bytes(&request.headers);
        if let Some(size_bytes) = size_bytes.filter(|size| *size > REQUEST_BYTES_MAX) {
            return Err(too_large(size_bytes));
        }
        let trailing = header(&request.headers, "x-amz-trailer").and_then(Algorithm::by_header);
        let trailers = request.trailing_headers.clone();
        Ok(Self { body, size_bytes, content_md5, stated, trailing, trailers, named })
    }

    /// The checksum algorithm the client chose, if it chose one.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.stated.as_ref().map(|(algorithm, _)| *algorithm).or(self.trailing).or(self.named)
    }

    /// Writes the body into a temporary file, a buffer at a time, and checks it against all that
    /// was promised.
    pub(super) async fn receive(
        mut self,
        bucket: &Arc<Bucket>,
        algorithm: Option<Algorithm>,
    ) -> S3Result<Staged> {
        let mut writer = BodyWriter::open(bucket, algorithm).await?;
        let mut received_bytes = 0;
        if let Some(mut body) = self.body.take() {
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(broken)?;
                received_bytes += chunk.len() as u64;
                if received_bytes > REQUEST_BYTES_MAX {
                    return Err(too_large(received_bytes));
                }
                writer.write(&chunk).await?;
            }
        }
        let mut staged = writer.finish().await?;
        self.check(&mut staged)?;
        Ok(staged)
    }

    fn check(self, staged: &mut Staged) -> S3Result<()> {
        let received_bytes = staged.size_bytes();
        if let Some(promised_bytes) = self.size_bytes.filter(|promised| *promised != received_bytes)
        {
            return Err(s3_error!(
                IncompleteBody,
                "received {received_bytes} of {promised_bytes} bytes"
            ));
        }
        let Some(digest) = staged.digest() else {
            return Ok(());
        };
        if let (Some(expected), Some(actual)) = (self.content_md5, digest.content_md5())
            && expected != actual
        {
            return Err(StoreError::BadDigest { name: "Content-MD5", expected, actual }.into());
        }
        let trailing = match self.trailing {
            Some(algorithm) => Some((algorithm, trailer(self.trailers.as_ref(), algorithm)?)),
            None => None,
        };
        let Some(actual) = &digest.checksum else {
            return Ok(());
        };
        for (algorithm, expected) in self.stated.into_iter().chain(trailing) {
            if algorithm == actual.algorithm && expected != actual.value {
                let (name, actual) = (algorithm.header(), actual.value.clone());
                return Err(StoreError::BadDigest { name, expected, actual }.into());
            }
        }
        Ok(())
    }
}

/// How long a request's body is, by its headers.
pub(super) fn promised_bytes(headers: &HeaderMap) -> Option<u64> {
    let decoded = header(headers, "x-amz-decoded-content-length");
    decoded.or_else(|| header(headers, "content-length"))?.parse().ok()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The checksum behind the body.
fn trailer(trailers: Option<&TrailingHeaders>, algorithm: Algorithm) -> S3Result<String> {
    let name = algorithm.header();
    let value = trailers.and_then(|trailers| {
        trailers.read(|headers| Some(headers.get(name)?.to_str().ok()?.trim().to_owned()))
    });
    let missing = || s3_error!(InvalidRequest, "the trailer `{name}` is announced and missing");
    value.flatten().ok_or_else(missing)
}

/// Why a body ended early. The reader's errors have no public type, only their names.
fn broken(error: StdError) -> S3Error {
    let text = error.to_string();
    let code = if text.contains("Sha256Mismatch") {
        S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
    } else if text.contains("SignatureMismatch") {
        S3ErrorCode::SignatureDoesNotMatch
    } else {
        S3ErrorCode::IncompleteBody
    };
    let mut broken = S3Error::with_source(code, error);
    broken.set_status_code(StatusCode::BAD_REQUEST);
    broken.set_message("the body does not match its signature, or ended early");
    broken
}

fn too_large(size_bytes: u64) -> S3Error {
    s3_error!(
        EntityTooLarge,
        "a request writes at most {REQUEST_BYTES_MAX} bytes, not {size_bytes}"
    )
}
