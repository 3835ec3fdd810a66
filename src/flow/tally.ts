import { VERDICT_PASS, VERDICT_ROUTE } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { reasonsOf } from "../packet/context.js";
import type { Count } from "../ports/port.js";

/** Packets freed with their burst, counted by verdict in the arena: 256 × {u64 packets, u64 bytes}. */
export interface Tally {
  readonly offset: number;
  /** Those that nobody dropped, routed or sent: whoever read the burst has had them. */
  passed(): Count;
  /** Those dropped, by reason. */
  dropped(): Record<string, number>;
  /** Nothing is counted here from now on; what was stays to be read. */
  close(): void;
}

const BYTES = 256 * 16;

export function createTally(arena: ArenaMemory): Tally {
  const offset = allocateRegion(arena, BYTES);
  let counts: BigUint64Array = arena.u64.subarray(offset >>> 3, (offset + BYTES) >>> 3);
  const at = (verdict: number): Count => ({
    packets: Number(counts[2 * verdict]),
    bytes: Number(counts[2 * verdict + 1]),
  });
  return {
    offset,
    passed: () => at(VERDICT_PASS),
    dropped() {
      const reasons = reasonsOf(arena);
      const dropped: Record<string, number> = {};
      for (let verdict = 1; verdict < VERDICT_ROUTE; verdict++) {
        const { packets } = at(verdict);
        if (packets > 0) dropped[reasons.name(verdict)] = packets;
      }
      return dropped;
    },
    close() {
      counts = counts.slice();
      freeRegion(arena, offset, BYTES);
    },
  };
}
