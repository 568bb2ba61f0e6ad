import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

import { stacks } from "./project";
import { type PolicyDocument, policyDocuments } from "./rules";
import { reviewed } from "./synth";

/**
 * What parliament, which knows AWS's actions, resources and conditions, finds in a document. It is
 * a Python package; this one works without a terminal, its command does not.
 */
const PARLIAMENT = `
import json, sys
from parliament import analyze_policy_string
for policy in json.load(sys.stdin):
    found = analyze_policy_string(json.dumps(policy["document"])).findings
    print(json.dumps([f"{policy['at']}: {finding.issue}: {finding.detail}" for finding in found]))
`;

/** Findings that do not matter, with the reason. */
const WAIVED: [finding: RegExp, reason: string][] = [
  [/RESOURCE_MISMATCH: .*states:\*:\*:express:/, "the workflow is no express workflow"],
  [
    /RESOURCE_MISMATCH: \[({'action': 'states:SendTask\w+', 'required_format': '\*'}(, )?)+\]$/,
    "AWS lists no resource for SendTask*, and yet decides by the machine's ARN, as CDK grants it " +
      "(aws-cdk#8486)",
  ],
  [/RESOURCE_STAR: .*ec2:CreateNetworkInterface/, "see UseNetwork in EVERY_RESOURCE"],
];

/** A Python that has parliament: \`infra/.venv\`, or the one on the path. */
const python = [".venv/bin/python", "python3"].find(
  (candidate) => spawnSync(candidate, ["-c", "import parliament"]).status === 0,
);
const missing =
  "parliament is missing: python3 -m venv .venv && .venv/bin/pip install -r test/requirements.txt";
const required = process.env.ATHENA_WORKFLOW_REQUIRE_SERVERS === "1";
const skip = python === undefined && !required ? missing : false;
if (skip !== false) {
  console.log(`skipped: ${skip}`);
}

function findings(documents: Pick<PolicyDocument, "at" | "document">[]): string[] {
  assert.ok(python, missing);
  const { status, stdout, stderr } = spawnSync(python, ["-c", PARLIAMENT], {
    input: JSON.stringify(documents),
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  const found = stdout
    .trim()
    .split("\n")
    .flatMap((line) => JSON.parse(line) as string[]);
  return found.filter((finding) => !WAIVED.some(([pattern]) => pattern.test(finding)));
}

for (const stack of stacks()) {
  test(`parliament finds nothing in the roles of ${stack}`, { skip }, () => {
    const documents = policyDocuments(reviewed(stack)).filter(({ kind }) => kind === "permissions");
    assert.equal(documents.length, 10);
    assert.deepEqual(findings(documents), []);
  });
}

test(
  "parliament finds an action that there is not, and a resource that does not fit",
  { skip },
  () => {
    const issues = (action: string): string[] => {
      const statement = { Effect: "Allow", Action: [action], Resource: ["arn:aws:s3:::bucket"] };
      const document = { Version: "2012-10-17", Statement: [{ Sid: "Bad", ...statement }] };
      return findings([{ at: "here", document }]).map((finding) => finding.split(": ")[1] ?? "");
    };
    assert.deepEqual(issues("s3:GetObjct"), ["UNKNOWN_ACTION"]);
    assert.deepEqual(issues("s3:GetObject"), ["RESOURCE_MISMATCH"]);
  },
);
