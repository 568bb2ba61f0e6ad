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
  /** The rules that wake functions, each by its name in alarms. */
  rules: Record<string, aws.cloudwatch.EventRule>;
  lostEvents: aws.sqs.Queue;
  workGroup: aws.athena.Workgroup;
  /** After how many hours without a run that succeeded there is an alarm; 0 for never. */
  hoursWithoutSuccess: number;
}

interface Metric {
  namespace: string;
  name: string;
  dimensions: Record<string, pulumi.Input<string>>;
}

interface Widget {
  title: string;
  metrics: Metric[];
  statistic: "Sum" | "Maximum";
}

const MINUTE = 60;
const HOUR = 3600;

/** Alarms, each of which tells the topic, and a dashboard. */
export class Monitoring extends pulumi.ComponentResource {
  constructor(
    private readonly name: string,
    private readonly args: MonitoringArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("athena-workflow:index:Monitoring", name, {}, options);
    const metrics = metricsOf(args);
    this.createRunAlarms(metrics);
    this.createFunctionAlarms(metrics);
    this.createScheduleAlarms(metrics);
    this.createEventAlarms(metrics);
    this.createDashboard(metrics);
    this.registerOutputs();
  }

  private createRunAlarms({ runs }: Metrics): void {
    this.createAlarm(
      "runs-failed",
      "A run failed: see errors/ below its output prefix.",
      runs("ExecutionsFailed"),
    );
    this.createAlarm(
      "runs-timed-out",
      "A run took longer than the workflow allows.",
      runs("ExecutionsTimedOut"),
    );
    this.createAlarm("runs-aborted", "A run was stopped by hand.", runs("ExecutionsAborted"));
    // AWS calls this one metric `Execution…` and all others `Executions…`.
    this.createAlarm(
      "runs-throttled",
      "Step Functions was asked for more than the account's quota.",
      runs("ExecutionThrottled"),
    );
    const hours = this.args.hoursWithoutSuccess;
    if (hours > 0) {
      this.createAlarm(
        "no-success",
        `No run succeeded for ${hours} hours.`,
        runs("ExecutionsSucceeded"),
        {
          period: HOUR,
          evaluationPeriods: hours,
          comparisonOperator: "LessThanThreshold",
          treatMissingData: "breaching",
        },
      );
    }
  }

  private createFunctionAlarms({ ofFunction, api }: Metrics): void {
    for (const [what, lambda] of Object.entries(this.args.functions)) {
      this.createAlarm(
        `${what}-throttled`,
        `There was no room for a call of ${what}: see its concurrency.`,
        ofFunction("Throttles", lambda),
      );
    }
    this.createAlarm("api-failed", "The API answered a request with a server error.", api("5xx"));
  }

  private createScheduleAlarms({ schedules, queue }: Metrics): void {
    this.createAlarm(
      "start-failed",
      "A schedule could not start its run, and tries again.",
      schedules("TargetErrorCount"),
    );
    this.createAlarm(
      "start-dropped",
      "A schedule gave up to start its run.",
      schedules("InvocationDroppedCount"),
    );
    this.createAlarm(
      "dead-letters",
      "The queue holds starts that schedules gave up.",
      queue("ApproximateNumberOfMessagesVisible", this.args.deadLetters),
      { statistic: "Maximum" },
    );
  }

  private createEventAlarms({ ofRule, queue }: Metrics): void {
    for (const [what, rule] of Object.entries(this.args.rules)) {
      this.createAlarm(
        `${what}-not-delivered`,
        `EventBridge gave up an event of the rule ${this.name}-${what}: may it call results-gatherer?`,
        ofRule("FailedInvocations", rule),
      );
    }
    this.createAlarm(
      "lost-events",
      "The queue holds events that results-gatherer could not handle: see its log.",
      queue("ApproximateNumberOfMessagesVisible", this.args.lostEvents),
      { statistic: "Maximum" },
    );
  }

