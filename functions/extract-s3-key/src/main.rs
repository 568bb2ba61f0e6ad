//! The extract-s3-key Lambda.

use aws_io::lambda;
use job::states::ExtractTask;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    lambda::serve(async |task: ExtractTask| extract_s3_key::extract(&task)).await
}
