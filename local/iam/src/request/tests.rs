use axum::http::Request;
use serde_json::{Value, json};

use super::*;
use crate::Context;

const QUERIES: &str = "athena-workflow-dev-queries";
const RESULTS: &str = "athena-workflow-dev-results";
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000";

/// One query, one secret, and the table `tpch.region`, which every query reads.
struct Known;

impl Names for Known {
    fn work_group_of(&self, query_execution_id: &str) -> Option<String> {
        (query_execution_id == "q-1").then(|| "athena-workflow-dev".to_owned())
    }

    fn state_machine_of_token(&self, token: &str) -> Option<String> {
        let machine = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
        match token {
            "t-1" => Some(machine.to_owned()),
            "t-2" => Some(format!("{machine}/items")),
            _ => None,
        }
    }

    fn secret_arn(&self, id: &str) -> Option<String> {
        (id == "partner")
            .then(|| "arn:aws:secretsmanager:us-east-1:000000000000:secret:partner-AbCdEf".into())
    }

    fn tables_of(&self, _: &str, database: &str) -> Vec<(String, String)> {
        vec![(database.to_owned(), "region".to_owned())]
    }
}

fn policies() -> Policies {
    let stack = include_str!("../../../../infra/stacks/dev.json");
    Policies::read(&serde_json::from_str(stack).unwrap()).unwrap()
}

fn access(request: axum::http::request::Builder, body: &Value) -> Result<Access, Unmapped> {
    let (parts, ()) = request.body(()).unwrap().into_parts();
    Access::of(&policies(), &Known, &parts, body.to_string().as_bytes())
}

/// A call as one line: action, resource, and the values of the request that matter.
fn line(call: &Call) -> String {
    let mut line = format!("{} {}", call.action, call.resource.replace("arn:aws:s3:::", ""));
    let service = Context::new().with(ConditionKey::ViaService, "s3.us-east-1.amazonaws.com");
    if call.resource == KEY && call.context == service {
        return format!("{} by S3", call.action);
    }
    if call.context != Context::new() {
        line = format!("{line} {:?}", call.context);
    }
    line
}

#[track_caller]
fn check_s3(request: &str, headers: &[(&str, &str)], expected: &[&str], if_missing: Option<&str>) {
    let (method, uri) = request.split_once(' ').unwrap();
    let uri = uri.replace("QUERIES", QUERIES).replace("RESULTS", RESULTS);
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, value.replace("RESULTS", RESULTS));
    }
    let access = access(builder, &Value::Null).unwrap();
    let short = |line: String| line.replace(QUERIES, "QUERIES").replace(RESULTS, "RESULTS");
    let found: Vec<String> = access.calls.iter().map(|call| short(line(call))).collect();
    assert_eq!(found, expected, "{request}");
    let found = access.if_missing.map(|call| short(line(&call)));
    assert_eq!(found.as_deref(), if_missing, "{request}");
}

