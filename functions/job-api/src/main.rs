//! The job-api Lambda.

use aws_io::{Storage, logging, sdk, settings};
use jiff::Timestamp;
use job_api::{Api, RunIdSource, Settings, StepFunctions};
use lambda_http::{Error, Request, run, service_fn};
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::start()?;
    let settings: Settings = settings::from_environment()?;
    let sdk = sdk::config().await;
    let run_ids = RunIdSource { now: Timestamp::now, random: || Uuid::new_v4().as_fields().0 };
    let executions = StepFunctions::new(&sdk, settings.state_machine_arn);
    let api = &Api::new(executions, Storage::new(&sdk), run_ids);
    // Boxed, because the types of the SDK's futures are too deep to be nested further.
    run(service_fn(|request: Request| Box::pin(api.answer(request)))).await
}
