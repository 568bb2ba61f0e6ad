import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account } from "../account";
import { document, sendTo, startRuns, trust } from "../grants";
import type { ScheduledJob } from "../settings";
import { undelivered } from "./undelivered";

export interface SchedulesArgs {
  account: Account;
  stateMachine: aws.sfn.StateMachine;
  schedules: ScheduledJob[];
  /** Fields that a job has unless it says otherwise. */
  jobDefaults: Record<string, pulumi.Input<string>>;
  /** Whether any schedule fires. */
  enabled: boolean;
}

/** The time for which a start is tried again. Nobody waits for a run that starts later than that. */
const START_AGE_SECONDS_MAX = 3600;
const START_RETRIES_MAX = 10;

/** The schedules, each of which starts a run of its job, and the queue of the starts that failed. */
export class Schedules extends pulumi.ComponentResource {
  readonly group: aws.scheduler.ScheduleGroup;
  readonly deadLetters: aws.sqs.Queue;

  constructor(name: string, args: SchedulesArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Schedules", name, {}, options);
    this.group = new aws.scheduler.ScheduleGroup(name, { name }, { parent: this });
    this.deadLetters = undelivered(`${name}-dead-letters`, this);
    const role = new aws.iam.Role(
      `${name}-schedules`,
      {
        description: `What the schedules of ${name} may do`,
        // AWS: the group, and no schedule of it, is the source of the call.
        assumeRolePolicy: trust(args.account, "scheduler.amazonaws.com", this.group.arn),
      },
      { parent: this },
    );
    const policy = new aws.iam.RolePolicy(
      `${name}-schedules`,
      {
        role: role.name,
        policy: document([startRuns(args.stateMachine.arn), sendTo(this.deadLetters)]),
      },
      { parent: role },
    );
    for (const schedule of args.schedules) {
      new aws.scheduler.Schedule(
        `${name}-${schedule.name}`,
        {
          name: schedule.name,
          groupName: this.group.name,
          ...(schedule.description !== "" && { description: schedule.description }),
          scheduleExpression: schedule.expression,
          scheduleExpressionTimezone: schedule.timezone,
          state: args.enabled && schedule.enabled ? "ENABLED" : "DISABLED",
          flexibleTimeWindow:
            schedule.flexibleMinutes === 0
              ? { mode: "OFF" }
              : { mode: "FLEXIBLE", maximumWindowInMinutes: schedule.flexibleMinutes },
          target: {
            arn: args.stateMachine.arn,
            roleArn: role.arn,
            input: pulumi.jsonStringify({ ...args.jobDefaults, ...schedule.job }),
            retryPolicy: {
              maximumEventAgeInSeconds: START_AGE_SECONDS_MAX,
              maximumRetryAttempts: START_RETRIES_MAX,
            },
            deadLetterConfig: { arn: this.deadLetters.arn },
          },
        },
        { parent: this, dependsOn: [policy] },
      );
    }
    this.registerOutputs();
  }
}
