import { NULL_BYTES, NULL_PACKETS, SCRATCH_SIZE } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { throwFault } from "../memory/burst.js";
import { allocateRegion, freeRegion } from "../memory/region.js";
import { checkParameters, type Locator, numberParameter } from "./locator.js";
import type { PortDriver } from "./port.js";

/** Packets that a burst brings at once. */
const BURST = 128;

/**
 * Opens `null:`, which brings packets without end, `size=` bytes each (64) in frames of the pool, and frees what
 * is sent to it: what the engine itself costs, without a device. `queue=` has no effect: each is its own.
 */
export async function openNull(arena: ArenaMemory, locator: Locator): Promise<PortDriver> {
  checkParameters(locator, ["size", "queue", "burst"]);
  const size = numberParameter(locator, "size", 14, arena.frameSize) ?? 64;
  const most = numberParameter(locator, "burst", 1, 2048) ?? BURST;
  numberParameter(locator, "queue", 0, 1023);
  const state = allocateRegion(arena, SCRATCH_SIZE);
  const { nullReceive, nullSend } = arena.kernels;
  let received = 0;
  let last: { readonly packets: number; readonly bytes: number } | undefined;
  const sent = () => ({
    packets: arena.f64[(state + NULL_PACKETS) >>> 3],
    bytes: arena.f64[(state + NULL_BYTES) >>> 3],
  });
  return {
    can: {
      linkType: "EN10MB",
      mtu: 65_535,
      queues: 1,
      live: false,
      fragments: 65_535,
      checksum: { rx: false, tx: true },
      segmentation: true,
      headerSplit: false,
      hash: false,
      timestamps: "none",
      mode: "zero-copy",
    },
    ended: false,
    receive(burst) {
      if (last !== undefined) return 0;
      const packets = nullReceive(state, burst, most, size);
      received += packets;
      return packets;
    },
    send: (burst, first) =>
      last === undefined ? throwFault(arena, burst, nullSend(state, burst, first, 0)) : first,
    sendOrdinary: (burst, edge) =>
      last === undefined ? throwFault(arena, burst, nullSend(state, burst, 0, edge)) : 0,
    readable: async (signal) => signal.throwIfAborted(),
    writable: async (signal) => signal.throwIfAborted(),
    counters: () => ({
      received: { packets: received, bytes: received * size },
      transmitted: last ?? sent(),
      dropped: {},
      copies: {},
      held: 0,
    }),
    async close() {
      if (last !== undefined) return;
      last = sent();
      freeRegion(arena, state, SCRATCH_SIZE);
    },
  };
}
