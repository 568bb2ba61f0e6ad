import assert from "node:assert/strict";
import { test } from "node:test";

import { stacks } from "./project";
import { faults } from "./rules";
import { reviewed } from "./synth";

for (const stack of stacks()) {
  test(`the stack ${stack} keeps all rules`, () => {
    assert.deepEqual(faults(reviewed(stack)), []);
  });
}

/**
 * Checks which rules a change of the stack dev breaks: `from` becomes `to` at the first place in what
 * stands `at`, its own name with it.
 */
function check(
  at: [type: string, name: string],
  from: string | RegExp,
  to: string,
  expected: string[],
): void {
  const stack = reviewed("dev");
  const [type, name] = at;
  const whole = `athena-workflow-dev${name}`;
  const { [whole]: resource, ...others } = stack.resources[type] ?? {};
  const before = JSON.stringify({ [whole]: resource });
  const after = before.replace(from, to);
  assert.notEqual(after, before, `\`${String(from)}\` is not in ${type} ${whole}`);
  stack.resources[type] = { ...others, ...(JSON.parse(after) as typeof others) };
  assert.deepEqual(faults(stack), expected);
}

test("a wildcard is found", () => {
  const at: [string, string] = ["aws:iam/rolePolicy:RolePolicy", "-query-loader"];
  const policy = "aws:iam/rolePolicy:RolePolicy athena-workflow-dev-query-loader";
  check(at, '"arn:aws:s3:::athena-workflow-dev-queries/*"', '"*"', [
    `${policy}: the statement ReadQueries is for every resource`,
  ]);
  check(at, '"s3:GetObject"', '"s3:Get*"', [
    `${policy}: the statement ReadQueries has an action with a wildcard`,
  ]);
  check(at, /\["arn:aws:s3:::[^\]]*\]/, "[]", [
    `${policy}: the statement ReadQueries names no resource`,
  ]);
});

test("a trust in anyone is found", () => {
  check(["aws:iam/role:Role", "-schedules"], "aws:SourceAccount", "aws:PrincipalAccount", [
    "aws:iam/role:Role athena-workflow-dev-schedules: the statement Assume lets scheduler.amazonaws.com act for anyone",
  ]);
});

test("a name that AWS does not take is found, given or made from Pulumi's", () => {
  const permission: [string, string] = ["aws:lambda/permission:Permission", "-POST-jobs"];
  check(permission, "-POST-jobs", " POST /jobs", [
    "aws:lambda/permission:Permission: AWS takes no statementId like `athena-workflow-dev POST /jobs-0123abc`",
  ]);
  check(permission, '"inputs":{', '"inputs":{"statementId":"POST /jobs",', [
    "aws:lambda/permission:Permission: AWS takes no statementId like `POST /jobs`",
  ]);
  check(["aws:sfn/stateMachine:StateMachine", ""], '"name":"', '"name":"jobs of ', [
    "aws:sfn/stateMachine:StateMachine: AWS takes no name like `jobs of athena-workflow-dev`",
  ]);
});

test("an open route and one without permission are found", () => {
  check(["aws:apigatewayv2/route:Route", " POST /jobs"], "AWS_IAM", "NONE", [
    "the route POST /jobs is open to anyone",
  ]);
  check(["aws:lambda/permission:Permission", "-POST-jobs"], "POST/jobs", "POST/job", [
    "API Gateway may not call the function of the route POST /jobs",
  ]);
});

test("a log that nobody removes and a function without one are found", () => {
  check(
    ["aws:cloudwatch/logGroup:LogGroup", "-job-api"],
    '"retentionInDays":7',
    '"retentionInDays":0',
    ["the log group /aws/lambda/athena-workflow-dev-job-api has no retention or no key"],
  );
  check(["aws:lambda/function:Function", "-job-api"], '"logGroup":"', '"logGroup":"/other', [
    "the function athena-workflow-dev-job-api has no log group of its own",
  ]);
});

test("a shared role is found", () => {
  check(
    ["aws:lambda/function:Function", "-query-loader"],
    "role/athena-workflow-dev-query-loader",
    "role/athena-workflow-dev-job-api",
    ["the function athena-workflow-dev-query-loader shares its role"],
  );
});

test("a bucket without a part of its protection is found", () => {
  check(
    ["aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "-queries"],
    '"bucket":"',
    '"bucket":"other-',
    ["the bucket athena-workflow-dev-queries has no PublicAccessBlock"],
  );
});

test("a placeholder that is left, and a call that the role does not allow, are found", () => {
  const arn = "arn:aws:lambda:us-east-1:000000000000:function:athena-workflow-dev-query-loader";
  const workflow: [string, string] = ["aws:sfn/stateMachine:StateMachine", ""];
  check(workflow, arn, "${Nothing}", ["the workflow athena-workflow-dev has ${Nothing} in it"]);
  check(workflow, arn, `${arn}-2`, [
    `the workflow athena-workflow-dev calls ${arn}-2, which is no function of the stack`,
    `the workflow athena-workflow-dev calls ${arn}-2 and may not`,
  ]);
  check(workflow, '"includeExecutionData":false', '"includeExecutionData":true', [
    "the workflow athena-workflow-dev logs the data of its runs, or does not log",
  ]);
  check(["aws:iam/rolePolicy:RolePolicy", ""], arn, `${arn}-2`, [
    `the workflow athena-workflow-dev calls ${arn} and may not`,
  ]);
});

test("a schedule without a queue or a workflow is found", () => {
  const at: [string, string] = ["aws:scheduler/schedule:Schedule", "-all-reports-weekly"];
  check(at, "dead-letters", "letters", [
    "the schedule athena-workflow-dev-all-reports-weekly has no dead-letter queue",
  ]);
  check(at, "stateMachine:athena", "stateMachine:other", [
    "the schedule athena-workflow-dev-all-reports-weekly starts no workflow of the stack",
  ]);
});

test("an alarm that tells nobody is found", () => {
  check(
    ["aws:cloudwatch/metricAlarm:MetricAlarm", "-runs-failed"],
    /"alarmActions":\[[^\]]*\]/,
    '"alarmActions":[]',
    ["the alarm athena-workflow-dev-runs-failed tells nobody"],
  );
});

test("a secret in plain text is found", () => {
  check(
    ["aws:lambda/function:Function", "-query-loader"],
    '"variables":{',
    '"variables":{"DB_PASSWORD":"hunter2",',
    [
      "stack.resources.aws:lambda/function:Function.athena-workflow-dev-query-loader.inputs.environment.variables.DB_PASSWORD is a secret in plain text",
    ],
  );
});
