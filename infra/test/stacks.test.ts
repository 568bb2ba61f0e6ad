import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { test } from "node:test";

import { stacks } from "./project";
import { SECRET_SIGNATURE, plain, stackFile } from "./synth";

/** Returns what `npm run synth` would write, without writing it. A process makes one stack. */
function synthesized(stack: string): string {
  return execFileSync(process.execPath, ["build/test/write-synth.js", stack, "-"], {
    encoding: "utf8",
    maxBuffer: 1e8,
  });
}

/** The lines in which two texts differ, each after what it belongs to. */
export function difference(before: string, after: string): string[] {
  const [old, now] = [leaves(JSON.parse(before), ""), leaves(JSON.parse(after), "")];
  const places = [...new Set([...old.keys(), ...now.keys()])].sort();
  return places
    .filter((place) => old.get(place) !== now.get(place))
    .flatMap((place) => [
      ...(old.has(place) ? [`- ${place}: ${old.get(place) ?? ""}`] : []),
      ...(now.has(place) ? [`+ ${place}: ${now.get(place) ?? ""}`] : []),
    ]);
}

function leaves(value: unknown, at: string): Map<string, string> {
  if (typeof value !== "object" || value === null || Object.keys(value).length === 0) {
    return new Map([[at, JSON.stringify(value)]]);
  }
  return new Map(
    Object.entries(value).flatMap(([key, inner]) => [
      ...leaves(inner, at === "" ? key : `${at} > ${key}`),
    ]),
  );
}

for (const stack of stacks()) {
  test(`the stack ${stack} is the one that was reviewed`, () => {
    const now = synthesized(stack);
    const before = fs.existsSync(stackFile(stack))
      ? fs.readFileSync(stackFile(stack), "utf8")
      : "{}";
    const lines = difference(before, now);
    const update = `infra/${stackFile(stack)} is not what would be deployed; if the change is meant, write it with\n  npm run synth -- ${stack}\n`;
    assert.deepEqual(lines, [], `${update}${lines.join("\n")}`);
    assert.equal(now, before, `${update}(only the form differs)`);
  });
}

test("a difference says where, what was and what is", () => {
  assert.deepEqual(difference('{"a":{"b":[1,2],"c":{}}}', '{"a":{"b":[1,3],"d":null}}'), [
    "- a > b > 1: 2",
    "+ a > b > 1: 3",
    "- a > c: {}",
    "+ a > d: null",
  ]);
});

test("a secret stands masked, a text that is JSON as that JSON", async () => {
  const secret = { [SECRET_SIGNATURE]: "1b47061264138c4ac30d75fd1eb44270", value: "hunter2" };
  assert.deepEqual(await plain({ variables: secret, policy: '{"a":[1]}', text: "{no JSON" }), {
    variables: "[secret]",
    policy: { a: [1] },
    text: "{no JSON",
  });
});
