//! The Lambda `file-transporter`.

use std::time::Instant;

use aws_io::{Storage, lambda, sdk, secrets::Secrets};
use delivery::S3Journal;
use file_transporter::{
    DeliveryRequest, Services, deliver,
    s3::{S3Object, S3Run},
};
use jiff::Timestamp;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let sdk = sdk::config().await;
    let (storage, secrets) = (Storage::new(&sdk), Secrets::new(&sdk, Instant::now));
    lambda::serve_in_time(async |request: DeliveryRequest, deadline| {
        let services = Services {
            source: &S3Object::new(storage.clone(), request.source.clone()),
            journals: &S3Journal::new(storage.clone(), request.journal()),
            run: &S3Run::new(&storage, &request),
            secrets: &secrets,
            clock: Timestamp::now,
        };
        deliver(&request, services, deadline).await
    })
    .await
}
