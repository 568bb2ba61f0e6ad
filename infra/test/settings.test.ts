import assert from "node:assert/strict";
import * as fs from "node:fs";
import { test } from "node:test";

import * as pulumi from "@pulumi/pulumi";

import { packageOf } from "../packages";
import { FUNCTION_NAMES, readSettings } from "../settings";
import { call, create } from "./mocks";
import { configuration, project, stackValues, stacks } from "./project";

/** Reads the settings of a stack with these values, their keys without the project's name. */
async function read(
  values: Record<string, unknown>,
  stack = "dev",
  region = "us-east-1",
): Promise<unknown> {
  const all: Record<string, unknown> = { "aws:region": region };
  for (const [key, value] of Object.entries(values)) {
    all[`athena-workflow:${key}`] = value;
  }
  await pulumi.runtime.setMocks(
    { newResource: (asked) => create(asked, region), call: ({ token }) => call(token) },
    project().name,
    stack,
  );
  pulumi.runtime.setAllConfig(configuration(all));
  return readSettings();
}

/** Checks everything that is said to be wrong with these values. */
async function check(
  values: Record<string, unknown>,
  expected: string[],
  stack?: string,
): Promise<void> {
  const lines = await read(values, stack).then(
    () => [],
    (error: unknown) => {
      assert.ok(error instanceof pulumi.RunError, String(error));
      return error.message.split("\n  ").slice(1);
    },
  );
  assert.deepEqual(lines, expected);
}

test("every setting is declared with a type, a description and a default", () => {
  for (const [key, { type, description, default: value }] of Object.entries(project().config)) {
    assert.ok(["string", "integer", "boolean", "array"].includes(type), key);
    assert.ok(description && value !== undefined, key);
  }
});

test("every function of the workspace is deployed, one of them twice", () => {
  const crates = fs.readdirSync("../functions");
  const functions = crates.filter((crate) => fs.existsSync(`../functions/${crate}/src/main.rs`));
  assert.deepEqual(functions.sort(), [...new Set(FUNCTION_NAMES.map(packageOf))].sort());
  assert.equal(FUNCTION_NAMES.length, functions.length + 1);
});

test("the defaults are a whole stack", async () => {
  await check({}, []);
  const settings = (await read({})) as object;
  const declared = Object.keys(project().config);
  assert.deepEqual(Object.keys(settings).sort(), [...declared, "region"].sort());
});

test("the stacks of the repository can be read", () => {
  for (const stack of stacks()) {
    configuration(stackValues(stack));
  }
});

test("everything that is wrong is said at once, each with its place", async () => {
  await check(
    {
      logLevel: "loud",
      logRetentionDays: 8,
      accountId: "42",
      sources: [{ bucket: "Lake" }, { prefix: "/x" }],
      functions: [{ name: "zip", memoryMb: 64 }],
      secrets: ["*"],
      alarmEmails: ["nobody"],
    },
    [
      "athena-workflow:accountId: expected the 12 digits of an account, or nothing, found `42`",
      "athena-workflow:logLevel: expected one of `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, found `loud`",
      "athena-workflow:logRetentionDays: expected one of `1`, `3`, `5`, `7`, `14`, `30`, `60`, `90`, `120`, `150`, " +
        "`180`, `365`, `400`, `545`, `731`, `1096`, `1827`, `2192`, `2557`, `2922`, `3288`, `3653`, found `8`",
      "athena-workflow:functions[0].name: expected one of `query-loader`, `execute-single-query`, " +
        "`execute-single-query-result`, `results-gatherer`, `zip-s3-folder`, `extract-s3-key`, `file-transporter`, `job-api`, found `zip`",
      "athena-workflow:functions[0].memoryMb: expected a whole number from 128 to 10240, found `64`",
      "athena-workflow:sources[0].bucket: expected the name of a bucket, found `Lake`",
      "athena-workflow:sources[1].bucket: expected the name of a bucket, found nothing",
      "athena-workflow:sources[1].prefix: expected a prefix of at most 1024 characters without `*`, `?` " +
        "and a leading `/`, found `/x`",
      "athena-workflow:secrets[0]: expected a name of secrets, which may end in `*`, found `*`",
      "athena-workflow:alarmEmails[0]: expected an e-mail address, found `nobody`",
    ],
  );
});

const NIGHTLY = { name: "nightly", expression: "cron(0 2 * * ? *)", job: { query_names: ["q"] } };

