/** The settings of a stack. What each means and its default stand in Pulumi.yaml. */

import * as pulumi from "@pulumi/pulumi";

import { type Job, job } from "./job";
import {
  type Parser,
  boolean,
  fields,
  integer,
  list,
  oneOf,
  optional,
  reportTwice,
  text,
  textThat,
} from "./reading";

/** The functions, each as its crate is called. */
export const FUNCTION_NAMES = [
  "query-loader",
  "execute-single-query",
  "results-gatherer",
  "zip-s3-folder",
  "extract-s3-key",
  "file-transporter",
  "job-api",
] as const;

export type FunctionName = (typeof FUNCTION_NAMES)[number];

/** What a stack changes of one function. */
export interface FunctionOverride {
  name: FunctionName;
  memoryMb: number | undefined;
  reservedConcurrency: number | undefined;
}

/** Objects that the queries read. */
export interface Source {
  bucket: string;
  prefix: string;
}

/** When which job runs. */
export interface ScheduledJob {
  name: string;
  description: string;
  expression: string;
  timezone: string;
  enabled: boolean;
  flexibleMinutes: number;
  job: Job;
}

export interface Settings {
  region: string;
  accountId: string;
  owner: string;
  costCenter: string;
  protect: boolean;
  emptyBucketsOnRemoval: boolean;

  architecture: "x86_64" | "arm64";
  logLevel: "TRACE" | "DEBUG" | "INFO" | "WARN" | "ERROR";
  workflowLogLevel: "ALL" | "ERROR" | "FATAL" | "OFF";
  logRetentionDays: number;
  tracing: boolean;
  queryWaitSeconds: number;
  functions: FunctionOverride[];

  resultsRetentionDays: number;
  scanLimitGb: number;
  workGroups: string[];
  databases: string[];
  sources: Source[];
  sourceKeyArns: string[];
  lakeFormation: boolean;

  secrets: string[];
  secretKeyArns: string[];
  deliverySubnetIds: string[];
  deliverySecurityGroupIds: string[];

  schedules: ScheduledJob[];
  schedulesEnabled: boolean;

  jwtIssuer: string;
  jwtAudience: string[];
  jwtScopes: string[];
  apiRequestsPerSecond: number;
  apiRequestsBurst: number;

  alarmEmails: string[];
  hoursWithoutSuccess: number;
}

/**
 * The name of a stack, which is in all names of what it holds: buckets take neither `_` nor capitals,
 * functions no `.`, and the roles' names, with ours in them, have at most 64 characters.
 */
const stackName = text(
  /^[a-z0-9][a-z0-9-]{0,17}$/,
  "1 to 18 small letters, digits and `-`, the first of them no `-`",
);

/** What CloudWatch Logs takes as a retention. */
const RETENTION_DAYS = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288,
  3653,
] as [number, ...number[]];

const anyText = text();
const bucket = text(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "the name of a bucket");
const keyArn = text(/^arn:[^:]+:kms:[^:]+:\d{12}:key\/[^*]+$/, "the ARN of a KMS key");

const functionOverride = fields<FunctionOverride>({
  name: oneOf(...FUNCTION_NAMES),
  memoryMb: optional<number | undefined>(integer(128, 10_240), undefined),
  reservedConcurrency: optional<number | undefined>(integer(1, 10_000), undefined),
});

const source = fields<Source>({
  bucket,
  prefix: optional(text(/^(?!\/)[^*?]*$/, "a prefix without `*`, `?` and a leading `/`"), ""),
});

const scheduledJob = fields<ScheduledJob>({
  name: text(/^[0-9a-zA-Z._-]{1,64}$/, "1 to 64 letters, digits, `.`, `_` or `-`"),
  description: optional(text(/^[^]{0,512}$/, "at most 512 characters"), ""),
  expression: text(
    /^(cron\(\S+( \S+){5}\)|rate\([1-9]\d* (minutes?|hours?|days?)\)|at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\))$/,
    "`cron(minutes hours day month weekday year)`, `rate(5 minutes)` or `at(2026-01-31T12:00:00)`",
  ),
  timezone: optional(
    textThat(isTimeZone, "the name of a time zone, such as `Europe/Berlin`"),
    "UTC",
  ),
  enabled: optional(boolean, true),
  flexibleMinutes: optional(integer(0, 1440), 0),
  job,
});

