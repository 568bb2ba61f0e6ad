//! The execute-single-query Lambda.

use aws_io::{Storage, athena::Athena, lambda, sdk, settings};
use execute_single_query::Settings;
use job::states::QueryTask;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    let settings: Settings = settings::from_environment()?;
    let sdk = sdk::config().await;
    let (athena, storage) = (Athena::new(&sdk), Storage::new(&sdk));
    lambda::serve(async |task: QueryTask| {
        execute_single_query::execute(&athena, &storage, &settings, task).await
    })
    .await
}
