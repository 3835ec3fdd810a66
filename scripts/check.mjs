// `npm run check`: build, Biome, and the rule that imports go down the floors only.

import { checkFloors } from "./floors.mjs";
import { root, run } from "./setup.mjs";

run(process.execPath, ["scripts/build.mjs"]);
run("node_modules/.bin/biome", ["check", "--error-on-warnings", "."]);
const faults = checkFloors(root);
for (const fault of faults) console.error(fault);
process.exit(faults.length === 0 ? 0 : 1);
