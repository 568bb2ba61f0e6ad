import * as fs from "node:fs";

import * as pulumi from "@pulumi/pulumi";

import type { Packages } from "./functions";
import { deploy } from "./platform";
import { readSettings } from "./settings";

// Pulumi runs this in infra/, so both paths are the same on every machine.
const PACKAGES = "../target/lambda";
const WORKFLOW = "workflow.asl.json";

const packages: Packages = (name) => {
  const path = `${PACKAGES}/${name}.zip`;
  if (!fs.existsSync(path)) {
    throw new pulumi.RunError(
      `there is no package of the function ${name} at ${path}: run scripts/package first`,
    );
  }
  return new pulumi.asset.FileArchive(path);
};

export = deploy(readSettings(), packages, fs.readFileSync(WORKFLOW, "utf8"));
