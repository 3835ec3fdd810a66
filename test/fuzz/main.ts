// What scripts/fuzz.mjs runs: fuzzers by name, for a time or a count, from a seed that is printed.
import { readdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Fuzzer, runFuzzer } from "./fuzzer.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: "string" }, count: { type: "string" }, seed: { type: "string" } },
});
const folder = new URL("./", import.meta.url);
const names = readdirSync(folder)
  .filter((name) => name.endsWith(".fuzz.js"))
  .map((name) => name.replace(".fuzz.js", ""));
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const count = values.count === undefined ? Number.POSITIVE_INFINITY : Number(values.count);
const seconds =
  values.seconds === undefined ? (count === Number.POSITIVE_INFINITY ? 60 : 1e9) : Number(values.seconds);
const unknown = positionals.find((name) => !names.includes(name));
if (unknown !== undefined || !(seed >= 0) || !(count > 0) || !(seconds > 0)) {
  console.error(
    `usage: npm run fuzz -- [NAME…] [--seconds N] [--count N] [--seed N]\nNAME is one of ${names.join(", ")}`,
  );
  process.exit(2);
}
for (const name of positionals.length > 0 ? positionals : names) {
  const { fuzzer } = (await import(new URL(`${name}.fuzz.js`, folder).href)) as { fuzzer: Fuzzer };
  console.log(`${name}: seed ${seed}`);
  const result = await runFuzzer(fuzzer, { seed, count, seconds }, (inputs, passed) =>
    console.log(`${name}: ${inputs} inputs in ${passed.toFixed(0)} s`),
  );
  console.log(`${name}: ${result.inputs} inputs in ${result.seconds.toFixed(1)} s, nothing found`);
}
