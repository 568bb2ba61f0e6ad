import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Grant, document, trace, trustLambda, useNetwork, writeLogs } from "../grants";
import { type LogKeeping, logGroup } from "./log-group";

/** What all functions of a stack have in common. */
export interface FunctionDefaults {
  architecture: "x86_64" | "arm64";
  logLevel: string;
  logs: LogKeeping;
  tracing: boolean;
}

export interface RustFunctionArgs {
  defaults: FunctionDefaults;
  description: string;
  /** The zip with the function's `bootstrap`. */
  code: pulumi.asset.Archive;
  memoryMb: number;
  timeoutSeconds: number;
  /** How many may run at once; as many as the account has room for, if not given. */
  reservedConcurrency: number | undefined;
  environment: Record<string, pulumi.Input<string>>;
  /** What it may do, besides writing its log and its traces. */
  grants: Grant[];
  /** The network that it runs in; Lambda's own, if not given. */
  network: { subnetIds: string[]; securityGroupIds: string[] } | undefined;
}

/**
 * Has the C library map each block of 128 KiB or more, and unmap it when it is freed. Left alone, it
 * raises this limit as it goes and keeps what is freed, so that a process grows with its work:
 * https://man7.org/linux/man-pages/man3/mallopt.3.html
 */
const ALLOCATOR = { MALLOC_MMAP_THRESHOLD_: "131072" };

/** One Lambda with its log group and its role. */
export class RustFunction extends pulumi.ComponentResource {
  readonly function: aws.lambda.Function;

  constructor(name: string, args: RustFunctionArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:RustFunction", name, {}, options);
    const { defaults, network } = args;
    const logs = logGroup(name, `/aws/lambda/${name}`, defaults.logs, this);
    const role = new aws.iam.Role(
      name,
      { description: `What ${name} may do`, assumeRolePolicy: trustLambda },
      { parent: this },
    );
    const policy = new aws.iam.RolePolicy(
      name,
      {
        role: role.name,
        policy: document([
          writeLogs(logs),
          ...(defaults.tracing ? [trace] : []),
          ...(network ? [useNetwork] : []),
          ...args.grants,
        ]),
      },
      { parent: role },
    );
    this.function = new aws.lambda.Function(
      name,
      {
        description: args.description,
        role: role.arn,
        runtime: "provided.al2023",
        handler: "bootstrap",
        architectures: [defaults.architecture],
        code: args.code,
        memorySize: args.memoryMb,
        timeout: args.timeoutSeconds,
        ...(args.reservedConcurrency !== undefined && {
          reservedConcurrentExecutions: args.reservedConcurrency,
        }),
        environment: { variables: { ...ALLOCATOR, ...args.environment } },
        loggingConfig: {
          logFormat: "JSON",
          logGroup: logs.name,
          applicationLogLevel: defaults.logLevel,
          systemLogLevel: "INFO",
        },
        tracingConfig: { mode: defaults.tracing ? "Active" : "PassThrough" },
        ...(network && { vpcConfig: network }),
      },
      { parent: this, dependsOn: [policy] },
    );
    this.registerOutputs();
  }
}
