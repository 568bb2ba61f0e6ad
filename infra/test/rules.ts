/** The rules of the house, which hold for every stack, whatever its settings are. */

import { EVERY_RESOURCE } from "../grants";
import { PATTERN_LENGTH_MAX } from "../patterns";
import {
  INLINE_LENGTH_MAX,
  MANAGED_LENGTH_MAX,
  MANAGED_POLICIES_MAX,
  OWN_ARN_LENGTH_MAX,
} from "../policies";
import type { Resource, SynthesizedStack, Value } from "./synth";

type Statement = Record<string, Value> & {
  Sid: string;
  Effect: string;
  Action: string[];
  Resource?: string[];
};

/** A policy document of the stack, and its place. */
export interface PolicyDocument {
  at: string;
  /** Whether it is a role's permissions, its trust, or the policy of a resource. */
  kind: "permissions" | "trust" | "resource";
  document: { Version: string; Statement: Statement[] };
}

const POLICIES: [type: string, field: string, kind: PolicyDocument["kind"]][] = [
  ["aws:iam/policy:Policy", "policy", "permissions"],
  ["aws:iam/role:Role", "assumeRolePolicy", "trust"],
  ["aws:iam/rolePolicy:RolePolicy", "policy", "permissions"],
  ["aws:kms/key:Key", "policy", "resource"],
  ["aws:s3/bucketPolicy:BucketPolicy", "policy", "resource"],
  ["aws:sns/topicPolicy:TopicPolicy", "policy", "resource"],
  ["aws:sqs/queuePolicy:QueuePolicy", "policy", "resource"],
];

/** Fields of resources, and the characters that AWS allows in each, with the page that says so. */
const SIZES: [type: string, field: string, charactersMax: number][] = [
  // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
  ["aws:iam/policy:Policy", "policy", MANAGED_LENGTH_MAX],
  ["aws:iam/role:Role", "assumeRolePolicy", 2_048],
  // https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
  ["aws:kms/key:Key", "policy", 32_768],
  // https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
  ["aws:s3/bucketPolicy:BucketPolicy", "policy", 20_480],
  // https://docs.aws.amazon.com/general/latest/gr/sns.html
  ["aws:sns/topicPolicy:TopicPolicy", "policy", 30_720],
  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
  ["aws:sqs/queuePolicy:QueuePolicy", "policy", 8_192],
  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
  ["aws:cloudwatch/eventRule:EventRule", "eventPattern", PATTERN_LENGTH_MAX],
  // https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html: a standard one
  ["aws:ssm/parameter:Parameter", "value", 4_096],
  // https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html: the request that makes it
  ["aws:sfn/stateMachine:StateMachine", "definition", 1_048_576],
];

/**
 * The characters by which ARNs are longer elsewhere: with a stack's longest name, the longest
 * partition and region, and Pulumi's ending.
 */
const LONGER_NAMES = 15 + 7 + 5 + 8;

/** The bytes of a function's variables: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const ENVIRONMENT_BYTES_MAX = 4_096;

/** Actions with a wildcard, by their statements. */
const EVERY_ACTION: Record<string, string> = {
  AdministerKey: "without it nobody could change the key any more",
  OnlyOverTls: "it denies",
};

/** Statements for a service without a condition on whom it acts for. */
const ANYONE: Record<string, string> = {
  Assume: "Lambda's roles alone: Lambda has no condition keys for it",
  PublishEvents: "EventBridge sends nothing to check when it publishes to SNS",
  EncryptEvents: "EventBridge sends nothing to check when it publishes to SNS",
};

