//! What a laptop lays over the stack as it is deployed: the one place where a function's settings
//! differ from those on AWS.
//!
//! | variable | on AWS | on a laptop |
//! |---|---|---|
//! | `AWS_ENDPOINT_URL` | not set: AWS itself | the address of the stack |
//! | `AWS_LAMBDA_LOG_LEVEL` | `loggingConfig.applicationLogLevel`, set by Lambda | the filter that the stack is started with |
//! | `AWS_LAMBDA_LOG_FORMAT` | `loggingConfig.logFormat`, set by Lambda | not set: text, for people |
//! | credentials | of the function's role, set by Lambda | `test`, set by `local-lambda` |

use std::path::Path;

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
) -> Vec<local_lambda::Function> {
    let laid_over = [("AWS_ENDPOINT_URL", endpoint), ("AWS_LAMBDA_LOG_LEVEL", log_filter)];
    let functions = deployment.functions.iter().map(|function| {
        let mut environment = function.environment.clone();
        environment.extend(laid_over.map(|(name, value)| (name.to_owned(), value.to_owned())));
        local_lambda::Function {
            name: function.name.clone(),
            binary: directory.join(&function.binary),
            environment,
            memory_mb: function.memory_mb,
            timeout_seconds: function.timeout_seconds,
            concurrency_max: function.reserved_concurrency.unwrap_or(ACCOUNT_CONCURRENCY),
        }
    });
    functions.collect()
}
