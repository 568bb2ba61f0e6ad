//! What the stack contains: the one table of functions, placeholders and routes.
//!
//! It stands in for the Pulumi program until that describes the stack.

use std::{collections::BTreeMap, path::Path};

use local_lambda::Function;

/// The workflow, with its `${Placeholders}`.
pub const WORKFLOW: &str = include_str!("../../infra/workflow.asl.json");

/// The name of the state machine.
pub const STATE_MACHINE: &str = "athena-workflow";

/// The function behind the HTTP API.
pub(crate) const JOB_API: &str = "job-api";

/// The function whose waiting is a setting.
pub(crate) const EXECUTE_SINGLE_QUERY: &str = "execute-single-query";

/// The function whose time limit is a setting.
pub(crate) const FILE_TRANSPORTER: &str = "file-transporter";

/// The routes of the HTTP API; all lead to [`JOB_API`].
pub(crate) const ROUTES: &[&str] = &["POST /jobs", "GET /jobs/{run_id}"];

struct Deployed {
    name: &'static str,
    /// The placeholder of its ARN in the workflow, if the workflow calls it.
    placeholder: Option<&'static str>,
    memory_mb: u32,
    timeout_seconds: u64,
}

const FUNCTIONS: &[Deployed] = &[
    Deployed {
        name: "query-loader",
        placeholder: Some("QueryLoaderFunctionArn"),
        memory_mb: 512,
        timeout_seconds: 300,
    },
    Deployed {
        name: EXECUTE_SINGLE_QUERY,
        placeholder: Some("ExecuteSingleQueryFunctionArn"),
        memory_mb: 512,
        timeout_seconds: 870,
    },
    Deployed {
        name: "results-gatherer",
        placeholder: Some("ResultsGathererFunctionArn"),
        memory_mb: 512,
        timeout_seconds: 300,
    },
    Deployed {
        name: "zip-s3-folder",
        placeholder: Some("ZipS3FolderFunctionArn"),
        memory_mb: 1769,
        timeout_seconds: 870,
    },
    Deployed {
        name: "extract-s3-key",
        placeholder: Some("ExtractS3KeyFunctionArn"),
        memory_mb: 128,
        timeout_seconds: 30,
    },
    Deployed {
        name: FILE_TRANSPORTER,
        placeholder: Some("FileTransporterFunctionArn"),
        memory_mb: 512,
        timeout_seconds: 870,
    },
    Deployed { name: JOB_API, placeholder: None, memory_mb: 256, timeout_seconds: 30 },
];

/// A setting of the C library's allocator, for every function: each block of 128 KiB or more is
/// mapped, and unmapped when it is freed. Left alone, the allocator raises this limit up to 32 MiB
/// as it goes and keeps what is freed, so that memory depends on how long a process has worked.
/// [`mallopt(3)`](https://man7.org/linux/man-pages/man3/mallopt.3.html).
const ALLOCATOR: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

/// The functions, their binaries below `directory`, each with its own `settings`.
pub(crate) fn functions(
    directory: &Path,
    log_filter: &str,
    settings: impl Fn(&str) -> Vec<(&'static str, String)>,
) -> Vec<Function> {
    FUNCTIONS
        .iter()
        .map(|function| {
            let mut environment: BTreeMap<String, String> =
                [("AWS_LAMBDA_LOG_LEVEL", log_filter), ALLOCATOR]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into();
            let own = settings(function.name).into_iter();
            environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
            Function {
                name: function.name.to_owned(),
                binary: directory.join(function.name),
                environment,
                memory_mb: function.memory_mb,
                timeout_seconds: function.timeout_seconds,
                concurrency_max: 1000,
            }
        })
        .collect()
}

/// The workflow with the ARNs of the functions, and the work group of jobs that name none, in its
/// placeholders.
pub(crate) fn definition(arn: impl Fn(&str) -> String) -> String {
    let workflow = WORKFLOW.replace("${WorkGroupName}", "primary");
    FUNCTIONS.iter().filter_map(|function| Some((function.placeholder?, function.name))).fold(
        workflow,
        |definition, (placeholder, name)| {
            definition.replace(&format!("${{{placeholder}}}"), &arn(name))
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use job::ErrorName;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_workflow_is_a_state_machine_without_a_fault() {
        let filled =
            definition(|name| format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"));
        assert!(!filled.contains("${"), "a placeholder is left");
        if let Err(faults) = local_states::check(&filled) {
            panic!("{faults:#?}");
        }
    }

    /// The maps differ in where they run and in the names of their states, and in nothing else.
    #[test]
    fn both_maps_run_the_same_iterator() {
        let workflow: Value = serde_json::from_str(WORKFLOW).unwrap();
        let inline = &workflow["States"]["RunQueries"]["ItemProcessor"];
        let distributed = &workflow["States"]["RunManyQueries"]["ItemProcessor"];
        assert_eq!(distributed["ProcessorConfig"]["Mode"], "DISTRIBUTED");
        let renamed = distributed["States"].to_string().replace("Distributed\"", "\"");
        assert_eq!(serde_json::from_str::<Value>(&renamed).unwrap(), inline["States"]);
    }

    /// Every task below `value`: what it calls, and the names that it retries.
    fn tasks(value: &Value, found: &mut Vec<(String, BTreeSet<String>)>) {
        if value["Type"] == "Task" {
            let arguments = &value["Arguments"];
            let action = arguments["Payload"]["action"].as_str().unwrap_or_default();
            let called = format!("{} {action}", arguments["FunctionName"].as_str().unwrap());
            let retriers = value["Retry"].as_array().into_iter().flatten();
            let names = retriers.flat_map(|retrier| retrier["ErrorEquals"].as_array().unwrap());
            let names = names.map(|name| name.as_str().unwrap().to_owned()).collect();
            found.push((called.trim_end().to_owned(), names));
        } else {
            let fields = value.as_object().into_iter().flatten().map(|(_, value)| value);
            fields.for_each(|value| tasks(value, found));
        }
    }

    /// Each function's retryable names are retried where it is called, and no others are.
    #[test]
    fn every_task_retries_what_its_function_may_mend_by_another_try() {
        let mut found = Vec::new();
        tasks(&serde_json::from_str(WORKFLOW).unwrap(), &mut found);
        assert_eq!(found.len(), 12);
        for (called, mut names) in found {
            let aws = ["Lambda.", "Runtime.", "Sandbox.", "States."];
            names.retain(|name| !aws.iter().any(|prefix| name.starts_with(prefix)));
            let expected: &[ErrorName] = match called.as_str() {
                "${QueryLoaderFunctionArn}"
                | "${ZipS3FolderFunctionArn}"
                | "${ResultsGathererFunctionArn} gather"
                | "${ResultsGathererFunctionArn} finish"
                | "${ResultsGathererFunctionArn} fail" => &[ErrorName::StorageUnavailable],
                "${ExecuteSingleQueryFunctionArn}"
                | "${ResultsGathererFunctionArn} stop"
                | "${ResultsGathererFunctionArn} fail_query" => &[
                    ErrorName::QueryThrottled,
                    ErrorName::QueryUnavailable,
                    ErrorName::StorageUnavailable,
                ],
                "${FileTransporterFunctionArn}" => &[
                    ErrorName::TransportUnavailable,
                    ErrorName::SecretUnavailable,
                    ErrorName::StorageUnavailable,
                ],
                "${ExtractS3KeyFunctionArn}" => &[],
                other => panic!("{other}"),
            };
            assert!(expected.iter().all(|name| name.is_retryable()), "{called}");
            assert_eq!(names, expected.iter().map(ToString::to_string).collect(), "{called}");
        }
    }
}
