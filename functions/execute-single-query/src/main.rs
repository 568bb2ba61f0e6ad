//! The execute-single-query Lambda.

use aws_io::{
    Storage, athena::Athena, lambda, sdk, settings, step_functions::StepFunctions, waits::Waits,
};
use execute_single_query::{Services, Settings, execute};
use jiff::Timestamp;
use job::states::QueryTask;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    let settings: Settings = settings::from_environment()?;
    let sdk = sdk::config().await;
    let storage = Storage::new(&sdk);
    let services = Services {
        athena: Athena::new(&sdk),
        step_functions: StepFunctions::new(&sdk),
        waits: settings.state_bucket.map(|bucket| Waits::new(storage.clone(), bucket)),
        storage,
    };
    lambda::serve(async |task: QueryTask| execute(&services, Timestamp::now(), task).await).await
}
