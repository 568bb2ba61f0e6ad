/**
 * All policy statements of the stack: each names its actions and its resources.
 *
 * A `"*"` as a resource stands only where AWS knows no resource for the action, or where it means the
 * one resource that the policy is attached to; `EVERY_RESOURCE` lists them, and a test allows no other.
 */

import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account, type SizedArn, arn, sizedArn, sizedS3Arn } from "./account";
import type { Source } from "./settings";

type Conditions = Record<string, Record<string, pulumi.Input<string> | pulumi.Input<string>[]>>;

/** Conditions that are known before anything is made, so that they can be measured. */
type PlainConditions = Record<string, Record<string, string[]>>;

/** A resource of a grant: of the stack itself, or of the settings. */
export type GrantedResource = pulumi.Input<string> | SizedArn;

/** A statement of a role's permissions. */
export interface Grant {
  Sid: string;
  Effect: "Allow";
  Action: string[];
  Resource: GrantedResource[];
  Condition?: PlainConditions;
}

/** A statement of a policy that is attached to a resource. */
export interface ResourceStatement {
  Sid: string;
  Effect: "Allow" | "Deny";
  Principal: "*" | { Service: string } | { AWS: pulumi.Input<string> };
  Action: string[];
  Resource?: pulumi.Input<string>[];
  Condition?: Conditions;
}

/** Returns a policy document as JSON. */
export function document(statements: (Grant | ResourceStatement)[]): pulumi.Output<string> {
  const plain = statements.map(({ Resource, ...rest }) =>
    Resource === undefined ? rest : { ...rest, Resource: Resource.map(textOf) },
  );
  return pulumi.jsonStringify({ Version: "2012-10-17", Statement: plain });
}

/** Returns whether the length of a resource is known before anything is made. */
export function isSized(resource: GrantedResource): resource is SizedArn {
  // An output hands on the properties of the value to come, so it cannot be asked for one.
  return (
    typeof resource === "object" && !pulumi.Output.isInstance(resource) && "lengthMax" in resource
  );
}

function textOf(resource: GrantedResource): pulumi.Input<string> {
  return isSized(resource) ? resource.text : resource;
}

/** The statements that name `"*"`, and why. */
export const EVERY_RESOURCE: Record<string, string> = {
  Trace: "X-Ray's writing actions have no resource-level permissions",
  TraceWorkflow: "X-Ray's writing actions have no resource-level permissions",
  DeliverLogs:
    "the log delivery actions that Step Functions calls have no resource-level permissions",
  UseNetwork: "Lambda asks for its network interfaces before there are any that could be named",
  GetLakeFormationData: "lakeformation:GetDataAccess has no resource-level permissions",
  AdministerKey: "in a key's policy `*` is the key",
  EncryptLogs: "in a key's policy `*` is the key",
  EncryptAlarms: "in a key's policy `*` is the key",
  EncryptEvents: "in a key's policy `*` is the key",
};

const EVERY = ["*"];

function allow(
  Sid: string,
  Action: string[],
  Resource: GrantedResource[],
  Condition?: PlainConditions,
): Grant {
  return { Sid, Effect: "Allow", Action, Resource, ...(Condition && { Condition }) };
}

// Trust

/**
 * Lets Lambda assume the role. Lambda has no condition keys for it; that nobody else's function gets
 * the role is held by `iam:PassRole`, which Lambda asks for when the function is made.
 */
export const trustLambda = document([
  {
    Sid: "Assume",
    Effect: "Allow",
    Principal: { Service: "lambda.amazonaws.com" },
    Action: ["sts:AssumeRole"],
  },
]);

/** Lets a service assume the role, for these resources of this account alone. */
export function trust(
  account: Account,
  service: string,
  ...sources: pulumi.Input<string>[]
): pulumi.Output<string> {
  return document([
    {
      Sid: "Assume",
      Effect: "Allow",
      Principal: { Service: service },
      Action: ["sts:AssumeRole"],
      Condition: onBehalfOf(account, ...sources),
    },
  ]);
}

/** The condition that a service acts for one of `sources`, and not for somebody else's resource. */
function onBehalfOf(account: Account, ...sources: pulumi.Input<string>[]): Conditions {
  const [first = "", ...more] = sources;
  return {
    StringEquals: { "aws:SourceAccount": account.id },
    ArnLike: { "aws:SourceArn": more.length === 0 ? first : sources },
  };
}

