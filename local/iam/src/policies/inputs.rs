//! The stack's file, as far as rights are concerned.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::PolicyError;

#[derive(Deserialize)]
pub(super) struct Inputs {
    pub(super) account: String,
    pub(super) region: String,
    pub(super) resources: Resources,
}

#[derive(Deserialize)]
pub(super) struct Resources {
    #[serde(rename = "aws:iam/role:Role", default)]
    pub(super) roles: BTreeMap<String, Registered<RoleInputs>>,
    #[serde(rename = "aws:iam/rolePolicy:RolePolicy", default)]
    pub(super) role_policies: BTreeMap<String, Registered<RolePolicyInputs, IgnoredAny>>,
    #[serde(rename = "aws:iam/policy:Policy", default)]
    pub(super) managed_policies: BTreeMap<String, Registered<ManagedPolicyInputs>>,
    #[serde(rename = "aws:iam/rolePolicyAttachment:RolePolicyAttachment", default)]
    pub(super) attachments: BTreeMap<String, Registered<AttachmentInputs, IgnoredAny>>,
    #[serde(rename = "aws:s3/bucketPolicy:BucketPolicy", default)]
    pub(super) bucket_policies: BTreeMap<String, Registered<BucketPolicyInputs, IgnoredAny>>,
    #[serde(rename = "aws:kms/key:Key", default)]
    pub(super) keys: BTreeMap<String, Registered<KeyInputs, Named>>,
    #[serde(rename = "aws:lambda/permission:Permission", default)]
    pub(super) permissions: BTreeMap<String, Registered<PermissionInputs, IgnoredAny>>,
    #[serde(rename = "aws:lambda/function:Function", default)]
    pub(super) functions: BTreeMap<String, Registered<IgnoredAny>>,
    #[serde(
        rename = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        default
    )]
    encryptions: BTreeMap<String, Registered<EncryptionInputs, IgnoredAny>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Registered<I, O = Named> {
    pub(super) inputs: I,
    pub(super) outputs: O,
}

/// What AWS answers for most resources.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) arn: String,
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleInputs {
    pub(super) assume_role_policy: Value,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct RolePolicyInputs {
    pub(super) policy: Value,
    pub(super) role: String,
}

#[derive(Deserialize)]
pub(super) struct ManagedPolicyInputs {
    pub(super) policy: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttachmentInputs {
    pub(super) policy_arn: String,
    pub(super) role: String,
}

#[derive(Deserialize)]
pub(super) struct BucketPolicyInputs {
    pub(super) bucket: String,
    pub(super) policy: Value,
}

#[derive(Deserialize)]
pub(super) struct KeyInputs {
    pub(super) policy: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PermissionInputs {
    pub(super) function: String,
    action: String,
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    #[serde(rename = "statementId")]
    _statement_id: Option<String>,
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
    kms_master_key_id: Option<String>,
}

/// Properties of a role that say nothing about rights.
const HARMLESS: [&str; 7] = [
    "description",
    "forceDetachPolicies",
    "maxSessionDuration",
    "name",
    "namePrefix",
    "path",
    "tags",
];

/// The services that the stack on a laptop has, and whose policies must therefore all be read.
const SERVED: [&str; 6] =
    ["aws:athena/", "aws:kms/", "aws:lambda/", "aws:s3/", "aws:secretsmanager/", "aws:ssm/"];

/// A role with, say, `managedPolicyArns` or a permissions boundary has rights that are not read.
pub(super) fn refuse_unread_properties(
    pulumi_name: &str,
    role: &Registered<RoleInputs>,
) -> Result<(), PolicyError> {
    let unread = role.inputs.others.keys().find(|name| !HARMLESS.contains(&name.as_str()));
    unread.map_or(Ok(()), |how| {
        Err(PolicyError::Unread { what: format!("the role `{pulumi_name}`"), how: how.clone() })
    })
}

impl Inputs {
    pub(super) fn refuse_unread_types(&self) -> Result<(), PolicyError> {
        let gives_rights = |kind: &&String| {
            let is_policy = ["Policy", "Attachment", "Grant"].iter().any(|end| kind.ends_with(end));
            kind.starts_with("aws:iam/")
                || (is_policy && SERVED.iter().any(|service| kind.starts_with(service)))
        };
        self.resources.others.keys().find(gives_rights).map_or(Ok(()), |kind| {
            Err(PolicyError::Unread { what: "a resource".to_owned(), how: kind.clone() })
        })
    }

    pub(super) fn bucket_keys(&self) -> BTreeMap<String, String> {
        let encryptions = self.resources.encryptions.values();
        let keys = encryptions.flat_map(|Registered { inputs, .. }| {
            let rules = inputs.rules.iter();
            rules.filter_map(|rule| {
                let key = &rule.apply_server_side_encryption_by_default.kms_master_key_id;
                Some((inputs.bucket.clone(), key.clone()?))
            })
        });
        keys.collect()
    }
}

impl PermissionInputs {
    /// The policy that Lambda makes of a permission.
    pub(super) fn as_policy(&self, sid: &str, function_arn: &str) -> Value {
        let mut condition = json!({});
        if let Some(arn) = &self.source_arn {
            condition["ArnLike"] = json!({ "aws:SourceArn": arn });
        }
        if let Some(account) = &self.source_account {
            condition["StringEquals"] = json!({ "aws:SourceAccount": account });
        }
        json!({
            "Version": "2012-10-17",
            "Statement": {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": { "Service": self.principal },
                "Action": self.action,
                "Resource": function_arn,
                "Condition": condition,
            },
        })
    }
}
