//! The environment of a function's process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::Function;

/// All that a process's environment depends on. Nothing of this process's own environment is part of it.
pub(super) struct Setting<'a> {
    pub(super) function: &'a Function,
    pub(super) region: &'a str,
    pub(super) task_root: &'a Path,
    pub(super) runtime_api: SocketAddr,
    pub(super) scratch: &'a Path,
}

impl Setting<'_> {
    /// The variables of one process: what AWS sets unless a function has its own value, the
    /// function's own, and last those that Lambda keeps for itself.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
        set("LANG", "en_US.UTF-8");
        set("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin");
        set("TZ", ":UTC");
        // Every environment on AWS has a /tmp of its own. Here it is a directory of its own.
        set("TMPDIR", &self.scratch.display().to_string());
        variables.extend(self.function.environment.clone());
        let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
        let credentials = &self.function.credentials;
        set("AWS_ACCESS_KEY_ID", &credentials.access_key_id);
        set("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key);
        if let Some(token) = &credentials.session_token {
            set("AWS_SESSION_TOKEN", token);
        }
        set("AWS_REGION", self.region);
        set("AWS_DEFAULT_REGION", self.region);
        set("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023");
        set("AWS_LAMBDA_FUNCTION_NAME", &self.function.name);
        set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &self.function.memory_mb.to_string());
        set("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
        set("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{}", self.function.name));
        set("AWS_LAMBDA_LOG_STREAM_NAME", &log_stream());
        set("AWS_LAMBDA_RUNTIME_API", &self.runtime_api.to_string());
        set("LAMBDA_TASK_ROOT", &self.task_root.display().to_string());
        set("LAMBDA_RUNTIME_DIR", "/var/runtime");
        set("_HANDLER", "bootstrap");
        variables
    }
}

/// A log stream's name as AWS forms it: the day, the version and something unique.
fn log_stream() -> String {
    let day = jiff::Timestamp::now().strftime("%Y/%m/%d");
    format!("{day}/[$LATEST]{}", uuid::Uuid::new_v4().simple())
}
