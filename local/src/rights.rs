//! The guard behind the ports of its neighbours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use local_athena::{Access, AccessDenied, Athena, QueryAccess};
use local_iam::{AccessKey, Assumer, Call, ConditionKey, Context, Guard, Names, Refusal};
use local_secrets::SecretStores;
use local_states::{ObjectEntry, ObjectError, Objects, Roles, StepFunctions};

use crate::objects::StoredObjects;

#[cfg(test)]
mod tests;

/// What only the services know.
pub(crate) struct Services {
    pub(crate) athena: Athena,
    pub(crate) secrets: SecretStores,
    /// Weak, because Step Functions knows the guard, and the guard this.
    pub(crate) step_functions: Arc<OnceLock<Weak<StepFunctions>>>,
}

impl Names for Services {
    fn work_group_of(&self, query_execution_id: &str) -> Option<String> {
        self.athena.work_group_of(query_execution_id)
    }

    fn state_machine_of_token(&self, token: &str) -> Option<String> {
        self.step_functions.get()?.upgrade()?.state_machine_of_token(token)
    }

    fn secret_arn(&self, id: &str) -> Option<String> {
        self.secrets.secret_arn(id)
    }

    fn tables_of(&self, sql: &str, database: &str) -> Vec<(String, String)> {
        self.athena.tables_of(sql, database)
    }
}

/// The rights of whoever starts a query, which Athena looks at when the query runs.
#[derive(Default)]
pub(crate) struct QueryRights {
    /// Weak, because the guard knows Athena, and Athena this.
    guard: OnceLock<Weak<Guard>>,
}

impl QueryRights {
    /// Connects the guard, which is made after Athena.
    pub(crate) fn connect(&self, guard: &Arc<Guard>) {
        let is_new = self.guard.set(Arc::downgrade(guard)).is_ok();
        debug_assert!(is_new, "a stack has one guard");
    }
}

impl Access for QueryRights {
    fn check(&self, query: &QueryAccess<'_>) -> Result<(), AccessDenied> {
        let guard = self.guard.get().and_then(Weak::upgrade);
        let Some(guard) = guard else {
            return Err(AccessDenied::Catalog("The stack is being shut down.".to_owned()));
        };
        let QueryAccess { caller, query, catalog, database, result_bucket, result_key } = *query;
        let of_catalog = guard.querying(query, catalog, database);
        guard
            .authorize(caller, &of_catalog)
            .map_err(|refusal| AccessDenied::Catalog(refusal.to_string()))?;
        let of_results = guard.writing_results(result_bucket, result_key);
        guard.authorize(caller, &of_results).map_err(|_| AccessDenied::Results)
    }
}

/// The one state machine and the children of its distributed maps, with the rights of their role.
#[derive(Clone)]
pub(crate) struct StateMachineRole {
    keys: Arc<RoleKeys>,
    /// The key of the state machine itself, which reads the items of its maps.
    key: AccessKey,
    region: String,
    objects: StoredObjects,
}

/// The keys of one role, one for each state machine that acts in it.
///
/// The trust policy is asked about `…:NAME` when the stack starts, and about `…:NAME/LABEL` when the
/// first child of that map runs.
struct RoleKeys {
    guard: Guard,
    role_arn: String,
    /// By the ARN of the state machine.
    keys: Mutex<BTreeMap<String, AccessKey>>,
}

impl RoleKeys {
    /// Returns the key with which a state machine acts. A refusal is not kept: the next call asks
    /// again.
    fn key_of(&self, state_machine_arn: &str) -> Result<AccessKey, Refusal> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(state_machine_arn) {
            return Ok(key.clone());
        }
        let key = self.guard.assume(Assumer::StateMachine(state_machine_arn), &self.role_arn)?;
        keys.insert(state_machine_arn.to_owned(), key.clone());
        Ok(key)
    }
}

impl StateMachineRole {
    /// Takes the role for the state machine.
    pub(crate) fn assume(
        guard: &Guard,
        state_machine_arn: &str,
        role_arn: &str,
        region: &str,
        objects: StoredObjects,
    ) -> Result<Self, Refusal> {
        let keys = RoleKeys {
            guard: guard.clone(),
            role_arn: role_arn.to_owned(),
            keys: Mutex::default(),
        };
        let key = keys.key_of(state_machine_arn)?;
        Ok(Self { keys: Arc::new(keys), key, region: region.to_owned(), objects })
    }

    fn key_of(&self, role_arn: &str, state_machine_arn: &str) -> Result<AccessKey, String> {
        if role_arn != self.keys.role_arn {
            return Err(format!("nobody has taken the role {role_arn}"));
        }
        let key = self.keys.key_of(state_machine_arn);
        key.map_err(|refusal| format!("{refusal} (for {state_machine_arn})"))
    }

    fn check_all(&self, calls: &[Call]) -> Result<(), ObjectError> {
        let checked = self.keys.guard.authorize(&self.key.id, calls);
        checked.map_err(|refusal| ObjectError::Unavailable(refusal.to_string()))
    }
}

impl Roles for StateMachineRole {
    fn authorization(
        &self,
        role_arn: &str,
        state_machine_arn: &str,
    ) -> Result<Option<String>, String> {
        let key = self.key_of(role_arn, state_machine_arn)?;
        Ok(Some(key.authorization(&self.region, "lambda")))
    }

    fn check(
        &self,
        role_arn: &str,
        state_machine_arn: &str,
        action: &str,
        resource: &str,
    ) -> Result<(), String> {
        let key = self.key_of(role_arn, state_machine_arn)?;
        let calls = [Call::new(action, resource)];
        self.keys.guard.authorize(&key.id, &calls).map_err(|refusal| refusal.to_string())
    }
}

#[async_trait]
impl Objects for StateMachineRole {
    async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectError> {
        self.check_all(&self.keys.guard.reading(bucket, key))?;
        self.objects.get(bucket, key).await
    }

    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectEntry>, ObjectError> {
        let context = Context::new().with(ConditionKey::Prefix, prefix);
        let call = Call::new("s3:ListBucket", format!("arn:aws:s3:::{bucket}"));
        self.check_all(&[Call { context, ..call }])?;
        self.objects.list(bucket, prefix).await
    }
}