/** The field with a resource's name in AWS, and what AWS takes as that name. */
const NAMES: Record<string, [field: string, form: RegExp]> = {
  "aws:apigatewayv2/api:Api": ["name", /^\P{Cc}{1,128}$/u],
  "aws:apigatewayv2/authorizer:Authorizer": ["name", /^\P{Cc}{1,128}$/u],
  "aws:athena/workgroup:Workgroup": ["name", /^[\w.-]{1,128}$/],
  "aws:cloudwatch/dashboard:Dashboard": ["dashboardName", /^[\w-]{1,255}$/],
  "aws:cloudwatch/eventRule:EventRule": ["name", /^[\w.-]{1,64}$/],
  "aws:cloudwatch/eventTarget:EventTarget": ["targetId", /^[\w.-]{1,64}$/],
  "aws:cloudwatch/logGroup:LogGroup": ["name", /^[\w./#-]{1,512}$/],
  "aws:cloudwatch/metricAlarm:MetricAlarm": ["name", /^\P{Cc}{1,255}$/u],
  "aws:iam/policy:Policy": ["name", /^[\w+=,.@-]{1,128}$/],
  "aws:iam/role:Role": ["name", /^[\w+=,.@-]{1,64}$/],
  "aws:iam/rolePolicy:RolePolicy": ["name", /^[\w+=,.@-]{1,128}$/],
  "aws:kms/alias:Alias": ["name", /^alias\/(?!aws\/)[\w:/-]{1,250}$/],
  "aws:lambda/function:Function": ["name", /^[\w-]{1,64}$/],
  "aws:lambda/permission:Permission": ["statementId", /^[\w-]{1,100}$/],
  "aws:s3/bucket:Bucket": ["bucket", /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/],
  "aws:scheduler/schedule:Schedule": ["name", /^[\w.-]{1,64}$/],
  "aws:scheduler/scheduleGroup:ScheduleGroup": ["name", /^[\w.-]{1,64}$/],
  "aws:sfn/stateMachine:StateMachine": ["name", /^[\w-]{1,80}$/],
  "aws:sns/topic:Topic": ["name", /^[\w-]{1,256}$/],
  "aws:sqs/queue:Queue": ["name", /^[\w-]{1,80}$/],
};

/** The ending that Pulumi puts behind its name of a resource to make AWS's, if the program gives none. */
const RANDOM_ENDING = "-0123abc";

/** Names of fields and variables whose values are secret. */
const SECRET_NAMES = /password|private_key|passphrase|client_secret|token/i;

/** All resources of a type, by name. */
export function resources(
  stack: SynthesizedStack,
  type: string,
): [name: string, resource: Resource][] {
  return Object.entries(stack.resources[type] ?? {});
}

/** All policy documents of the stack. */
export function policyDocuments(stack: SynthesizedStack): PolicyDocument[] {
  return POLICIES.flatMap(([type, field, kind]) =>
    resources(stack, type).map(([name, { inputs }]) => ({
      at: `${type} ${name}`,
      kind,
      document: inputs[field] as unknown as PolicyDocument["document"],
    })),
  );
}

/** Returns the breaches of rules, as a sentence each. */
export function faults(stack: SynthesizedStack): string[] {
  return [
    ...policyDocuments(stack).flatMap(policyFaults),
    ...nameFaults(stack),
    ...routeFaults(stack),
    ...functionFaults(stack),
    ...bucketFaults(stack),
    ...workflowFaults(stack),
    ...scheduleFaults(stack),
    ...eventFaults(stack),
    ...sizeFaults(stack),
    ...monitoringFaults(stack),
    ...secretFaults(stack as unknown as Value, "stack"),
  ];
}

function policyFaults({ at, kind, document }: PolicyDocument): string[] {
  const sids = document.Statement.map(({ Sid }) => Sid);
  const twice = sids.filter((sid, index) => sids.indexOf(sid) < index);
  const found = twice.map((sid) => `${at}: two statements are called ${sid}`);
  for (const { Sid, Effect, Action, Resource, Principal, Condition } of document.Statement) {
    if (Effect !== "Allow" && !(kind === "resource" && Effect === "Deny")) {
      found.push(`${at}: the statement ${Sid} has the effect ${Effect}`);
    }
    if (kind !== "trust" && (Resource ?? []).length === 0) {
      found.push(`${at}: the statement ${Sid} names no resource`);
    }
    if ((Resource ?? []).includes("*") && !(Sid in EVERY_RESOURCE)) {
      found.push(`${at}: the statement ${Sid} is for every resource`);
    }
    if (Action.some((action) => action.includes("*")) && !(Sid in EVERY_ACTION)) {
      found.push(`${at}: the statement ${Sid} has an action with a wildcard`);
    }
    const service = (Principal as { Service?: string } | undefined)?.Service ?? "";
    const condition = JSON.stringify(Condition ?? {});
    const bound =
      ["aws:SourceAccount", "kms:EncryptionContext:aws:logs:arn"].some((key) =>
        condition.includes(key),
      ) || /"ArnEquals":\{"aws:SourceArn":\[("arn:[^"*?]+",?)+\]/.test(condition);
    const excused = Sid in ANYONE && (Sid !== "Assume" || service === "lambda.amazonaws.com");
    if (service !== "" && !bound && !excused) {
      found.push(`${at}: the statement ${Sid} lets ${service} act for anyone`);
    }
  }
  return found;
}

function nameFaults(stack: SynthesizedStack): string[] {
  return Object.entries(NAMES).flatMap(([type, [field, form]]) =>
    resources(stack, type)
      .map(([name, { inputs }]) => text(inputs[field] ?? `${name}${RANDOM_ENDING}`))
      .filter((name) => !form.test(name))
      .map((name) => `${type}: AWS takes no ${field} like \`${name}\``),
  );
}

function routeFaults(stack: SynthesizedStack): string[] {
  const found: string[] = [];
  const permissions = resources(stack, "aws:lambda/permission:Permission").map(([, { inputs }]) =>
    text(inputs.sourceArn),
  );
  for (const [, { inputs }] of resources(stack, "aws:apigatewayv2/route:Route")) {
    const key = text(inputs.routeKey);
    if (
      inputs.authorizationType !== "AWS_IAM" &&
      !(inputs.authorizationType === "JWT" && inputs.authorizerId)
    ) {
      found.push(`the route ${key} is open to anyone`);
    }
    if (!permissions.some((source) => source.endsWith(`/${key.replace(" /", "/")}`))) {
      found.push(`API Gateway may not call the function of the route ${key}`);
    }
  }
  for (const [name, { inputs }] of resources(stack, "aws:lambda/permission:Permission")) {
    if (!inputs.sourceArn) {
      found.push(`the permission ${name} is for everything of its service`);
    }
  }
  for (const [name, { inputs }] of resources(stack, "aws:apigatewayv2/stage:Stage")) {
    if (!inputs.accessLogSettings || !inputs.defaultRouteSettings) {
      found.push(`the stage ${name} has no access log or no throttling`);
    }
  }
  return found;
}

function functionFaults(stack: SynthesizedStack): string[] {
  const found: string[] = [];
  const groups = resources(stack, "aws:cloudwatch/logGroup:LogGroup").map(
    ([, { inputs }]) => inputs,
  );
  for (const { name, retentionInDays, kmsKeyId } of groups) {
    if (!retentionInDays || !kmsKeyId) {
      found.push(`the log group ${text(name)} has no retention or no key`);
    }
  }
  const roles: Value[] = [];
  for (const [name, { inputs }] of resources(stack, "aws:lambda/function:Function")) {
    const group = (inputs.loggingConfig as { logGroup?: string } | undefined)?.logGroup;
    if (!groups.some(({ name }) => name === group)) {
      found.push(`the function ${name} has no log group of its own`);
    }
    if (roles.includes(inputs.role ?? null)) {
      found.push(`the function ${name} shares its role`);
    }
    roles.push(inputs.role ?? null);
  }
  return found;
}

function bucketFaults(stack: SynthesizedStack): string[] {
  const found: string[] = [];
  const parts = [
    "PublicAccessBlock",
    "OwnershipControls",
    "ServerSideEncryptionConfiguration",
    "Versioning",
    "LifecycleConfiguration",
    "Policy",
  ];
  for (const [name] of resources(stack, "aws:s3/bucket:Bucket")) {
    for (const part of parts) {
      const of = resources(stack, `aws:s3/bucket${part}:Bucket${part}`).some(
        ([, { inputs }]) => inputs.bucket === name,
      );
      if (!of) {
        found.push(`the bucket ${name} has no ${part}`);
      }
    }
  }
  for (const [name, { inputs }] of resources(
    stack,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
  )) {
    if (!JSON.stringify(inputs).includes("abortIncompleteMultipartUpload")) {
      found.push(`the bucket ${name} keeps the parts of uploads that nobody ended`);
    }
  }
  return found;
}

function workflowFaults(stack: SynthesizedStack): string[] {
  const found: string[] = [];
  for (const [name, { inputs }] of resources(stack, "aws:sfn/stateMachine:StateMachine")) {
    const definition = JSON.stringify(inputs.definition);
    for (const [placeholder] of definition.matchAll(/\$\{\w+\}/g)) {
      found.push(`the workflow ${name} has ${placeholder} in it`);
    }
    found.push(...callbackFaults(inputs.definition ?? null, `the workflow ${name}`));
    const { includeExecutionData, logDestination } = inputs.loggingConfiguration as Record<
      string,
      Value
    >;
    if (includeExecutionData !== false || !logDestination) {
      found.push(`the workflow ${name} logs the data of its runs, or does not log`);
    }
    const role = resources(stack, "aws:iam/role:Role").find(
      ([, role]) => role.outputs.arn === inputs.roleArn,
    )?.[0];
    const policies = resources(stack, "aws:iam/rolePolicy:RolePolicy").filter(
      ([, policy]) => policy.inputs.role === role,
    );
    const granted = JSON.stringify(policies);
    const called = new Set(definition.match(/arn:aws:lambda:[^"\\]+/g) ?? []);
    const functions = resources(stack, "aws:lambda/function:Function").map(
      ([, { outputs }]) => outputs.arn,
    );
    for (const arn of called) {
      if (!functions.includes(arn)) {
        found.push(`the workflow ${name} calls ${arn}, which is no function of the stack`);
      }
      if (!granted.includes(`"${arn}"`)) {
        found.push(`the workflow ${name} calls ${arn} and may not`);
      }
    }
  }
  return found;
}

/** AWS accepts a waiting state that hands its token to nobody, and then waits for ever. */
function callbackFaults(value: Value, at: string): string[] {
  if (typeof value !== "object" || value === null) {
    return [];
  }
  const found: string[] = [];
  const { Resource, Arguments, TimeoutSeconds } = value as Record<string, Value>;
  if (typeof Resource === "string" && Resource.endsWith(".waitForTaskToken")) {
    if (!JSON.stringify(Arguments ?? null).includes("$states.context.Task.Token")) {
      found.push(`${at} passes its token to nobody`);
    }
    if (TimeoutSeconds === undefined) {
      found.push(`${at} waits without a time-out`);
    }
  }
  return Object.entries(value).reduce(
    (found, [key, inner]) => [...found, ...callbackFaults(inner, `${at}.${key}`)],
    found,
  );
}

function scheduleFaults(stack: SynthesizedStack): string[] {
  const found: string[] = [];
  const arns = (type: string): unknown[] =>
    resources(stack, type).map(([, { outputs }]) => outputs.arn);
  for (const [name, { inputs }] of resources(stack, "aws:scheduler/schedule:Schedule")) {
    const target = inputs.target as {
      arn?: string;
      roleArn?: string;
      deadLetterConfig?: { arn?: string };
    };
    if (!arns("aws:sfn/stateMachine:StateMachine").includes(target.arn)) {
      found.push(`the schedule ${name} starts no workflow of the stack`);
    }
    if (!arns("aws:sqs/queue:Queue").includes(target.deadLetterConfig?.arn)) {
      found.push(`the schedule ${name} has no dead-letter queue`);
    }
    if (!arns("aws:iam/role:Role").includes(target.roleArn)) {
      found.push(`the schedule ${name} has no role of the stack`);
    }
    if (
      !resources(stack, "aws:scheduler/scheduleGroup:ScheduleGroup").some(
        ([, { outputs }]) => outputs.name === inputs.groupName,
      )
    ) {
      found.push(`the schedule ${name} is in no group of the stack`);
    }
  }
  return found;
}

/** Fields of Step Functions' events that hold a run's input or output. */
const RUN_DATA = /\$\.detail\.(input|output)\b|<aws\.events\.event(\.json)?>/;

function eventFaults(stack: SynthesizedStack): string[] {
  const found: string[] = [];
  const named = (type: string, field: string, value: Value | undefined): Resource | undefined =>
    resources(stack, type).find(([, { outputs }]) => outputs[field] === value)?.[1];
  const permissions = resources(stack, "aws:lambda/permission:Permission");
  for (const [name, { inputs }] of resources(stack, "aws:cloudwatch/eventTarget:EventTarget")) {
    const rule = named("aws:cloudwatch/eventRule:EventRule", "name", inputs.rule);
    const lambda = named("aws:lambda/function:Function", "arn", inputs.arn);
    const transformer = JSON.stringify(inputs.inputTransformer ?? "$.detail.input");
    const ofRuns = JSON.stringify(rule?.inputs.eventPattern ?? null).includes("aws.states");
    if (!rule) {
      found.push(`the target ${name} is for no rule of the stack`);
    }
    if (ofRuns && RUN_DATA.test(transformer)) {
      found.push(`the target ${name} gets the input of runs`);
    }
    if (ofRuns && inputs.deadLetterConfig) {
      found.push(`the target ${name} has dead letters, which would hold the input of runs`);
    }
    if (!lambda) {
      continue;
    }
    const called = permissions.some(
      ([, { inputs }]) =>
        inputs.function === lambda.outputs.name && inputs.sourceArn === rule?.outputs.arn,
    );
    if (!called) {
      found.push(`EventBridge may not call the function of the target ${name}`);
    }
    const retry = resources(
      stack,
      "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
    ).find(([, { inputs }]) => inputs.functionName === lambda.outputs.name)?.[1];
    const destination = retry?.inputs.destinationConfig as
      { onFailure?: { destination?: Value } } | undefined;
    if (!named("aws:sqs/queue:Queue", "arn", destination?.onFailure?.destination)) {
      found.push(`events at which the function of the target ${name} fails are lost`);
    }
  }
  return found;
}

function sizeFaults(stack: SynthesizedStack): string[] {
  const found: string[] = [];
  const check = (what: string, length: number, lengthMax: number): void => {
    if (length > lengthMax) {
      found.push(`${what} has ${length} characters, and AWS allows ${lengthMax}`);
    }
  };
  for (const [type, field, lengthMax] of SIZES) {
    for (const [name, { inputs }] of resources(stack, type)) {
      check(`${type} ${name}: the ${field}`, text(inputs[field]).length, lengthMax);
    }
  }
  for (const [name, { inputs }] of resources(stack, "aws:lambda/function:Function")) {
    const { variables = {} } = inputs.environment as { variables?: Record<string, string> };
    const bytes = Buffer.byteLength(Object.entries(variables).flat().join(""));
    check(`the environment of ${name}`, bytes, ENVIRONMENT_BYTES_MAX);
  }
  for (const [name, { outputs }] of resources(stack, "aws:iam/role:Role")) {
    const ofRole = (type: string): [string, Resource][] =>
      resources(stack, type).filter(([, { inputs }]) => inputs.role === outputs.name);
    const inline = ofRole("aws:iam/rolePolicy:RolePolicy").map(([, { inputs }]) =>
      text(inputs.policy),
    );
    check(`the inline policies of ${name}`, inline.join("").length, INLINE_LENGTH_MAX);
    const attached = ofRole("aws:iam/rolePolicyAttachment:RolePolicyAttachment").length;
    if (attached > MANAGED_POLICIES_MAX) {
      found.push(
        `${name} has ${attached} managed policies, and AWS allows ${MANAGED_POLICIES_MAX}`,
      );
    }
  }
  const granted = policyDocuments(stack)
    .filter(({ kind }) => kind === "permissions")
    .flatMap(({ document }) => document.Statement.flatMap(({ Resource = [] }) => Resource))
    .filter((arn) => arn.includes(`${stack.project}-${stack.stack}`));
  for (const arn of new Set(granted)) {
    check(`the ARN ${arn}`, arn.length, OWN_ARN_LENGTH_MAX - LONGER_NAMES);
  }
  return found;
}

function monitoringFaults(stack: SynthesizedStack): string[] {
  const topics = resources(stack, "aws:sns/topic:Topic").map(([, { outputs }]) => outputs.arn);
  return resources(stack, "aws:cloudwatch/metricAlarm:MetricAlarm")
    .filter(
      ([, { inputs }]) =>
        !(inputs.alarmActions as Value[] | undefined)?.some((action) => topics.includes(action)),
    )
    .map(([name]) => `the alarm ${name} tells nobody`);
}

/** The token of a waiting task in the states language: the place of a secret, and none itself. */
const TASK_TOKEN = /^\{% *\$states\.context\.Task\.Token *%\}$/;

function secretFaults(value: Value, at: string): string[] {
  if (typeof value !== "object" || value === null) {
    return [];
  }
  return Object.entries(value).flatMap(([key, inner]) =>
    SECRET_NAMES.test(key) &&
    typeof inner === "string" &&
    inner !== "[secret]" &&
    !TASK_TOKEN.test(inner)
      ? [`${at}.${key} is a secret in plain text`]
      : secretFaults(inner, `${at}.${key}`),
  );
}

function text(value: Value | undefined): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
