//! The zip-s3-folder Lambda.

use aws_io::{Storage, lambda, sdk};
use job::states::ZipTask;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    let storage = Storage::new(&sdk::config().await);
    lambda::serve(async |task: ZipTask| zip_s3_folder::zip(&storage, task).await).await
}
