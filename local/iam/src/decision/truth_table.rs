//! What AWS's documentation says about statements and requests, row by row. Each table names the
//! page of the IAM user guide that it is taken from.

use serde_json::{Value, json};

use super::*;
use crate::ConditionKey::{self, Prefix, SourceAccount, SourceArn, ViaService};

const ROLE: &str = "arn:aws:iam::111122223333:role/app";
const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/k";
const BUCKET: &str = "arn:aws:s3:::b";

/// A stack with one role, one bucket with a policy and one key with a policy.
fn stack(identity: &Value, bucket: &Value, key: &Value) -> Value {
    let policy = |statements: &Value| json!({ "Version": "2012-10-17", "Statement": statements });
    let trust = json!([{
        "Sid": "Assume", "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": { "Service": "states.amazonaws.com" },
        "Condition": {
            "StringEquals": { "aws:SourceAccount": "111122223333" },
            "ArnLike": { "aws:SourceArn": "arn:aws:states:us-east-1:111122223333:stateMachine:m*" },
        },
    }]);
    json!({
        "account": "111122223333",
        "region": "us-east-1",
        "resources": {
            "aws:iam/role:Role": {
                "app": {
                    "inputs": { "assumeRolePolicy": policy(&trust) },
                    "outputs": { "arn": ROLE, "name": "app" },
                },
            },
            "aws:iam/rolePolicy:RolePolicy": {
                "app": { "inputs": { "policy": policy(identity), "role": "app" }, "outputs": {} },
            },
            "aws:s3/bucketPolicy:BucketPolicy": {
                "b": { "inputs": { "policy": policy(bucket), "bucket": "b" }, "outputs": {} },
            },
            "aws:kms/key:Key": {
                "k": { "inputs": { "policy": policy(key) }, "outputs": { "arn": KEY } },
            },
        },
    })
}

fn statement(effect: &str, more: Value) -> Value {
    let mut statement = json!({
        "Sid": "S", "Effect": effect, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
    });
    let Value::Object(more) = more else { panic!("{more}") };
    statement.as_object_mut().unwrap().extend(more);
    statement
}

/// Says nothing about any request here.
fn elsewhere() -> Value {
    statement("Deny", json!({ "Principal": "*", "Resource": "arn:aws:s3:::elsewhere/*" }))
}

/// Leaves the decision to the account.
fn account_decides() -> Value {
    json!({
        "Sid": "Account", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
        "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
    })
}

fn policies(identity: &Value) -> Policies {
    Policies::read(&stack(identity, &elsewhere(), &account_decides())).unwrap()
}

#[track_caller]
fn check(policies: &Policies, call: &Call, expected: Result<(), Denial>) {
    let decision = policies.decide(ROLE, &policies.roles[ROLE], call).map(drop);
    assert_eq!(decision, expected, "{call:?}");
}

fn call(context: &[(ConditionKey, &str)]) -> Call {
    let context =
        context.iter().fold(Context::new(), |context, (key, value)| context.with(*key, *value));
    Call { context, ..Call::new("s3:GetObject", "arn:aws:s3:::b/k") }
}

#[track_caller]
fn check_both(identity: &Value, bucket: &Value, expected: Result<(), Denial>) {
    let policies = Policies::read(&stack(identity, bucket, &account_decides())).unwrap();
    check(&policies, &call(&[]), expected);
}

