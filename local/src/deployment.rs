//! What the Pulumi program deploys, read from the file of a stack that `npm run synth` writes.
//!
//! The file holds every resource as it would be registered, and is the only description of the
//! stack there is: what a laptop puts in the place of AWS's is laid over it in `overlay.rs`. A
//! property that is not read here has no effect on a laptop.

mod api;
mod events;
mod reader;
mod schedules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use local_athena::WorkGroup;
use local_events::Rule;
use local_iam::{Policies, PolicyError};
use local_lambda::EventInvokeConfig;
use local_s3::BucketSettings;
use local_scheduler::Schedule;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use self::reader::{Reader, Resource, Resources};
pub use self::{
    api::{Api, Authorization, Route},
    reader::Fault,
};

const BUCKET: &str = "aws:s3/bucket:Bucket";
const BUCKET_ENCRYPTION: &str =
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration";
const BUCKET_VERSIONING: &str = "aws:s3/bucketVersioning:BucketVersioning";
const FUNCTION: &str = "aws:lambda/function:Function";
const STATE_MACHINE: &str = "aws:sfn/stateMachine:StateMachine";
const WORK_GROUP: &str = "aws:athena/workgroup:Workgroup";

/// The stack `dev` of this repository, as it is checked in.
const DEV: &str = include_str!("../../infra/stacks/dev.json");

/// A stack as the Pulumi program deploys it.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The account, 12 digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// The functions.
    pub functions: Vec<Function>,
    /// The workflow.
    pub state_machine: StateMachine,
    /// The HTTP API.
    pub api: Api,
    /// All buckets.
    pub buckets: Vec<Bucket>,
    /// The bucket of the SQL files.
    pub queries_bucket: String,
    /// The bucket of everything that runs write.
    pub results_bucket: String,
    /// The bucket of what is no result: waiting tokens, leases, indexes.
    pub state_bucket: String,
    /// Athena's work groups, beside `primary`.
    pub work_groups: Vec<WorkGroup>,
    /// What starts runs by itself.
    pub schedules: Vec<Schedule>,
    /// The rules of the event bus.
    pub rules: Vec<Rule>,
    /// Who may do what.
    pub policies: Policies,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Versions and encryption.
    pub settings: BucketSettings,
}

/// A Lambda.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name in AWS.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The role that it acts in.
    pub role_arn: String,
    /// How integrations of API Gateway name it.
    pub invoke_arn: String,
    /// The binary in its package: `query-loader` is in `query-loader.zip`.
    pub binary: String,
    /// Its own variables.
    pub environment: BTreeMap<String, String>,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// How long an invocation may take.
    pub timeout_seconds: u64,
    /// How many invocations may be under way; as many as the account has room for, if not given.
    pub reserved_concurrency: Option<usize>,
    /// Settings of its asynchronous invocations.
    pub events: EventInvokeConfig,
}

/// A state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMachine {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The role that it acts in.
    pub role_arn: String,
    /// Its definition in the states language, without placeholders.
    pub definition: String,
}

