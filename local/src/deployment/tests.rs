use std::collections::BTreeSet;

use job::{ErrorName, Job};
use local_events::{MatchedRule, RetryPolicy};
use local_scheduler::Scheduler;
use serde_json::{Value, json};

use super::*;

/// The workflow, with its `${Placeholders}`.
const WORKFLOW: &str = include_str!("../../../infra/workflow.asl.json");

const PROD: &str = include_str!("../../../infra/stacks/prod.json");

fn dev() -> Value {
    serde_json::from_str(DEV).unwrap()
}

/// What is wrong with the stack `dev` after a change of its resources.
#[track_caller]
fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
    let mut document = dev();
    change(&mut document["resources"]);
    let faults = match Deployment::parse(&document.to_string()) {
        Ok(_) => Vec::new(),
        Err(DeploymentError::Faults(faults)) => faults,
        Err(error) => panic!("{error}"),
    };
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults, expected);
}

/// A resource of the stack `dev` whose name ends so.
fn resource<'a>(resources: &'a mut Value, kind: &str, end: &str) -> &'a mut Value {
    &mut resources[kind][format!("athena-workflow-dev{end}")]
}

#[test]
fn a_function_is_deployed_as_the_file_says() {
    let deployment = Deployment::dev();
    let arn =
        "arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-execute-single-query";
    let expected = Function {
        name: "athena-workflow-dev-execute-single-query".to_owned(),
        arn: arn.to_owned(),
        role_arn: "arn:aws:iam::000000000000:role/athena-workflow-dev-execute-single-query"
            .to_owned(),
        invoke_arn: format!(
            "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"
        ),
        binary: "execute-single-query".to_owned(),
        environment: [
            ("MALLOC_MMAP_THRESHOLD_", "131072"),
            ("STATE_BUCKET", "athena-workflow-dev-state"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        memory_mb: 512,
        timeout_seconds: 300,
        reserved_concurrency: None,
        events: EventInvokeConfig::default(),
    };
    assert_eq!(deployment.function("execute-single-query"), Some(&expected));
    let prod = Deployment::parse(PROD).unwrap();
    let function = prod.function("execute-single-query-result").unwrap();
    assert_eq!((function.memory_mb, function.reserved_concurrency), (1769, Some(200)));
}

#[test]
fn buckets_work_groups_and_routes_are_those_of_the_file() {
    let deployment = Deployment::dev();
    let settings = BucketSettings { versioned: true, kms: true };
    let buckets = ["queries", "results", "state"]
        .map(|name| Bucket { name: format!("athena-workflow-dev-{name}"), settings });
    assert_eq!(deployment.buckets, buckets);
    let Deployment { queries_bucket, results_bucket, state_bucket, .. } = &deployment;
    assert_eq!([queries_bucket, results_bucket, state_bucket], buckets.each_ref().map(|b| &b.name));
    let work_group = WorkGroup {
        name: "athena-workflow-dev".to_owned(),
        output_location: Some("s3://athena-workflow-dev-results/athena/".to_owned()),
        enforce_configuration: true,
        bytes_scanned_max: Some(10_000_000_000),
    };
    assert_eq!(deployment.work_groups, [work_group]);
    let route = |key: &str| Route {
        key: key.to_owned(),
        function: "athena-workflow-dev-job-api".to_owned(),
        arn: format!(
            "arn:aws:execute-api:us-east-1:000000000000:athena-workflow-dev/$default/{}",
            key.replace(" /", "/")
        ),
        authorization: Authorization::Iam,
    };
    let api = Api {
        id: "athena-workflow-dev".to_owned(),
        routes: ["GET /jobs/{run_id}", "POST /jobs"].map(route).into(),
        timeout_milliseconds: 30_000,
    };
    assert_eq!(deployment.api, api);
    let prod = Deployment::parse(PROD).unwrap();
    assert_eq!(prod.region, "eu-central-1");
    assert!(prod.api.routes.iter().all(|route| route.authorization == Authorization::Jwt));
}

#[test]
fn two_functions_of_one_package_are_told_apart_by_their_names() {
    let mut deployment = Deployment::dev();
    let name = "execute-single-query-result";
    let result = deployment.function(name).unwrap().clone();
    assert_eq!(result.name, "athena-workflow-dev-execute-single-query-result");
    assert_eq!(result.binary, "execute-single-query");
    assert_eq!(deployment.function_mut(name), Some(&mut result.clone()));
    let starting = deployment.function("execute-single-query").unwrap();
    assert_eq!(starting.binary, result.binary);
    assert_ne!(starting.name, result.name);
    assert_eq!(deployment.function("athena-workflow-dev-execute-single-query"), None);
    assert_eq!(deployment.function("query-loade"), None);
}

/// Versions and keys are resources of their own.
#[test]
fn a_bucket_without_settings_has_no_versions_and_no_key() {
    let mut document = dev();
    let resources = &mut document["resources"];
    for kind in [BUCKET_VERSIONING, BUCKET_ENCRYPTION] {
        resources[kind].as_object_mut().unwrap().remove("athena-workflow-dev-queries");
    }
    let suspended = resource(resources, BUCKET_VERSIONING, "-state");
    suspended["inputs"]["versioningConfiguration"]["status"] = json!("Suspended");
    let deployment = Deployment::parse(&document.to_string()).unwrap();
    let settings: Vec<_> = deployment.buckets.iter().map(|bucket| bucket.settings).collect();
    let of = |versioned, kms| BucketSettings { versioned, kms };
    assert_eq!(settings, [of(false, false), of(true, true), of(false, true)]);
}

const GATHERER: &str =
    "arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-results-gatherer";
const LOST_EVENTS: &str = "arn:aws:sqs:us-east-1:000000000000:athena-workflow-dev-lost-events";

#[test]
fn rules_and_their_targets_are_those_of_the_file() {
    let deployment = Deployment::dev();
    let [failed_alert, query_ended, run_failed] = &deployment.rules[..] else {
        panic!("{:?}", deployment.rules);
    };
    let arn = "arn:aws:events:us-east-1:000000000000:rule/athena-workflow-dev-query-ended";
    assert_eq!((&*query_ended.arn, query_ended.is_enabled), (arn, true));
    let event = json!({
        "source": "aws.athena",
        "detail-type": "Athena Query State Change",
        "detail": {
            "currentState": "CANCELLED",
            "queryExecutionId": "q-1",
            "workgroupName": "athena-workflow-dev",
        },
    });
    assert!(query_ended.pattern.matches(&event));
    assert!(!run_failed.pattern.matches(&event));
    let [target] = &query_ended.targets[..] else { panic!("{query_ended:?}") };
    assert_eq!((&*target.arn, target.dead_letter_arn.as_deref()), (GATHERER, Some(LOST_EVENTS)));
    let retry_policy = RetryPolicy { age_seconds_max: 3600, retries_max: 185 };
    assert_eq!(target.retry_policy, retry_policy);
    let rule = MatchedRule { name: &query_ended.name, arn };
    let input = target.transformer.as_ref().unwrap().apply(&event, rule).unwrap();
    let expected = json!({
        "action": "query_ended", "query_execution_id": "q-1", "state": "CANCELLED",
    });
    assert_eq!(input, expected);
    assert_eq!(run_failed.targets[0].arn, GATHERER);
    let topic = "arn:aws:sns:us-east-1:000000000000:athena-workflow-dev";
    assert_eq!(failed_alert.targets[0].arn, topic);

    let gatherer = deployment.function("results-gatherer").unwrap();
    let on_failure = Some(LOST_EVENTS.to_owned());
    assert_eq!(gatherer.events, EventInvokeConfig { on_failure, ..EventInvokeConfig::default() });
}

/// A change of one property of a resource, and the fault that it makes.
#[track_caller]
fn check_property(kind: &str, end: &str, pointer: &str, value: Value, expected: &str) {
    let change = |resources: &mut Value| {
        let inputs = &mut resource(resources, kind, end)["inputs"];
        let (parent, property) = pointer.rsplit_once('/').unwrap();
        inputs.pointer_mut(parent).unwrap()[property] = value;
    };
    check(change, &[&format!("`{kind} athena-workflow-dev{end}`, {expected}")]);
}

#[test]
fn a_rule_that_cannot_run_here_is_a_fault() {
    let rule = "aws:cloudwatch/eventRule:EventRule";
    let check_rule = |pointer: &str, value: Value, expected: &str| {
        check_property(rule, "-query-ended", pointer, value, expected);
    };
    check_rule(
        "/eventPattern",
        json!({ "source": "aws.athena" }),
        "`inputs.eventPattern`: Event pattern is not valid. Reason: \"source\" must be an object or an array",
    );
    check_rule(
        "/scheduleExpression",
        json!("rate(1 day)"),
        "`inputs.scheduleExpression`: rules with a schedule do not run here",
    );
    check_rule(
        "/eventBusName",
        json!("own"),
        "`inputs.eventBusName`: it is `own`, and only `default` runs on a laptop",
    );
    let target = "aws:cloudwatch/eventTarget:EventTarget";
    let check_target = |pointer: &str, value: Value, expected: &str| {
        check_property(target, "-query-ended", pointer, value, expected);
    };
    check_target(
        "/arn",
        json!("arn:aws:sqs:us-east-1:000000000000:q"),
        "`inputs.arn`: no function or topic of the stack is `arn:aws:sqs:us-east-1:000000000000:q`",
    );
    check_target(
        "/inputTransformer/inputTemplate",
        json!("{\"a\":<nothing>}"),
        "`inputs.inputTransformer`: the input template uses `<nothing>`, which has no input path",
    );
    check_target(
        "/inputPath",
        json!("$.detail"),
        "`inputs.inputPath`: only events and input transformers run here",
    );
    check_target(
        "/deadLetterConfig/arn",
        json!("arn:aws:sqs:us-east-1:000000000000:q"),
        "`inputs.deadLetterConfig.arn`: no resource of the stack is `arn:aws:sqs:us-east-1:000000000000:q`",
    );
    check(
        |resources| {
            resource(resources, target, "-query-ended")["inputs"]["rule"] = json!("nowhere");
        },
        &[
            "`aws:cloudwatch/eventTarget:EventTarget`, `inputs.rule`: the stack has no rule `nowhere`",
        ],
    );
    check_property(
        "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
        "-results-gatherer",
        "/functionName",
        json!("nobody"),
        "`inputs.functionName`: the stack has no function `nobody`",
    );
}

#[test]
fn schedules_are_those_of_the_file() {
    let deployment = Deployment::dev();
    let nightly = &deployment.schedules[1];
    assert_eq!((&*nightly.name, nightly.is_enabled), ("pricing-summary-nightly", true));
    assert_eq!(nightly.expression.as_str(), "cron(30 2 * * ? *)");
    assert_eq!(nightly.age_seconds_max, 3600);
    let job: Value = serde_json::from_str(&nightly.input).unwrap();
    assert_eq!(job["scheduled_at"], "<aws.scheduler.scheduled-time>");
    assert_eq!(Deployment::parse(PROD).unwrap().schedules.len(), 1);
}

/// A stack says what is new to it, whether it reads databases at all or not.
#[test]
fn a_database_and_a_secret_of_this_machine_are_new_once() {
    let without_databases = |resources: &mut Value| {
        let policies = &mut resources["aws:iam/rolePolicy:RolePolicy"];
        let role = &mut policies["athena-workflow-dev-execute-single-query"];
        let statements = role["inputs"]["policy"]["Statement"].as_array_mut().unwrap();
        statements.retain(|statement| statement["Sid"] != "ReadTables");
    };
    let mut document = dev();
    without_databases(&mut document["resources"]);
    let none = Deployment::parse(&document.to_string()).unwrap();
    for (mut deployment, known) in [(Deployment::dev(), true), (none, false)] {
        for (name, is_new) in
            [("tpch", !known), ("default", true), ("sales", true), ("sales", false)]
        {
            assert_eq!(deployment.let_read_database(name).unwrap(), is_new, "{name} {known}");
        }
    }
    let mut deployment = Deployment::dev();
    for (name, is_new) in [
        ("athena-workflow/dev/partner", false),
        ("sftp/partner", true),
        ("sftp/partner", false),
        ("ssm:/athena-workflow/dev/partner", false),
        ("ssm:/sftp/partner", true),
    ] {
        assert_eq!(deployment.let_use_secret(name).unwrap(), is_new, "{name}");
    }
}

/// Nobody looks when a schedule starts a run at night: also for stacks that are not this repository's.
#[test]
fn every_schedule_of_every_stack_starts_a_job_without_a_problem() {
    let stacks = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/stacks");
    let files: Vec<_> =
        std::fs::read_dir(stacks).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let deployment = Deployment::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for schedule in deployment.schedules {
            let begun = "2026-11-22T12:00:00Z".parse().unwrap();
            let place = format!("{}, {}", file.display(), schedule.name);
            let schedule = Schedule { is_enabled: true, ..schedule };
            let mut scheduler = Scheduler::new(vec![schedule], begun);
            let next = scheduler.next().unwrap_or_else(|| panic!("{place} never fires"));
            let mut input: Value = serde_json::from_str(&scheduler.due(next)[0].input()).unwrap();
            // The workflow takes it before it hands the job on.
            input.as_object_mut().unwrap().remove("scheduled_at");
            if let Err(problems) = Job::parse(&input) {
                panic!("{place}: {problems}");
            }
        }
    }
}

#[test]
fn a_schedule_that_can_not_run_here_is_a_fault() {
    let nightly = "-pricing-summary-nightly";
    let place = "`aws:scheduler/schedule:Schedule athena-workflow-dev-pricing-summary-nightly`";
    let check = |property: &str, value: Value, expected: &str| {
        check(
            |resources| {
                let schedule = resource(resources, "aws:scheduler/schedule:Schedule", nightly);
                *schedule["inputs"].pointer_mut(property).unwrap() = value;
            },
            &[&format!("{place}, {expected}")],
        );
    };
    check(
        "/scheduleExpression",
        json!("cron(30 2 * * *)"),
        "`inputs.scheduleExpression`: `cron(30 2 * * *)`: expected minutes, hours, day of month, month, day of week and year",
    );
    check(
        "/scheduleExpressionTimezone",
        json!("Europe/Atlantis"),
        "`inputs.scheduleExpressionTimezone`: there is no time zone `Europe/Atlantis`",
    );
    check(
        "/target/roleArn",
        json!("arn:aws:iam::000000000000:role/nobody"),
        "`inputs.target.roleArn`: no resource of the stack is `arn:aws:iam::000000000000:role/nobody`",
    );
    check(
        "/target/arn",
        json!("arn:aws:lambda:us-east-1:000000000000:function:f"),
        "`inputs.target.arn`: it is `arn:aws:lambda:us-east-1:000000000000:function:f`, and only `arn:aws:states:us-east-1:000000000000:stateMachine:athena-workflow-dev` runs on a laptop",
    );
}

#[test]
fn every_fault_of_a_file_is_told_at_once_with_its_resource_and_property() {
    check(|_| {}, &[]);
    check(
        |resources| {
            let function = resource(resources, FUNCTION, "-query-loader");
            function["inputs"]["timeout"] = json!("long");
            function["inputs"]["role"] = json!("arn:aws:iam::000000000000:role/nobody");
            let function = resource(resources, FUNCTION, "-zip-s3-folder");
            function["inputs"].as_object_mut().unwrap().remove("memorySize");
            let function = resource(resources, FUNCTION, "-extract-s3-key");
            function["inputs"]["role"] = json!("arn:aws:iam::000000000000:role/nobody");
            function["inputs"]["runtime"] = json!("python3.14");
            resources.as_object_mut().unwrap().remove(STATE_MACHINE);
            let api = resource(resources, "aws:apigatewayv2/route:Route", " POST /jobs");
            api["inputs"]["target"] = json!("integrations/other");
            resources[BUCKET].as_object_mut().unwrap().remove("athena-workflow-dev-results");
        },
        &[
            "`aws:apigatewayv2/route:Route athena-workflow-dev POST /jobs`, `inputs.target`: there is no integration `integrations/other`",
            "`aws:lambda/function:Function athena-workflow-dev-extract-s3-key`, `inputs.role`: no resource of the stack is `arn:aws:iam::000000000000:role/nobody`",
            "`aws:lambda/function:Function athena-workflow-dev-extract-s3-key`, `inputs.runtime`: it is `python3.14`, and only `provided.al2023` runs on a laptop",
            "`aws:lambda/function:Function athena-workflow-dev-query-loader`, `inputs.timeout`: invalid type: string \"long\", expected u64",
            "`aws:lambda/function:Function athena-workflow-dev-zip-s3-folder`, `inputs`: missing field `memorySize`",
            "`aws:sfn/stateMachine:StateMachine`: there are 0 of it, and a stack has one",
            "`outputs`, `resultsBucket`: the stack has no bucket `athena-workflow-dev-results`",
        ],
    );
}

#[test]
fn a_function_that_is_gone_is_missed_where_it_is_named() {
    check(
        |resources| {
            resources[FUNCTION].as_object_mut().unwrap().remove("athena-workflow-dev-job-api");
        },
        &[
            "`aws:apigatewayv2/integration:Integration athena-workflow-dev`, `inputs.integrationUri`: no function of the stack is invoked by `arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-job-api/invocations`",
        ],
    );
}

#[test]
fn a_text_that_is_no_stack_says_what_was_expected() {
    for text in ["", "[]", "{}"] {
        let error = Deployment::parse(text).unwrap_err();
        assert_eq!(error.to_string(), "expected a stack as `npm run synth` writes it");
    }
}

#[test]
fn the_workflow_of_each_stack_is_a_state_machine_without_a_fault() {
    for stack in [DEV, PROD] {
        let definition = Deployment::parse(stack).unwrap().state_machine.definition;
        assert!(!definition.contains("${"), "a placeholder is left");
        if let Err(faults) = local_states::check(&definition) {
            panic!("{faults:#?}");
        }
    }
}

/// The maps differ in where they run, in the names of their states, and in the retries of throttled
/// calls: a child of the distributed map has a history of its own, so that it may retry for as long as
/// the run may last.
#[test]
fn both_maps_run_the_same_iterator() {
    let workflow: Value = serde_json::from_str(WORKFLOW).unwrap();
    let inline = &workflow["States"]["RunQueries"]["ItemProcessor"];
    let distributed = &workflow["States"]["RunManyQueries"]["ItemProcessor"];
    assert_eq!(distributed["ProcessorConfig"]["Mode"], "DISTRIBUTED");
    let alike = distributed["States"].to_string().replace("Distributed\"", "\"");
    let alike = alike.replace("\"MaxAttempts\":2000", "\"MaxAttempts\":40");
    assert_eq!(serde_json::from_str::<Value>(&alike).unwrap(), inline["States"]);
}

/// Every task below `value`: what it calls, and the names that it retries.
fn tasks(value: &Value, found: &mut Vec<(String, BTreeSet<String>)>) {
    if value["Type"] == "Task" {
        let arguments = &value["Arguments"];
        let action = arguments["Payload"]["action"].as_str().unwrap_or_default();
        let called = format!("{} {action}", arguments["FunctionName"].as_str().unwrap());
        let retriers = value["Retry"].as_array().into_iter().flatten();
        let names = retriers.flat_map(|retrier| retrier["ErrorEquals"].as_array().unwrap());
        let names = names.map(|name| name.as_str().unwrap().to_owned()).collect();
        found.push((called.trim_end().to_owned(), names));
    } else {
        let fields = value.as_object().into_iter().flatten().map(|(_, value)| value);
        fields.for_each(|value| tasks(value, found));
    }
}

/// Each function's retryable names are retried where it is called, and no others are.
#[test]
fn every_task_retries_what_its_function_may_mend_by_another_try() {
    let mut found = Vec::new();
    tasks(&serde_json::from_str(WORKFLOW).unwrap(), &mut found);
    assert_eq!(found.len(), 14);
    let retried = |name: &ErrorName| found.iter().any(|(_, names)| names.contains(name.as_str()));
    for name in ErrorName::ALL.iter().filter(|name| name.is_retryable()) {
        assert!(retried(name), "no state retries {name}");
    }
    for (called, mut names) in found {
        let aws = ["Lambda.", "Runtime.", "Sandbox.", "States."];
        names.retain(|name| !aws.iter().any(|prefix| name.starts_with(prefix)));
        let expected: &[ErrorName] = match called.as_str() {
            "${QueryLoaderFunctionArn}"
            | "${ZipS3FolderFunctionArn}"
            | "${ResultsGathererFunctionArn} finish"
            | "${ResultsGathererFunctionArn} fail" => &[ErrorName::StorageUnavailable],
            "${ExecuteSingleQueryFunctionArn} run_query" => &[
                ErrorName::QueryEnded,
                ErrorName::QueryThrottled,
                ErrorName::QueryUnavailable,
                ErrorName::RunUnavailable,
                ErrorName::StorageUnavailable,
            ],
            "${ExecuteSingleQueryResultFunctionArn} write_result"
            | "${ResultsGathererFunctionArn} gather"
            | "${ResultsGathererFunctionArn} stop"
            | "${ResultsGathererFunctionArn} fail_query" => &[
                ErrorName::QueryThrottled,
                ErrorName::QueryUnavailable,
                ErrorName::StorageUnavailable,
            ],
            "${FileTransporterFunctionArn}" => &[
                ErrorName::TransportUnavailable,
                ErrorName::SecretUnavailable,
                ErrorName::StorageUnavailable,
            ],
            "${ExtractS3KeyFunctionArn}" => &[],
            other => panic!("{other}"),
        };
        assert!(expected.iter().all(|name| name.is_retryable()), "{called}");
        assert_eq!(names, expected.iter().map(ToString::to_string).collect(), "{called}");
    }
}
