//! What a laptop lays over the stack as it is deployed: the one place where a function's settings
//! differ from those on AWS.
//!
//! | variable | on AWS | on a laptop |
//! |---|---|---|
//! | `AWS_ENDPOINT_URL` | not set: AWS itself | the address of the stack |
//! | `AWS_LAMBDA_LOG_LEVEL` | `loggingConfig.applicationLogLevel`, set by Lambda | the filter that the stack is started with |
//! | `AWS_LAMBDA_LOG_FORMAT` | `loggingConfig.logFormat`, set by Lambda | not set: text, for people |
//! | `HTTP_PROXY` and whatever else the user's shell sets | not set | not set: a function's process has Lambda's variables and its own alone |
//! | credentials | of the function's role, set by Lambda | of the function's role, given out by `local-iam` |

use std::path::Path;

use local_iam::{AccessKey, Assumer, Guard, Refusal};
use secrecy::ExposeSecret as _;

use crate::Deployment;

/// How many invocations an account has room for, unless it asks for more:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const ACCOUNT_CONCURRENCY: usize = 1000;

/// The functions, with their binaries in `directory`.
pub(crate) fn functions(
    deployment: &Deployment,
    directory: &Path,
    endpoint: &str,
    log_filter: &str,
    guard: &Guard,
) -> Result<(Vec<local_lambda::Function>, Vec<AccessKey>), Refusal> {
    let laid_over = [("AWS_ENDPOINT_URL", endpoint), ("AWS_LAMBDA_LOG_LEVEL", log_filter)];
    let mut keys = Vec::new();
    let mut functions = Vec::new();
    for function in &deployment.functions {
        let key = guard.assume(Assumer::Function(&function.name), &function.role_arn)?;
        let mut environment = function.environment.clone();
        environment.extend(laid_over.map(|(name, value)| (name.to_owned(), value.to_owned())));
        functions.push(local_lambda::Function {
            credentials: local_lambda::Credentials {
                session_token: Some(key.session_token.expose_secret().to_owned()),
                ..local_lambda::Credentials::new(&key.id, key.secret.expose_secret())
            },
            name: function.name.clone(),
            binary: directory.join(&function.binary),
            environment,
            memory_mb: function.memory_mb,
            timeout_seconds: function.timeout_seconds,
            concurrency_max: function.reserved_concurrency.unwrap_or(ACCOUNT_CONCURRENCY),
            events: function.events.clone(),
        });
        keys.push(key);
    }
    Ok((functions, keys))
}
