import {
  BURST_METAS,
  BURST_PACKETS,
  META_SIZE,
  META_VERDICT,
  VERDICT_ASIDE,
  VERDICT_PASS,
} from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { createBurst, destroyBurst, throwFault } from "../memory/burst.js";
import { packetContext } from "../packet/context.js";
import { createEdgeCounters, type EdgeCounters, finishBurst } from "../packet/edge.js";
import type { PortDriver } from "../ports/port.js";
import { BURST_DESCRIPTORS } from "./source.js";

/** The way out through one port: what packets need and the port lacks is done before it, once, and counted. */
export interface Outlet {
  readonly counters: EdgeCounters;
  /** Sends every packet of the burst with verdict PASS, waiting where the port is full. Rejects with the signal's reason. */
  send(burst: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

export function createOutlet(arena: ArenaMemory, driver: PortDriver): Outlet {
  const counters = createEdgeCounters();
  const context = packetContext(arena);
  const { linkType, fragments, checksum, segmentation } = driver.can;
  const needs = { linkType, fragments, checksum, segmentation };
  // Datagrams have no headers to finish, and their port takes what it says it takes.
  const spare = linkType === "DATAGRAM" ? 0 : createBurst(arena, 2 * BURST_DESCRIPTORS);
  const sendAll = async (burst: number, signal: AbortSignal) => {
    let next = driver.send(burst, 0);
    while (next < arena.u32[(burst + BURST_PACKETS) >>> 2]) {
      await driver.writable(signal);
      next = driver.send(burst, next);
    }
  };
  return {
    counters,
    async send(burst, signal) {
      if (spare === 0) return sendAll(burst, signal);
      for (;;) {
        const rest = finishBurst(context, burst, needs, spare, counters);
        const packets = arena.u32[(burst + BURST_PACKETS) >>> 2];
        // What found no room among the segments steps aside, so that it is not sent as it is.
        setAside(arena, burst, rest, packets);
        await sendAll(burst, signal);
        await sendAll(spare, signal);
        throwFault(arena, spare, arena.kernels.burstRelease(spare, 0));
        if (rest >= packets) return;
        arena.kernels.burstVerdict(burst, VERDICT_ASIDE, VERDICT_PASS);
      }
    },
    close() {
      if (spare !== 0) destroyBurst(arena, spare);
    },
  };
}

function setAside(arena: ArenaMemory, burst: number, first: number, packets: number): void {
  const verdicts = arena.u32[(burst + BURST_METAS) >>> 2] + META_VERDICT;
  for (let packet = first; packet < packets; packet++)
    if (arena.u8[verdicts + packet * META_SIZE] === VERDICT_PASS)
      arena.u8[verdicts + packet * META_SIZE] = VERDICT_ASIDE;
}
