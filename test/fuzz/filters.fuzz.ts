import { createDifferential } from "../filter/differential.js";
import type { Fuzzer } from "./fuzzer.js";

/** Random filter expressions against tcpdump's programs for them, in every back end. An input is one expression. */
export const fuzzer: Fuzzer = {
  name: "filters",
  turn: 20,
  start(random) {
    const { step, counts, close } = createDifferential(() => random.below(2 ** 30) / 2 ** 30);
    return Object.assign(() => Math.min(step(), 1), {
      close() {
        console.log(`filters: ${JSON.stringify(counts)}`);
        close();
      },
    });
  },
};
