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
        name: "execute-single-query",
        placeholder: Some("ExecuteSingleQueryFunctionArn"),
        memory_mb: 512,
        timeout_seconds: 300,
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
        name: "file-transporter",
        placeholder: Some("FileTransporterFunctionArn"),
        memory_mb: 512,
        timeout_seconds: 870,
    },
    Deployed { name: JOB_API, placeholder: None, memory_mb: 256, timeout_seconds: 30 },
];

/// The functions, their binaries below `directory`.
pub(crate) fn functions(
    directory: &Path,
    log_filter: &str,
    job_api_environment: &[(&str, String)],
) -> Vec<Function> {
    FUNCTIONS
        .iter()
        .map(|function| {
            let mut environment =
                BTreeMap::from([("AWS_LAMBDA_LOG_LEVEL".to_owned(), log_filter.to_owned())]);
            if function.name == JOB_API {
                let own = job_api_environment.iter();
                environment.extend(own.map(|(name, value)| ((*name).to_owned(), value.clone())));
            }
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

/// The workflow with the ARNs of the functions in its placeholders.
pub(crate) fn definition(arn: impl Fn(&str) -> String) -> String {
    FUNCTIONS.iter().filter_map(|function| Some((function.placeholder?, function.name))).fold(
        WORKFLOW.to_owned(),
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

    fn retried(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    if field == "Retry" {
                        let retriers = value.as_array().into_iter().flatten();
                        let errors =
                            retriers.flat_map(|retrier| retrier["ErrorEquals"].as_array().unwrap());
                        names.extend(errors.map(|name| name.as_str().unwrap().to_owned()));
                    } else {
                        retried(value, names);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| retried(item, names)),
            _ => {}
        }
    }

    #[test]
    fn the_workflow_retries_what_is_retryable_and_nothing_else() {
        let mut names = BTreeSet::new();
        retried(&serde_json::from_str(WORKFLOW).unwrap(), &mut names);
        let aws = ["Lambda.", "Runtime.", "Sandbox.", "States."];
        names.retain(|name| !aws.iter().any(|prefix| name.starts_with(prefix)));
        let retryable: BTreeSet<String> = ErrorName::ALL
            .iter()
            .filter(|name| name.is_retryable())
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, retryable);
    }
}
