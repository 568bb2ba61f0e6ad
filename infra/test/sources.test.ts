import assert from "node:assert/strict";
import * as fs from "node:fs";
import { test } from "node:test";

/** The program's own files, without its tests. */
const sources = [".", "components"]
  .flatMap((folder) => fs.readdirSync(folder).map((file) => `${folder}/${file}`))
  .filter((file) => file.endsWith(".ts"));

/** Checks that `pattern` stands in this one file. */
function check(pattern: RegExp, expected: string): void {
  const found = sources.filter((file) => pattern.test(fs.readFileSync(file, "utf8")));
  assert.deepEqual(found, [expected]);
}

test("policy statements are written in one place", () => {
  check(/\b(Effect|Principal|Action): /, "./grants.ts");
});

test("settings are read in one place", () => {
  check(/new pulumi\.Config\(/, "./settings.ts");
});

test("tags are given in one place", () => {
  check(/\btags: /, "./platform.ts");
});