/// `using-with-s3-policy-actions.html` and, for keys, `mpuoverview.html#mpuAndPermissions` of the S3
/// user guide.
#[test]
fn requests_to_s3_need_what_the_operation_reads_and_writes() {
    const DECRYPT: &str = "kms:Decrypt by S3";
    const GENERATE: &str = "kms:GenerateDataKey by S3";
    let list = Some("s3:ListBucket RESULTS");
    let (get, put) = ("s3:GetObject RESULTS/a/k", "s3:PutObject RESULTS/a/k");

    check_s3("GET /RESULTS/a/k?x-id=GetObject", &[], &[get, DECRYPT], list);
    check_s3("GET /RESULTS/a/k?partNumber=1", &[], &[get, DECRYPT], list);
    check_s3("HEAD /RESULTS/a/k", &[], &[get], list);
    check_s3("HEAD /RESULTS/a/k", &[("x-amz-checksum-mode", "ENABLED")], &[get, DECRYPT], list);
    check_s3("GET /other/a/k", &[], &["s3:GetObject other/a/k"], Some("s3:ListBucket other"));
    check_s3(
        "GET /RESULTS/a%20b/%C3%BC%2F%2B?X-Amz-Credential=x&response-expires=y",
        &[],
        &["s3:GetObject RESULTS/a b/ü/+", DECRYPT],
        list,
    );
    check_s3("PUT /RESULTS/a/k", &[], &[put, GENERATE], None);
    check_s3("POST /RESULTS/a/k?uploads", &[], &[put, GENERATE], None);
    check_s3("PUT /RESULTS/a/k?partNumber=1&uploadId=u", &[], &[put, DECRYPT], None);
    check_s3("POST /RESULTS/a/k?uploadId=u", &[], &[put, DECRYPT], None);
    check_s3("DELETE /RESULTS/a/k?uploadId=u", &[], &["s3:AbortMultipartUpload RESULTS/a/k"], None);
    check_s3(
        "GET /RESULTS/a/k?uploadId=u",
        &[],
        &["s3:ListMultipartUploadParts RESULTS/a/k"],
        None,
    );
    check_s3("DELETE /RESULTS/a/k", &[], &["s3:DeleteObject RESULTS/a/k"], None);

    let version = "s3:GetObjectVersion RESULTS/a/k";
    check_s3("GET /RESULTS/a/k?versionId=v", &[], &[version, DECRYPT], list);
    check_s3("GET /RESULTS/a/k?partNumber=1&versionId=v", &[], &[version, DECRYPT], list);
    check_s3("HEAD /RESULTS/a/k?versionId=v", &[], &[version], list);
    let delete = "s3:DeleteObjectVersion RESULTS/a/k";
    check_s3("DELETE /RESULTS/a/k?versionId=v", &[], &[delete], None);
    check_s3("GET /RESULTS?versioning", &[], &["s3:GetBucketVersioning RESULTS"], None);
    let with_prefix = Context::new().with(ConditionKey::Prefix, "a");
    let versions = format!("s3:ListBucketVersions RESULTS {with_prefix:?}");
    check_s3("GET /RESULTS?versions&prefix=a&version-id-marker=v", &[], &[&versions], None);

    let if_match = [("if-match", "\"e\"")];
    check_s3("PUT /RESULTS/a/k", &if_match, &[put, GENERATE, get], None);
    check_s3("POST /RESULTS/a/k?uploadId=u", &if_match, &[put, DECRYPT, get], None);
    check_s3("PUT /RESULTS/a/k", &[("if-none-match", "*")], &[put, GENERATE], None);

    let source = [("x-amz-copy-source", "RESULTS/b%20c")];
    let read = "s3:GetObject RESULTS/b c";
    check_s3("PUT /RESULTS/a/k", &source, &[put, GENERATE, read, DECRYPT], None);
    let part = "PUT /RESULTS/a/k?partNumber=1&uploadId=u";
    check_s3(part, &source, &[put, DECRYPT, read, DECRYPT], None);
    let pinned = [("x-amz-copy-source", "RESULTS/b%20c%3F?versionId=v")];
    let read = "s3:GetObjectVersion RESULTS/b c?";
    check_s3(part, &pinned, &[put, DECRYPT, read, DECRYPT], None);
    check_s3(part, &[("x-amz-copy-source", "/o/k")], &[put, DECRYPT, "s3:GetObject o/k"], None);

    check_s3("HEAD /RESULTS", &[], &["s3:ListBucket RESULTS"], None);
    check_s3("GET /RESULTS/?location", &[], &["s3:GetBucketLocation RESULTS"], None);
    check_s3(
        "GET /RESULTS?uploads&prefix=a",
        &[],
        &["s3:ListBucketMultipartUploads RESULTS"],
        None,
    );
    check_s3("GET /QUERIES?list-type=2", &[], &["s3:ListBucket QUERIES"], None);
    let with_prefix = Context::new().with(ConditionKey::Prefix, "a/b");
    let expected = format!("s3:ListBucket QUERIES {with_prefix:?}");
    check_s3("GET /QUERIES?list-type=2&prefix=a%2Fb&delimiter=/", &[], &[&expected], None);
}

#[track_caller]
fn check_json(target: &str, body: &Value, expected: &[&str]) {
    let access = access(Request::builder().method("POST").header(TARGET, target), body).unwrap();
    let short = |line: String| {
        let line = line.replace("us-east-1:000000000000:", "");
        line.replace(RESULTS, "RESULTS").replace("athena-workflow-dev", "DEV")
    };
    let found: Vec<String> = access.calls.iter().map(|call| short(line(call))).collect();
    assert_eq!(
        (found, access.if_missing),
        (expected.iter().map(ToString::to_string).collect(), None)
    );
}

