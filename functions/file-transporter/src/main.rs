//! The Lambda `file-transporter`.

use aws_io::{Storage, lambda, sdk};
use file_transporter::{Delivery, deliver, s3::S3Object};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let storage = Storage::new(&sdk::config().await);
    lambda::serve_in_time(async |delivery: Delivery, deadline| {
        let object = S3Object::new(storage.clone(), delivery.source.clone());
        deliver(&delivery, &object, deadline).await
    })
    .await
}
