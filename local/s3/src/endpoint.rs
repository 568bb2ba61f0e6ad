//! S3's operations over the store, and the ways to serve them.
//!
//! What differs from AWS:
//!
//! - The entity tag of a part that was copied is not the MD5 of its bytes unless the whole of an
//!   object was copied or the upload has checksums: the bytes are not read. It is the same for
//!   the same bytes of the same source.
//! - A multipart object has a checksum only if its upload was started with one.
//! - Requests are path-style, and access control, storage classes and owners are not looked at.
//!   Operations that are not here are `NotImplemented`.
//! - Nothing is encrypted, and no key is named. Under SSE-KMS entity tags are random, so that nobody
//!   takes them for digests, and another one for each write of the same bytes.
//! - Older versions never expire. MFA is not asked for when they are deleted.

mod attributes;
mod convert;
mod incoming;
mod lists;
mod objects;
mod uploads;
mod versions;

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::{HeaderMap, StatusCode};
use s3s::auth::SimpleAuth;
use s3s::dto;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, S3, S3Request, S3Response, S3Result};
use secrecy::{ExposeSecret as _, SecretString};

use crate::Store;
use crate::traffic::Running;

/// A pair of keys that the endpoint accepts.
#[derive(Debug, Clone)]
pub struct Credentials {
    access_key: String,
    secret_key: SecretString,
}

impl Credentials {
    /// An access key and its secret.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<SecretString>) -> Self {
        Self { access_key: access_key.into(), secret_key: secret_key.into() }
    }
}

/// The endpoint as a service of hyper and of tower. It answers path-style requests that are
/// signed with one of these credentials, by header or in the URL, and refuses all others. Bodies are
/// streamed in both directions.
pub fn service(store: Store, credentials: &[Credentials]) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Endpoint { store });
    let mut accepted = SimpleAuth::new();
    for Credentials { access_key, secret_key } in credentials {
        accepted.register(access_key.clone(), secret_key.expose_secret().into());
    }
    builder.set_auth(accepted);
    builder.build()
}

/// The endpoint as a router without routes of its own: merged into another one, it answers
/// whatever that one does not.
pub fn fallback(store: Store, credentials: &[Credentials]) -> Router {
    Router::new().fallback_service(HandleError::new(service(store, credentials), unanswered))
}

/// For the requests that not even an S3 error could be written for.
async fn unanswered(error: HttpError) -> StatusCode {
    tracing::error!(?error, "a request to S3 was not answered");
    StatusCode::INTERNAL_SERVER_ERROR
}

struct Endpoint {
    store: Store,
}

impl Endpoint {
    /// Counts a request, and fails if there is a fault for it.
    async fn admit(&self, input: &'static str, headers: &HeaderMap) -> S3Result<Running> {
        let operation = input.strip_suffix("Input").unwrap_or(input);
        let received_bytes = incoming::promised_bytes(headers).unwrap_or(0);
        let running = self.store.traffic().begin(operation, received_bytes);
        self.store.faults().meet(operation).await?;
        Ok(running)
    }
}

/// Every operation that is not named here is answered with `NotImplemented`.
macro_rules! operations {
    ($($name:ident: $input:ident -> $output:ident = $operation:path;)+) => {
        #[async_trait::async_trait]
        impl S3 for Endpoint {
            $(
                async fn $name(
                    &self,
                    request: S3Request<dto::$input>,
                ) -> S3Result<S3Response<dto::$output>> {
                    let _running = self.admit(stringify!($input), &request.headers).await?;
                    Ok(S3Response::new($operation(&self.store, request).await?))
                }
            )+
        }
    };
}

operations! {
    create_bucket: CreateBucketInput -> CreateBucketOutput = lists::create_bucket;
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput = lists::delete_bucket;
    head_bucket: HeadBucketInput -> HeadBucketOutput = lists::head_bucket;
    list_buckets: ListBucketsInput -> ListBucketsOutput = lists::list_buckets;
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput = lists::get_bucket_location;
    list_objects: ListObjectsInput -> ListObjectsOutput = lists::list_objects;
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output = lists::list_objects_v2;

    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput
        = versions::get_bucket_versioning;
    put_bucket_versioning: PutBucketVersioningInput -> PutBucketVersioningOutput
        = versions::put_bucket_versioning;
    list_object_versions: ListObjectVersionsInput -> ListObjectVersionsOutput
        = versions::list_object_versions;

    put_object: PutObjectInput -> PutObjectOutput = objects::put_object;
    get_object: GetObjectInput -> GetObjectOutput = objects::get_object;
    head_object: HeadObjectInput -> HeadObjectOutput = objects::head_object;
    copy_object: CopyObjectInput -> CopyObjectOutput = objects::copy_object;
    delete_object: DeleteObjectInput -> DeleteObjectOutput = objects::delete_object;
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput = objects::delete_objects;

    get_object_attributes: GetObjectAttributesInput -> GetObjectAttributesOutput
        = attributes::get_object_attributes;
    put_object_tagging: PutObjectTaggingInput -> PutObjectTaggingOutput
        = attributes::put_object_tagging;
    get_object_tagging: GetObjectTaggingInput -> GetObjectTaggingOutput
        = attributes::get_object_tagging;
    delete_object_tagging: DeleteObjectTaggingInput -> DeleteObjectTaggingOutput
        = attributes::delete_object_tagging;

    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput
        = uploads::create_multipart_upload;
    upload_part: UploadPartInput -> UploadPartOutput = uploads::upload_part;
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput = uploads::upload_part_copy;
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput
        = uploads::complete_multipart_upload;
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput
        = uploads::abort_multipart_upload;
    list_parts: ListPartsInput -> ListPartsOutput = uploads::list_parts;
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput
        = uploads::list_multipart_uploads;
}
