//! The results-gatherer Lambda.

use aws_io::{
    Storage, athena::Athena, lambda, sdk, settings, step_functions::StepFunctions, waits::Waits,
};
use jiff::Timestamp;
use job::states::GatherTask;
use results_gatherer::{Services, Settings, act};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::RuntimeError> {
    let settings: Settings = settings::from_environment()?;
    let sdk = sdk::config().await;
    let storage = Storage::new(&sdk);
    let services = Services {
        athena: Athena::new(&sdk),
        step_functions: StepFunctions::new(&sdk),
        waits: Waits::new(storage.clone(), settings.state_bucket),
        storage,
    };
    lambda::serve(async |task: GatherTask| act(&services, Timestamp::now(), task).await).await
}
