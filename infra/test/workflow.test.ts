import assert from "node:assert/strict";
import { test } from "node:test";

import validate from "asl-validator";
import jsonata from "jsonata";

import { fill } from "../components/workflow";
import { stacks } from "./project";
import { resources } from "./rules";
import { reviewed } from "./synth";

interface State {
  Type: string;
  Next?: string;
  Arguments?: { Payload: Record<string, string> };
}

function definitions(stack: string): { StartAt: string; States: Record<string, State> }[] {
  return resources(reviewed(stack), "aws:sfn/stateMachine:StateMachine").map(
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

/** Returns the start and the job that LoadQueries hands to its function for a run with this input. */
async function loaded(input: unknown): Promise<unknown[]> {
  const { started_at = "", job = "" } =
    definitions("dev")[0]?.States.LoadQueries?.Arguments?.Payload ?? {};
  const states = { input, context: { Execution: { StartTime: "2026-01-31T02:30:07Z" } } };
  return Promise.all(
    [started_at, job].map(async (field): Promise<unknown> => {
      const expression = /^\{%(.*)%\}$/.exec(field)?.[1] ?? "";
      const value: unknown = await jsonata(expression).evaluate({}, { states });
      return JSON.parse(JSON.stringify(value));
    }),
  );
}

test("a job runs in the stack's work group, unless it names another", async () => {
  const started = "2026-01-31T02:30:07Z";
  const stack = { work_group: "athena-workflow-dev", query_names: ["q"] };
  assert.deepEqual(await loaded({ query_names: ["q"] }), [started, stack]);
  const other = { work_group: "other", query_names: ["q"] };
  assert.deepEqual(await loaded(other), [started, other]);
});

test("what a schedule starts counts as started when the schedule meant it", async () => {
  const scheduled_at = "2026-01-31T02:30:00Z";
  const [started, job] = await loaded({ query_names: ["q"], scheduled_at });
  assert.equal(started, scheduled_at);
  assert.deepEqual(job, { work_group: "athena-workflow-dev", query_names: ["q"] });
});

test("an input that is no job is handed on as it is, so that its function says so", async () => {
  for (const input of ["job", [1], 7]) {
    assert.deepEqual((await loaded(input))[1], input);
  }
});
