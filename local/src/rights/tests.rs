use local_iam::Policies;
use serde_json::{Value, json};

use super::*;

const STACK: &str = include_str!("../../../infra/stacks/dev.json");
const ROLE: &str = "arn:aws:iam::000000000000:role/athena-workflow-dev";
const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:athena-workflow-dev";

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

/// The role of the stack `dev`, which trusts these state machines.
fn keys(trusted: &[&str]) -> RoleKeys {
    let mut stack: Value = serde_json::from_str(STACK).unwrap();
    let roles = &mut stack["resources"]["aws:iam/role:Role"];
    let trust = &mut roles["athena-workflow-dev"]["inputs"]["assumeRolePolicy"]["Statement"][0];
    trust["Condition"]["ArnLike"]["aws:SourceArn"] = json!(trusted);
    let policies = Policies::read(&stack).unwrap();
    RoleKeys {
        guard: Guard::new(policies, Arc::new(Nothing), []),
        role_arn: ROLE.to_owned(),
        keys: Mutex::default(),
    }
}

#[test]
fn a_child_of_a_map_takes_the_role_under_its_own_arn_once() {
    let keys = keys(&[MACHINE, &format!("{MACHINE}/*")]);
    let child = format!("{MACHINE}/Queries");
    let ids = [MACHINE, &child, MACHINE, &child].map(|arn| keys.key_of(arn).unwrap().id);
    assert_eq!((&ids[0], &ids[1]), (&ids[2], &ids[3]));
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_role_that_trusts_the_machine_alone_refuses_its_children() {
    let keys = keys(&[MACHINE]);
    assert!(keys.key_of(MACHINE).is_ok());
    let refusal = keys.key_of(&format!("{MACHINE}/Queries")).map(|key| key.id);
    assert_eq!(
        refusal.map_err(|refusal| refusal.to_string()),
        Err(format!(
            "Neither the global service principal states.amazonaws.com, nor the regional one is \
             authorized to assume the provided role: {ROLE}"
        ))
    );
}
