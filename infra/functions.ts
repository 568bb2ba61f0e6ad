/** The functions of the stack: what each needs to run, and what it may do. */

import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account } from "./account";
import { type FunctionDefaults, RustFunction } from "./components/rust-function";
import * as grants from "./grants";
import type { Packages } from "./packages";
import type { FunctionName, Settings } from "./settings";

export interface FunctionsArgs {
  account: Account;
  settings: Settings;
  packages: Packages;
  defaults: FunctionDefaults;
  key: aws.kms.Key;
  queries: aws.s3.Bucket;
  results: aws.s3.Bucket;
  /** The work groups that jobs may name. */
  workGroupArns: pulumi.Input<string>[];
  /** The names of the secrets that transporters may use. */
  secrets: string[];
}

interface Shape {
  description: string;
  memoryMb: number;
  timeoutSeconds: number;
  environment?: Record<string, pulumi.Input<string>>;
  grants: grants.Grant[];
  network?: { subnetIds: string[]; securityGroupIds: string[] } | undefined;
}

/** The functions that the workflow calls, each in its placeholder. */
export const PLACEHOLDERS = {
  QueryLoaderFunctionArn: "query-loader",
  ExecuteSingleQueryFunctionArn: "execute-single-query",
  ResultsGathererFunctionArn: "results-gatherer",
  ZipS3FolderFunctionArn: "zip-s3-folder",
  ExtractS3KeyFunctionArn: "extract-s3-key",
  FileTransporterFunctionArn: "file-transporter",
} as const satisfies Record<string, FunctionName>;

export type WorkflowFunctionName = (typeof PLACEHOLDERS)[keyof typeof PLACEHOLDERS];

/** Makes the functions that the workflow calls; `prefix` begins their names. */
export function workflowFunctions(
  prefix: string,
  args: FunctionsArgs,
  options: pulumi.ComponentResourceOptions,
): Record<WorkflowFunctionName, aws.lambda.Function> {
  const { account, settings, queries, results, key, workGroupArns } = args;
  const encrypt = grants.encryptInS3(account, key);
  const network =
    settings.deliverySubnetIds.length === 0
      ? undefined
      : {
          subnetIds: settings.deliverySubnetIds,
          securityGroupIds: settings.deliverySecurityGroupIds,
        };
  const shapes: Record<WorkflowFunctionName, Shape> = {
    "query-loader": {
      description: "Finds and pins the SQL of a job",
      memoryMb: 512,
      timeoutSeconds: 300,
      grants: [
        ...grants.read("Queries", queries, "*"),
        grants.write("Plan", results, "*/plan.json"),
        encrypt,
      ],
    },
    "execute-single-query": {
      description: "Runs one query and writes its CSV",
      memoryMb: 512,
      // Less than the workflow waits for it, here and below.
      timeoutSeconds: 870,
      environment: { QUERY_WAIT_SECONDS: String(settings.queryWaitSeconds) },
      grants: [
        ...grants.read("Queries", queries, "*"),
        ...grants.read("Results", results, "*"),
        ...grants.upload("Results", results),
        ...grants.runQueries(account, { ...settings, workGroupArns, results }),
        grants.cancelQueries(workGroupArns),
        encrypt,
      ],
    },
    "results-gatherer": {
      description: "Collects the results of a run, and cancels its queries",
      memoryMb: 512,
      timeoutSeconds: 300,
      grants: [
        ...grants.read("Results", results, "*"),
        grants.write("Results", results, "*"),
        grants.cancelQueries(workGroupArns),
        encrypt,
      ],
    },
    "zip-s3-folder": {
      description: "Makes one archive of the results of a run",
      memoryMb: 1769,
      timeoutSeconds: 870,
      grants: [
        ...grants.read("Results", results, "*"),
        ...grants.upload("Results", results),
        encrypt,
      ],
    },
    "extract-s3-key": {
      description: "Takes the URI of a file apart",
      memoryMb: 128,
      timeoutSeconds: 30,
      grants: [],
    },
    "file-transporter": {
      description: "Delivers a file",
      memoryMb: 512,
      timeoutSeconds: 870,
      grants: [
        ...grants.read("Results", results, "*"),
        ...grants.readSecrets(account, args.secrets, [key.arn, ...settings.secretKeyArns]),
        grants.decryptInS3(account, key),
      ],
      network,
    },
  };
  const made = Object.entries(shapes).map(([name, shape]) => [
    name,
    create(prefix, name as WorkflowFunctionName, shape, args, options),
  ]);
  return Object.fromEntries(made) as Record<WorkflowFunctionName, aws.lambda.Function>;
}

/** Makes the function behind the API, which starts and follows the runs of `stateMachine`. */
export function apiFunction(
  prefix: string,
  args: FunctionsArgs,
  stateMachine: aws.sfn.StateMachine,
  options: pulumi.ComponentResourceOptions,
): aws.lambda.Function {
  const { account, results, key } = args;
  const shape: Shape = {
    description: "Starts and follows runs",
    memoryMb: 256,
    timeoutSeconds: 30,
    environment: { STATE_MACHINE_ARN: stateMachine.arn },
    grants: [
      grants.startRuns(stateMachine.arn),
      grants.followRuns(stateMachine.arn),
      ...grants.read("Records", results, "*/plan.json", "*/results/*.json", "*/manifest.json"),
      grants.decryptInS3(account, key),
    ],
  };
  return create(prefix, "job-api", shape, args, options);
}

function create(
  prefix: string,
  name: FunctionName,
  { environment = {}, network, ...shape }: Shape,
  { settings, packages, defaults }: FunctionsArgs,
  options: pulumi.ComponentResourceOptions,
): aws.lambda.Function {
  const override = settings.functions.find((override) => override.name === name);
  const args = {
    ...shape,
    environment,
    network,
    defaults,
    code: packages(name),
    memoryMb: override?.memoryMb ?? shape.memoryMb,
    reservedConcurrency: override?.reservedConcurrency,
  };
  return new RustFunction(`${prefix}-${name}`, args, options).function;
}
