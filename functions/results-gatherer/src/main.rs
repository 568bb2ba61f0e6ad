//! The results-gatherer Lambda.

use aws_io::{Storage, athena::Athena, lambda, sdk};
use jiff::Timestamp;
use job::states::GatherTask;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    let sdk = sdk::config().await;
    let (athena, storage) = (Athena::new(&sdk), Storage::new(&sdk));
    lambda::serve(async |task: GatherTask| {
        results_gatherer::act(&athena, &storage, Timestamp::now(), task).await
    })
    .await
}