const PARSERS: { [K in keyof Omit<Settings, "region">]: Parser<Settings[K]> } = {
  accountId: text(/^(\d{12})?$/, "the 12 digits of an account, or nothing"),
  owner: anyText,
  costCenter: anyText,
  protect: boolean,
  emptyBucketsOnRemoval: boolean,

  architecture: oneOf("x86_64", "arm64"),
  logLevel: oneOf("TRACE", "DEBUG", "INFO", "WARN", "ERROR"),
  workflowLogLevel: oneOf("ALL", "ERROR", "FATAL", "OFF"),
  logRetentionDays: oneOf(...RETENTION_DAYS),
  tracing: boolean,
  queryWaitSeconds: integer(0, 600),
  functions: list(functionOverride),

  resultsRetentionDays: integer(1, 3650),
  scanLimitGb: integer(1, 1_000_000),
  workGroups: list(text(/^[a-zA-Z0-9._-]{1,128}$/, "the name of a work group")),
  databases: list(text(/^[^*?/\s]{1,255}$/, "the name of a database of the Glue Data Catalog")),
  sources: list(source),
  sourceKeyArns: list(keyArn),
  lakeFormation: boolean,

  secrets: list(text(/^[a-zA-Z0-9/_+=.@-]+\*?$/, "a name of secrets, which may end in `*`")),
  secretKeyArns: list(keyArn),
  deliverySubnetIds: list(text(/^subnet-[0-9a-f]+$/, "the id of a subnet")),
  deliverySecurityGroupIds: list(text(/^sg-[0-9a-f]+$/, "the id of a security group")),

  schedules: list(scheduledJob),
  schedulesEnabled: boolean,

  jwtIssuer: text(/^(https:\/\/\S+)?$/, "a URL that begins with `https://`, or nothing"),
  jwtAudience: list(anyText),
  jwtScopes: list(anyText),
  apiRequestsPerSecond: integer(1, 10_000),
  apiRequestsBurst: integer(1, 5_000),

  alarmEmails: list(text(/^\S+@\S+$/, "an e-mail address")),
  hoursWithoutSuccess: integer(0, 168),
};

/** The settings whose values are texts; those of all others are JSON. */
const TEXTS = [
  "accountId",
  "owner",
  "costCenter",
  "architecture",
  "logLevel",
  "workflowLogLevel",
  "jwtIssuer",
];

/**
 * Reads the settings of the stack.
 *
 * @throws pulumi.RunError that lists everything that is wrong.
 */
export function readSettings(): Settings {
  const problems: string[] = [];
  const report = (at: string, message: string): void => {
    problems.push(`${at}: ${message}`);
  };
  const config = new pulumi.Config();
  const read = (key: string, parser: Parser<unknown>): unknown => {
    const at = `${config.name}:${key}`;
    const value = config.get(key);
    if (value === undefined) {
      report(at, "is not set, and Pulumi.yaml has no default for it");
      return parser(undefined, at, () => undefined);
    }
    return parser(TEXTS.includes(key) ? value : json(value), at, report);
  };
  const values = Object.entries(PARSERS).map(([key, parser]) => [key, read(key, parser)]);
  const settings = {
    region: new pulumi.Config("aws").get("region") ?? "",
    ...(Object.fromEntries(values) as Omit<Settings, "region">),
  };
  reportContradictions(settings, (key, message) => {
    report(`${config.name}:${key}`, message);
  });
  if (settings.region === "") {
    report("aws:region", "is not set");
  }
  const stack = pulumi.getStack();
  stackName(stack, "the stack's name", report);
  if (problems.length > 0) {
    throw new pulumi.RunError(
      `the settings of the stack \`${stack}\` are wrong:\n  ${problems.join("\n  ")}`,
    );
  }
  return settings;
}

function reportContradictions(
  settings: Settings,
  report: (key: string, message: string) => void,
): void {
  const { schedules, functions, jwtIssuer, jwtAudience, jwtScopes } = settings;
  reportTwice(
    schedules.map(({ name }) => name),
    (index) => `schedules[${index}].name`,
    report,
  );
  reportTwice(
    functions.map(({ name }) => name),
    (index) => `functions[${index}].name`,
    report,
  );
  if (settings.protect && settings.emptyBucketsOnRemoval) {
    report("emptyBucketsOnRemoval", "can not be `true` while `protect` is");
  }
  if (jwtIssuer !== "" && jwtAudience.length === 0) {
    report("jwtAudience", "needs an audience, because `jwtIssuer` is set");
  }
  if (jwtIssuer === "" && jwtAudience.length + jwtScopes.length > 0) {
    report("jwtIssuer", "is needed for `jwtAudience` and `jwtScopes`");
  }
  if (
    (settings.deliverySubnetIds.length === 0) !==
    (settings.deliverySecurityGroupIds.length === 0)
  ) {
    report("deliverySubnetIds", "and `deliverySecurityGroupIds` are set together");
  }
}

/** The value of a setting that is no text; Pulumi hands it over as JSON. */
function json(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
