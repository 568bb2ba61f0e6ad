/** The project's and the stacks' files, read as the Pulumi command reads them. */

import * as fs from "node:fs";
import * as path from "node:path";

import { parse } from "yaml";

/** The directory of Pulumi.yaml; tests run in infra/. */
export const ROOT = "..";

type Type = "string" | "integer" | "boolean" | "array" | "object";

interface Project {
  name: string;
  config: Record<string, { type: Type; description?: string; default?: unknown }>;
}

export function project(): Project {
  return parse(fs.readFileSync(path.join(ROOT, "Pulumi.yaml"), "utf8")) as Project;
}

/** The stacks whose settings are in the repository. */
export function stacks(): string[] {
  const files = fs.readdirSync(ROOT).map((file) => /^Pulumi\.([\w-]+)\.yaml$/.exec(file)?.[1]);
  return files.filter((stack) => stack !== undefined).sort();
}

/** The values of a stack's file, by their whole keys. */
export function stackValues(stack: string): Record<string, unknown> {
  const file = parse(fs.readFileSync(path.join(ROOT, `Pulumi.${stack}.yaml`), "utf8")) as {
    config: Record<string, unknown>;
  };
  return file.config;
}

/**
 * The configuration that the program gets: the project's defaults with the stack's values over them,
 * each as a text.
 *
 * @throws Error if a value is of another type than the project declares. A key that it does not
 * declare goes to the program, as with the Pulumi command.
 */
export function configuration(values: Record<string, unknown>): Record<string, string> {
  const { name, config } = project();
  const all: Record<string, unknown> = {};
  for (const [key, declared] of Object.entries(config)) {
    all[`${name}:${key}`] = declared.default;
  }
  for (const [key, value] of Object.entries(values)) {
    const [namespace, setting = ""] = key.split(":");
    const declared = config[setting];
    if (namespace === name && declared && !isOf(declared.type, value)) {
      throw new Error(`\`${key}\` is no ${declared.type}`);
    }
    all[key] = value;
  }
  return Object.fromEntries(
    Object.entries(all).map(([key, value]) => [
      key,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
}

function isOf(type: Type, value: unknown): boolean {
  switch (type) {
    case "integer":
      return Number.isInteger(value);
    case "array":
      return Array.isArray(value);
    default:
      return typeof value === type && !Array.isArray(value);
  }
}