// What every function does

export function writeLogs(logGroup: aws.cloudwatch.LogGroup): Grant {
  // Not logs:CreateLogGroup: a group that was deleted would come back without its retention.
  return allow(
    "WriteLogs",
    ["logs:CreateLogStream", "logs:PutLogEvents"],
    [pulumi.interpolate`${logGroup.arn}:*`],
  );
}

export const trace: Grant = allow(
  "Trace",
  ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
  EVERY,
);

export const useNetwork: Grant = allow(
  "UseNetwork",
  [
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
  ],
  EVERY,
);

// S3

/**
 * Reads objects. Without `s3:ListBucket` S3 answers "access denied" instead of "not found" for an
 * object that is not there.
 */
export function read(what: string, bucket: aws.s3.Bucket, ...keys: string[]): Grant[] {
  return [
    allow(`Read${what}`, ["s3:GetObject"], objects(bucket, keys)),
    allow(`List${what}`, ["s3:ListBucket"], [bucket.arn]),
  ];
}

/** Reads objects, also at the version that a run has pinned. */
export function readPinned(what: string, bucket: aws.s3.Bucket, ...keys: string[]): Grant[] {
  return [
    allow(`Read${what}`, ["s3:GetObject", "s3:GetObjectVersion"], objects(bucket, keys)),
    allow(`List${what}`, ["s3:ListBucket"], [bucket.arn]),
  ];
}

/** Reads the plans of runs, the items of a distributed map. */
export function readPlan(results: aws.s3.Bucket): Grant {
  return allow("ReadPlan", ["s3:GetObject"], objects(results, ["*/plan.json"]));
}

/** Writes objects that need one request. */
export function write(what: string, bucket: aws.s3.Bucket, ...keys: string[]): Grant {
  return allow(`Write${what}`, ["s3:PutObject"], objects(bucket, keys));
}

/** Writes objects of any size, and removes what an earlier call left of them. */
export function upload(what: string, bucket: aws.s3.Bucket, ...keys: string[]): Grant[] {
  return [
    allow(`Upload${what}`, ["s3:PutObject", "s3:AbortMultipartUpload"], objects(bucket, keys)),
    allow(`ListUploadsOf${what}`, ["s3:ListBucketMultipartUploads"], [bucket.arn]),
  ];
}

function objects(bucket: aws.s3.Bucket, keys: string[]): pulumi.Output<string>[] {
  return keys.map((key) => pulumi.interpolate`${bucket.arn}/${key}`);
}

/** Reads what the stack's key encrypts, but only through S3. */
export function decryptInS3(account: Account, key: aws.kms.Key): Grant {
  return allow("DecryptInS3", ["kms:Decrypt"], [key.arn], through(account, "s3"));
}

/** Reads and writes what the stack's key encrypts, but only through S3. */
export function encryptInS3(account: Account, key: aws.kms.Key): Grant {
  // An upload in parts needs to decrypt, too.
  return allow(
    "EncryptInS3",
    ["kms:Decrypt", "kms:GenerateDataKey"],
    [key.arn],
    through(account, "s3"),
  );
}

function through(account: Account, ...services: string[]): PlainConditions {
  return {
    StringEquals: {
      "kms:ViaService": services.map((service) => `${service}.${account.region}.amazonaws.com`),
    },
  };
}

// Athena, which reads and writes with the rights of whoever starts a query

export function runQueries(workGroupArns: GrantedResource[]): Grant {
  const actions = ["athena:StartQueryExecution", "athena:GetQueryExecution"];
  return allow("RunQueries", actions, workGroupArns);
}

export function followQueries(workGroupArns: GrantedResource[]): Grant {
  return allow("FollowQueries", ["athena:GetQueryExecution"], workGroupArns);
}

export function cancelQueries(workGroupArns: GrantedResource[]): Grant {
  return allow("CancelQueries", ["athena:StopQueryExecution"], workGroupArns);
}

/** Names the catalog of a query that is started. It gives no right to what is in the catalog. */
export function getDataCatalog(account: Account): Grant {
  const catalog = arn(account, "athena", "datacatalog/AwsDataCatalog");
  return allow("GetDataCatalog", ["athena:GetDataCatalog"], [catalog]);
}

