//! Requests to S3, path-style
//! ([required permissions](https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html)).
//!
//! `DeleteObjects`, tags, access control lists and encryption that is not the bucket's are
//! not known.

use std::{borrow::Cow, collections::BTreeMap};

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::{Access, Unmapped, unmapped};
use crate::{condition::ConditionKey, decision::Call, policies::Policies};

const DECRYPT: &str = "kms:Decrypt";
const GENERATE: &str = "kms:GenerateDataKey";

/// Parameters that do not say which operation is meant.
const DETAILS: [&str; 15] = [
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
];

/// Headers that ask for rights which are not looked at here.
const FURTHER_RIGHTS: [&str; 5] = [
    "x-amz-acl",
    "x-amz-grant-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
    "x-amz-tagging",
];

/// An object, or a bucket where `key` is empty.
struct Location<'a> {
    bucket: Cow<'a, str>,
    key: Cow<'a, str>,
}

pub(super) fn access(policies: &Policies, parts: &Parts) -> Result<Access, Unmapped> {
    operation(policies, parts).ok_or_else(|| unmapped(parts))
}

fn operation(policies: &Policies, parts: &Parts) -> Option<Access> {
    let query: BTreeMap<_, _> =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).collect();
    let asks_further = |name: &str| FURTHER_RIGHTS.iter().any(|start| name.starts_with(start));
    if parts.headers.keys().any(|name| asks_further(name.as_str())) {
        return None;
    }
    let operation: Vec<&str> =
        query.keys().map(AsRef::as_ref).filter(|name| !is_detail(name)).collect();
    let target = Location::parse(parts.uri.path())?;
    let of_bucket = |action: &str| Access::from([Call::new(action, target.bucket_arn())]);
    let of_object = |action: &str, keys: &[&str]| {
        let uses = keys.iter().filter_map(|action| policies.with_key_of(&target.bucket, action));
        let calls = std::iter::once(Call::new(action, target.object_arn())).chain(uses).collect();
        Access { calls, if_missing: None }
    };
    Some(match (parts.method.as_str(), target.key.is_empty(), &operation[..]) {
        ("GET", true, [] | ["versions"]) => {
            let is_plain = operation.is_empty();
            let mut list =
                of_bucket(if is_plain { "s3:ListBucket" } else { "s3:ListBucketVersions" });
            if let Some(prefix) = query.get("prefix") {
                let call = &mut list.calls[0];
                call.context = call.context.clone().with(ConditionKey::Prefix, prefix.as_ref());
            }
            list
        }
        ("HEAD", true, []) => of_bucket("s3:ListBucket"),
        ("GET", true, ["versioning"]) => of_bucket("s3:GetBucketVersioning"),
        ("GET", true, ["location"]) => of_bucket("s3:GetBucketLocation"),
        ("GET", true, ["uploads"]) => of_bucket("s3:ListBucketMultipartUploads"),
        (
            method @ ("GET" | "HEAD"),
            false,
            [] | ["partNumber" | "versionId"] | ["partNumber", "versionId"],
        ) => {
            // The headers of an object are not encrypted, but for its checksums.
            let is_encrypted = method == "GET" || parts.headers.contains_key("x-amz-checksum-mode");
            let is_version = operation.contains(&"versionId");
            let mut calls = policies.reading(&target.bucket, &target.key, is_version);
            if !is_encrypted {
                calls.retain(|call| call.action != DECRYPT);
            }
            let if_missing = Some(Call::new("s3:ListBucket", target.bucket_arn()));
            Access { calls, if_missing }
        }
        ("GET", false, ["uploadId"]) => of_object("s3:ListMultipartUploadParts", &[]),
        ("PUT", false, []) => of_object("s3:PutObject", &[GENERATE])
            .and(precondition(&target, parts))
            .and(source(policies, parts)?),
        ("POST", false, ["uploads"]) => of_object("s3:PutObject", &[GENERATE]),
        ("PUT", false, ["partNumber", "uploadId"]) => {
            of_object("s3:PutObject", &[DECRYPT]).and(source(policies, parts)?)
        }
        ("POST", false, ["uploadId"]) => {
            of_object("s3:PutObject", &[DECRYPT]).and(precondition(&target, parts))
        }
        ("DELETE", false, ["uploadId"]) => of_object("s3:AbortMultipartUpload", &[]),
        ("DELETE", false, []) => of_object("s3:DeleteObject", &[]),
        ("DELETE", false, ["versionId"]) => of_object("s3:DeleteObjectVersion", &[]),
        _ => return None,
    })
}

/// What a write over an object that must be as it was read needs
/// ([conditional writes](https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)).
fn precondition(target: &Location<'_>, parts: &Parts) -> Vec<Call> {
    let reads = parts.headers.contains_key("if-match");
    reads.then(|| Call::new("s3:GetObject", target.object_arn())).into_iter().collect()
}

/// What reading the source of a copy needs; nothing for a request that copies nothing.
fn source(policies: &Policies, parts: &Parts) -> Option<Vec<Call>> {
    let Some(source) = parts.headers.get("x-amz-copy-source") else { return Some(Vec::new()) };
    let source = source.to_str().ok()?;
    // A question mark of the key is written `%3F`.
    let (source, query) = source.split_once('?').unwrap_or((source, ""));
    let is_version = query.starts_with("versionId=");
    let source = Location::parse(source.strip_prefix('/').unwrap_or(source))?;
    if source.key.is_empty() || is_version == query.is_empty() {
        return None;
    }
    Some(policies.reading(&source.bucket, &source.key, is_version))
}

/// Whether a parameter belongs to an operation instead of naming one, or to a signature.
fn is_detail(name: &str) -> bool {
    DETAILS.contains(&name)
        || name == "x-id"
        || name.starts_with("X-Amz-")
        || name.starts_with("response-")
}

impl<'a> Location<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let decode = |text: &'a str| percent_decode_str(text).decode_utf8().ok();
        let location = Self { bucket: decode(bucket)?, key: decode(key)? };
        (!location.bucket.is_empty()).then_some(location)
    }

    fn bucket_arn(&self) -> String {
        format!("arn:aws:s3:::{}", self.bucket)
    }

    fn object_arn(&self) -> String {
        format!("arn:aws:s3:::{}/{}", self.bucket, self.key)
    }
}

impl<const N: usize> From<[Call; N]> for Access {
    fn from(calls: [Call; N]) -> Self {
        Self { calls: calls.into(), if_missing: None }
    }
}

impl Access {
    fn and(mut self, calls: Vec<Call>) -> Self {
        self.calls.extend(calls);
        self
    }
}
