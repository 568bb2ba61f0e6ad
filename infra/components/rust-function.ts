import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Grant, document, sendTo, trace, trustLambda, useNetwork, writeLogs } from "../grants";
import { pack, refuseTooMany } from "../policies";
import { type LogKeeping, logGroup } from "./log-group";

/** The settings that all functions of a stack share. */
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
  /** The calls that may run at once; if not given, the account is the limit. */
  reservedConcurrency: number | undefined;
  environment: Record<string, pulumi.Input<string>>;
  /** Its permissions, besides writing its log and its traces. */
  grants: Grant[];
  /** The queue of events at which it failed, if events call it. */
  lostEvents: aws.sqs.Queue | undefined;
  /** The network that it runs in; Lambda's own, if not given. */
  network: { subnetIds: string[]; securityGroupIds: string[] } | undefined;
}

/**
 * Has the C library map each block of 128 KiB or more, and unmap it when it is freed. Left alone, it
 * raises this limit as it goes and keeps what is freed, so that a process grows with its work:
 * https://man7.org/linux/man-pages/man3/mallopt.3.html
 */
const ALLOCATOR = { MALLOC_MMAP_THRESHOLD_: "131072" };

/**
 * The tries of an event that calls a function: Lambda's own limits. Each is a call that may have
 * done its work before it failed, so the function is idempotent.
 */
const EVENT_RETRIES = 2;
const EVENT_AGE_SECONDS_MAX = 6 * 3600;

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
    const policies = this.permit(name, role, [
      writeLogs(logs),
      ...(defaults.tracing ? [trace] : []),
      ...(network ? [useNetwork] : []),
      ...(args.lostEvents ? [sendTo(args.lostEvents)] : []),
      ...args.grants,
    ]);
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
      { parent: this, dependsOn: policies },
    );
    if (args.lostEvents) {
      new aws.lambda.FunctionEventInvokeConfig(
        name,
        {
          functionName: this.function.name,
          maximumRetryAttempts: EVENT_RETRIES,
          maximumEventAgeInSeconds: EVENT_AGE_SECONDS_MAX,
          destinationConfig: { onFailure: { destination: args.lostEvents.arn } },
        },
        { parent: this },
      );
    }
    this.registerOutputs();
  }

  /** Gives the role its permissions, and returns what the function has to wait for. */
  private permit(name: string, role: aws.iam.Role, grants: Grant[]): pulumi.Resource[] {
    const packed = pack(grants);
    refuseTooMany(name, packed);
    const inline = new aws.iam.RolePolicy(
      name,
      { role: role.name, policy: document(packed.inline) },
      { parent: role },
    );
    const attached = packed.managed.map((grants, index) => {
      const part = `${name}-${index + 1}`;
      const policy = new aws.iam.Policy(
        part,
        {
          description: `Permissions of ${name} for which its own policy has no room`,
          policy: document(grants),
        },
        { parent: role },
      );
      return new aws.iam.RolePolicyAttachment(
        part,
        { role: role.name, policyArn: policy.arn },
        { parent: policy },
      );
    });
    return [inline, ...attached];
  }
}
