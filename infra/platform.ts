/** Puts the components of a stack together. */

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { arn, readAccount, sizedArn } from "./account";
import { Api } from "./components/api";
import { Athena } from "./components/athena";
import { Encryption } from "./components/encryption";
import { Events, LostEvents } from "./components/events";
import { Monitoring } from "./components/monitoring";
import { Notifications } from "./components/notifications";
import { Schedules } from "./components/schedules";
import { Storage } from "./components/storage";
import { Workflow } from "./components/workflow";
import { PLACEHOLDERS, apiFunction, workflowFunctions } from "./functions";
import type { Packages } from "./packages";
import type { Settings } from "./settings";

/** The routes of the API; job-api answers them all. */
const ROUTES = ["POST /jobs", "GET /jobs/{run_id}"];

/** The prefixes that runs of schedules write to, unless their jobs say otherwise. */
const OUTPUT_PREFIX = "runs/";
const ZIP_PREFIX = "archives/";

/** The outputs of a stack. */
export interface Outputs {
  apiUrl: pulumi.Output<string>;
  stateMachineArn: pulumi.Output<string>;
  queriesBucket: pulumi.Output<string>;
  resultsBucket: pulumi.Output<string>;
  stateBucket: pulumi.Output<string>;
  workGroup: pulumi.Output<string>;
  queryRoleArn: pulumi.Output<string>;
  topicArn: pulumi.Output<string>;
  secretsPrefix: string;
}

/** Registers everything that `settings` ask for. */
export function deploy(settings: Settings, packages: Packages, workflow: string): Outputs {
  const [project, stack] = [pulumi.getProject(), pulumi.getStack()];
  const name = `${project}-${stack}`;
  const provider = createProvider(settings, project, stack);
  const options = { providers: { aws: provider } };
  const account = readAccount(settings.region, provider);
  const secretsPrefix = `${project}/${stack}/`;

  const logGroups = [
    `/aws/lambda/${name}-*`,
    `/aws/vendedlogs/states/${name}`,
    `/aws/vendedlogs/apis/${name}`,
  ];
  const { key } = new Encryption(
    name,
    {
      account,
      logGroupArns: logGroups.map((path) => arn(account, "logs", `log-group:${path}`)),
      protect: settings.protect,
    },
    options,
  );
  const logs = { key, retentionDays: settings.logRetentionDays };
  const storage = new Storage(
    name,
    {
      key,
      resultsRetentionDays: settings.resultsRetentionDays,
      protect: settings.protect,
      emptyOnRemoval: settings.emptyBucketsOnRemoval,
    },
    options,
  );
  const { queries, results, state } = storage;
  const { workGroup } = new Athena(
    name,
    { account, results, key, scanLimitGb: settings.scanLimitGb },
    options,
  );

  const { queue: lostEvents } = new LostEvents(name, options);
  const functionsArgs = {
    account,
    settings,
    packages,
    defaults: {
      architecture: settings.architecture,
      logLevel: settings.logLevel,
      logs,
      tracing: settings.tracing,
    },
    key,
    queries,
    results,
    state,
    lostEvents,
    workGroupArns: [
      workGroup.arn,
      ...settings.workGroups.map((name) => sizedArn(account, "athena", `workgroup/${name}`)),
    ],
    secrets: [`${secretsPrefix}*`, ...settings.secrets],
  };
  const functions = workflowFunctions(name, functionsArgs, options);
  const placeholders = Object.entries(PLACEHOLDERS).map(([placeholder, name]) => [
    placeholder,
    functions[name],
  ]);
  const { stateMachine } = new Workflow(
    name,
    {
      account,
      definition: workflow,
      functions: Object.fromEntries(placeholders) as Record<string, aws.lambda.Function>,
      values: { WorkGroupName: workGroup.name },
      results,
      // An object that is written before its bucket has versions has none that a run could pin.
      needs: storage.parts,
      key,
      logs,
      logLevel: settings.workflowLogLevel,
      tracing: settings.tracing,
    },
    options,
  );

  const events = new Events(
    name,
    {
      workGroups: [workGroup.name, ...settings.workGroups],
      stateMachine,
      gatherer: functions["results-gatherer"],
      lostEvents,
    },
    options,
  );

  const jobApi = apiFunction(name, functionsArgs, stateMachine, options);
  const { jwtIssuer: issuer, jwtAudience: audience, jwtScopes: scopes } = settings;
  const { api } = new Api(
    name,
    {
      function: jobApi,
      routes: ROUTES,
      authorization: issuer === "" ? "iam" : { issuer, audience, scopes },
      requestsPerSecond: settings.apiRequestsPerSecond,
      requestsBurst: settings.apiRequestsBurst,
      logs,
    },
    options,
  );
  const schedules = new Schedules(
    name,
    {
      account,
      stateMachine,
      schedules: settings.schedules,
      jobDefaults: {
        query_index_bucket: queries.bucket,
        output_bucket: results.bucket,
        output_prefix: OUTPUT_PREFIX,
        zip_prefix: ZIP_PREFIX,
      },
      enabled: settings.schedulesEnabled,
    },
    options,
  );
  const { topic } = new Notifications(
    name,
    { account, key, emails: settings.alarmEmails, stateMachine },
    options,
  );
  new Monitoring(
    name,
    {
      region: settings.region,
      topic,
      stateMachine,
      functions: { ...functions, "job-api": jobApi },
      api,
      scheduleGroup: schedules.group,
      deadLetters: schedules.deadLetters,
      rules: { "query-ended": events.queryEnded, "run-failed": events.runFailed },
      lostEvents,
      workGroup,
      hoursWithoutSuccess: settings.hoursWithoutSuccess,
    },
    options,
  );

  return {
    apiUrl: api.apiEndpoint,
    stateMachineArn: stateMachine.arn,
    queriesBucket: queries.bucket,
    resultsBucket: results.bucket,
    stateBucket: state.bucket,
    workGroup: workGroup.name,
    queryRoleArn: functions["execute-single-query"].role,
    topicArn: topic.arn,
    secretsPrefix,
  };
}

/** The provider of all resources: the one place where their tags come from. */
function createProvider(settings: Settings, project: string, stack: string): aws.Provider {
  const { owner, costCenter } = settings;
  return new aws.Provider("aws", {
    region: settings.region as aws.Region,
    ...(settings.accountId !== "" && { allowedAccountIds: [settings.accountId] }),
    defaultTags: {
      tags: {
        project,
        stack,
        "managed-by": "pulumi",
        ...(owner !== "" && { owner }),
        ...(costCenter !== "" && { "cost-center": costCenter }),
      },
    },
  });
}
