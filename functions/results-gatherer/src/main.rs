//! The results-gatherer Lambda.

use aws_io::{Storage, lambda, sdk};
use jiff::Timestamp;
use job::states::GatherTask;
use results_gatherer::Athena;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    let sdk = sdk::config().await;
    let (athena, storage) = (Athena::new(&sdk), Storage::new(&sdk));
    lambda::serve(async |task: GatherTask| {
        results_gatherer::act(&athena, &storage, Timestamp::now(), task).await
    })
    .await
}
