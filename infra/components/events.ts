import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { document, takeUndelivered } from "../grants";
import { queriesEnded, runsFailed } from "../patterns";
import { undelivered } from "./undelivered";

export interface EventsArgs {
  /** The names of the work groups whose queries are waited for. */
  workGroups: pulumi.Input<string>[];
  stateMachine: aws.sfn.StateMachine;
  /** The function that answers waiting tasks and cleans up after runs. */
  gatherer: aws.lambda.Function;
  lostEvents: aws.sqs.Queue;
}

interface Wake {
  name: string;
  description: string;
  pattern: object;
  inputPaths: Record<string, string>;
  /** The payload of the call. EventBridge itself quotes texts and leaves numbers as they are. */
  inputTemplate: string;
  /** The time for which EventBridge tries to call the function. */
  ageSecondsMax: number;
  deadLetters?: aws.sqs.Queue;
}

const HOUR = 3600;

/** The tries within that time: the default of EventBridge. */
const RETRIES_MAX = 185;

/**
 * The queue of events that were lost: those that EventBridge could not deliver, and those at which
 * the function failed three times. It holds no token and no input of a run.
 */
export class LostEvents extends pulumi.ComponentResource {
  readonly queue: aws.sqs.Queue;

  constructor(name: string, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:LostEvents", name, {}, options);
    this.queue = undelivered(`${name}-lost-events`, this);
    this.registerOutputs();
  }
}

/** The rules that wake results-gatherer: a query has ended, or a run has failed. */
export class Events extends pulumi.ComponentResource {
  readonly queryEnded: aws.cloudwatch.EventRule;
  readonly runFailed: aws.cloudwatch.EventRule;

  constructor(name: string, args: EventsArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Events", name, {}, options);
    const { gatherer, lostEvents } = args;
    this.queryEnded = this.wake(gatherer, {
      name: `${name}-query-ended`,
      description: `Queries of ${name} that have ended`,
      pattern: queriesEnded(args.workGroups),
      inputPaths: { id: "$.detail.queryExecutionId", state: "$.detail.currentState" },
      inputTemplate: '{"action":"query_ended","query_execution_id":<id>,"state":<state>}',
      // After 20 minutes the workflow looks for itself, so an older event tells nothing new.
      ageSecondsMax: HOUR,
      deadLetters: lostEvents,
    });
    this.runFailed = this.wake(gatherer, {
      name: `${name}-run-failed`,
      description: `Runs of ${name} to clean up after`,
      pattern: runsFailed(args.stateMachine.arn),
      inputPaths: {
        execution: "$.detail.executionArn",
        run: "$.detail.name",
        status: "$.detail.status",
        start: "$.detail.startDate",
      },
      inputTemplate:
        '{"action":"clean_up","execution":<execution>,"run_id":<run>,"status":<status>,"started_at":<start>}',
      // No dead letters here. EventBridge puts the event into that queue as it came, before the
      // transformation, and this event holds the run's input: a job, maybe with a password in it.
      // So EventBridge tries for a day, and an alarm on its failed invocations tells of what is lost.
      ageSecondsMax: 24 * HOUR,
    });
    new aws.sqs.QueuePolicy(
      `${name}-lost-events`,
      {
        queueUrl: lostEvents.url,
        policy: document([takeUndelivered(lostEvents, [this.queryEnded])]),
      },
      { parent: this },
    );
    this.registerOutputs();
  }

  /** Creates a rule that calls the function. */
  private wake(target: aws.lambda.Function, wake: Wake): aws.cloudwatch.EventRule {
    const { name, description, pattern, deadLetters } = wake;
    const rule = new aws.cloudwatch.EventRule(
      name,
      { description, eventPattern: pulumi.jsonStringify(pattern) },
      { parent: this },
    );
    const permission = new aws.lambda.Permission(
      name,
      {
        function: target.name,
        action: "lambda:InvokeFunction",
        principal: "events.amazonaws.com",
        sourceArn: rule.arn,
      },
      { parent: this },
    );
    new aws.cloudwatch.EventTarget(
      name,
      {
        rule: rule.name,
        arn: target.arn,
        inputTransformer: { inputPaths: wake.inputPaths, inputTemplate: wake.inputTemplate },
        retryPolicy: {
          maximumEventAgeInSeconds: wake.ageSecondsMax,
          maximumRetryAttempts: RETRIES_MAX,
        },
        ...(deadLetters && { deadLetterConfig: { arn: deadLetters.arn } }),
      },
      // EventBridge does not try again what it has no permission for.
      { parent: this, dependsOn: [permission] },
    );
    return rule;
  }
}
