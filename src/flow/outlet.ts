import { BURST_PACKETS } from "../kernels/structs.js";
import type { ArenaMemory } from "../memory/arena.js";
import { throwFault } from "../memory/burst.js";
import { createEdgeCounters, type EdgeCounters } from "../packet/edge.js";
import type { PortDriver } from "../ports/port.js";
import { createEdge } from "./forward-edge.js";

/** The way out through one port for those who wait for it: the edge before the port, and the port. */
export interface Outlet {
  readonly counters: EdgeCounters;
  /** Sends every packet of the burst with verdict PASS, waiting where the port is full. Rejects with the signal's reason. */
  send(burst: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

export function createOutlet(arena: ArenaMemory, driver: PortDriver): Outlet {
  // Datagrams have no headers to finish, and their port takes what it says it takes.
  const edge =
    driver.can.linkType === "DATAGRAM" ? undefined : createEdge(arena, driver.can, { swap: false });
  const sendAll = async (burst: number, signal: AbortSignal) => {
    let next = driver.send(burst, 0);
    while (next < arena.u32[(burst + BURST_PACKETS) >>> 2]) {
      await driver.writable(signal);
      next = driver.send(burst, next);
    }
  };
  return {
    counters: edge?.counters ?? createEdgeCounters(),
    async send(burst, signal) {
      if (edge === undefined) return sendAll(burst, signal);
      const { spare } = edge;
      for (let again = true; again; ) {
        again = edge.prepare(burst);
        await sendAll(burst, signal);
        if (spare === 0 || arena.u32[(spare + BURST_PACKETS) >>> 2] === 0) continue;
        await sendAll(spare, signal);
        throwFault(arena, spare, arena.kernels.burstRelease(spare, 0));
      }
    },
    close() {
      edge?.close();
    },
  };
}
