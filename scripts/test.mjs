// `npm test [-- PATTERN …]`: sets up, then runs every test file, or those whose path contains a PATTERN.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { root, run, setUp } from "./setup.mjs";

setUp();
const patterns = process.argv.slice(2);
const files = readdirSync(join(root, "dist/test"), { recursive: true })
  .filter((name) => name.endsWith(".test.js"))
  .filter((name) => patterns.length === 0 || patterns.some((pattern) => name.includes(pattern)))
  .map((name) => join("dist/test", name))
  .sort();
if (files.length === 0) {
  console.error(`no test file matches ${patterns.join(", ")}`);
  process.exit(2);
}
run(process.execPath, ["--expose-gc", "--test", "--test-concurrency=2", ...files], {
  env: { ...process.env, MILLRACE_POISON: "1" },
});
