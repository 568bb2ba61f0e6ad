import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account } from "../account";
import { document, publishAlarms, publishEvents } from "../grants";
import { runsFailed } from "../patterns";

export interface NotificationsArgs {
  account: Account;
  key: aws.kms.Key;
  emails: string[];
  stateMachine: aws.sfn.StateMachine;
}

/** The topic that hears of runs that did not succeed and of alarms. */
export class Notifications extends pulumi.ComponentResource {
  readonly topic: aws.sns.Topic;

  constructor(name: string, args: NotificationsArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Notifications", name, {}, options);
    this.topic = new aws.sns.Topic(name, { kmsMasterKeyId: args.key.arn }, { parent: this });
    new aws.sns.TopicPolicy(
      name,
      {
        arn: this.topic.arn,
        policy: document([publishAlarms(args.account, this.topic), publishEvents(this.topic)]),
      },
      { parent: this },
    );
    for (const email of args.emails) {
      new aws.sns.TopicSubscription(
        `${name}-${email}`,
        { topic: this.topic.arn, protocol: "email", endpoint: email },
        { parent: this },
      );
    }
    const rule = new aws.cloudwatch.EventRule(
      name,
      {
        description: `Runs of ${name} that did not succeed`,
        eventPattern: pulumi.jsonStringify(runsFailed(args.stateMachine.arn)),
      },
      { parent: this },
    );
    new aws.cloudwatch.EventTarget(
      name,
      {
        rule: rule.name,
        arn: this.topic.arn,
        // Not the event itself, which holds the run's input.
        inputTransformer: {
          inputPaths: {
            run: "$.detail.name",
            status: "$.detail.status",
            execution: "$.detail.executionArn",
          },
          inputTemplate:
            '"The run <run> ended as <status>. Its error and what it did stand in errors/ and manifest.json below its output prefix, its history in Step Functions: <execution>"',
        },
      },
      { parent: this },
    );
    this.registerOutputs();
  }
}
