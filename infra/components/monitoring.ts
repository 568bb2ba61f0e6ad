import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface MonitoringArgs {
  region: string;
  topic: aws.sns.Topic;
  stateMachine: aws.sfn.StateMachine;
  functions: Record<string, aws.lambda.Function>;
  api: aws.apigatewayv2.Api;
  scheduleGroup: aws.scheduler.ScheduleGroup;
  deadLetters: aws.sqs.Queue;
  workGroup: aws.athena.Workgroup;
  /** After how many hours without a run that succeeded there is an alarm; 0 for never. */
  hoursWithoutSuccess: number;
}

interface Metric {
  namespace: string;
  name: string;
  dimensions: Record<string, pulumi.Input<string>>;
}

const MINUTE = 60;
const HOUR = 3600;

/** Alarms, each of which tells the topic, and a dashboard. */
export class Monitoring extends pulumi.ComponentResource {
  constructor(name: string, args: MonitoringArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Monitoring", name, {}, options);
    const metrics = {
      runs: (metric: string): Metric => ({
        namespace: "AWS/States",
        name: metric,
        dimensions: { StateMachineArn: args.stateMachine.arn },
      }),
      function: (metric: string, { name }: aws.lambda.Function): Metric => ({
        namespace: "AWS/Lambda",
        name: metric,
        dimensions: { FunctionName: name },
      }),
      api: (metric: string): Metric => ({
        namespace: "AWS/ApiGateway",
        name: metric,
        dimensions: { ApiId: args.api.id },
      }),
      schedules: (metric: string): Metric => ({
        namespace: "AWS/Scheduler",
        name: metric,
        dimensions: { ScheduleGroup: args.scheduleGroup.name },
      }),
      deadLetters: {
        namespace: "AWS/SQS",
        name: "ApproximateNumberOfMessagesVisible",
        dimensions: { QueueName: args.deadLetters.name },
      },
      scannedBytes: {
        namespace: "AWS/Athena",
        name: "ProcessedBytes",
        dimensions: { WorkGroup: args.workGroup.name, QueryState: "SUCCEEDED", QueryType: "DML" },
      },
    };
    const alarm = (
      what: string,
      description: string,
      metric: Metric,
      change: Partial<aws.cloudwatch.MetricAlarmArgs> = {},
    ): void => {
      new aws.cloudwatch.MetricAlarm(
        `${name}-${what}`,
        {
          alarmDescription: description,
          namespace: metric.namespace,
          metricName: metric.name,
          dimensions: metric.dimensions,
          statistic: "Sum",
          period: 5 * MINUTE,
          evaluationPeriods: 1,
          comparisonOperator: "GreaterThanOrEqualToThreshold",
          threshold: 1,
          treatMissingData: "notBreaching",
          alarmActions: [args.topic.arn],
          ...change,
        },
        { parent: this },
      );
    };

    alarm(
      "runs-failed",
      "A run failed: see errors/ below its output prefix.",
      metrics.runs("ExecutionsFailed"),
    );
    alarm(
      "runs-timed-out",
      "A run took longer than the workflow allows.",
      metrics.runs("ExecutionsTimedOut"),
    );
    alarm("runs-aborted", "A run was stopped by hand.", metrics.runs("ExecutionsAborted"));
    // AWS calls this one metric `Execution…` and all others `Executions…`.
    alarm(
      "runs-throttled",
      "Step Functions was asked for more than the account's quota.",
      metrics.runs("ExecutionThrottled"),
    );
    for (const [what, lambda] of Object.entries(args.functions)) {
      alarm(
        `${what}-throttled`,
        `There was no room for a call of ${what}: see its concurrency.`,
        metrics.function("Throttles", lambda),
      );
    }
    alarm("api-failed", "The API answered a request with a server error.", metrics.api("5xx"));
    alarm(
      "start-failed",
      "A schedule could not start its run, and tries again.",
      metrics.schedules("TargetErrorCount"),
    );
    alarm(
      "start-dropped",
      "A schedule gave up to start its run.",
      metrics.schedules("InvocationDroppedCount"),
    );
    alarm("dead-letters", "The queue holds starts that schedules gave up.", metrics.deadLetters, {
      statistic: "Maximum",
    });
    if (args.hoursWithoutSuccess > 0) {
      alarm(
        "no-success",
        `No run succeeded for ${args.hoursWithoutSuccess} hours.`,
        metrics.runs("ExecutionsSucceeded"),
        {
          period: HOUR,
          evaluationPeriods: args.hoursWithoutSuccess,
          comparisonOperator: "LessThanThreshold",
          treatMissingData: "breaching",
        },
      );
    }

    const functions = Object.values(args.functions);
    new aws.cloudwatch.Dashboard(
      name,
      {
        dashboardName: name,
        dashboardBody: dashboard(args.region, [
          [
            "Runs",
            ["Started", "Succeeded", "Failed", "TimedOut", "Aborted"].map((what) =>
              metrics.runs(`Executions${what}`),
            ),
            "Sum",
          ],
          ["How long a run takes (ms)", [metrics.runs("ExecutionTime")], "Maximum"],
          ["Bytes that queries scanned", [metrics.scannedBytes], "Sum"],
          [
            "Errors of functions",
            functions.map((lambda) => metrics.function("Errors", lambda)),
            "Sum",
          ],
          [
            "How long functions take (ms)",
            functions.map((lambda) => metrics.function("Duration", lambda)),
            "Maximum",
          ],
          [
            "Functions at once",
            functions.map((lambda) => metrics.function("ConcurrentExecutions", lambda)),
            "Maximum",
          ],
          ["Requests to the API", ["Count", "4xx", "5xx"].map(metrics.api), "Sum"],
          [
            "Schedules",
            ["InvocationAttemptCount", "TargetErrorCount", "InvocationDroppedCount"].map(
              metrics.schedules,
            ),
            "Sum",
          ],
        ]),
      },
      { parent: this },
    );
    this.registerOutputs();
  }
}

/** The widgets of a dashboard, two in a row. */
function dashboard(
  region: string,
  widgets: [title: string, metrics: Metric[], statistic: string][],
): pulumi.Output<string> {
  const [width, height] = [12, 6];
  return pulumi.jsonStringify({
    widgets: widgets.map(([title, metrics, statistic], index) => ({
      type: "metric",
      x: (index % 2) * width,
      y: Math.floor(index / 2) * height,
      width,
      height,
      properties: {
        title,
        region,
        stat: statistic,
        period: 300,
        metrics: metrics.map(({ namespace, name, dimensions }) => [
          namespace,
          name,
          ...Object.entries(dimensions).flat(),
        ]),
      },
    })),
  });
}
