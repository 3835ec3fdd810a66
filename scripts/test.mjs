// `npm test [-- PATTERN …]`: sets up, then runs every test file, or those whose path contains a PATTERN. Those
// of test/vm run in a guest of their own (scripts/vm/test.mjs), last.
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
const inGuest = files.filter((name) => name.startsWith("dist/test/vm/"));
const here = files.filter((name) => !inGuest.includes(name));
if (files.length === 0) {
  console.error(`no test file matches ${patterns.join(", ")}`);
  process.exit(2);
}
if (here.length > 0)
  run(process.execPath, ["--expose-gc", "--test", "--test-timeout=300000", "--test-concurrency=2", ...here], {
    env: { ...process.env, MILLRACE_POISON: "1" },
  });
if (inGuest.length > 0) run(process.execPath, ["scripts/vm/test.mjs", ...patterns]);
