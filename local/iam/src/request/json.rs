//! Requests to Athena, Step Functions, Secrets Manager and the Parameter Store.
//!
//! The keys of secrets and parameters are not known here; with AWS's own keys, nothing is asked for.

use serde::Deserialize;

use super::{Access, Names, Unmapped, athena};
use crate::{decision::Call, policies::Policies};

/// The fields of all operations that say what they are about.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    query_execution_id: Option<String>,
    query_execution_ids: Vec<String>,
    work_group: Option<String>,
    secret_id: Option<String>,
    name: Option<String>,
    names: Vec<String>,
    #[serde(rename = "stateMachineArn")]
    state_machine_arn: Option<String>,
    #[serde(rename = "executionArn")]
    execution_arn: Option<String>,
    #[serde(rename = "taskToken")]
    task_token: Option<String>,
}

pub(super) fn access(
    policies: &Policies,
    names: &dyn Names,
    target: &str,
    body: &[u8],
) -> Result<Access, Unmapped> {
    calls(policies, names, target, body)
        .filter(|calls| !calls.is_empty())
        .map(|calls| Access { calls, if_missing: None })
        .ok_or_else(|| Unmapped(target.to_owned()))
}

fn calls(policies: &Policies, names: &dyn Names, target: &str, bytes: &[u8]) -> Option<Vec<Call>> {
    let body: Body = serde_json::from_slice(bytes).ok()?;
    let (service, operation) = target.split_once('.')?;
    let one = |service: &str, resource: String| {
        vec![Call::new(format!("{service}:{operation}"), resource)]
    };
    Some(match (service, operation) {
        ("AmazonAthena", "StartQueryExecution") => athena::start(policies, bytes)?,
        ("AmazonAthena", "GetQueryExecution" | "StopQueryExecution") => {
            one("athena", query(policies, names, &body.query_execution_id?))
        }
        ("AmazonAthena", "BatchGetQueryExecution") => {
            let ids = body.query_execution_ids.iter();
            ids.flat_map(|id| one("athena", query(policies, names, id))).collect()
        }
        ("AmazonAthena", "GetWorkGroup") => {
            one("athena", athena::work_group(policies, &body.work_group?))
        }
        ("AWSStepFunctions", "StartExecution" | "ListExecutions" | "DescribeStateMachine") => {
            one("states", body.state_machine_arn?)
        }
        (
            "AWSStepFunctions",
            "DescribeExecution"
            | "StopExecution"
            | "GetExecutionHistory"
            | "DescribeStateMachineForExecution",
        ) => one("states", body.execution_arn?),
        ("AWSStepFunctions", "SendTaskSuccess" | "SendTaskFailure" | "SendTaskHeartbeat") => {
            one("states", machine_of(policies, names, &body.task_token?))
        }
        ("secretsmanager", "GetSecretValue" | "DescribeSecret") => {
            let id = body.secret_id?;
            one("secretsmanager", names.secret_arn(&id).unwrap_or_else(|| secret(policies, id)))
        }
        ("AmazonSSM", "GetParameter") => one("ssm", parameter(policies, &body.name?)),
        ("AmazonSSM", "GetParameters") => {
            body.names.iter().flat_map(|name| one("ssm", parameter(policies, name))).collect()
        }
        _ => return None,
    })
}

/// The work group of a query. A query that is not there is in none, which no statement names.
fn query(policies: &Policies, names: &dyn Names, id: &str) -> String {
    athena::work_group(policies, &names.work_group_of(id).unwrap_or_default())
}

/// The state machine that gave out a token. The authorization reference names no resource for
/// `states:SendTask*`, but refusals name the state machine, and a grant on it works. A malformed
/// token is of none, which no statement names.
fn machine_of(policies: &Policies, names: &dyn Names, token: &str) -> String {
    let found = names.state_machine_of_token(token);
    found.unwrap_or_else(|| policies.arn("states", "stateMachine:"))
}

/// A secret that is not there: its ARN has no ending yet.
fn secret(policies: &Policies, id: String) -> String {
    if id.starts_with("arn:") {
        id
    } else {
        policies.arn("secretsmanager", &format!("secret:{id}"))
    }
}

/// A parameter by its ARN, or by its name with a version or a label behind it.
fn parameter(policies: &Policies, name: &str) -> String {
    if name.starts_with("arn:") {
        return name.to_owned();
    }
    let name = name.split(':').next().unwrap_or(name);
    policies.arn("ssm", &format!("parameter/{}", name.strip_prefix('/').unwrap_or(name)))
}
