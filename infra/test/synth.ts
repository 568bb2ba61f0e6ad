/** A stack as it would be registered, made without AWS. */

import * as fs from "node:fs";
import * as path from "node:path";

import * as pulumi from "@pulumi/pulumi";

import { deploy } from "../platform";
import { readSettings } from "../settings";
import { ACCOUNT, call, create } from "./mocks";
import { configuration, project, stackValues } from "./project";

export type Value = null | boolean | number | string | Value[] | { [key: string]: Value };

export interface Resource {
  /** AWS's id. */
  id: string;
  /** The properties that it is given. A text that holds JSON stands as that JSON. */
  inputs: Record<string, Value>;
  /** The properties that AWS adds: its ARN, and its name in AWS. */
  outputs: Record<string, Value>;
  /** The type and the name of what it belongs to. */
  parent: string;
  /** Whether Pulumi refuses to remove it. */
  protect: boolean;
}

export interface SynthesizedStack {
  project: string;
  stack: string;
  account: string;
  region: string;
  outputs: Record<string, Value>;
  /** By type, and then by name. */
  resources: Record<string, Record<string, Resource>>;
}

/** The parts of Pulumi's requests that its mocks do not hand on. */
interface RegisterRequest {
  getType(): string;
  getName(): string;
  getParent(): string;
  getProtect(): boolean;
}

type Register = (request: RegisterRequest, callback: unknown) => Promise<void>;

/** The mark of a secret in what Pulumi hands to its mocks. */
export const SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d";

/** Returns the file of the checked-in form of a stack. */
export function stackFile(stack: string): string {
  return path.join("stacks", `${stack}.json`);
}

/** A stack as it was checked in. */
export function reviewed(stack: string): SynthesizedStack {
  const file = stackFile(stack);
  if (!fs.existsSync(file)) {
    throw new Error(`there is no infra/${file}: write it with npm run synth -- ${stack}`);
  }
  return JSON.parse(fs.readFileSync(file, "utf8")) as SynthesizedStack;
}

/**
 * Makes a stack from `values`, which are its own if not given. Once in a process.
 */
export async function synthesize(
  stack: string,
  values = stackValues(stack),
): Promise<SynthesizedStack> {
  const config = configuration(values);
  const region = config["aws:region"] ?? "";
  const registered: Promise<[type: string, name: string, resource: Resource]>[] = [];
  const options = new Map<string, Pick<Resource, "parent" | "protect">>();

  pulumi.runtime.setAllConfig(config);
  await pulumi.runtime.setMocks(
    {
      newResource: ({ type, name, inputs }) => {
        const asked = { type, name, inputs: inputs as Record<string, unknown> };
        const { id, state } = create(asked, region);
        if (type !== "pulumi:pulumi:Stack") {
          const rest = { ...options.get(`${type} ${name}`) } as Pick<
            Resource,
            "parent" | "protect"
          >;
          const resource = async (): Promise<Resource> => ({
            id,
            inputs: (await plain(asked.inputs)) as Resource["inputs"],
            outputs: (await plain(state)) as Resource["outputs"],
            ...rest,
          });
          registered.push(resource().then((resource) => [type, name, resource]));
        }
        return { id, state: { ...asked.inputs, ...state } };
      },
      call: ({ token }) => call(token),
    },
    project().name,
    stack,
    false,
  );
  const monitor = pulumi.runtime.getMonitor() as unknown as { registerResource: Register };
  const register = monitor.registerResource.bind(monitor);
  monitor.registerResource = (request, callback) => {
    // `urn:pulumi:STACK::PROJECT::TYPE$TYPE::NAME`
    const [, , types = "", name = ""] = request.getParent().split("::");
    options.set(`${request.getType()} ${request.getName()}`, {
      parent: `${types.split("$").at(-1) ?? ""} ${name}`.trim(),
      protect: request.getProtect(),
    });
    return register(request, callback);
  };

  // Where the zips lie is no part of the stack, and they need not be there.
  const packages = (name: string): pulumi.asset.Archive =>
    new pulumi.asset.FileArchive(`${name}.zip`);
  const workflow = fs.readFileSync("workflow.asl.json", "utf8");
  const outputs = await pulumi.runtime.runInPulumiStack(() =>
    Promise.resolve(deploy(readSettings(), packages, workflow)),
  );
  // What depends on others is registered after the program has ended.
  await pulumi.runtime.disconnect();
  const resolved = await new Promise((resolve) => pulumi.output(outputs).apply(resolve));

  const resources: SynthesizedStack["resources"] = {};
  for (const [type, name, resource] of await Promise.all(registered)) {
    const sameType = (resources[type] ??= {});
    if (name in sameType) {
      throw new Error(`there are two \`${type}\` of the name \`${name}\``);
    }
    sameType[name] = resource;
  }
  return {
    project: project().name,
    stack,
    account: ACCOUNT,
    region,
    outputs: (await plain(resolved)) as SynthesizedStack["outputs"],
    resources,
  };
}

/** The stack as text: keys sorted, two spaces, a line end at the end. */
export function format(stack: SynthesizedStack): string {
  return `${JSON.stringify(sorted(stack as unknown as Value), null, 2)}\n`;
}

/** A value of Pulumi's as plain JSON: secrets masked, archives by their names. */
export async function plain(value: unknown): Promise<Value> {
  if (value instanceof pulumi.asset.FileArchive) {
    return { archive: path.basename(await value.path) };
  }
  if (typeof value === "string") {
    return /^[{[]/.test(value) ? ((parsed(value) ?? value) as Value) : value;
  }
  if (Array.isArray(value)) {
    return Promise.all(value.map(plain));
  }
  if (typeof value === "object" && value !== null) {
    if (SECRET_SIGNATURE in value) {
      return "[secret]";
    }
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    return Object.fromEntries(
      await Promise.all(entries.map(async ([key, inner]) => [key, await plain(inner)] as const)),
    );
  }
  return value as Value;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sorted(value: Value): Value {
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(([key, inner]) => [key, sorted(inner)] as const);
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
  return value;
}
