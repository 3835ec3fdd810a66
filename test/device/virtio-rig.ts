// A network card with its driver behind one face, whichever card it is and wherever it stands.
import type { Bus } from "../../src/device/bus/bus.js";
import { counterChange } from "../../src/device/bus/interrupts.js";
import {
  cardCounters,
  linkIsUp,
  openVirtioCard,
  recover as recoverVirtio,
  type VirtioCard,
  type VirtioOptions,
} from "../../src/device/virtio/card.js";
import * as virtio from "../../src/device/virtio/run.js";
import { type ArenaMemory, createArenaMemory } from "../../src/memory/arena.js";
import { createBurst, destroyBurst } from "../../src/memory/burst.js";

/** One card with its driver, and a burst to work with. */
export interface Nic {
  readonly bus: Bus;
  readonly arena: ArenaMemory;
  readonly burst: number;
  readonly mac: Uint8Array;
  readonly queues: number;
  receive(queue: number, most: number): number;
  send(queue: number, burst: number, first: number): number;
  clean(): void;
  /** Resolves at the next interrupt for receive or transmit, or after `milliseconds`. */
  wait(milliseconds: number): Promise<void>;
  linkUp(): boolean;
  reset(): void;
  /** Packets that the card has sent and received. */
  counts(): { readonly sent: number; readonly received: number; readonly lost: number };
  /** Waits for what is to be sent, at most `drainMilliseconds`. */
  close(drainMilliseconds?: number): Promise<void>;
}

export function makeArena(): ArenaMemory {
  return createArenaMemory({ bytes: 32 * 2 ** 20, frameSize: 2048 });
}

export interface VirtioNic extends Nic {
  readonly card: VirtioCard;
  watch(now: number): "fine" | "reset" | "gone";
}

/** Drives the virtio card on `bus`. */
export function virtioNic(bus: Bus, options: VirtioOptions = {}): VirtioNic {
  const { arena } = bus;
  const card = openVirtioCard(bus, options);
  const burst = createBurst(arena, 256);
  return {
    card,
    watch: (now) => virtio.watch(card, now),
    bus,
    arena,
    burst,
    mac: card.mac,
    queues: card.pairs,
    receive: (queue, most) => virtio.receive(card, queue, burst, most),
    send: (queue, from, first) => virtio.send(card, queue, from, first),
    clean: () => virtio.clean(card),
    wait: async (milliseconds) => {
      const seen = virtio.vectorsOf(card).map((vector) => ({
        vector,
        before: Atomics.load(arena.u32, bus.counter(vector) >>> 2),
      }));
      virtio.arm(card, { receive: true, transmit: false });
      const stop = new AbortController();
      const waits = seen.map(({ vector, before }) =>
        counterChange(arena, bus.counter(vector), before, milliseconds, stop.signal).catch(() => 0),
      );
      await Promise.race(waits);
      stop.abort();
      virtio.disarm(card);
    },
    linkUp: () => linkIsUp(card),
    reset: () => recoverVirtio(card, "the test asks for it"),
    counts: () => ({
      sent: cardCounters(card, "tx").packets,
      received: cardCounters(card, "rx").packets,
      lost: card.lost,
    }),
    close: async (drainMilliseconds) => {
      destroyBurst(arena, burst);
      await virtio.closeCard(card, drainMilliseconds);
    },
  };
}
