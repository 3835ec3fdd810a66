import { createDifferential } from "../filter/differential.js";
import type { Fuzzer } from "./fuzzer.js";

/** Random filter expressions against tcpdump's programs for them, in every back end. An input is one packet under one expression. */
export const fuzzer: Fuzzer = {
  name: "filters",
  turn: 2000,
  start(random) {
    const { step, counts, close } = createDifferential(() => random.below(2 ** 30) / 2 ** 30);
    return Object.assign(step, {
      close() {
        console.log(`filters: ${JSON.stringify(counts)}`);
        close();
      },
    });
  },
};
