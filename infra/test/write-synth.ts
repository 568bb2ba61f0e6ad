/** `npm run synth -- STACK`: writes stacks/STACK.json, or with `-` after it to the standard output. */

import * as fs from "node:fs";

import { stacks } from "./project";
import { format, stackFile, synthesize } from "./synth";

async function main(): Promise<void> {
  const stack = process.argv[2];
  if (stack === undefined || !stacks().includes(stack)) {
    throw new Error(`usage: npm run synth -- STACK, where STACK is one of ${stacks().join(", ")}`);
  }
  const text = format(await synthesize(stack));
  if (process.argv[3] === "-") {
    process.stdout.write(text);
    return;
  }
  fs.mkdirSync("stacks", { recursive: true });
  fs.writeFileSync(stackFile(stack), text);
  console.log(`wrote infra/${stackFile(stack)}`);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
