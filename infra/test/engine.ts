/**
 * Stands in for Pulumi's engine: starts the program by the entry point that the engine uses, and
 * answers its requests. So it shows that Pulumi.yaml, package.json and index.ts fit together.
 *
 * The protocol is the SDK's own business; it is pinned with the SDK's version.
 */

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";

import { Server, ServerCredentials, type sendUnaryData } from "@grpc/grpc-js";
import { type IEngineServer, EngineService } from "@pulumi/pulumi/proto/engine_grpc_pb";
import type { LogRequest } from "@pulumi/pulumi/proto/engine_pb";
import * as engine from "@pulumi/pulumi/proto/engine_pb";
import * as provider from "@pulumi/pulumi/proto/provider_pb";
import { ResourceMonitorService } from "@pulumi/pulumi/proto/resource_grpc_pb";
import * as resource from "@pulumi/pulumi/proto/resource_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { type JavaScriptValue, Struct } from "google-protobuf/google/protobuf/struct_pb";

import { call, create } from "./mocks";
import { project } from "./project";

export interface Registered {
  type: string;
  name: string;
  inputs: Record<string, unknown>;
}

/** The end of a run of the program. */
export interface Run {
  exitCode: number | null;
  /** The messages of the program to its user, without those of its progress. */
  messages: string[];
  registered: Registered[];
}

type Handler<Q, A> = (call: { request: Q }, callback: sendUnaryData<A>) => void;

function answer<Q, A>(make: (request: Q) => A): Handler<Q, A> {
  return ({ request }, callback) => {
    try {
      callback(null, make(request));
    } catch (error) {
      callback(error as Error, null);
    }
  };
}

/** Runs the program that lies in `directory` below its project's folder. */
export async function run(
  directory: string,
  stack: string,
  config: Record<string, string>,
): Promise<Run> {
  const region = config["aws:region"] ?? "";
  const registered: Registered[] = [];
  const messages: string[] = [];
  let root = "";
  const server = new Server();
  server.addService(ResourceMonitorService, {
    supportsFeature: answer((request: resource.SupportsFeatureRequest) => {
      const known = ["secrets", "resourceReferences"].includes(request.getId());
      return new resource.SupportsFeatureResponse().setHassupport(known);
    }),
    registerResource: answer((request: resource.RegisterResourceRequest) => {
      const [type, name] = [request.getType(), request.getName()];
      const inputs = request.getObject()?.toJavaScript() ?? {};
      registered.push({ type, name, inputs });
      const { id, state } = create({ type, name, inputs }, region);
      const object = Struct.fromJavaScript({ ...inputs, ...state } as Record<
        string,
        JavaScriptValue
      >);
      return new resource.RegisterResourceResponse()
        .setUrn(`urn:pulumi:${stack}::${project().name}::${type}::${name}`)
        .setId(id)
        .setObject(object);
    }),
    registerResourceOutputs: answer(() => new Empty()),
    invoke: answer((request: resource.ResourceInvokeRequest) => {
      const answer = call(request.getTok()) as Record<string, JavaScriptValue>;
      return new provider.InvokeResponse().setReturn(Struct.fromJavaScript(answer));
    }),
    signalAndWaitForShutdown: answer(() => new Empty()),
  });
  const engineServer: Pick<IEngineServer, "log" | "getRootResource" | "setRootResource"> = {
    log: answer((request: LogRequest) => {
      if (request.getSeverity() >= engine.LogSeverity.WARNING) {
        messages.push(request.getMessage());
      }
      return new Empty();
    }),
    getRootResource: answer(() => new engine.GetRootResourceResponse().setUrn(root)),
    setRootResource: answer((request: engine.SetRootResourceRequest) => {
      root = request.getUrn();
      return new engine.SetRootResourceResponse();
    }),
  };
  server.addService(EngineService, engineServer);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
      if (error) {
        reject(error);
      } else {
        resolve(port);
      }
    });
  });
  try {
    const exitCode = await start(directory, stack, config, `127.0.0.1:${port}`);
    return { exitCode, messages, registered };
  } finally {
    server.forceShutdown();
  }
}

function start(
  directory: string,
  stack: string,
  config: Record<string, string>,
  address: string,
): Promise<number | null> {
  const entry = path.resolve("node_modules/@pulumi/pulumi/cmd/run");
  const program = spawn(
    process.execPath,
    [
      entry,
      `--monitor=${address}`,
      `--engine=${address}`,
      `--project=${project().name}`,
      `--stack=${stack}`,
      `--root-directory=${path.dirname(directory)}`,
      `--pwd=${directory}`,
      ".",
    ],
    {
      cwd: directory,
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        PULUMI_NODEJS_TYPESCRIPT: "true",
        // The types have been checked when these tests were compiled.
        PULUMI_NODEJS_TRANSPILE_ONLY: "true",
        PULUMI_CONFIG: JSON.stringify(config),
        PULUMI_CONFIG_SECRET_KEYS: "[]",
      },
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  return new Promise((resolve, reject) => {
    program.on("error", reject);
    program.on("exit", resolve);
  });
}

/** A folder that holds what infra/ holds, below one that may hold packages. */
export function copyOfProgram(root: string): string {
  const directory = path.join(root, "infra");
  fs.mkdirSync(directory);
  for (const entry of fs.readdirSync(".")) {
    fs.symlinkSync(path.resolve(entry), path.join(directory, entry));
  }
  return directory;
}