/** Locates the bucket of the results, which Athena asks for in the call that starts a query. */
export function locateResults(results: aws.s3.Bucket): Grant {
  return allow("LocateResults", ["s3:GetBucketLocation"], [results.arn]);
}

/**
 * Has Athena write results below these keys. The `s3:ListBucket` that it takes, too, comes with
 * `read`: https://docs.aws.amazon.com/athena/latest/ug/s3-permissions.html
 */
export function writeQueryResults(results: aws.s3.Bucket, ...keys: string[]): Grant[] {
  const actions = ["GetObject", "PutObject", "ListMultipartUploadParts", "AbortMultipartUpload"];
  return [
    locateResults(results),
    allow("ListUploadsOfQueryResults", ["s3:ListBucketMultipartUploads"], [results.arn]),
    allow(
      "WriteQueryResults",
      actions.map((action) => `s3:${action}`),
      objects(results, keys),
    ),
  ];
}

/** The data that queries may read. */
export interface DataScope {
  databases: string[];
  sources: Source[];
  sourceKeyArns: string[];
  lakeFormation: boolean;
}

/** Reads the tables of a data lake. These statements grow with it, so each is for all of one kind. */
export function readData(account: Account, scope: DataScope): Grant[] {
  const { databases, sources, sourceKeyArns, lakeFormation } = scope;
  const glue = (resource: string): SizedArn => sizedArn(account, "glue", resource);
  const grants = [
    // Athena looks at the database `default` whatever a query reads.
    allow("ReadCatalog", ["glue:GetDatabase"], [glue("catalog"), glue("database/default")]),
  ];
  if (databases.length > 0) {
    const actions = [
      "GetDatabase",
      "GetTable",
      "GetTables",
      "GetPartition",
      "GetPartitions",
      "BatchGetPartition",
    ];
    const tables = databases.flatMap((name) => [glue(`database/${name}`), glue(`table/${name}/*`)]);
    grants.push(
      allow(
        "ReadTables",
        actions.map((action) => `glue:${action}`),
        [glue("catalog"), ...tables],
      ),
    );
  }
  grants.push(...readSources(account, sources));
  if (sourceKeyArns.length > 0) {
    grants.push(allow("DecryptSources", ["kms:Decrypt"], sourceKeyArns, through(account, "s3")));
  }
  if (lakeFormation) {
    grants.push(allow("GetLakeFormationData", ["lakeformation:GetDataAccess"], EVERY));
  }
  return grants;
}

/** The characters of the prefixes in one condition, so that its statement fits into a policy. */
const PREFIXES_LENGTH_MAX = 3_000;

/**
 * Reads the objects of the sources. `s3:ListBucket` is for a bucket, and a condition says below which
 * prefixes. So only buckets with the same prefixes share a statement: in one for all, each bucket
 * could be listed below the prefixes of the others.
 */
function readSources(account: Account, sources: Source[]): Grant[] {
  if (sources.length === 0) {
    return [];
  }
  const buckets = [...new Set(sources.map(({ bucket }) => bucket))];
  const prefixes = new Map(
    buckets.map((name) => [
      name,
      outermost(sources.filter(({ bucket }) => bucket === name).map(({ prefix }) => prefix)),
    ]),
  );
  const sets = new Map<string, string[]>();
  for (const [bucket, below] of prefixes) {
    const set = JSON.stringify(below);
    sets.set(set, [...(sets.get(set) ?? []), bucket]);
  }
  const lists = [...sets].flatMap(([set, buckets]) =>
    conditionsFor(JSON.parse(set) as string[]).map((condition) => ({ buckets, condition })),
  );
  const arns = (buckets: string[]): SizedArn[] =>
    buckets.map((bucket) => sizedS3Arn(account, bucket));
  return [
    allow("LocateSources", ["s3:GetBucketLocation"], arns(buckets)),
    ...lists.map(({ buckets, condition }, index) =>
      allow(`ListSources${index + 1}`, ["s3:ListBucket"], arns(buckets), condition),
    ),
    allow(
      "ReadSources",
      ["s3:GetObject"],
      [...prefixes].flatMap(([bucket, below]) =>
        below.map((prefix) => sizedS3Arn(account, `${bucket}/${prefix}*`)),
      ),
    ),
  ];
}

/** Returns the prefixes that lie below no other, sorted. */
function outermost(prefixes: string[]): string[] {
  const all = [...new Set(prefixes)].sort();
  return all.filter((one) => !all.some((other) => other !== one && one.startsWith(other)));
}