test("an impossible schedule is refused", async () => {
  await check({ schedules: [NIGHTLY] }, []);
  await check(
    {
      schedules: [
        NIGHTLY,
        NIGHTLY,
        {
          ...NIGHTLY,
          name: "a b",
          expression: "every day",
          timezone: "Mars/Base",
          flexibleMinutes: -1,
        },
        { ...NIGHTLY, name: "c", cron: "0 2 * * *", job: {} },
      ],
    },
    [
      "athena-workflow:schedules[2].name: expected 1 to 64 letters, digits, `.`, `_` or `-`, found `a b`",
      "athena-workflow:schedules[2].expression: expected `cron(minutes hours day month weekday year)`, " +
        "`rate(5 minutes)` or `at(2026-01-31T12:00:00)`, found `every day`",
      "athena-workflow:schedules[2].timezone: expected the name of a time zone, such as `Europe/Berlin`, found `Mars/Base`",
      "athena-workflow:schedules[2].flexibleMinutes: expected a whole number from 0 to 1440, found `-1`",
      "athena-workflow:schedules[3].cron: is not known here, expected `name`, `description`, `expression`, " +
        "`timezone`, `enabled`, `flexibleMinutes`, `job`",
      "athena-workflow:schedules[3].job.query_names: expected a list of at least one query",
      "athena-workflow:schedules[1].name: `nightly` is there twice",
    ],
  );
});

test("a credential in the job of a schedule is refused and not shown", async () => {
  const config = { sftp_host: "sftp.partner.example", sftp_password: "hunter2" };
  const job = { query_names: ["q"], transporter: { type: "sftp", config } };
  await check({ schedules: [{ ...NIGHTLY, job }] }, [
    "athena-workflow:schedules[0].job.transporter.config.sftp_password: a schedule's job holds no credential, " +
      "name a secret instead (`sftp_secret`, `sharefile_secret`)",
  ]);
});

test("a run-time value that EventBridge does not know is refused", async () => {
  const known = { query_names: ["q"], file_name: "<aws.scheduler.execution-id>.csv" };
  await check({ schedules: [{ ...NIGHTLY, job: known }] }, []);
  const unknown = { query_names: ["q", "<aws.scheduler.date>"] };
  await check({ schedules: [{ ...NIGHTLY, job: unknown }] }, [
    "athena-workflow:schedules[0].job.query_names[1]: `<aws.scheduler.date>` is not known, expected one of " +
      "<aws.scheduler.schedule-arn>, <aws.scheduler.scheduled-time>, <aws.scheduler.execution-id>, " +
      "<aws.scheduler.attempt-number>",
  ]);
});

test("settings that contradict each other are refused", async () => {
  await check({ protect: true, emptyBucketsOnRemoval: true }, [
    "athena-workflow:emptyBucketsOnRemoval: cannot be `true` while `protect` is",
  ]);
  await check({ jwtIssuer: "https://login.acme.example/" }, [
    "athena-workflow:jwtAudience: needs an audience, because `jwtIssuer` is set",
  ]);
  await check({ jwtScopes: ["jobs"] }, [
    "athena-workflow:jwtIssuer: is needed for `jwtAudience` and `jwtScopes`",
  ]);
  await check({ deliverySubnetIds: ["subnet-0a1b"] }, [
    "athena-workflow:deliverySubnetIds: and `deliverySecurityGroupIds` are set together",
  ]);
  const zip = { name: "zip-s3-folder", memoryMb: 512 };
  await check({ functions: [zip, zip] }, [
    "athena-workflow:functions[1].name: `zip-s3-folder` is there twice",
  ]);
});

test("the name of a stack fits into all names in it", async () => {
  for (const stack of ["a", "2nd", "acme-eu-central-1", "123456789012345678"]) {
    await check({}, [], stack);
  }
  for (const stack of ["production-eu-west1", "Acme", "acme_eu", "acme.eu", "-acme"]) {
    await check(
      {},
      [
        "the stack's name: expected 1 to 18 small letters, digits and `-`, the first of them no `-`, " +
          `found \`${stack}\``,
      ],
      stack,
    );
  }
});

test("a setting that there is not is refused, and one that is gone is explained", async () => {
  await check({ queryWaitSeconds: 6, logLevl: "INFO" }, [
    "athena-workflow:logLevl: is no setting. Pulumi.yaml lists them all. Remove it from Pulumi.dev.yaml.",
    "athena-workflow:queryWaitSeconds: `queryWaitSeconds` is gone: queries are waited for by events. " +
      "Remove it from Pulumi.dev.yaml.",
  ]);
});

test("a value of another type is refused before the program runs", () => {
  assert.throws(
    () => configuration({ "athena-workflow:protect": "yes" }),
    /`athena-workflow:protect` is no boolean/,
  );
});

test("lists that are too long for what AWS takes are refused", async () => {
  const names = (count: number, length: number): string[] =>
    Array.from({ length: count }, (_, index) => String(index).padEnd(length, "x"));
  await check(
    { databases: names(80, 100), workGroups: names(15, 100), secrets: names(90, 100) },
    [],
  );
  await check(
    { databases: names(200, 120), workGroups: names(20, 100), secrets: names(300, 100) },
    [
      "athena-workflow:sources: take with `databases` and `sourceKeyArns` 13 managed policies, and IAM attaches " +
        "at most 10 to a role. Name fewer and shorter prefixes or whole buckets, or deploy a second stack.",
      "athena-workflow:secrets: take with `secretKeyArns` 17 managed policies, and IAM attaches at most 10 to a " +
        "role. Name several secrets by the beginning of their names and `*`.",
      "athena-workflow:workGroups: take an event pattern of 2230 characters, and EventBridge allows 2048. " +
        "Name fewer work groups.",
    ],
  );
});
