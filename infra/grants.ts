/**
 * All policy statements of the stack: each names its actions and its resources.
 *
 * A `"*"` as a resource stands only where AWS knows no resource for the action, or where it means the
 * one resource that the policy is attached to; `EVERY_RESOURCE` lists them, and a test allows no other.
 */

import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account, arn, s3Arn } from "./account";
import type { Source } from "./settings";

type Conditions = Record<string, Record<string, pulumi.Input<string> | pulumi.Input<string>[]>>;

/** What a role may do. */
export interface Grant {
  Sid: string;
  Effect: "Allow";
  Action: string[];
  Resource: pulumi.Input<string>[];
  Condition?: Conditions;
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

/** A policy document as JSON. */
export function document(statements: (Grant | ResourceStatement)[]): pulumi.Output<string> {
  return pulumi.jsonStringify({ Version: "2012-10-17", Statement: statements });
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
  Resource: pulumi.Input<string>[],
  Condition?: Conditions,
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

/** Lets a service assume the role, for the one resource `source` of this account alone. */
export function trust(
  account: Account,
  service: string,
  source: pulumi.Input<string>,
): pulumi.Output<string> {
  return document([
    {
      Sid: "Assume",
      Effect: "Allow",
      Principal: { Service: service },
      Action: ["sts:AssumeRole"],
      Condition: onBehalfOf(account, source),
    },
  ]);
}

/** The condition that a service acts for `source`, and not for somebody else's resource. */
function onBehalfOf(account: Account, source: pulumi.Input<string>): Conditions {
  return {
    StringEquals: { "aws:SourceAccount": account.id },
    ArnLike: { "aws:SourceArn": source },
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
 * Reads objects; without `s3:ListBucket` an object that is not there is "access denied" instead of
 * "not found".
 */
export function read(what: string, bucket: aws.s3.Bucket, ...keys: string[]): Grant[] {
  return [
    allow(`Read${what}`, ["s3:GetObject"], objects(bucket, keys)),
    allow(`List${what}`, ["s3:ListBucket"], [bucket.arn]),
  ];
}

/** Reads the plans of runs, whose items a distributed map takes. */
export function readPlan(results: aws.s3.Bucket): Grant {
  return allow("ReadPlan", ["s3:GetObject"], objects(results, ["*/plan.json"]));
}

/** Writes objects that need one request. */
export function write(what: string, bucket: aws.s3.Bucket, ...keys: string[]): Grant {
  return allow(`Write${what}`, ["s3:PutObject"], objects(bucket, keys));
}

/** Writes objects of any size, and removes what an earlier call left of them. */
export function upload(what: string, bucket: aws.s3.Bucket): Grant[] {
  return [
    allow(`Upload${what}`, ["s3:PutObject", "s3:AbortMultipartUpload"], objects(bucket, ["*"])),
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

function through(account: Account, ...services: string[]): Conditions {
  return {
    StringEquals: {
      "kms:ViaService": services.map((service) => `${service}.${account.region}.amazonaws.com`),
    },
  };
}

// Athena, which reads and writes with the rights of whoever starts a query

/** What Athena is asked to do, and what queries read and write. */
export interface QueryScope {
  workGroupArns: pulumi.Input<string>[];
  results: aws.s3.Bucket;
  databases: string[];
  sources: Source[];
  sourceKeyArns: string[];
  lakeFormation: boolean;
}

export function cancelQueries(workGroupArns: pulumi.Input<string>[]): Grant {
  return allow("CancelQueries", ["athena:StopQueryExecution"], workGroupArns);
}

export function runQueries(account: Account, scope: QueryScope): Grant[] {
  const { workGroupArns, results, databases, sources, sourceKeyArns, lakeFormation } = scope;
  const glue = (resource: string): pulumi.Output<string> => arn(account, "glue", resource);
  const grants = [
    allow("RunQueries", ["athena:StartQueryExecution", "athena:GetQueryExecution"], workGroupArns),
    allow(
      "GetDataCatalog",
      ["athena:GetDataCatalog"],
      [arn(account, "athena", "datacatalog/AwsDataCatalog")],
    ),
    // Athena looks at the database `default` whatever a query reads.
    allow(
      "ReadCatalog",
      ["glue:GetDatabase"],
      [glue("catalog"), ...["default", ...databases].map((name) => glue(`database/${name}`))],
    ),
    allow("LocateResults", ["s3:GetBucketLocation"], [results.arn]),
    allow("ListPartsOfResults", ["s3:ListMultipartUploadParts"], objects(results, ["*"])),
  ];
  if (databases.length > 0) {
    const tables = databases.flatMap((name) => [glue(`database/${name}`), glue(`table/${name}/*`)]);
    const actions = ["GetTable", "GetTables", "GetPartition", "GetPartitions", "BatchGetPartition"];
    grants.push(
      allow(
        "ReadTables",
        actions.map((action) => `glue:${action}`),
        [glue("catalog"), ...tables],
      ),
    );
  }
  sources.forEach(({ bucket, prefix }, index) => {
    const what = `Source${index + 1}`;
    const below = prefix === "" ? undefined : { StringLike: { "s3:prefix": [`${prefix}*`] } };
    grants.push(
      allow(`Locate${what}`, ["s3:GetBucketLocation"], [s3Arn(account, bucket)]),
      allow(`List${what}`, ["s3:ListBucket"], [s3Arn(account, bucket)], below),
      allow(`Read${what}`, ["s3:GetObject"], [s3Arn(account, `${bucket}/${prefix}*`)]),
    );
  });
  if (sourceKeyArns.length > 0) {
    grants.push(allow("DecryptSources", ["kms:Decrypt"], sourceKeyArns, through(account, "s3")));
  }
  if (lakeFormation) {
    grants.push(allow("GetLakeFormationData", ["lakeformation:GetDataAccess"], EVERY));
  }
  return grants;
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
    arn(account, "secretsmanager", `secret:${name.endsWith("*") ? name : `${name}-??????`}`),
  );
  const parameters = names.map((name) =>
    arn(account, "ssm", `parameter/${name.replace(/^\//, "")}`),
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

/** What Step Functions needs to hand its log over. */
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
