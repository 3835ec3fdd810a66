import { createDifferential } from "../filter/differential.js";
import type { Fuzzer } from "./fuzzer.js";

/** Random filter expressions against tcpdump's programs for them. An input is one packet under one expression. */
export const fuzzer: Fuzzer = {
  name: "filters",
  turn: 2000,
  start(random) {
    const { step } = createDifferential(() => random.below(2 ** 30) / 2 ** 30);
    return step;
  },
};
