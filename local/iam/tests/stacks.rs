//! The policies that the Pulumi program generates are understood in full.

use local_iam::Policies;

#[track_caller]
fn check(name: &str, text: &str) {
    let stack = serde_json::from_str(text).expect("a stack's file is JSON");
    if let Err(error) = Policies::read(&stack) {
        panic!("{name}: {error}: {:?}", std::error::Error::source(&error));
    }
}

#[test]
fn every_policy_of_every_stack_is_understood() {
    check("dev", include_str!("../../../infra/stacks/dev.json"));
    check("prod", include_str!("../../../infra/stacks/prod.json"));
}