/// `reference_policies_evaluation-logic_policy-eval-denyallow.html` and
/// `reference_policies_evaluation-logic_policy-eval-basics-single-account.html`.
#[test]
fn a_denial_wins_a_permission_is_needed_and_a_resources_policy_may_give_it() {
    let (none, allow) = (
        statement("Allow", json!({ "Resource": "arn:aws:s3:::elsewhere/*" })),
        statement("Allow", json!({})),
    );
    let deny = statement("Deny", json!({}));
    let by = |effect, principal: &str| {
        let principal = if principal == "*" { json!("*") } else { json!({ "AWS": [principal] }) };
        statement(effect, json!({ "Principal": principal }))
    };
    let other_role = "arn:aws:iam::111122223333:role/other";
    let account = "arn:aws:iam::111122223333:root";
    let service = statement("Allow", json!({ "Principal": { "Service": "a.amazonaws.com" } }));
    // What the role says, what the bucket says.
    check_both(&none, &elsewhere(), Err(Denial::NotByRole));
    check_both(&allow, &elsewhere(), Ok(()));
    check_both(&deny, &elsewhere(), Err(Denial::ByRole));
    check_both(&json!([allow, deny]), &elsewhere(), Err(Denial::ByRole));
    check_both(&json!([deny, allow]), &elsewhere(), Err(Denial::ByRole));
    check_both(&none, &by("Allow", ROLE), Ok(()));
    check_both(&none, &by("Allow", "*"), Ok(()));
    check_both(&none, &by("Allow", other_role), Err(Denial::NotByRole));
    check_both(&none, &service, Err(Denial::NotByRole));
    check_both(&none, &by("Allow", account), Err(Denial::NotByRole));
    check_both(&allow, &by("Allow", account), Ok(()));
    check_both(&deny, &by("Allow", ROLE), Err(Denial::ByRole));
    check_both(&allow, &by("Deny", ROLE), Err(Denial::ByResource));
    check_both(&allow, &by("Deny", "*"), Err(Denial::ByResource));
    check_both(&allow, &by("Deny", account), Err(Denial::ByResource));
    check_both(&allow, &by("Deny", "111122223333"), Err(Denial::ByResource));
    check_both(&allow, &by("Deny", "444455556666"), Ok(()));
    check_both(&allow, &by("Deny", other_role), Ok(()));
}

