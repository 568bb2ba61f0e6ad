import assert from "node:assert/strict";
import { test } from "node:test";

import { anyAccount } from "../account";
import { type Grant, readData } from "../grants";
import { pack, refuseTooMany } from "../policies";
import { stackValues } from "./project";
import { faults, policyDocuments, resources } from "./rules";
import { type SynthesizedStack, synthesize } from "./synth";

const count = 40;
const databases = Array.from({ length: count }, (_, index) => `department_${index}_curated`);
const sources = databases.map((_, index) => ({
  bucket: `acme-lake-department-${index}`,
  ...(index % 4 > 0 && { prefix: `curated/year/${index % 4 === 1 ? "all" : index}/` }),
}));

/** A stack over a data lake of 40 databases and 40 sources. */
const stack = synthesize("dev", {
  ...stackValues("dev"),
  "athena-workflow:databases": databases,
  "athena-workflow:sources": sources,
});

/** Returns the rights of a role: an action, a resource and a condition in each text. */
function rights(stack: SynthesizedStack, role: string): string[] {
  const attached = resources(stack, "aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    .filter(([, { inputs }]) => inputs.role === role)
    .map(([, { inputs }]) => inputs.policyArn);
  const managed = resources(stack, "aws:iam/policy:Policy")
    .filter(([, { outputs }]) => attached.includes(outputs.arn))
    .map(([name]) => `aws:iam/policy:Policy ${name}`);
  return policyDocuments(stack)
    .filter(({ at }) => at === `aws:iam/rolePolicy:RolePolicy ${role}` || managed.includes(at))
    .flatMap(({ document }) => document.Statement)
    .flatMap(({ Action, Resource = [], Condition }) =>
      Action.flatMap((action) =>
        Resource.map((resource) => [action, resource, JSON.stringify(Condition ?? {})].join(" ")),
      ),
    );
}

test("a stack over a large data lake keeps all rules", async () => {
  assert.deepEqual(faults(await stack), []);
});

test("a role whose own policy has no room gets managed ones", async () => {
  const names = resources(await stack, "aws:iam/policy:Policy").map(([name]) => name);
  const role = "athena-workflow-dev-execute-single-query";
  assert.deepEqual(names, [`${role}-1`, `${role}-2`]);
});

test("the query role may read what the settings name, and nothing else", async () => {
  const none = "{}";
  const below = (prefix: string): string =>
    JSON.stringify({ StringLike: { "s3:prefix": [`${prefix}*`] } });
  const glue = (resource: string): string => `arn:aws:glue:us-east-1:000000000000:${resource}`;
  const tables = [
    "GetDatabase",
    "GetTable",
    "GetTables",
    "GetPartition",
    "GetPartitions",
    "BatchGetPartition",
  ].flatMap((action) =>
    ["catalog", ...databases.flatMap((name) => [`database/${name}`, `table/${name}/*`])].map(
      (resource) => `glue:${action} ${glue(resource)} ${none}`,
    ),
  );
  const data = sources.flatMap(({ bucket, prefix = "" }) => [
    `s3:GetBucketLocation arn:aws:s3:::${bucket} ${none}`,
    `s3:ListBucket arn:aws:s3:::${bucket} ${prefix === "" ? none : below(prefix)}`,
    `s3:GetObject arn:aws:s3:::${bucket}/${prefix}* ${none}`,
  ]);
  const given = rights(await stack, "athena-workflow-dev-execute-single-query").filter(
    (right) => right.includes(":glue:") || right.includes("acme-lake"),
  );
  const expected = [...tables, ...data, `glue:GetDatabase ${glue("database/default")} ${none}`];
  assert.deepEqual([...new Set(given)].sort(), [...new Set(expected)].sort());
});

test("sources of one bucket share a statement, and those below another are dropped", () => {
  const grants = readData(anyAccount("us-east-1"), {
    databases: [],
    sources: [
      { bucket: "a", prefix: "x/y/" },
      { bucket: "a", prefix: "x/" },
      { bucket: "a", prefix: "z/" },
      { bucket: "b", prefix: "z/" },
      { bucket: "b", prefix: "x/" },
      { bucket: "c", prefix: "x/" },
      { bucket: "c", prefix: "" },
    ],
    sourceKeyArns: [],
    lakeFormation: false,
  });
  const lists = grants.filter(({ Action }) => Action.includes("s3:ListBucket"));
  assert.deepEqual(
    lists.map(({ Resource, Condition }) => [Resource.length, Condition]),
    [
      [2, { StringLike: { "s3:prefix": ["x/*", "z/*"] } }],
      [1, undefined],
    ],
  );
  const reads = grants.find(({ Action }) => Action.includes("s3:GetObject"));
  assert.equal(reads?.Resource.length, 5);
});

test("statements are split by their resources, and none is lost", () => {
  const grant = (Sid: string, count: number): Grant => ({
    Sid,
    Effect: "Allow",
    Action: ["s3:GetObject"],
    Resource: Array.from({ length: count }, (_, index) => `arn:aws:s3:::${Sid}-${index}/*`),
  });
  const grants = [grant("Small", 1), grant("Large", 1_000), grant("Last", 3)];
  const { inline, managed } = pack(grants);
  const length = (Statement: Grant[]): number =>
    JSON.stringify({ Version: "2012-10-17", Statement }).length;
  assert.ok(length(inline) <= 10_240, String(length(inline)));
  assert.ok(managed.every((grants) => length(grants) <= 6_144 && grants.length > 0));
  // None has room for another resource of the next.
  assert.ok([inline, ...managed.slice(0, -1)].every((grants) => length(grants) > 6_000));
  const all = [...inline, ...managed.flat()];
  assert.deepEqual(
    all.flatMap(({ Resource }) => Resource),
    grants.flatMap(({ Resource }) => Resource),
  );
  const many = { inline: [], managed: Array.from({ length: 11 }, () => []) };
  assert.throws(() => {
    refuseTooMany("reader", many);
  }, /the role `reader` would take 11 managed policies, and IAM attaches at most 10/);
  assert.throws(() => pack([grant("x".repeat(7_000), 1)], 0), /fits into no policy/);
});
