/** The settings of a stack. Pulumi.yaml has the meaning and the default of each. */

import * as pulumi from "@pulumi/pulumi";

import { anyAccount } from "./account";
import { readData, readSecrets } from "./grants";
import { type Job, job } from "./job";
import { PATTERN_LENGTH_MAX, queriesEnded } from "./patterns";
import { MANAGED_POLICIES_MAX, managedPolicies } from "./policies";
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

/** The functions, each called as its crate; one crate is deployed twice. */
export const FUNCTION_NAMES = [
  "query-loader",
  "execute-single-query",
  "execute-single-query-result",
  "results-gatherer",
  "zip-s3-folder",
  "extract-s3-key",
  "file-transporter",
  "job-api",
] as const;

export type FunctionName = (typeof FUNCTION_NAMES)[number];

/** Changes of one function. */
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

/** A job and the times at which it runs. */
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

/** The retentions that CloudWatch Logs takes. */
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
  // No key of S3 is longer, nor could such a prefix stand in a policy.
  prefix: optional(
    text(
      /^(?!\/)[^*?]{0,1024}$/,
      "a prefix of at most 1024 characters without `*`, `?` and a leading `/`",
    ),
    "",
  ),
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

/** Settings of earlier versions, and what became of them. */
const GONE: Record<string, (file: string) => string> = {
  queryWaitSeconds: (file) =>
    `\`queryWaitSeconds\` is gone: queries are waited for by events. Remove it from ${file}.`,
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
  const reportSetting = (key: string, message: string): void => {
    report(`${config.name}:${key}`, message);
  };
  reportContradictions(settings, reportSetting);
  reportSizes(settings, reportSetting);
  reportUnknown(config.name, reportSetting);
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
    report("emptyBucketsOnRemoval", "cannot be `true` while `protect` is");
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

/** Reports lists that are too long for what AWS takes, before anything is made of them. */
function reportSizes(settings: Settings, report: (key: string, message: string) => void): void {
  const account = anyAccount(settings.region);
  const policies = {
    sources: managedPolicies(readData(account, settings)),
    secrets: managedPolicies(readSecrets(account, settings.secrets, settings.secretKeyArns)),
  };
  const refusal = (count: number): string =>
    `${count} managed policies, and IAM attaches at most ${MANAGED_POLICIES_MAX} to a role`;
  if (policies.sources > MANAGED_POLICIES_MAX) {
    report(
      "sources",
      `take with \`databases\` and \`sourceKeyArns\` ${refusal(policies.sources)}. ` +
        "Name fewer and shorter prefixes or whole buckets, or deploy a second stack.",
    );
  }
  if (policies.secrets > MANAGED_POLICIES_MAX) {
    report(
      "secrets",
      `take with \`secretKeyArns\` ${refusal(policies.secrets)}. ` +
        "Name several secrets by the beginning of their names and `*`.",
    );
  }
  // The stack's own work group is called as the stack.
  const own = `${pulumi.getProject()}-${pulumi.getStack()}`;
  const pattern = JSON.stringify(queriesEnded([own, ...settings.workGroups])).length;
  if (pattern > PATTERN_LENGTH_MAX) {
    report(
      "workGroups",
      `take an event pattern of ${pattern} characters, and EventBridge allows ${PATTERN_LENGTH_MAX}. ` +
        "Name fewer work groups.",
    );
  }
}

/** Reports values for settings that there are not: Pulumi takes any, and they would mean nothing. */
function reportUnknown(project: string, report: (key: string, message: string) => void): void {
  const file = `Pulumi.${pulumi.getStack()}.yaml`;
  const given = Object.keys(pulumi.runtime.allConfig())
    .filter((key) => key.startsWith(`${project}:`))
    .map((key) => key.slice(project.length + 1));
  for (const key of given.filter((key) => !(key in PARSERS)).sort()) {
    report(
      key,
      GONE[key]?.(file) ?? `is no setting. Pulumi.yaml lists them all. Remove it from ${file}.`,
    );
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
