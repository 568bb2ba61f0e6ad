//! The policies that the Pulumi program generates: understood in full, and neither more nor less
//! than what the workflow needs.

use std::sync::Arc;

use local_iam::{Assumer, Call, ConditionKey, Context, Guard, Names, Policies};

const DEV: &str = include_str!("../../../infra/stacks/dev.json");
const PROD: &str = include_str!("../../../infra/stacks/prod.json");

struct Nothing;

impl Names for Nothing {
    fn work_group_of(&self, _: &str) -> Option<String> {
        None
    }

    fn secret_arn(&self, _: &str) -> Option<String> {
        None
    }

    fn state_machine_of_token(&self, _: &str) -> Option<String> {
        None
    }

    fn tables_of(&self, _: &str, _: &str) -> Vec<(String, String)> {
        Vec::new()
    }
}

fn policies(text: &str) -> Policies {
    let stack = serde_json::from_str(text).expect("a stack's file is JSON");
    Policies::read(&stack).unwrap_or_else(|error| {
        panic!("{error}: {:?}", std::error::Error::source(&error));
    })
}

#[test]
fn every_policy_of_every_stack_is_understood() {
    policies(DEV);
    policies(PROD);
}

#[track_caller]
fn check(function: &str, calls: &[(&str, &str)], context: &Context, allowed: bool) {
    let guard = Guard::new(policies(DEV), Arc::new(Nothing), []);
    let role = format!("arn:aws:iam::000000000000:role/athena-workflow-dev-{function}");
    let key = guard.assume(Assumer::Function(function), &role).expect("a function has its role");
    for (action, resource) in calls {
        let resource = match resource.split_once(':') {
            Some((service, rest)) => format!("arn:aws:{service}:us-east-1:000000000000:{rest}"),
            None => format!("arn:aws:s3:::{}", resource.replace("OUR", "athena-workflow-dev")),
        };
        let call = Call { context: context.clone(), ..Call::new(*action, resource) };
        let decision = guard.authorize(&key.id, &[call]);
        assert_eq!(decision.is_ok(), allowed, "{function}: {decision:?}");
    }
}

#[test]
fn a_function_reads_and_writes_its_own_part_of_the_buckets() {
    let none = &Context::new();
    let may = [("s3:GetObject", "OUR-queries/q.sql"), ("s3:PutObject", "OUR-results/r/plan.json")];
    check("query-loader", &may, none, true);
    let may_not = [
        ("s3:PutObject", "OUR-queries/q.sql"),
        ("s3:GetObject", "OUR-results/r/csv/q.csv"),
        ("s3:PutObject", "OUR-results/r/csv/q.csv"),
        ("s3:GetObject", "OUR-queries"),
        ("s3:GetObject", "OUR-queries-2/q.sql"),
    ];
    check("query-loader", &may_not, none, false);
    let reads = [("s3:GetObject", "OUR-results/r/results/q.json")];
    check("job-api", &reads, none, true);
    check("job-api", &[("s3:GetObject", "OUR-results/r/csv/q.csv")], none, false);
    check("extract-s3-key", &reads, none, false);
}

#[test]
fn a_query_reads_the_tables_below_its_prefix_and_no_others() {
    let none = &Context::new();
    let may = [("s3:GetObject", "acme-data-lake/tpch/a"), ("glue:GetTable", "glue:table/tpch/a")];
    check("execute-single-query", &may, none, true);
    let may_not = [
        ("s3:GetObject", "acme-data-lake/other/a"),
        ("s3:PutObject", "acme-data-lake/tpch/a"),
        ("s3:ListBucket", "acme-data-lake"),
        ("glue:GetTable", "glue:table/other/a"),
        ("glue:CreateTable", "glue:table/tpch/a"),
        ("athena:StartQueryExecution", "athena:workgroup/primary"),
    ];
    check("execute-single-query", &may_not, none, false);
    let list = [("s3:ListBucket", "acme-data-lake")];
    let prefix = |prefix: &str| Context::new().with(ConditionKey::Prefix, prefix);
    check("execute-single-query", &list, &prefix("tpch/a/"), true);
    check("execute-single-query", &list, &prefix("other/"), false);
}

#[test]
fn the_key_is_used_through_the_services_that_need_it() {
    let decrypt = [("kms:Decrypt", "kms:key/00000000-0000-0000-0000-000000000000")];
    let through = |service: &str| {
        let service = format!("{service}.us-east-1.amazonaws.com");
        Context::new().with(ConditionKey::ViaService, service)
    };
    check("file-transporter", &decrypt, &through("s3"), true);
    check("file-transporter", &decrypt, &through("secretsmanager"), true);
    check("file-transporter", &decrypt, &through("sqs"), false);
    check("file-transporter", &decrypt, &Context::new(), false);
    check("query-loader", &decrypt, &through("secretsmanager"), false);
    check("extract-s3-key", &decrypt, &through("s3"), false);
}
