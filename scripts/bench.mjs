// `npm run bench -- NAME [--json] […]`: sets up, then runs bench/NAME.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { root, run, setUp } from "./setup.mjs";

const [name, ...options] = process.argv.slice(2);
setUp();
const script = join(root, `dist/bench/${name}.js`);
if (name === undefined || name === "harness" || name === "compare" || !existsSync(script)) {
  const names = readdirSync(join(root, "dist/bench"))
    .filter((file) => file.endsWith(".js") && file !== "harness.js" && file !== "compare.js")
    .map((file) => file.slice(0, -3));
  console.error(`npm run bench -- NAME, where NAME is one of ${names.join(", ")}`);
  process.exit(2);
}
run(process.execPath, ["--expose-gc", script, ...options]);
