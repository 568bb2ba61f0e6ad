import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account, arn } from "../account";
import * as grants from "../grants";
import { type LogKeeping, logGroup } from "./log-group";

export interface WorkflowArgs {
  account: Account;
  /** The workflow in the states language, with its `${Placeholders}`. */
  definition: string;
  /** The functions that it calls, by their placeholders. */
  functions: Record<string, aws.lambda.Function>;
  /** The other placeholders. */
  values: Record<string, pulumi.Input<string>>;
  results: aws.s3.Bucket;
  /** The resources that have to be there before the first run. */
  needs: pulumi.Resource[];
  key: aws.kms.Key;
  logs: LogKeeping;
  logLevel: string;
  tracing: boolean;
}

/** The state machine, its role and its log. */
export class Workflow extends pulumi.ComponentResource {
  readonly stateMachine: aws.sfn.StateMachine;

  constructor(name: string, args: WorkflowArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Workflow", name, {}, options);
    const { account, functions } = args;
    // The role has to know the machine before it is there.
    const stateMachineArn = arn(account, "states", `stateMachine:${name}`);
    // Names that begin so keep the log's resource policy within its 5,120 characters.
    const logs = logGroup(name, `/aws/vendedlogs/states/${name}`, args.logs, this);
    const role = new aws.iam.Role(
      name,
      {
        description: `What the workflow of ${name} may do`,
        // AWS does not say with which of its ARNs a child of a distributed map asks for the role.
        assumeRolePolicy: grants.trust(
          account,
          "states.amazonaws.com",
          ...grants.machineArns(account, name),
        ),
      },
      { parent: this },
    );
    const policy = new aws.iam.RolePolicy(
      name,
      {
        role: role.name,
        policy: grants.document([
          grants.invoke(Object.values(functions)),
          ...grants.runItems(stateMachineArn),
          grants.readPlan(args.results),
          grants.decryptInS3(account, args.key),
          grants.deliverLogs,
          ...(args.tracing ? [grants.traceWorkflow] : []),
        ]),
      },
      { parent: role },
    );
    const values = { ...args.values };
    for (const [placeholder, { arn }] of Object.entries(functions)) {
      values[placeholder] = arn;
    }
    this.stateMachine = new aws.sfn.StateMachine(
      name,
      {
        name,
        type: "STANDARD",
        roleArn: role.arn,
        definition: fill(args.definition, values),
        loggingConfiguration: {
          level: args.logLevel,
          // Inputs and results stay out of the log: they are in the execution's history.
          includeExecutionData: false,
          logDestination: pulumi.interpolate`${logs.arn}:*`,
        },
        tracingConfiguration: { enabled: args.tracing },
      },
      { parent: this, dependsOn: [policy, ...args.needs] },
    );
    this.registerOutputs();
  }
}

/**
 * Puts values in the places of the `${Placeholders}`.
 *
 * @throws Error if a placeholder has no value, or a value no placeholder.
 */
export function fill(
  definition: string,
  values: Record<string, pulumi.Input<string>>,
): pulumi.Output<string> {
  const placeholders = new Set([...definition.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name));
  const given = new Set<string | undefined>(Object.keys(values));
  const missing = [...placeholders].filter((name) => !given.has(name));
  const unknown = [...given].filter((name) => !placeholders.has(name));
  const problems = [
    ...missing.map((name) => `no value for \`${name ?? ""}\``),
    ...unknown.map((name) => `no placeholder for \`${name ?? ""}\``),
  ];
  if (problems.length > 0) {
    throw new Error(`filling the workflow: ${problems.join(", ")}`);
  }
  return pulumi
    .all(values)
    .apply((values) => definition.replace(/\$\{(\w+)\}/g, (_, name: string) => values[name] ?? ""));
}
