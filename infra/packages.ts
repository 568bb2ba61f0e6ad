/** The functions' zips. */

import * as fs from "node:fs";

import * as pulumi from "@pulumi/pulumi";

import type { FunctionName, Settings } from "./settings";

/** A function's zip, with its `bootstrap` in it. */
export type Packages = (name: FunctionName) => pulumi.asset.Archive;

/** Where scripts/package writes; Pulumi runs the program in infra/. */
const DIRECTORY = "../target/lambda";

/** What scripts/package has built for these processors. */
export function builtPackages(architecture: Settings["architecture"]): Packages {
  return (name) => {
    const path = `${DIRECTORY}/${architecture}/${name}.zip`;
    if (!fs.existsSync(path)) {
      throw new pulumi.RunError(
        `there is no package of the function ${name} at ${path}: run scripts/package ${architecture} first`,
      );
    }
    return new pulumi.asset.FileArchive(path);
  };
}