#[test]
fn requests_in_json_need_their_operation_on_what_the_body_names() {
    let machine = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
    let execution = "arn:aws:states:us-east-1:000000000000:execution:m:e";
    let body = json!({ "stateMachineArn": machine, "name": "n", "input": "{}" });
    let start = "states:StartExecution arn:aws:states:stateMachine:m";
    check_json("AWSStepFunctions.StartExecution", &body, &[start]);
    for operation in ["DescribeExecution", "StopExecution", "GetExecutionHistory"] {
        let expected = format!("states:{operation} arn:aws:states:execution:m:e");
        let body = json!({ "executionArn": execution });
        check_json(&format!("AWSStepFunctions.{operation}"), &body, &[&expected]);
    }
    for (token, name) in [("t-1", "m"), ("t-2", "m/items"), ("t-9", "")] {
        for operation in ["SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"] {
            let expected = format!("states:{operation} arn:aws:states:stateMachine:{name}");
            let body = json!({ "taskToken": token, "output": "{}" });
            check_json(&format!("AWSStepFunctions.{operation}"), &body, &[&expected]);
        }
    }
    let get = "athena:GetQueryExecution arn:aws:athena:workgroup/DEV";
    check_json("AmazonAthena.GetQueryExecution", &json!({ "QueryExecutionId": "q-1" }), &[get]);
    let get = "athena:GetQueryExecution arn:aws:athena:workgroup/";
    check_json("AmazonAthena.GetQueryExecution", &json!({ "QueryExecutionId": "q-9" }), &[get]);
    let stop = "athena:StopQueryExecution arn:aws:athena:workgroup/DEV";
    check_json("AmazonAthena.StopQueryExecution", &json!({ "QueryExecutionId": "q-1" }), &[stop]);
    let get = "athena:BatchGetQueryExecution arn:aws:athena:workgroup/DEV";
    let ids = json!({ "QueryExecutionIds": ["q-1", "q-1"] });
    check_json("AmazonAthena.BatchGetQueryExecution", &ids, &[get, get]);

    let secret =
        |name| format!("secretsmanager:GetSecretValue arn:aws:secretsmanager:secret:{name}");
    for (id, name) in [
        ("partner", "partner-AbCdEf"),
        ("missing", "missing"),
        ("arn:aws:secretsmanager:us-east-1:000000000000:secret:x-abcdef", "x-abcdef"),
    ] {
        check_json("secretsmanager.GetSecretValue", &json!({ "SecretId": id }), &[&secret(name)]);
    }
    let parameter = "ssm:GetParameter arn:aws:ssm:parameter/a/b";
    for name in ["/a/b", "a/b", "/a/b:3", "arn:aws:ssm:us-east-1:000000000000:parameter/a/b"] {
        check_json("AmazonSSM.GetParameter", &json!({ "Name": name }), &[parameter]);
    }
    let several = "ssm:GetParameters arn:aws:ssm:parameter/";
    let expected = [format!("{several}a"), format!("{several}b")];
    let body = json!({ "Names": ["a", "/b"] });
    check_json("AmazonSSM.GetParameters", &body, &[&expected[0], &expected[1]]);
}

#[test]
fn a_query_is_started_by_the_right_on_its_work_group_alone() {
    for (group, name) in [(Some("athena-workflow-dev"), "DEV"), (None, "primary")] {
        let body = json!({ "QueryString": "SELECT * FROM secret", "WorkGroup": group });
        let start = format!("athena:StartQueryExecution arn:aws:athena:workgroup/{name}");
        check_json("AmazonAthena.StartQueryExecution", &body, &[&start]);
    }
}

