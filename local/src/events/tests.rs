use std::{collections::BTreeMap, time::Duration};

use local_events::{BusConfig, EventFaults, RuleUsage};
use local_iam::Names;
use local_lambda::{Config, Credentials, EventInvokeConfig, Function};
use serde_json::json;

use super::*;
use crate::Deployment;

struct Nothing;

impl Names for Nothing {
    fn work_group_of(&self, _: &str) -> Option<String> {
        None
    }

    fn state_machine_of_token(&self, _: &str) -> Option<String> {
        None
    }

    fn secret_arn(&self, _: &str) -> Option<String> {
        None
    }

    fn tables_of(&self, _: &str, _: &str) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// The bus of a stack whose functions end at once.
struct Wired {
    bus: Bus,
    announcer: Announcer,
    /// The bus alone does not keep it.
    _guard: Arc<Guard>,
}

fn wired(deployment: &Deployment) -> Wired {
    let functions = deployment.functions.iter().map(|function| Function {
        name: function.name.clone(),
        binary: "/bin/true".into(),
        credentials: Credentials::new("test", "test"),
        environment: BTreeMap::new(),
        memory_mb: 128,
        timeout_seconds: 1,
        concurrency_max: 1,
        events: EventInvokeConfig::default(),
    });
    let lambda = Lambda::new(Config::new(functions.collect())).unwrap();
    let guard = Arc::new(Guard::new(deployment.policies.clone(), Arc::new(Nothing), []));
    let bus = Bus::new(BusConfig {
        rules: deployment.rules.clone(),
        targets: Arc::new(RuleTargets { lambda, guard: Arc::downgrade(&guard) }),
        concurrency_max: 4,
        retry_wait: Duration::from_micros(1),
        faults: EventFaults::default(),
    });
    let announcer = Announcer::new(&deployment.account, &deployment.region);
    announcer.connect(bus.clone());
    Wired { bus, announcer, _guard: guard }
}

fn query_ended() -> serde_json::Value {
    json!({
        "source": "aws.athena",
        "detail-type": "Athena Query State Change",
        "detail": {
            "currentState": "SUCCEEDED",
            "queryExecutionId": "q-1",
            "workgroupName": "athena-workflow-dev",
        },
    })
}

const DELIVERED: RuleUsage = RuleUsage { matched: 1, delivered: 1, retried: 0, dead_letters: 0 };

#[tokio::test]
async fn a_rule_calls_a_function_by_the_functions_permission() {
    let Wired { bus, _guard, .. } = wired(&Deployment::dev());
    bus.put(query_ended());
    bus.idle().await;
    assert_eq!(bus.usage("athena-workflow-dev-query-ended"), DELIVERED);
    assert_eq!(bus.dead_letters(), []);
}

#[tokio::test]
async fn without_the_permission_the_event_is_a_dead_letter_at_once() {
    let mut document: serde_json::Value =
        serde_json::from_str(include_str!("../../../infra/stacks/dev.json")).unwrap();
    let permissions = &mut document["resources"]["aws:lambda/permission:Permission"];
    permissions.as_object_mut().unwrap().remove("athena-workflow-dev-query-ended");
    let deployment = Deployment::parse(&document.to_string()).unwrap();
    let Wired { bus, _guard, .. } = wired(&deployment);
    bus.put(query_ended());
    bus.idle().await;
    let [letter] = &bus.dead_letters()[..] else { panic!("{:?}", bus.dead_letters()) };
    let queue = "arn:aws:sqs:us-east-1:000000000000:athena-workflow-dev-lost-events";
    assert_eq!((&*letter.rule, letter.tries), ("athena-workflow-dev-query-ended", 1));
    assert_eq!((letter.queue_arn.as_deref(), &letter.event), (Some(queue), &query_ended()));
    assert_eq!(letter.error.code, "NO_PERMISSIONS");
    let reason = "because no resource-based policy allows the lambda:InvokeFunction action";
    assert!(letter.error.message.contains(reason), "{}", letter.error.message);
}

#[tokio::test]
async fn a_run_that_failed_is_told_to_the_function_and_to_the_topic() {
    let Wired { bus, announcer, _guard } = wired(&Deployment::dev());
    let at = "2026-11-30T12:00:00Z".parse().unwrap();
    let change = |arn: &str| StatusChange {
        id: "e-1".to_owned(),
        execution_arn: "arn:aws:states:us-east-1:000000000000:execution:athena-workflow-dev:r"
            .to_owned(),
        state_machine_arn: arn.to_owned(),
        name: "r".to_owned(),
        status: local_states::Status::TimedOut,
        started: at,
        stopped: Some(at),
        input: "{}".into(),
        output: None,
    };
    let machine = "arn:aws:states:us-east-1:000000000000:stateMachine:athena-workflow-dev";
    StatusListener::changed(&announcer, change(machine));
    // The children of a distributed map belong to another state machine.
    StatusListener::changed(&announcer, change(&format!("{machine}/Items")));
    bus.idle().await;
    assert_eq!(bus.events().len(), 2);
    for rule in ["athena-workflow-dev", "athena-workflow-dev-run-failed"] {
        assert_eq!(bus.usage(rule), DELIVERED, "{rule}");
    }
}
