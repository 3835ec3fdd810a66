// A short turn of every fuzzer; `npm run fuzz` gives longer ones.
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { type Fuzzer, runFuzzer } from "./fuzzer.js";

const folder = new URL("./", import.meta.url);
for (const file of readdirSync(folder).filter((name) => name.endsWith(".fuzz.js")))
  test(`a short turn of ${file.replace(".fuzz.js", "")} finds nothing`, async () => {
    const { fuzzer } = (await import(new URL(file, folder).href)) as { fuzzer: Fuzzer };
    await runFuzzer(fuzzer, { seed: 1, count: fuzzer.turn, seconds: 600 });
  });
