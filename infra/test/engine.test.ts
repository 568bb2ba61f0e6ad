import assert from "node:assert/strict";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { type TestContext, test } from "node:test";

import { packageOf } from "../packages";
import { FUNCTION_NAMES } from "../settings";
import { copyOfProgram, run } from "./engine";
import { configuration, stackValues } from "./project";
import { reviewed } from "./synth";

/** A folder of the test, gone with it, that holds packages for these architectures. */
function folder(context: TestContext, ...architectures: string[]): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "athena-workflow-infra-"));
  context.after(() => {
    fs.rmSync(root, { recursive: true });
  });
  for (const architecture of architectures) {
    const packages = path.join(root, "target", "lambda", architecture);
    fs.mkdirSync(packages, { recursive: true });
    for (const name of FUNCTION_NAMES.map(packageOf)) {
      fs.writeFileSync(path.join(packages, `${name}.zip`), "");
    }
  }
  return root;
}

test("Pulumi's own entry point registers what was reviewed, with the packages", async (context) => {
  const { exitCode, messages, registered } = await run(
    copyOfProgram(folder(context, "x86_64", "arm64")),
    "dev",
    configuration(stackValues("dev")),
  );

  assert.deepEqual({ exitCode, messages }, { exitCode: 0, messages: [] });
  const expected = Object.entries(reviewed("dev").resources).flatMap(([type, names]) =>
    Object.keys(names).map((name) => `${type} ${name}`),
  );
  const names = registered
    .filter(({ type }) => type !== "pulumi:pulumi:Stack")
    .map(({ type, name }) => `${type} ${name}`);
  assert.deepEqual(names.sort(), expected.sort());
  const code = registered
    .filter(({ type }) => type === "aws:lambda/function:Function")
    .map(({ inputs }) => (inputs.code as { path: string }).path);
  assert.deepEqual(
    code.sort(),
    FUNCTION_NAMES.map((name) => `../target/lambda/x86_64/${packageOf(name)}.zip`).sort(),
  );
});

test("without packages for its processors nothing is deployed, and the user is told what to do", async (context) => {
  const { exitCode, messages } = await run(
    copyOfProgram(folder(context, "x86_64")),
    "dev",
    configuration({ ...stackValues("dev"), "athena-workflow:architecture": "arm64" }),
  );
  assert.equal(exitCode, 32);
  assert.match(
    messages.join("\n"),
    /no package of the function query-loader at .*: run scripts\/package arm64 first/,
  );
});
