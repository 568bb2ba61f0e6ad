import * as fs from "node:fs";

import { builtPackage } from "./packages";
import { deploy } from "./platform";
import { readSettings } from "./settings";

export = deploy(readSettings(), builtPackage, fs.readFileSync("workflow.asl.json", "utf8"));
