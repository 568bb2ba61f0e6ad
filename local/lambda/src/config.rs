//! What functions there are, and the limits they run under.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::asynchronous::EventInvokeConfig;
use crate::function_name::is_function_name;

/// One function: a binary built with `lambda_runtime`, and the settings it is deployed with.
///
/// `Debug` shows the names of the variables without their values, and of the credentials the id.
#[derive(Clone)]
pub struct Function {
    /// The function's name: letters, digits, `-` and `_`, at most 64.
    pub name: String,
    /// The executable to run.
    pub binary: PathBuf,
    /// What it signs its requests with.
    pub credentials: Credentials,
    /// The function's own variables. At most 4 KB, and none of the names that AWS keeps for itself.
    pub environment: BTreeMap<String, String>,
    /// The memory in MB, 128 to 10,240. It is reported and billed, not enforced.
    pub memory_mb: u32,
    /// The time one invocation may take, 1 to 900 seconds.
    pub timeout_seconds: u64,
    /// The invocations under way beyond which AWS answers `TooManyRequestsException`.
    pub concurrency_max: usize,
    /// How it takes asynchronous invocations.
    pub events: EventInvokeConfig,
}

/// An access key, as Lambda puts it into the environment of a function.
#[derive(Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`, which keys of a role have.
    pub session_token: Option<String>,
}

impl Credentials {
    /// An access key without a role.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
        }
    }
}

/// The functions of an account and region, and the limits of the laptop they run on.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account in every ARN, twelve digits.
    pub account: String,
    /// The region in every ARN, and the functions' `AWS_REGION`.
    pub region: String,
    /// The functions.
    pub functions: Vec<Function>,
    /// A directory that gets one log file per function. Without it the logs go to standard error.
    pub log_dir: Option<PathBuf>,
    /// The processes that one function may have at a time. Further invocations wait for a free process,
    /// which changes nothing but how long they take.
    pub processes_max: usize,
    /// The asynchronous invocations of one function that are under way at a time. Further ones wait in
    /// the function's queue.
    pub concurrent_events_max: usize,
    /// How many times shorter than on AWS the pauses before retries of asynchronous invocations are. The
    /// age of events counts in real time.
    pub speed: f64,
}

impl Config {
    /// Functions in the account `000000000000` and the region `us-east-1`, with logs on standard error,
    /// eight processes per function, four asynchronous invocations of a function at a time, and AWS's own
    /// pauses between them.
    pub fn new(functions: Vec<Function>) -> Self {
        Self {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            functions,
            log_dir: None,
            processes_max: 8,
            concurrent_events_max: 4,
            speed: 1.0,
        }
    }

    /// Makes sure that every function can be run, and collects all that speaks against it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        if self.processes_max == 0 {
            problems.push(Problem::NoProcesses);
        }
        if self.concurrent_events_max == 0 {
            problems.push(Problem::NoEvents);
        }
        if !(self.speed.is_finite() && self.speed > 0.0) {
            problems.push(Problem::Speed { speed: self.speed });
        }
        let mut names = BTreeSet::new();
        for function in &self.functions {
            if !names.insert(&function.name) {
                problems.push(Problem::SameName { function: function.name.clone() });
            }
            function.check(&mut problems);
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Invalid { problems }) }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Function")
            .field("name", &self.name)
            .field("binary", &self.binary)
            .field("credentials", &self.credentials.access_key_id)
            .field("environment", &self.environment.keys())
            .field("memory_mb", &self.memory_mb)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("concurrency_max", &self.concurrency_max)
            .field("events", &self.events)
            .finish()
    }
}

