//! The services of AWS, connected with each other.
//!
//! They know each other in circles: the guard asks Athena and Step Functions for names, Athena asks
//! the guard for rights, both put events on the bus, whose targets ask the guard. So that a stack
//! can go, each circle has a link that is weak or that is connected last.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use local_athena::Athena;
use local_events::{Bus, BusConfig};
use local_iam::{AccessKey, Guard};
use local_lambda::Lambda;
use local_s3::Store;
use local_secrets::SecretStores;
use local_states::{StatusListener, StepFunctions};

use super::{ACCESS_KEY, StackError};
use crate::{
    Deployment, StackConfig, deployment,
    events::{Announcer, RuleTargets, listeners},
    objects::StoredObjects,
    overlay,
    rights::{QueryRights, Services, StateMachineRole},
};

/// Events that are handed to one function at one time. The function's own queue is behind that.
const CONCURRENT_DELIVERIES_MAX: usize = 4;
/// The pause before an event is handed over again, as EventBridge begins.
const DELIVERY_RETRY_WAIT: Duration = Duration::from_secs(1);

/// The services behind the one address of AWS, but for S3.
pub(super) struct AwsServices {
    pub(super) athena: Athena,
    pub(super) secrets: SecretStores,
    pub(super) guard: Arc<Guard>,
    pub(super) lambda: Lambda,
    /// Access keys of the functions.
    pub(super) function_keys: Vec<AccessKey>,
    pub(super) events: Bus,
    pub(super) step_functions: Arc<StepFunctions>,
    pub(super) state_machine_arn: String,
}

impl AwsServices {
    /// Makes the services, which will answer at the address `aws`.
    pub(super) fn connect(
        config: &StackConfig,
        store: &Store,
        aws: &str,
        log_dir: PathBuf,
    ) -> Result<Self, StackError> {
        let Deployment { account, region, .. } = &config.deployment;
        let objects = StoredObjects(store.clone());
        let announcer = Arc::new(Announcer::new(account, region));
        let (state_listener, status_listener) = listeners(&announcer);
        let query_rights = Arc::new(QueryRights::default());
        let athena = Athena::new(local_athena::Config {
            account: account.clone(),
            region: region.clone(),
            data_dir: config.data_dir.clone(),
            results: Arc::new(objects.clone()),
            work_groups: config.deployment.work_groups.clone(),
            concurrent_queries_max: config.concurrent_queries_max,
            access: Some(Arc::<QueryRights>::clone(&query_rights)),
            listener: Some(state_listener),
        });
        let secrets = SecretStores::new(&local_secrets::Config {
            account: account.clone(),
            region: region.clone(),
        });
        let known_step_functions = Arc::new(OnceLock::new());
        let services = Services {
            athena: athena.clone(),
            secrets: secrets.clone(),
            step_functions: Arc::clone(&known_step_functions),
        };
        let guard = Arc::new(guard(&config.deployment, services));
        query_rights.connect(&guard);
        let (functions, function_keys) = overlay::functions(
            &config.deployment,
            &config.functions_dir,
            aws,
            &config.log_filter,
            &guard,
        )?;
        let lambda = Lambda::new(local_lambda::Config {
            account: account.clone(),
            region: region.clone(),
            log_dir: Some(log_dir),
            processes_max: config.processes_max,
            speed: config.speed,
            ..local_lambda::Config::new(functions)
        })?;
        let events = event_bus(config, &lambda, &guard);
        announcer.connect(events.clone());
        let (step_functions, state_machine_arn) =
            step_functions(config, &guard, aws, objects, status_listener)?;
        let step_functions = Arc::new(step_functions);
        let is_new = known_step_functions.set(Arc::downgrade(&step_functions)).is_ok();
        debug_assert!(is_new, "a stack has one Step Functions");
        Ok(Self {
            athena,
            secrets,
            guard,
            lambda,
            function_keys,
            events,
            step_functions,
            state_machine_arn,
        })
    }
}

/// The deployed policies, enforced on everybody but the developer.
fn guard(deployment: &Deployment, services: Services) -> Guard {
    let (developer, _) = ACCESS_KEY;
    Guard::new(deployment.policies.clone(), Arc::new(services), [developer.to_owned()])
}

/// The bus with the deployed rules.
fn event_bus(config: &StackConfig, lambda: &Lambda, guard: &Arc<Guard>) -> Bus {
    let targets = RuleTargets { lambda: lambda.clone(), guard: Arc::downgrade(guard) };
    Bus::new(BusConfig {
        rules: config.deployment.rules.clone(),
        targets: Arc::new(targets),
        concurrency_max: CONCURRENT_DELIVERIES_MAX,
        retry_wait: DELIVERY_RETRY_WAIT,
        faults: config.event_faults.clone(),
    })
}

/// Step Functions with the state machine, which acts in its role; and the state machine's ARN.
fn step_functions(
    config: &StackConfig,
    guard: &Guard,
    aws: &str,
    objects: StoredObjects,
    status_listener: Arc<dyn StatusListener>,
) -> Result<(StepFunctions, String), StackError> {
    let Deployment { account, region, state_machine, .. } = &config.deployment;
    let deployment::StateMachine { name, arn, role_arn, definition } = state_machine;
    let role = StateMachineRole::assume(guard, arn, role_arn, region, objects)?;
    let step_functions = StepFunctions::new(local_states::Config {
        speed: config.speed,
        status_listener: Some(status_listener),
        ..local_states::Config::new(account, region, aws, Arc::new(role.clone()), Arc::new(role))
    });
    let arn = step_functions.create_state_machine(name, definition, role_arn)?;
    Ok((step_functions, arn))
}
