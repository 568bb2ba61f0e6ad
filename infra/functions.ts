/** The functions of the stack: the needs and the permissions of each. */

import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account } from "./account";
import { QUERY_RESULTS } from "./components/athena";
import { type FunctionDefaults, RustFunction } from "./components/rust-function";
import * as grants from "./grants";
import { type Packages, packageOf } from "./packages";
import type { FunctionName, Settings } from "./settings";

export interface FunctionsArgs {
  account: Account;
  settings: Settings;
  packages: Packages;
  defaults: FunctionDefaults;
  key: aws.kms.Key;
  queries: aws.s3.Bucket;
  results: aws.s3.Bucket;
  /** The bucket of what runs need and is no result. */
  state: aws.s3.Bucket;
  /** The queue of events at which a function failed. */
  lostEvents: aws.sqs.Queue;
  /** The work groups that jobs may name. */
  workGroupArns: grants.GrantedResource[];
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
  /** The queue of events at which it failed, if events call it. */
  lostEvents?: aws.sqs.Queue;
}

/** The functions that the workflow calls, each by its placeholder. */
export const PLACEHOLDERS = {
  QueryLoaderFunctionArn: "query-loader",
  ExecuteSingleQueryFunctionArn: "execute-single-query",
  ExecuteSingleQueryResultFunctionArn: "execute-single-query-result",
  ResultsGathererFunctionArn: "results-gatherer",
  ZipS3FolderFunctionArn: "zip-s3-folder",
  ExtractS3KeyFunctionArn: "extract-s3-key",
  FileTransporterFunctionArn: "file-transporter",
} as const satisfies Record<string, FunctionName>;

export type WorkflowFunctionName = (typeof PLACEHOLDERS)[keyof typeof PLACEHOLDERS];

/** The results of a query in a work group that leaves their place to the client. */
const RESULTS_OF_CLIENT = "*/athena/*";

/**
 * Makes the functions that the workflow calls. `prefix` begins their names, and is the name of the
 * state machine.
 */
export function workflowFunctions(
  prefix: string,
  args: FunctionsArgs,
  options: pulumi.ComponentResourceOptions,
): Record<WorkflowFunctionName, aws.lambda.Function> {
  const { account, settings, queries, results, state, key, workGroupArns } = args;
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
        ...grants.read("Plan", results, "*/run.json", "*/plan.json"),
        grants.write("Plan", results, "*/run.json", "*/plan.json"),
        encrypt,
      ],
    },
    "execute-single-query": {
      description: "Starts one query, and looks whether it has ended",
      memoryMb: 512,
      // Less than the workflow waits for an answer, here and below.
      timeoutSeconds: 300,
      environment: { STATE_BUCKET: state.bucket },
      grants: [
        ...grants.readPinned("Queries", queries, "*"),
        ...grants.read("Records", results, "*/run.json", "*/results/*.json"),
        grants.write("Records", results, "*/results/*.json"),
        ...grants.read("Waits", state, "waits/*"),
        grants.write("Waits", state, "waits/*"),
        // A query that has ended by the first look is answered at once.
        grants.succeedTasks(account, prefix),
        grants.runQueries(workGroupArns),
        grants.cancelQueries(workGroupArns),
        grants.getDataCatalog(account),
        ...grants.writeQueryResults(
          results,
          // The stack's own work group enforces its location.
          `${QUERY_RESULTS}*`,
          ...(settings.workGroups.length > 0 ? [RESULTS_OF_CLIENT] : []),
        ),
        encrypt,
        ...grants.readData(account, settings),
      ],
    },
    "execute-single-query-result": {
      description: "Turns the result of one query into CSV",
      // One whole processor. The work costs the same with 512 MB, and takes three times as long.
      memoryMb: 1769,
      timeoutSeconds: 870,
      grants: [
        grants.followQueries(workGroupArns),
        ...grants.read("Results", results, "*"),
        ...grants.upload("Results", results, "*/csv/*", "*/members/*", "*/results/*.json"),
        encrypt,
      ],
    },
    "results-gatherer": {
      description: "Collects the results of a run, wakes it when a query ends, and cleans up",
      memoryMb: 512,
      timeoutSeconds: 300,
      environment: { STATE_BUCKET: state.bucket },
      lostEvents: args.lostEvents,
      grants: [
        ...grants.read("Results", results, "*"),
        grants.write("Results", results, "*"),
        ...grants.read("Waits", state, "waits/*"),
        grants.endTasks(account, prefix),
        grants.describeRuns(account, prefix),
        grants.cancelQueries(workGroupArns),
        // To clean up after a start whose answer was lost it starts the query again, byte for byte
        // the same, and Athena answers with the old one's id. It has no right to Glue or the sources:
        // a query that had not been started fails before it scans anything.
        grants.runQueries(workGroupArns),
        grants.getDataCatalog(account),
        grants.locateResults(results),
        ...grants.readPinned("Queries", queries, "*"),
        encrypt,
      ],
    },
    "zip-s3-folder": {
      description: "Makes one archive of the results of a run",
      memoryMb: 1769,
      timeoutSeconds: 870,
      grants: [
        ...grants.readPinned("Results", results, "*"),
        ...grants.upload("Results", results, "*"),
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
        ...grants.readPinned("Results", results, "*"),
        grants.write("Journals", results, "*/deliveries/*"),
        ...grants.readSecrets(account, args.secrets, [key.arn, ...settings.secretKeyArns]),
        encrypt,
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
      ...grants.read(
        "Records",
        results,
        ...["run", "plan", "results/*", "manifest"].map((name) => `*/${name}.json`),
      ),
      grants.decryptInS3(account, key),
    ],
  };
  return create(prefix, "job-api", shape, args, options);
}

function create(
  prefix: string,
  name: FunctionName,
  { environment = {}, network, lostEvents, ...shape }: Shape,
  { settings, packages, defaults }: FunctionsArgs,
  options: pulumi.ComponentResourceOptions,
): aws.lambda.Function {
  const override = settings.functions.find((override) => override.name === name);
  const args = {
    ...shape,
    environment,
    network,
    lostEvents,
    defaults,
    code: packages(packageOf(name)),
    memoryMb: override?.memoryMb ?? shape.memoryMb,
    reservedConcurrency: override?.reservedConcurrency,
  };
  return new RustFunction(`${prefix}-${name}`, args, options).function;
}
