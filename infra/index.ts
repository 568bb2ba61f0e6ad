import * as fs from "node:fs";

import { builtPackages } from "./packages";
import { deploy } from "./platform";
import { readSettings } from "./settings";

const settings = readSettings();
const workflow = fs.readFileSync("workflow.asl.json", "utf8");

export = deploy(settings, builtPackages(settings.architecture), workflow);