#[test]
fn a_query_that_runs_needs_the_catalog_its_tables_and_the_place_of_its_result() {
    #[track_caller]
    fn check(calls: &[Call], expected: &[&str]) {
        let short =
            |line: String| line.replace("us-east-1:000000000000:", "").replace(RESULTS, "RESULTS");
        let found: Vec<String> = calls.iter().map(|call| short(line(call))).collect();
        assert_eq!(found, expected);
    }
    let policies = policies();
    let calls = athena::of_catalog(&policies, &Known, "SELECT 1", None, Some("tpch"));
    let expected = [
        "athena:GetDataCatalog arn:aws:athena:datacatalog/AwsDataCatalog",
        "glue:GetDatabase arn:aws:glue:catalog",
        "glue:GetDatabase arn:aws:glue:database/default",
        "glue:GetDatabase arn:aws:glue:catalog",
        "glue:GetDatabase arn:aws:glue:database/tpch",
        "glue:GetTable arn:aws:glue:catalog",
        "glue:GetTable arn:aws:glue:database/tpch",
        "glue:GetTable arn:aws:glue:table/tpch/region",
    ];
    check(&calls, &expected);
    let of_results = [
        "s3:GetBucketLocation RESULTS",
        "s3:ListBucket RESULTS",
        "s3:ListBucketMultipartUploads RESULTS",
        "s3:GetObject RESULTS/athena/q.csv",
        "s3:PutObject RESULTS/athena/q.csv",
        "s3:ListMultipartUploadParts RESULTS/athena/q.csv",
        "s3:AbortMultipartUpload RESULTS/athena/q.csv",
        "kms:GenerateDataKey by S3",
        "kms:Decrypt by S3",
    ];
    check(&athena::of_results(&policies, RESULTS, "athena/q.csv"), &of_results);
    let elsewhere = athena::of_results(&policies, "elsewhere", "q.csv");
    assert_eq!(elsewhere.len(), of_results.len() - 2);
}

#[test]
fn an_invocation_needs_the_function_or_the_version_of_it() {
    #[track_caller]
    fn check(uri: &str, arn: &str) {
        let builder = Request::builder().method("POST").uri(format!("/2015-03-31/functions/{uri}"));
        let calls = vec![Call::new("lambda:InvokeFunction", arn)];
        let expected = Access { calls, if_missing: None };
        assert_eq!(access(builder, &Value::Null).unwrap(), expected, "{uri}");
    }
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    check("f/invocations", arn);
    check("arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af/invocations", arn);
    check("f/invocations?Qualifier=live", &format!("{arn}:live"));
}

#[test]
fn what_a_request_needs_is_known_or_the_request_is_refused() {
    #[track_caller]
    fn check(request: &str, header: Option<(&str, &str)>, body: &Value, expected: &str) {
        let (method, uri) = request.split_once(' ').unwrap();
        let mut builder = Request::builder().method(method).uri(uri);
        if let Some((name, value)) = header {
            builder = builder.header(name, value);
        }
        assert_eq!(access(builder, body), Err(Unmapped(expected.to_owned())));
    }
    let none = &Value::Null;
    let signed = "GET /b/k?torrent=1&X-Amz-Signature=5ec7e7";
    check(signed, None, none, "GET /b/k?torrent&X-Amz-Signature");
    for request in [
        "GET /",
        "GET //b/k",
        "GET /b?acl",
        "PUT /b",
        "POST /b?delete",
        "GET /b/k?tagging",
        "GET /b/%FF",
        "PUT /b/k?uploadId",
        "PATCH /b/k",
        "GET /2015-03-31/functions/f",
        "POST /2015-03-31/functions/f/x/invocations",
    ] {
        check(request, None, none, request);
    }
    for header in [
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-grant-read", "x"),
        ("x-amz-copy-source", "b/k?partNumber=1"),
        ("x-amz-copy-source", "b"),
    ] {
        check("PUT /b/k", Some(header), none, "PUT /b/k");
    }
    let target = |target| Some((TARGET, target));
    for (operation, body) in [
        ("AmazonAthena.DeleteWorkGroup", json!({ "WorkGroup": "w" })),
        ("AmazonAthena.StartQueryExecution", json!({ "WorkGroup": 5 })),
        ("AmazonAthena.GetQueryExecution", json!({})),
        ("AWSStepFunctions.StartExecution", json!({ "name": "n" })),
        ("AWSStepFunctions.SendTaskSuccess", json!({ "output": "{}" })),
        ("AmazonSSM.GetParameters", json!({ "Names": [] })),
        ("secretsmanager.GetSecretValue", json!([])),
        ("nonsense", json!({})),
    ] {
        check("POST /", target(operation), &body, operation);
    }
}
