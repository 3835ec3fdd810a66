// `npm run bench -- NAME [--json FILE] [--runs N]`: sets up, then runs bench/NAME.bench.ts.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { root, run, setUp } from "./setup.mjs";

const [name, ...rest] = process.argv.slice(2);
const names = readdirSync(join(root, "bench"))
  .filter((entry) => entry.endsWith(".bench.ts"))
  .map((entry) => entry.replace(/\.bench\.ts$/, ""));
if (!names.includes(name)) {
  console.error(`usage: npm run bench -- NAME [--json FILE] [--runs N]\nNAME is one of ${names.join(", ")}`);
  process.exit(2);
}
setUp();
run(process.execPath, ["--expose-gc", `dist/bench/${name}.bench.js`, ...rest]);