/// Why the file of a stack can not be followed.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// It is not JSON, or not the JSON of a stack.
    #[error("expected a stack as `npm run synth` writes it")]
    Form(#[source] serde_json::Error),
    /// Resources are missing, or do not fit together.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
    /// A policy is not understood.
    #[error("reading the policies of the roles")]
    Policies(#[from] PolicyError),
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[derive(Deserialize)]
struct Document {
    account: String,
    region: String,
    outputs: StackOutputs,
    resources: Resources,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are those of the stack's outputs")]
struct StackOutputs {
    queries_bucket: String,
    results_bucket: String,
    state_bucket: String,
}

#[derive(Deserialize)]
struct Named {
    arn: String,
    name: String,
}

impl Deployment {
    /// The stack `dev` of this repository.
    pub fn dev() -> Self {
        Self::parse(DEV).expect("the stack in the repository has no fault")
    }

    /// Reads the file of a stack.
    ///
    /// # Errors
    ///
    /// Everything that is missing or does not fit together. What AWS would find only when a job
    /// runs is not looked for: it is found by running a job.
    pub fn parse(text: &str) -> Result<Self, DeploymentError> {
        let Document { account, region, outputs, resources } =
            serde_json::from_str(text).map_err(DeploymentError::Form)?;
        let document = serde_json::from_str(text).map_err(DeploymentError::Form)?;
        let mut reader = Reader::new(&resources);
        let mut functions = functions(&mut reader);
        events::read_invoke_configs(&mut reader, &mut functions);
        let state_machine = state_machine(&mut reader);
        let api = api::read(&mut reader, &functions);
        let buckets = buckets(&mut reader);
        for (output, bucket) in [
            ("queriesBucket", &outputs.queries_bucket),
            ("resultsBucket", &outputs.results_bucket),
            ("stateBucket", &outputs.state_bucket),
        ] {
            if !buckets.iter().any(|known| known.name == *bucket) {
                reader.fault("outputs", output, format!("the stack has no bucket `{bucket}`"));
            }
        }
        let work_groups = work_groups(&mut reader);
        let schedules = schedules::read(&mut reader, state_machine.as_ref());
        let rules = events::read(&mut reader, &functions);
        match (reader.faults(), state_machine, api) {
            (faults, Some(state_machine), Some(api)) if faults.is_empty() => Ok(Self {
                account,
                region,
                functions,
                state_machine,
                api,
                buckets,
                queries_bucket: outputs.queries_bucket,
                results_bucket: outputs.results_bucket,
                state_bucket: outputs.state_bucket,
                work_groups,
                schedules,
                rules,
                policies: Policies::read(&document)?,
            }),
            (faults, _, _) => Err(DeploymentError::Faults(faults)),
        }
    }

    /// The function with that name within the stack: `query-loader`, whose name in AWS begins with
    /// the stack's.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| self.is_named(function, name))
    }

    /// The function with that name within the stack, to deploy it otherwise.
    pub fn function_mut(&mut self, name: &str) -> Option<&mut Function> {
        let position = self.functions.iter().position(|function| self.is_named(function, name))?;
        self.functions.get_mut(position)
    }

    /// Everything of a stack is named after it, and so is the state machine, by that alone.
    fn is_named(&self, function: &Function, name: &str) -> bool {
        let stack = function.name.strip_prefix(&self.state_machine.name);
        stack.and_then(|rest| rest.strip_prefix('-')) == Some(name)
    }

    /// Lets queries read a database that is on this machine, as the stack's setting `databases` does
    /// it. Says whether they could not before.
    ///
    /// # Errors
    ///
    /// When no policy can name it.
    pub fn let_read_database(&mut self, name: &str) -> Result<bool, PolicyError> {
        // Every role that runs queries reads the catalog.
        let known = "glue:GetDatabase";
        let mut resources =
            vec![self.arn("glue", "catalog"), self.arn("glue", &format!("database/{name}"))];
        let can_find = self.policies.extend(known, known, &resources)?;
        resources.push(self.arn("glue", &format!("table/{name}/*")));
        let can_read = self.policies.extend(known, "glue:GetTable", &resources)?;
        Ok(can_find || can_read)
    }

    /// Lets deliveries use a secret, or with `ssm:` before its name a parameter, as the stack's setting
    /// `secrets` does it. Says whether they could not before.
    ///
    /// # Errors
    ///
    /// When no policy can name it.
    pub fn let_use_secret(&mut self, name: &str) -> Result<bool, PolicyError> {
        let (action, resource) = if let Some(parameter) = name.strip_prefix("ssm:") {
            let parameter = parameter.trim_start_matches('/');
            ("ssm:GetParameter", self.arn("ssm", &format!("parameter/{parameter}")))
        } else {
            // Six characters follow the name in the ARN.
            let secret = self.arn("secretsmanager", &format!("secret:{name}-??????"));
            ("secretsmanager:GetSecretValue", secret)
        };
        self.policies.extend(action, action, &[resource])
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }
}

fn functions(reader: &mut Reader<'_>) -> Vec<Function> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inputs {
        code: Code,
        #[serde(default)]
        environment: Environment,
        memory_size: u32,
        reserved_concurrent_executions: Option<usize>,
        role: String,
        runtime: String,
        timeout: u64,
    }
    #[derive(Deserialize)]
    struct Code {
        archive: String,
    }
    #[derive(Default, Deserialize)]
    struct Environment {
        variables: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outputs {
        arn: String,
        invoke_arn: String,
        name: String,
    }
    let mut functions = Vec::new();
    for (place, Resource { inputs, outputs, .. }) in reader.all::<Inputs, Outputs>(FUNCTION) {
        let Inputs { code, environment, memory_size, timeout, .. } = inputs;
        reader.expect(&place, "inputs.runtime", &inputs.runtime, "provided.al2023");
        reader.refer(&place, "inputs.role", &inputs.role);
        let Some(binary) = code.archive.strip_suffix(".zip") else {
            reader.fault(&place, "inputs.code.archive", "expected the name of a zip");
            continue;
        };
        functions.push(Function {
            name: outputs.name,
            arn: outputs.arn,
            role_arn: inputs.role,
            invoke_arn: outputs.invoke_arn,
            binary: binary.to_owned(),
            environment: environment.variables,
            memory_mb: memory_size,
            timeout_seconds: timeout,
            reserved_concurrency: inputs.reserved_concurrent_executions,
            events: EventInvokeConfig::default(),
        });
    }
    functions
}

fn state_machine(reader: &mut Reader<'_>) -> Option<StateMachine> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inputs {
        definition: Value,
        role_arn: String,
        r#type: String,
    }
    let (place, Resource { inputs, outputs, .. }) = reader.one::<Inputs, Named>(STATE_MACHINE)?;
    reader.expect(&place, "inputs.type", &inputs.r#type, "STANDARD");
    reader.refer(&place, "inputs.roleArn", &inputs.role_arn);
    let Named { arn, name } = outputs;
    let definition = text(inputs.definition);
    Some(StateMachine { name, arn, role_arn: inputs.role_arn, definition })
}

fn buckets(reader: &mut Reader<'_>) -> Vec<Bucket> {
    #[derive(Deserialize)]
    struct Outputs {
        bucket: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct VersioningInputs {
        bucket: String,
        versioning_configuration: VersioningConfiguration,
    }
    #[derive(Deserialize)]
    struct VersioningConfiguration {
        status: String,
    }
    #[derive(Deserialize)]
    struct EncryptionInputs {
        bucket: String,
        rules: Vec<EncryptionRule>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct EncryptionRule {
        apply_server_side_encryption_by_default: Encryption,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Encryption {
        sse_algorithm: String,
    }
    let versionings = reader.all::<VersioningInputs, IgnoredAny>(BUCKET_VERSIONING);
    let encryptions = reader.all::<EncryptionInputs, IgnoredAny>(BUCKET_ENCRYPTION);
    let is_versioned = |name: &str| {
        versionings.iter().any(|(_, versioning)| {
            let VersioningInputs { bucket, versioning_configuration } = &versioning.inputs;
            bucket == name && versioning_configuration.status == "Enabled"
        })
    };
    let has_key = |name: &str| {
        let mut of_bucket =
            encryptions.iter().filter(|(_, encryption)| encryption.inputs.bucket == name);
        of_bucket.any(|(_, encryption)| {
            encryption.inputs.rules.iter().any(|rule| {
                rule.apply_server_side_encryption_by_default.sse_algorithm.starts_with("aws:kms")
            })
        })
    };
    let buckets = reader.all::<IgnoredAny, Outputs>(BUCKET).into_iter();
    let bucket = |(_, bucket): (String, Resource<IgnoredAny, Outputs>)| {
        let name = bucket.outputs.bucket;
        let settings = BucketSettings { versioned: is_versioned(&name), kms: has_key(&name) };
        Bucket { name, settings }
    };
    buckets.map(bucket).collect()
}

fn work_groups(reader: &mut Reader<'_>) -> Vec<WorkGroup> {
    #[derive(Deserialize)]
    struct Inputs {
        #[serde(default)]
        configuration: Settings,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Settings {
        bytes_scanned_cutoff_per_query: Option<u64>,
        enforce_workgroup_configuration: bool,
        result_configuration: Results,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Results {
        output_location: Option<String>,
    }
    impl Default for Settings {
        /// What AWS takes.
        fn default() -> Self {
            Self {
                bytes_scanned_cutoff_per_query: None,
                enforce_workgroup_configuration: true,
                result_configuration: Results::default(),
            }
        }
    }
    let groups = reader.all::<Inputs, Named>(WORK_GROUP).into_iter();
    let groups = groups.map(|(_, Resource { inputs, outputs, .. })| WorkGroup {
        name: outputs.name,
        output_location: inputs.configuration.result_configuration.output_location,
        enforce_configuration: inputs.configuration.enforce_workgroup_configuration,
        bytes_scanned_max: inputs.configuration.bytes_scanned_cutoff_per_query,
    });
    groups.collect()
}

/// A text of AWS's that holds JSON stands as that JSON in the file.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        json => json.to_string(),
    }
}
