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
 * stands `at`, its own name with it. Lengths are not compared.
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
  const found = faults(stack).map((fault) => fault.replace(/has \d{4,}/, "has N"));
  assert.deepEqual(found, expected);
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

test("a waiting state without a token or a time-out is found", () => {
  const at: [string, string] = ["aws:sfn/stateMachine:StateMachine", ""];
  const state = "the workflow athena-workflow-dev.States.WaitForever";
  const states = (waiting: object): string =>
    `"States":{"WaitForever":${JSON.stringify({
      Resource: "arn:aws:states:::lambda:invoke.waitForTaskToken",
      ...waiting,
    })},`;
  check(at, '"States":{', states({ Arguments: { Payload: "{}" }, TimeoutSeconds: 60 }), [
    `${state} passes its token to nobody`,
  ]);
  const Arguments = { Payload: { token: "{% $states.context.Task.Token %}" } };
  check(at, '"States":{', states({ Arguments }), [`${state} waits without a time-out`]);
});

test("an event that carries a run's input, or that wakes nobody, is found", () => {
  const target = (name: string): [string, string] => [
    "aws:cloudwatch/eventTarget:EventTarget",
    name,
  ];
  check(target("-run-failed"), "$.detail.name", "$.detail.input", [
    "the target athena-workflow-dev-run-failed gets the input of runs",
  ]);
  check(target(""), "inputTransformer", "other", [
    "the target athena-workflow-dev gets the input of runs",
  ]);
  check(target("-run-failed"), '"inputs":{', '"inputs":{"deadLetterConfig":{"arn":"a"},', [
    "the target athena-workflow-dev-run-failed has dead letters, which would hold the input of runs",
  ]);
  check(target("-query-ended"), '"rule":"', '"rule":"other-', [
    "the target athena-workflow-dev-query-ended is for no rule of the stack",
    "EventBridge may not call the function of the target athena-workflow-dev-query-ended",
  ]);
  check(["aws:lambda/permission:Permission", "-run-failed"], "rule/", "rule/other-", [
    "EventBridge may not call the function of the target athena-workflow-dev-run-failed",
  ]);
  const lost = "events at which the function of the target athena-workflow-dev";
  check(
    ["aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "-results-gatherer"],
    "lost-events",
    "other",
    [`${lost}-query-ended fails are lost`, `${lost}-run-failed fails are lost`],
  );
});

test("a queue that takes what any rule sends is found", () => {
  check(["aws:sqs/queuePolicy:QueuePolicy", "-lost-events"], "rule/", "rule/*", [
    "aws:sqs/queuePolicy:QueuePolicy athena-workflow-dev-lost-events: the statement TakeUndelivered lets " +
      "events.amazonaws.com act for anyone",
  ]);
});

test("what is longer than AWS allows is found", () => {
  const long = (length: number): string => "x".repeat(length);
  const at = (...at: [string, string]) => at;
  const stack = "athena-workflow-dev";
  check(at("aws:iam/rolePolicy:RolePolicy", "-job-api"), "Records", `Records${long(9_000)}`, [
    `the inline policies of ${stack}-job-api has N characters, and AWS allows 10240`,
  ]);
  check(at("aws:kms/key:Key", ""), "/aws/lambda/", `/aws/${long(32_000)}/`, [
    `aws:kms/key:Key ${stack}: the policy has N characters, and AWS allows 32768`,
  ]);
  check(
    at("aws:cloudwatch/eventRule:EventRule", "-query-ended"),
    `["${stack}`,
    `["${long(2_000)}`,
    [
      `aws:cloudwatch/eventRule:EventRule ${stack}-query-ended: the eventPattern has N characters, and AWS allows 2048`,
    ],
  );
  check(at("aws:sqs/queuePolicy:QueuePolicy", "-lost-events"), "Undelivered", long(8_000), [
    `aws:sqs/queuePolicy:QueuePolicy ${stack}-lost-events: the policy has N characters, and AWS allows 8192`,
  ]);
  check(at("aws:lambda/function:Function", "-job-api"), '"131072"', `"${long(4_000)}"`, [
    `the environment of ${stack}-job-api has N characters, and AWS allows 4096`,
  ]);
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
