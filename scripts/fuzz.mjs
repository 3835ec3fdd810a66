// `npm run fuzz -- [NAME…] [--seconds N] [--count N] [--seed N]`: sets up, then runs the fuzzers of test/fuzz.
import { run, setUp } from "./setup.mjs";

setUp();
run(process.execPath, ["dist/test/fuzz/main.js", ...process.argv.slice(2)], {
  env: { ...process.env, MILLRACE_POISON: "1" },
});
