import { BURST_PACKETS, VERDICT_ASIDE, VERDICT_PASS, VERDICT_ROUTE } from "../kernels/structs.js";
import { createRss, type Rss } from "../packet/rss.js";
import { add } from "./account.js";
import type { OpenPort } from "./port.js";

/** Spreads one port's packets over loops to workers, flow by flow. */
export interface Distributor {
  /** Runs until the port ends or the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /**
   * Another indirection table. The flows of changed entries wait until their old worker has done with what it
   * has of them, so that no flow is put out of order.
   */
  steer(table: readonly number[]): void;
  /** Packets that came and went, and those dropped because a worker is gone or slow (live ports only). */
  readonly counts: { received: number; bytes: number; sent: number; dropped: Record<string, number> };
  /** The worker behind this loop is gone: its flows go to the others. */
  exclude(worker: number): void;
  close(): void;
}

export function createDistributor(
  port: OpenPort,
  loops: readonly OpenPort[],
  key: Uint8Array | undefined,
): Distributor {
  const { memory } = port;
  const { kernels, u32 } = memory;
  const source = port.reader();
  const rss: Rss = createRss(memory, port.can.linkType, loops.length, key);
  const counts = { received: 0, bytes: 0, sent: 0, dropped: {} as Record<string, number> };
  const gone = new Set<number>();
  let wanted: readonly number[] | undefined;

  const lead = (entry: number, worker: number) => {
    const left = loops.map((_, index) => index).filter((index) => !gone.has(index));
    if (left.length === 0) return;
    rss.table[entry] = gone.has(worker) ? left[worker % left.length] : worker;
  };

  /** Sends each worker its share. Live ports drop what a worker has no room for; others wait. */
  const spread = async (signal: AbortSignal) => {
    const { burst } = source;
    rss.steer(burst);
    for (const [index, loop] of loops.entries()) {
      if (kernels.burstVerdict(burst, VERDICT_ROUTE + index, VERDICT_PASS) === 0) continue;
      const packets = u32[(burst + BURST_PACKETS) >>> 2];
      const before = kernels.burstCount(burst, VERDICT_PASS);
      let next = loop.driver.send(burst, 0);
      while (next < packets && !port.can.live && !gone.has(index)) {
        await loop.driver.writable(signal);
        next = loop.driver.send(burst, next);
      }
      const left = kernels.burstCount(burst, VERDICT_PASS);
      counts.sent += before - left;
      if (left > 0) {
        add(counts.dropped, gone.has(index) ? "worker" : "output", left);
        kernels.burstVerdict(burst, VERDICT_PASS, VERDICT_ASIDE);
      }
    }
    source.release();
  };

  /** Waits until the workers have taken, and come back from, all that was sent to them. */
  const settle = async (signal: AbortSignal) => {
    for (const [index, loop] of loops.entries())
      while (!gone.has(index) && !(loop.driver.settled?.() ?? true)) {
        signal.throwIfAborted();
        await new Promise((resolve) => setImmediate(resolve));
      }
  };

  return {
    counts,
    async run(signal) {
      for (;;) {
        signal.throwIfAborted();
        if (wanted !== undefined) {
          await settle(signal);
          for (let entry = 0; entry < rss.table.length; entry++) lead(entry, wanted[entry % wanted.length]);
          wanted = undefined;
        }
        const packets = source.poll();
        if (packets > 0) {
          counts.received += packets;
          counts.bytes += kernels.burstBytes(source.burst, VERDICT_PASS);
          await spread(signal);
          if (source.overdue) await source.turn();
        } else if (source.ended) return;
        else await source.wait(signal);
      }
    },
    steer(table) {
      wanted = table;
    },
    exclude(worker) {
      gone.add(worker);
      for (let entry = 0; entry < rss.table.length; entry++) lead(entry, rss.table[entry]);
    },
    close: () => rss.close(),
  };
}