impl Function {
    fn check(&self, problems: &mut Vec<Problem>) {
        let function = || self.name.clone();
        if !is_function_name(&self.name) {
            problems.push(Problem::Name { function: function() });
        }
        if !(1..=900).contains(&self.timeout_seconds) {
            problems.push(Problem::Timeout { function: function(), seconds: self.timeout_seconds });
        }
        if !(128..=10_240).contains(&self.memory_mb) {
            problems.push(Problem::Memory { function: function(), memory_mb: self.memory_mb });
        }
        for variable in
            self.environment.keys().filter(|name| RESERVED_VARIABLES.contains(&name.as_str()))
        {
            problems.push(Problem::ReservedVariable {
                function: function(),
                variable: variable.clone(),
            });
        }
        let size_bytes =
            self.environment.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size_bytes > ENVIRONMENT_BYTES_MAX {
            problems.push(Problem::EnvironmentSize { function: function(), size_bytes });
        }
        let path = self.binary.clone();
        match std::fs::metadata(&self.binary) {
            Err(source) => problems.push(Problem::Binary { function: function(), path, source }),
            Ok(found) if !found.is_file() || found.permissions().mode() & 0o111 == 0 => {
                problems.push(Problem::NotExecutable { function: function(), path });
            }
            Ok(_) => {}
        }
    }
}

/// AWS's limit on the names and values of a function's variables together.
const ENVIRONMENT_BYTES_MAX: usize = 4096;

/// Variables that Lambda sets itself and refuses in a function's settings
/// (Lambda developer guide, "Defined runtime environment variables").
const RESERVED_VARIABLES: [&str; 18] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
];

/// Why [`Lambda::new`](crate::Lambda::new) refused its configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The functions can not be run as they are described.
    #[error("checking the functions: {}", joined(.problems))]
    Invalid {
        /// All that is wrong, in the order of the functions.
        problems: Vec<Problem>,
    },
    /// A log file can not be written.
    #[error("opening the log of function `{function}` at `{path}`")]
    Log {
        /// The function's name.
        function: String,
        /// The log file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// One thing that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The binary is missing or can not be looked at.
    #[error("function `{function}` has no binary at `{path}`: {source}")]
    Binary {
        /// The function's name.
        function: String,
        /// Where the binary was looked for.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The binary is there but is no executable file.
    #[error("the binary of function `{function}` at `{path}` is not an executable file")]
    NotExecutable {
        /// The function's name.
        function: String,
        /// The file.
        path: PathBuf,
    },
    /// Two functions share a name.
    #[error("there are two functions `{function}`")]
    SameName {
        /// The name.
        function: String,
    },
    /// The name has characters that AWS refuses, or too many.
    #[error("`{function}` is no function name: 1 to 64 letters, digits, `-` or `_` are")]
    Name {
        /// The name.
        function: String,
    },
    /// The time-out is out of range.
    #[error("the time-out of function `{function}` is {seconds} s, and must be 1 to 900 s")]
    Timeout {
        /// The function's name.
        function: String,
        /// The time-out.
        seconds: u64,
    },
    /// The memory is out of range.
    #[error("the memory of function `{function}` is {memory_mb} MB, and must be 128 to 10240 MB")]
    Memory {
        /// The function's name.
        function: String,
        /// The memory.
        memory_mb: u32,
    },
    /// A variable that AWS sets itself.
    #[error("function `{function}` sets `{variable}`, which Lambda keeps for itself")]
    ReservedVariable {
        /// The function's name.
        function: String,
        /// The variable.
        variable: String,
    },
    /// Too many or too long variables.
    #[error(
        "the variables of function `{function}` take {size_bytes} bytes, and at most {ENVIRONMENT_BYTES_MAX} are allowed"
    )]
    EnvironmentSize {
        /// The function's name.
        function: String,
        /// The bytes of all names and values.
        size_bytes: usize,
    },
    /// No process may be started at all.
    #[error("`processes_max` is 0, and must be at least 1")]
    NoProcesses,
    /// No event may be taken at all.
    #[error("`concurrent_events_max` is 0, and must be at least 1")]
    NoEvents,
    /// The speed makes no duration.
    #[error("`speed` is {speed}, and must be a number above 0")]
    Speed {
        /// The speed.
        speed: f64,
    },
}

fn joined(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
