//! The entry of a Lambda.

use std::{
    error::Error,
    fmt,
    time::{Duration, Instant, SystemTime},
};

use job::{ErrorName, error::Chain};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::logging;

pub use lambda_runtime::Error as RuntimeError;

/// An error of a function: its name is what the state machine matches.
pub trait Failure: Error + 'static {
    /// The error's name.
    fn name(&self) -> ErrorName;
}

/// Runs `handler` for every invocation, until Lambda ends the process.
///
/// An event that is not an `E` is the error `Job.Invalid`. An error's name becomes the
/// `errorType`, its chain the `errorMessage`; it is logged once, here.
///
/// # Errors
///
/// When the environment can not be read, or the Runtime API not be reached.
pub async fn serve<E, A, X, F>(handler: F) -> Result<(), lambda_runtime::Error>
where
    E: DeserializeOwned,
    A: Serialize,
    X: Failure,
    F: AsyncFn(E) -> Result<A, X>,
{
    serve_in_time(async |event, _deadline| handler(event).await).await
}

/// Like [`serve`], for a handler that stops by itself before Lambda ends it: it is given the moment
/// when the function's time-out is reached.
///
/// # Errors
///
/// When the environment can not be read, or the Runtime API not be reached.
pub async fn serve_in_time<E, A, X, F>(handler: F) -> Result<(), lambda_runtime::Error>
where
    E: DeserializeOwned,
    A: Serialize,
    X: Failure,
    F: AsyncFn(E, Instant) -> Result<A, X>,
{
    logging::start()?;
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        // The text of a `serde` error holds the value that it did not like, and that may be a secret.
        let input = serde_path_to_error::deserialize(event.payload).map_err(|error| {
            let message =
                format!("the event is not what this function takes, at `{}`", error.path());
            diagnostic(ErrorName::JobInvalid, &message)
        })?;
        // Boxed, because the types of the SDK's futures are too deep to be nested further.
        Box::pin(handler(input, instant(event.context.deadline())))
            .await
            .map_err(|error| diagnostic(error.name(), &Chain(&error)))
    }))
    .await
}

/// The clock that does not jump, at a time of the clock that may.
#[expect(clippy::disallowed_methods, reason = "Lambda tells the deadline as a time of that clock")]
fn instant(deadline: SystemTime) -> Instant {
    let left = deadline.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
    Instant::now() + left
}

fn diagnostic(name: ErrorName, message: &dyn fmt::Display) -> Diagnostic {
    tracing::error!(error.name = %name, error.message = %message, "the invocation failed");
    Diagnostic { error_type: name.to_string(), error_message: message.to_string() }
}