/** Returns the conditions for listing below these prefixes; for the empty prefix it is none. */
function conditionsFor(prefixes: string[]): (PlainConditions | undefined)[] {
  if (prefixes.includes("")) {
    return [undefined];
  }
  const sets: string[][] = [[]];
  for (const prefix of prefixes) {
    const last = sets.at(-1) ?? [];
    if (last.length > 0 && JSON.stringify([...last, prefix]).length > PREFIXES_LENGTH_MAX) {
      sets.push([prefix]);
    } else {
      last.push(prefix);
    }
  }
  return sets.map((set) => ({ StringLike: { "s3:prefix": set.map((prefix) => `${prefix}*`) } }));
}

// Credentials of transporters

/** Reads secrets and parameters of these names; a name may end in `*`. */
export function readSecrets(
  account: Account,
  names: string[],
  keyArns: pulumi.Input<string>[],
): Grant[] {
  // Secrets Manager adds a hyphen and six characters to the name in a secret's ARN.
  const secrets = names.map((name) =>
    sizedArn(account, "secretsmanager", `secret:${name.endsWith("*") ? name : `${name}-??????`}`),
  );
  const parameters = names.map((name) =>
    sizedArn(account, "ssm", `parameter/${name.replace(/^\//, "")}`),
  );
  return [
    allow("ReadSecrets", ["secretsmanager:GetSecretValue"], secrets),
    allow("ReadParameters", ["ssm:GetParameter"], parameters),
    allow("DecryptSecrets", ["kms:Decrypt"], keyArns, through(account, "secretsmanager", "ssm")),
  ];
}

// Step Functions

export function startRuns(stateMachineArn: pulumi.Input<string>): Grant {
  return allow("StartRuns", ["states:StartExecution"], [stateMachineArn]);
}

export function followRuns(stateMachineArn: pulumi.Output<string>): Grant {
  const actions = ["DescribeExecution", "GetExecutionHistory", "DescribeStateMachineForExecution"];
  return allow(
    "FollowRuns",
    actions.map((action) => `states:${action}`),
    [executions(stateMachineArn, ":*")],
  );
}

/**
 * The ARNs that the state machine `name` has, and its distributed maps, which are called `NAME/LABEL`.
 *
 * From the name, and no output: the roles that know the machine are made before it, for the machine
 * depends on its functions.
 */
export function machineArns(account: Account, name: string): pulumi.Output<string>[] {
  return ["", "/*"].map((label) => arn(account, "states", `stateMachine:${name}${label}`));
}

/** Ends waiting tasks of the state machine `name` as a success. */
export function succeedTasks(account: Account, name: string): Grant {
  return allow("SucceedTasks", ["states:SendTaskSuccess"], machineArns(account, name));
}

/** Ends waiting tasks of the state machine `name`, as a success or as a failure. */
export function endTasks(account: Account, name: string): Grant {
  const actions = ["states:SendTaskSuccess", "states:SendTaskFailure"];
  return allow("EndTasks", actions, machineArns(account, name));
}

/** Looks at the executions of the state machine `name`. */
export function describeRuns(account: Account, name: string): Grant {
  const runs = arn(account, "states", `execution:${name}:*`);
  return allow("DescribeRuns", ["states:DescribeExecution"], [runs]);
}

/** A distributed map runs its items as executions of the state machine itself, `NAME/LABEL:ID`. */
export function runItems(stateMachineArn: pulumi.Output<string>): Grant[] {
  return [
    allow("StartItems", ["states:StartExecution"], [stateMachineArn]),
    allow(
      "FollowItems",
      ["states:DescribeExecution", "states:StopExecution"],
      [executions(stateMachineArn, ":*"), executions(stateMachineArn, "/*")],
    ),
  ];
}

function executions(stateMachineArn: pulumi.Output<string>, which: string): pulumi.Output<string> {
  return stateMachineArn.apply((arn) => arn.replace(":stateMachine:", ":execution:") + which);
}

export function invoke(functions: aws.lambda.Function[]): Grant {
  return allow(
    "InvokeFunctions",
    ["lambda:InvokeFunction"],
    functions.map(({ arn }) => arn),
  );
}

