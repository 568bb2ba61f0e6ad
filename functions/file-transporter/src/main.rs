//! The Lambda `file-transporter`.

use std::time::Instant;

use aws_io::{Storage, lambda, sdk, secrets::Secrets};
use file_transporter::{
    Delivery, deliver,
    s3::{S3Object, expect_live},
};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let sdk = sdk::config().await;
    let (storage, secrets) = (Storage::new(&sdk), Secrets::new(&sdk, Instant::now));
    lambda::serve_in_time(async |delivery: Delivery, deadline| {
        expect_live(&storage, &delivery).await?;
        let object = S3Object::new(storage.clone(), delivery.source.clone());
        deliver(&delivery, &object, &secrets, deadline).await
    })
    .await
}
