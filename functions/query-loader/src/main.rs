//! The query-loader Lambda.

use aws_io::{Storage, lambda, sdk};
use job::states::LoadQueries;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    let storage = Storage::new(&sdk::config().await);
    lambda::serve(async |task: LoadQueries| query_loader::load(&storage, task).await).await
}
