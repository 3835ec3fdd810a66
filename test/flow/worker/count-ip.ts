// Run by workers() in the tests: counts packets, and tells of each flow's order through the arena's own words.
import { flow, type Run } from "../../../src/index.js";

export const run: Run<{ readonly words: SharedArrayBuffer; readonly slow?: boolean }> = async (
  port,
  { index, data, signal },
) => {
  const seen = new Uint32Array(data.words);
  const stream = flow(port).stage((burst) => {
    for (const packet of burst) {
      const peer = packet.u16(20);
      const sequence = packet.u32(28);
      // words[peer]: the next number of the flow; words[1000 + peer]: 1 + the worker that last had it.
      if (Atomics.load(seen, peer) > sequence) Atomics.add(seen, 999, 1);
      Atomics.store(seen, peer, sequence + 1);
      Atomics.store(seen, 1000 + peer, index + 1);
    }
  });
  for await (const burst of stream) if (burst.length === 0 || signal.aborted) break;
  return stream.report();
};
