import { expression } from "../filter/grammar.js";
import { createLive, type Live, liveFrames } from "../filter/live.js";
import type { Fuzzer } from "./fuzzer.js";

/** Random filter expressions on live traffic, in every place where a filter can run. An input is one expression. */
export const fuzzer: Fuzzer = {
  name: "live",
  turn: 10,
  refusal: () => (process.getuid?.() === 0 ? undefined : "network namespaces need root"),
  start(random) {
    const chance = () => random.below(2 ** 30) / 2 ** 30;
    const after: (() => unknown)[] = [];
    const context = {
      after: (work?: unknown) => void after.unshift(work as () => unknown),
      skip(reason?: string) {
        throw new Error(reason);
      },
    };
    let live: Live | undefined;
    const step = async () => {
      live ??= (await createLive(context, liveFrames(chance, 60))) as Live;
      await live.step(expression(chance, 4));
      return 1;
    };
    return Object.assign(step, {
      async close() {
        console.log(`live: ${JSON.stringify(live?.counts)}`);
        for (const work of after) await work();
      },
    });
  },
};
