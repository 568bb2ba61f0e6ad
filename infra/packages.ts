/** The functions' zips. */

import * as fs from "node:fs";

import * as pulumi from "@pulumi/pulumi";

import type { FunctionName, Settings } from "./settings";

/** A package, called as its crate; the second deployment of one has no package of its own. */
export type PackageName = Exclude<FunctionName, "execute-single-query-result">;

/** Returns the package that a function is deployed from. */
export function packageOf(name: FunctionName): PackageName {
  return name === "execute-single-query-result" ? "execute-single-query" : name;
}

/** Returns a package: a zip with its `bootstrap` in it. */
export type Packages = (name: PackageName) => pulumi.asset.Archive;

/** The directory that scripts/package writes to; Pulumi runs the program in infra/. */
const DIRECTORY = "../target/lambda";

/** Returns the packages that scripts/package has built for these processors. */
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