/// `reference_policies_elements_action.html`, `reference_policies_elements_resource.html`.
#[test]
fn wildcards_stand_for_any_characters_in_actions_and_resources() {
    #[track_caller]
    fn row(element: &str, pattern: &str, found: &str, expected: bool) {
        let policies = policies(&statement("Allow", json!({ element: [pattern, pattern] })));
        let call = match element {
            "Action" => Call::new(found, "arn:aws:s3:::b/k"),
            _ => Call::new("s3:GetObject", found),
        };
        let expected = if expected { Ok(()) } else { Err(Denial::NotByRole) };
        check(&policies, &call, expected);
    }
    for (pattern, action, expected) in [
        ("*", "s3:GetObject", true),
        ("s3:*", "s3:GetObject", true),
        ("S3:getobject", "s3:GetObject", true),
        ("s3:Get*", "s3:GetObject", true),
        ("s3:*Object", "s3:GetObject", true),
        ("s3:GetO?ject", "s3:GetObject", true),
        ("s3:GetObject?", "s3:GetObject", false),
        ("s3:GetObject*", "s3:GetObject", true),
        ("s3:GetObject", "s3:GetObjectVersion", false),
        ("s3:Put*", "s3:GetObject", false),
        ("sts:*", "s3:GetObject", false),
    ] {
        row("Action", pattern, action, expected);
    }
    let object = |key: &str| format!("arn:aws:s3:::b/{key}");
    for (pattern, key, expected) in [
        ("*", "k", true),
        ("k", "k", true),
        ("k", "K", false),
        ("?", "k", true),
        ("?", "kk", false),
        ("?", "ü", true),
        ("k?", "k", false),
        ("k*", "k", true),
        ("*/test/*", "1/test/object.jpg", true),
        ("*/test/*", "1/2/test/3/object.jpg", true),
        ("*/test/*", "1///test///object.jpg", true),
        ("*/test/*", "/test/object.jpg", true),
        ("*/test/*", "1/test/", true),
        ("*/test/*", "1-test/object.jpg", false),
        ("*/test/*", "test/object.jpg", false),
        ("*/plan.json", "runs/a:b/plan.json", true),
        ("*/plan.json", "plan.json", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("*", "", true),
    ] {
        row("Resource", &object(pattern), &object(key), expected);
    }
    row("Resource", "*", "arn:aws:s3:::any/key", true);
    row("Resource", BUCKET, &object("k"), false);
    row("Resource", "arn:aws:s3:::b*", &object("k"), true);
    row("Resource", "arn:aws:s3:::b/*", BUCKET, false);
}

/// `reference_policies_elements_condition_operators.html` and, for several values,
/// `reference_policies_condition-logic-multiple-context-keys-or-values.html`.
#[test]
fn conditions_compare_what_the_request_has() {
    const MACHINE: &str = "arn:aws:states:us-east-1:111122223333:stateMachine:m:x";
    #[track_caller]
    fn row(
        operator: &str,
        key: &str,
        values: impl Into<Value>,
        have: &[(ConditionKey, &str)],
        holds: bool,
    ) {
        let condition = json!({ "Condition": { operator: { key: values.into() } } });
        let expected = if holds { Ok(()) } else { Err(Denial::NotByRole) };
        check(&policies(&statement("Allow", condition)), &call(have), expected);
    }
    let prefix = |value| [(Prefix, value)];
    let source = |value| [(SourceArn, value)];
    let none: &[(ConditionKey, &str)] = &[];

    row("StringEquals", "s3:prefix", "a", &prefix("a"), true);
    row("StringEquals", "S3:Prefix", "a", &prefix("a"), true);
    row("StringEquals", "s3:prefix", "a", &prefix("A"), false);
    row("StringEquals", "s3:prefix", "a*", &prefix("ab"), false);
    row("StringEquals", "s3:prefix", "a", none, false);
    row("StringEquals", "s3:prefix", ["b", "a"], &prefix("a"), true);
    row("StringEquals", "s3:prefix", ["b", "c"], &prefix("a"), false);
    row("StringNotEquals", "s3:prefix", "a", &prefix("a"), false);
    row("StringNotEquals", "s3:prefix", "a", &prefix("b"), true);
    row("StringNotEquals", "s3:prefix", "a", none, true);
    row("StringNotEquals", "s3:prefix", ["a", "b"], &prefix("b"), false);
    row("StringEqualsIgnoreCase", "s3:prefix", "a", &prefix("A"), true);
    row("StringEqualsIgnoreCase", "s3:prefix", "a", &prefix("b"), false);
    row("StringNotEqualsIgnoreCase", "s3:prefix", "a", &prefix("A"), false);
    row("StringLike", "s3:prefix", "a/*", &prefix("a/b/c"), true);
    row("StringLike", "s3:prefix", "a/?", &prefix("a/bc"), false);
    row("StringLike", "s3:prefix", "A/*", &prefix("a/b"), false);
    row("StringLike", "s3:prefix", "*", none, false);
    row("StringNotLike", "s3:prefix", "a/*", &prefix("a/b"), false);
    row("StringNotLike", "s3:prefix", "a/*", &prefix("b"), true);
    row("StringNotLike", "s3:prefix", "a/*", none, true);

    row("ArnLike", "aws:SourceArn", MACHINE, &source(MACHINE), true);
    row("ArnEquals", "aws:SourceArn", "arn:aws:*:*:*:stateMachine:*", &source(MACHINE), true);
    row("ArnLike", "aws:SourceArn", "arn:aws:s*:us-*-?:*:*", &source(MACHINE), true);
    row("ArnLike", "aws:SourceArn", "arn:aws:*:stateMachine:*:*", &source(MACHINE), false);
    row("ArnLike", "aws:SourceArn", "arn:aws:*:x:*:m:x", &source(MACHINE), false);
    row("ArnLike", "aws:SourceArn", "arn:aws:*:*:*:stateMachine:n*", &source(MACHINE), false);
    row("ArnLike", "aws:SourceArn", "arn:*:*:*:*:*", &source("no ARN"), false);
    row("ArnLike", "aws:SourceArn", "arn:*:*:*:*:*", none, false);
    row("ArnNotLike", "aws:SourceArn", "arn:*:*:*:*:*", &source(MACHINE), false);
    row("ArnNotEquals", "aws:SourceArn", "arn:*:*:*:*:*", none, true);

    row("Bool", "aws:SecureTransport", "true", none, true);
    row("Bool", "aws:SecureTransport", true, none, true);
    row("Bool", "aws:SecureTransport", "false", none, false);
    row("Bool", "s3:prefix", "true", &prefix("TRUE"), true);
    row("Bool", "s3:prefix", "true", none, false);
    row("Null", "s3:prefix", "true", none, true);
    row("Null", "s3:prefix", "true", &prefix(""), false);
    row("Null", "s3:prefix", "false", &prefix(""), true);
    row("Null", "s3:prefix", false, none, false);

    row("StringEqualsIfExists", "s3:prefix", "a", none, true);
    row("StringEqualsIfExists", "s3:prefix", "a", &prefix("b"), false);
    row("StringLikeIfExists", "s3:prefix", "a*", &prefix("ab"), true);
    row("ArnLikeIfExists", "aws:SourceArn", MACHINE, none, true);
    row("BoolIfExists", "aws:SecureTransport", "false", none, false);
    row("StringNotEqualsIfExists", "s3:prefix", "a", none, true);
}

/// `reference_policies_condition-logic-multiple-context-keys-or-values.html`: operators and keys
/// are joined by "and", values by "or".
#[test]
fn all_conditions_of_a_statement_must_hold() {
    let condition = json!({ "Condition": {
        "StringEquals": { "aws:SourceAccount": ["1", "2"], "kms:ViaService": "s3" },
        "StringLike": { "s3:prefix": ["a/*", "b/*"] },
    }});
    let policies = policies(&statement("Allow", condition));
    for (account, service, prefix, holds) in [
        ("1", "s3", "a/x", true),
        ("2", "s3", "b/x", true),
        ("3", "s3", "b/x", false),
        ("1", "sqs", "b/x", false),
        ("1", "s3", "c/x", false),
    ] {
        let call = call(&[(SourceAccount, account), (ViaService, service), (Prefix, prefix)]);
        check(&policies, &call, if holds { Ok(()) } else { Err(Denial::NotByRole) });
    }
}

/// `key-policy-overview.html` and `key-policy-default.html` of the KMS developer guide: without the
/// account's statement a role's policy gives no right to a key.
#[test]
fn a_keys_policy_must_allow_too_itself_or_by_the_account() {
    let call = Call::new("kms:Decrypt", KEY);
    let (may, may_not) = (
        statement("Allow", json!({ "Action": "kms:Decrypt", "Resource": KEY })),
        statement("Allow", json!({ "Action": "kms:Encrypt", "Resource": KEY })),
    );
    let for_role = json!({
        "Sid": "Role", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*",
        "Principal": { "AWS": ROLE },
    });
    let for_logs = json!({
        "Sid": "Logs", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
        "Principal": { "Service": "logs.us-east-1.amazonaws.com" },
    });
    for (identity, key, expected) in [
        (&may, account_decides(), Ok(())),
        (&may, for_logs.clone(), Err(Denial::NotByResource)),
        (&may_not, account_decides(), Err(Denial::NotByRole)),
        (&may_not, for_role, Ok(())),
    ] {
        let policies = Policies::read(&stack(identity, &elsewhere(), &key)).unwrap();
        check(&policies, &call, expected);
    }
    // The key of another account, whose policy is not known here.
    let elsewhere_key = "arn:aws:kms:us-east-1:444455556666:key/k";
    let abroad = statement("Allow", json!({ "Action": "kms:*", "Resource": elsewhere_key }));
    check(&policies(&abroad), &Call::new("kms:Decrypt", elsewhere_key), Ok(()));
}

/// `confused-deputy.html`.
#[test]
fn a_role_is_taken_by_the_service_and_for_the_resource_that_its_trust_names() {
    let policies = policies(&statement("Allow", json!({})));
    let role = &policies.roles[ROLE];
    let machine = "arn:aws:states:us-east-1:111122223333:stateMachine:main";
    let other = "arn:aws:states:us-east-1:111122223333:stateMachine:other";
    for (service, account, source, expected) in [
        ("states.amazonaws.com", "111122223333", machine, true),
        ("states.amazonaws.com", "111122223333", other, false),
        ("states.amazonaws.com", "444455556666", machine, false),
        ("lambda.amazonaws.com", "111122223333", machine, false),
    ] {
        let context = Context::new().with(SourceAccount, account).with(SourceArn, source);
        assert_eq!(role.trusts(service, &context), expected, "{service} {account} {source}");
    }
    assert!(!role.trusts("states.amazonaws.com", &Context::new()));
}

#[test]
fn what_is_not_understood_is_an_error_and_is_named() {
    #[track_caller]
    fn row(stack: &Value, expected: &[&str]) {
        let error = Policies::read(stack).unwrap_err();
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text = format!("{text}: {source}");
        }
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    }
    let with = |more: Value| stack(&statement("Allow", more), &elsewhere(), &account_decides());
    let condition = |operator: &str, key: &str, value: Value| {
        with(json!({ "Condition": { operator: { key: value } } }))
    };
    row(&with(json!({ "NotAction": "s3:*" })), &["the role policy `app`", "`NotAction`"]);
    row(&with(json!({ "NotResource": "*" })), &["`NotResource`"]);
    row(&with(json!({ "NotPrincipal": "*" })), &["`NotPrincipal`"]);
    row(&with(json!({ "Action": "GetObject" })), &["`GetObject`", "service:Name"]);
    row(&with(json!({ "Action": [] })), &["empty"]);
    row(&with(json!({ "Effect": "allow" })), &["`allow`"]);
    row(&with(json!({ "Resource": "bucket/*" })), &["`bucket/*`"]);
    row(&with(json!({ "Resource": "arn:aws:s*:::b" })), &["`arn:aws:s*:::b`"]);
    row(&with(json!({ "Resource": "arn:aws:s3:::b/${aws:username}" })), &["${aws:username}"]);
    row(&with(json!({ "Principal": "*" })), &["`S`", "principal"]);
    row(&condition("IpAddress", "s3:prefix", json!("a")), &["`IpAddress`"]);
    row(&condition("ForAnyValue:StringEquals", "s3:prefix", json!("a")), &["ForAnyValue"]);
    row(&condition("NullIfExists", "s3:prefix", json!("true")), &["`NullIfExists`"]);
    row(&condition("StringEquals", "aws:username", json!("a")), &["`aws:username`"]);
    row(&condition("StringEquals", "s3:prefix", json!("${a}")), &["`${a}`"]);
    row(&condition("StringEquals", "s3:prefix", json!(5)), &["`5`"]);
    row(&condition("Bool", "s3:prefix", json!("yes")), &["`yes`"]);
    row(&condition("ArnLike", "aws:SourceArn", json!("*")), &["`*`"]);

    let mut changed = with(json!({}));
    changed["resources"]["aws:iam/role:Role"]["app"]["inputs"]["permissionsBoundary"] = json!("x");
    row(&changed, &["the role `app`", "`permissionsBoundary`"]);
    let mut changed = with(json!({}));
    changed["resources"]["aws:iam/policyAttachment:PolicyAttachment"] = json!({});
    row(&changed, &["PolicyAttachment"]);
    let mut changed = with(json!({}));
    changed["resources"]["aws:iam/rolePolicy:RolePolicy"]["app"]["inputs"]["role"] = json!("x");
    row(&changed, &["the role policy `app`", "`x`"]);
    let mut changed = with(json!({}));
    changed["resources"]["aws:iam/rolePolicy:RolePolicy"]["app"]["inputs"]["policy"]["Version"] =
        json!("2008-10-17");
    row(&changed, &["2008-10-17"]);
    let principal = |principal: Value| {
        let bucket = statement("Deny", json!({ "Principal": principal }));
        stack(&statement("Allow", json!({})), &bucket, &account_decides())
    };
    row(&principal(json!({ "Federated": "x" })), &["the bucket policy `b`", "Federated"]);
    row(&principal(json!({ "AWS": "arn:aws:iam::111122223333:user/u" })), &["user/u"]);
    let no_principal =
        stack(&statement("Allow", json!({})), &statement("Deny", json!({})), &elsewhere());
    row(&no_principal, &["`S`", "no principal"]);
}
