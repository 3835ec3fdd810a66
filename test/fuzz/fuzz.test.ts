// A short turn of every fuzzer; `npm run fuzz` gives longer ones.
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { type Fuzzer, runFuzzer } from "./fuzzer.js";

const folder = new URL("./", import.meta.url);
for (const file of readdirSync(folder).filter((name) => name.endsWith(".fuzz.js")))
  test(`a short turn of ${file.replace(".fuzz.js", "")} finds nothing`, async (t) => {
    const { fuzzer } = (await import(new URL(file, folder).href)) as { fuzzer: Fuzzer };
    const refusal = fuzzer.refusal?.();
    if (refusal !== undefined) return t.skip(refusal);
    await runFuzzer(fuzzer, { seed: 1, count: fuzzer.turn, seconds: 600 });
  });
