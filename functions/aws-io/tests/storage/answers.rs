//! Answers that the endpoint of a laptop never gives.

use aws_io::{Storage, StorageError};
use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

use crate::endpoint::{at, config, kind, pin};

/// A storage whose every request is answered by `answer`.
async fn answering(
    answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static,
) -> Storage {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router = Router::new().fallback(async move |request: Request| answer(&request));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Storage::new(&config(format!("http://{address}")).await)
}

fn error(status: StatusCode, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>because</Message></Error>");
    (status, [("x-amz-bucket-region", "eu-west-1")], body).into_response()
}

#[tokio::test]
async fn a_bucket_of_another_region_is_not_asked_again() {
    let moved = |_: &Request| error(StatusCode::MOVED_PERMANENTLY, "PermanentRedirect");
    let storage = answering(moved).await;
    let read = storage.get_stream(&at("key"), None).await.map(drop);
    let head = storage.head(&at("key"), None).await.map(drop);
    for (refused, code) in [(read, "PermanentRedirect"), (head, "301")] {
        let Err(StorageError::Refused { code: found, message, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(found, code);
        assert_eq!(message, "the bucket is not in this region but in `eu-west-1`");
    }
}

#[tokio::test]
async fn credentials_that_have_run_out_are_not_used_again() {
    let expired = |_: &Request| error(StatusCode::BAD_REQUEST, "ExpiredToken");
    let storage = answering(expired).await;
    assert_eq!(kind(&storage.get_stream(&at("key"), None).await), "denied");
}

/// S3 keeps the connection of a long request open with the status 200, before it knows better.
#[tokio::test]
async fn an_error_with_the_status_of_a_success_is_an_error() {
    const STARTED: &str = "<InitiateMultipartUploadResult><UploadId>id</UploadId>\
                           </InitiateMultipartUploadResult>";
    let answer = |request: &Request| match *request.method() {
        Method::POST if request.uri().query().is_some_and(|query| query.contains("uploads")) => {
            STARTED.into_response()
        }
        Method::DELETE => StatusCode::NO_CONTENT.into_response(),
        Method::PUT if !request.headers().contains_key("x-amz-copy-source") => {
            [("etag", "\"part\"")].into_response()
        }
        _ => error(StatusCode::OK, "InternalError"),
    };
    let storage = answering(answer).await;
    let begin = async || storage.multipart_upload(at("out"), "application/zip").await;
    let mut upload = begin().await.expect("it is begun");
    upload.copy_part(&at("source"), &pin("\"etag\""), 0..9).await.expect("it is begun");
    assert_eq!(kind(&upload.finish().await), "unavailable");
    let mut upload = begin().await.expect("it is begun");
    upload.put_part(b"bytes".as_slice().into()).await.expect("it is begun");
    assert_eq!(kind(&upload.finish().await), "unavailable");
}