/** Hands the log of Step Functions over. */
export const deliverLogs: Grant = allow(
  "DeliverLogs",
  [
    "CreateLogDelivery",
    "GetLogDelivery",
    "UpdateLogDelivery",
    "DeleteLogDelivery",
    "ListLogDeliveries",
    "PutResourcePolicy",
    "DescribeResourcePolicies",
    "DescribeLogGroups",
  ].map((action) => `logs:${action}`),
  EVERY,
);

export const traceWorkflow: Grant = allow(
  "TraceWorkflow",
  ["PutTraceSegments", "PutTelemetryRecords", "GetSamplingRules", "GetSamplingTargets"].map(
    (action) => `xray:${action}`,
  ),
  EVERY,
);

// Queues, topics, buckets, the key

export function sendTo(queue: aws.sqs.Queue): Grant {
  return allow("SendDeadLetters", ["sqs:SendMessage"], [queue.arn]);
}

/**
 * Lets EventBridge put what it could not deliver into the queue, for these rules alone. It names the
 * rule as the source, which holds the account, too:
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
 */
export function takeUndelivered(
  queue: aws.sqs.Queue,
  rules: aws.cloudwatch.EventRule[],
): ResourceStatement {
  return {
    Sid: "TakeUndelivered",
    Effect: "Allow",
    Principal: { Service: "events.amazonaws.com" },
    Action: ["sqs:SendMessage"],
    Resource: [queue.arn],
    Condition: { ArnEquals: { "aws:SourceArn": rules.map(({ arn }) => arn) } },
  };
}

/** Refuses what does not come over TLS. */
export function onlyOverTls(bucket: aws.s3.Bucket): ResourceStatement {
  return {
    Sid: "OnlyOverTls",
    Effect: "Deny",
    Principal: "*",
    Action: ["s3:*"],
    Resource: [bucket.arn, pulumi.interpolate`${bucket.arn}/*`],
    Condition: { Bool: { "aws:SecureTransport": "false" } },
  };
}

/** Lets the alarms of this account publish. */
export function publishAlarms(account: Account, topic: aws.sns.Topic): ResourceStatement {
  return {
    Sid: "PublishAlarms",
    Effect: "Allow",
    Principal: { Service: "cloudwatch.amazonaws.com" },
    Action: ["sns:Publish"],
    Resource: [topic.arn],
    Condition: onBehalfOf(account, arn(account, "cloudwatch", "alarm:*")),
  };
}

/**
 * Lets EventBridge publish. Without a condition, because EventBridge sends nothing that one could be
 * checked against: "You can't use Condition blocks in Amazon SNS topic policies for EventBridge".
 */
export function publishEvents(topic: aws.sns.Topic): ResourceStatement {
  return {
    Sid: "PublishEvents",
    Effect: "Allow",
    Principal: { Service: "events.amazonaws.com" },
    Action: ["sns:Publish"],
    Resource: [topic.arn],
  };
}

/**
 * The key's own policy. The account's statement hands the decision to the policies of roles; without
 * it nobody could change the key any more.
 */
export function keyPolicy(
  account: Account,
  logGroupArns: pulumi.Input<string>[],
): ResourceStatement[] {
  return [
    {
      Sid: "AdministerKey",
      Effect: "Allow",
      Principal: { AWS: pulumi.interpolate`arn:${account.partition}:iam::${account.id}:root` },
      Action: ["kms:*"],
      Resource: EVERY,
    },
    {
      Sid: "EncryptLogs",
      Effect: "Allow",
      Principal: { Service: `logs.${account.region}.amazonaws.com` },
      Action: [
        "kms:Encrypt",
        "kms:Decrypt",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:DescribeKey",
      ],
      Resource: EVERY,
      Condition: { ArnLike: { "kms:EncryptionContext:aws:logs:arn": logGroupArns } },
    },
    {
      Sid: "EncryptAlarms",
      Effect: "Allow",
      Principal: { Service: "cloudwatch.amazonaws.com" },
      Action: ["kms:Decrypt", "kms:GenerateDataKey"],
      Resource: EVERY,
      Condition: { StringEquals: { "aws:SourceAccount": account.id } },
    },
    {
      // Without a condition for the reason that `publishEvents` gives.
      Sid: "EncryptEvents",
      Effect: "Allow",
      Principal: { Service: "events.amazonaws.com" },
      Action: ["kms:Decrypt", "kms:GenerateDataKey"],
      Resource: EVERY,
    },
  ];
}
