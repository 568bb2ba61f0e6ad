import assert from "node:assert/strict";
import * as fs from "node:fs";
import { test } from "node:test";

import validate from "asl-validator";

import { fill } from "../components/workflow";
import { stacks } from "./project";
import { resources } from "./rules";
import { type SynthesizedStack, stackFile } from "./synth";

interface State {
  Type: string;
  Next?: string;
}

function definitions(stack: string): { StartAt: string; States: Record<string, State> }[] {
  const reviewed = JSON.parse(fs.readFileSync(stackFile(stack), "utf8")) as SynthesizedStack;
  return resources(reviewed, "aws:sfn/stateMachine:StateMachine").map(
    ([, { inputs }]) => inputs.definition as unknown as ReturnType<typeof definitions>[number],
  );
}

for (const stack of stacks()) {
  test(`the workflow of ${stack} is a valid state machine`, () => {
    const found = definitions(stack).map((definition) => validate(definition).errors);
    assert.deepEqual(found, [[]]);
  });
}

test("a state that leads nowhere is found", () => {
  const [definition] = definitions("dev");
  assert.ok(definition);
  const { ChooseFile } = definition.States;
  assert.ok(ChooseFile);
  definition.States.ChooseFile = { Type: "Pass", Next: "Nowhere" };
  assert.notDeepEqual(validate(definition).errors, []);
});

test("a placeholder without a value and a value without a placeholder are errors", () => {
  assert.throws(() => fill('{"a": "${A}", "b": "${B}"}', { A: "1" }), /no value for `B`/);
  assert.throws(() => fill('{"a": "${A}"}', { A: "1", C: "2" }), /no placeholder for `C`/);
});