  /** An alarm at the first time within five minutes, or as `change` says. */
  private createAlarm(
    what: string,
    description: string,
    metric: Metric,
    change: Partial<aws.cloudwatch.MetricAlarmArgs> = {},
  ): void {
    new aws.cloudwatch.MetricAlarm(
      `${this.name}-${what}`,
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
        alarmActions: [this.args.topic.arn],
        ...change,
      },
      { parent: this },
    );
  }

  private createDashboard({ runs, ofFunction, api, schedules, queries }: Metrics): void {
    const ofFunctions = (metric: string): Metric[] =>
      Object.values(this.args.functions).map((lambda) => ofFunction(metric, lambda));
    const ends = ["Started", "Succeeded", "Failed", "TimedOut", "Aborted"];
    const starts = ["InvocationAttemptCount", "TargetErrorCount", "InvocationDroppedCount"];
    const widgets: Widget[] = [
      { title: "Runs", metrics: ends.map((end) => runs(`Executions${end}`)), statistic: "Sum" },
      { title: "Duration of runs (ms)", metrics: [runs("ExecutionTime")], statistic: "Maximum" },
      { title: "Bytes scanned", metrics: [queries("ProcessedBytes")], statistic: "Sum" },
      { title: "Errors of functions", metrics: ofFunctions("Errors"), statistic: "Sum" },
      { title: "Duration of calls (ms)", metrics: ofFunctions("Duration"), statistic: "Maximum" },
      {
        title: "Calls at once",
        metrics: ofFunctions("ConcurrentExecutions"),
        statistic: "Maximum",
      },
      { title: "Requests", metrics: ["Count", "4xx", "5xx"].map(api), statistic: "Sum" },
      { title: "Schedules", metrics: starts.map(schedules), statistic: "Sum" },
    ];
    new aws.cloudwatch.Dashboard(
      this.name,
      { dashboardName: this.name, dashboardBody: dashboard(this.args.region, widgets) },
      { parent: this },
    );
  }
}

type Metrics = ReturnType<typeof metricsOf>;

/** The metrics of what the stack has. */
function metricsOf(args: MonitoringArgs) {
  const { stateMachine, api, scheduleGroup, workGroup } = args;
  const of =
    (namespace: string, dimensions: Metric["dimensions"]) =>
    (name: string): Metric => ({ namespace, name, dimensions });
  return {
    runs: of("AWS/States", { StateMachineArn: stateMachine.arn }),
    ofFunction: (metric: string, { name }: aws.lambda.Function): Metric =>
      of("AWS/Lambda", { FunctionName: name })(metric),
    api: of("AWS/ApiGateway", { ApiId: api.id }),
    schedules: of("AWS/Scheduler", { ScheduleGroup: scheduleGroup.name }),
    queue: (metric: string, { name }: aws.sqs.Queue): Metric =>
      of("AWS/SQS", { QueueName: name })(metric),
    ofRule: (metric: string, { name }: aws.cloudwatch.EventRule): Metric =>
      of("AWS/Events", { RuleName: name })(metric),
    queries: of("AWS/Athena", {
      WorkGroup: workGroup.name,
      QueryState: "SUCCEEDED",
      QueryType: "DML",
    }),
  };
}

/** The widgets as a dashboard, two in a row. */
function dashboard(region: string, widgets: Widget[]): pulumi.Output<string> {
  const [width, height] = [12, 6];
  return pulumi.jsonStringify({
    widgets: widgets.map(({ title, metrics, statistic }, index) => ({
      type: "metric",
      x: (index % 2) * width,
      y: Math.floor(index / 2) * height,
      width,
      height,
      properties: {
        title,
        region,
        stat: statistic,
        period: 5 * MINUTE,
        metrics: metrics.map(({ namespace, name, dimensions }) => [
          namespace,
          name,
          ...Object.entries(dimensions).flat(),
        ]),
      },
    })),
  });
}
