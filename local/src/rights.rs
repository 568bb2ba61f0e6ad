//! The guard behind the ports of its neighbours.

use async_trait::async_trait;
use bytes::Bytes;
use local_athena::Athena;
use local_iam::{AccessKey, Call, ConditionKey, Context, Guard, Names};
use local_secrets::SecretStores;
use local_states::{ObjectEntry, ObjectError, Objects, Roles};

use crate::objects::StoredObjects;

/// What only the services know.
pub(crate) struct Services {
    pub(crate) athena: Athena,
    pub(crate) secrets: SecretStores,
}

impl Names for Services {
    fn work_group_of(&self, query_execution_id: &str) -> Option<String> {
        self.athena.work_group_of(query_execution_id)
    }

    fn secret_arn(&self, id: &str) -> Option<String> {
        self.secrets.secret_arn(id)
    }

    fn tables_of(&self, sql: &str, database: &str) -> Vec<(String, String)> {
        self.athena.tables_of(sql, database)
    }
}

/// The one state machine, with the rights of its role.
#[derive(Clone)]
pub(crate) struct StateMachineRole {
    pub(crate) guard: Guard,
    pub(crate) role_arn: String,
    pub(crate) key: AccessKey,
    pub(crate) region: String,
    pub(crate) objects: StoredObjects,
}

impl Roles for StateMachineRole {
    fn authorization(&self, role_arn: &str) -> Option<String> {
        (role_arn == self.role_arn).then(|| self.key.authorization(&self.region, "lambda"))
    }

    fn check(&self, role_arn: &str, action: &str, resource: &str) -> Result<(), String> {
        if role_arn != self.role_arn {
            return Err(format!("nobody has taken the role {role_arn}"));
        }
        let calls = [Call::new(action, resource)];
        self.guard.authorize(&self.key.id, &calls).map_err(|refusal| refusal.to_string())
    }
}

impl StateMachineRole {
    fn check_all(&self, calls: &[Call]) -> Result<(), ObjectError> {
        let checked = self.guard.authorize(&self.key.id, calls);
        checked.map_err(|refusal| ObjectError::Unavailable(refusal.to_string()))
    }
}

#[async_trait]
impl Objects for StateMachineRole {
    async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectError> {
        self.check_all(&self.guard.reading(bucket, key))?;
        self.objects.get(bucket, key).await
    }

    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectEntry>, ObjectError> {
        let context = Context::new().with(ConditionKey::Prefix, prefix);
        let call = Call::new("s3:ListBucket", format!("arn:aws:s3:::{bucket}"));
        self.check_all(&[Call { context, ..call }])?;
        self.objects.list(bucket, prefix).await
    }
}
